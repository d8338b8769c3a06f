// moelle/cpu/exp_simd.hpp -- xsimd's exponential without undefined behaviour.
//
// Without an instruction for it (double before xsimd 10, on AVX-512 too), xsimd converts the argument to a 64-bit integer in plain C++
// before it looks whether it fits: undefined for NaN, infinities and large numbers, although the result is not used then.
#pragma once
#include <moelle/core/config.hpp>
#include <moelle/cpu/xsimd.hpp>

namespace moelle::simd {

// e^x; the bits of xsimd::exp.
template <class Arch, class T>
MOELLE_INLINE xsimd::batch<T, Arch> exp(const xsimd::batch<T, Arch>& x) {
  if constexpr (sizeof(T) == 4) {
    return xsimd::exp(x);
  } else {
    using B = xsimd::batch<T, Arch>;
    const B low(T(-800)), high(T(800));  // beyond them the result is 0 or infinity
    const auto number = x == x;
    const B inside = xsimd::select(x < low, low, xsimd::select(x > high, high, x));
    return xsimd::select(number, xsimd::exp(xsimd::select(number, inside, B(T(0)))), x);
  }
}

}  // namespace moelle::simd
