// moelle/cpu/exp_simd.hpp -- xsimd's exponential without undefined behaviour, and a shorter one.
//
// Without an instruction for it (double before xsimd 10, on AVX-512 too), xsimd converts the argument to a 64-bit integer in plain C++
// before it looks whether it fits: undefined for NaN, infinities and large numbers, although the result is not used then.
#pragma once
#include <cstdint>

#include <moelle/core/config.hpp>
#include <moelle/cpu/fma_simd.hpp>
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

// e^x for x in [-87, 88] and the usual NaN; a NaN whose low bits are not zero may come out as a number. In float within 2 ulp: x = n ln 2 + r
// with the nearest integer n and ln 2 in two parts, of which the first times n is exact (Cody and Waite); e^r = 1 + r q(r) within 0.8 2^-23
// (least squares, reweighted until all extremes are equal); n is added to the exponent. A third of the instructions of xsimd's, which serves all x.
template <class Arch, class T>
MOELLE_INLINE xsimd::batch<T, Arch> exp_within_88(const xsimd::batch<T, Arch>& x) {
  using B = xsimd::batch<T, Arch>;
  if constexpr (sizeof(T) == 4) {
    using I = xsimd::batch<std::int32_t, Arch>;
    const B magic(T(12582912));  // 1.5 * 2^23: adding it leaves the nearest integer in the low bits
    const B shifted = fused_multiply_add<Arch, T>(x, B(T(1.44269504088896341)), magic), n = shifted - magic;
    B r = fused_multiply_add<Arch, T>(n, B(T(-0.693359375)), x);
    r = fused_multiply_add<Arch, T>(n, B(T(2.12194440e-4)), r);
    B q = fused_multiply_add<Arch, T>(r, B(T(0.008290229365229607)), B(T(0.041898392140865326)));
    q = fused_multiply_add<Arch, T>(r, q, B(T(0.16667640209197998)));
    q = fused_multiply_add<Arch, T>(r, q, B(T(0.49999144673347473)));
    q = fused_multiply_add<Arch, T>(r, q, B(T(0.9999997019767761)));
    const B p = fused_multiply_add<Arch, T>(r, q, B(T(1)));
    return __builtin_bit_cast(B, __builtin_bit_cast(I, p) + (__builtin_bit_cast(I, shifted) << 23));
  } else {
    return moelle::simd::exp(x);
  }
}

// e^x for x <= 88, -infinity and the usual NaN included; 0 for x < -87 (float), where the normal numbers end.
template <class Arch, class T>
MOELLE_INLINE xsimd::batch<T, Arch> exp_below_88(const xsimd::batch<T, Arch>& x) {
  using B = xsimd::batch<T, Arch>;
  const B y = exp_within_88<Arch, T>(x);
  if constexpr (sizeof(T) == 4)
    return xsimd::select(x < B(T(-87)), B(T(0)), y);
  else
    return y;
}

}  // namespace moelle::simd
