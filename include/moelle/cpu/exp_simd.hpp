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

// e^x for x <= 88, -infinity and the usual NaN included; 0 for x < -87, where the normal numbers end. In float within 2 ulp: x = n ln 2 + r with
// the nearest integer n and ln 2 in two parts, of which the first times n is exact (Cody and Waite); a polynomial of degree 7 in r (Moshier's
// Cephes, expf); n is added to the exponent. Half the instructions of xsimd's, which serves all x. A NaN whose low
// bits are not zero may come out as a number.
template <class Arch, class T>
MOELLE_INLINE xsimd::batch<T, Arch> exp_below_88(const xsimd::batch<T, Arch>& x) {
  using B = xsimd::batch<T, Arch>;
  if constexpr (sizeof(T) == 4) {
    using I = xsimd::batch<std::int32_t, Arch>;
    const B magic(T(12582912));  // 1.5 * 2^23: adding it leaves the nearest integer in the low bits
    const B shifted = fused_multiply_add<Arch, T>(x, B(T(1.44269504088896341)), magic), n = shifted - magic;
    B r = fused_multiply_add<Arch, T>(n, B(T(-0.693359375)), x);
    r = fused_multiply_add<Arch, T>(n, B(T(2.12194440e-4)), r);
    B p = fused_multiply_add<Arch, T>(r, B(T(1.9875691500e-4)), B(T(1.3981999507e-3)));
    p = fused_multiply_add<Arch, T>(r, p, B(T(8.3334519073e-3)));
    p = fused_multiply_add<Arch, T>(r, p, B(T(4.1665795894e-2)));
    p = fused_multiply_add<Arch, T>(r, p, B(T(1.6666665459e-1)));
    p = fused_multiply_add<Arch, T>(r, p, B(T(5.0000001201e-1)));
    p = fused_multiply_add<Arch, T>(r * r, p, r) + B(T(1));
    const I scaled = __builtin_bit_cast(I, p) + (__builtin_bit_cast(I, shifted) << 23);
    return xsimd::select(x < B(T(-87)), B(T(0)), __builtin_bit_cast(B, scaled));
  } else {
    return moelle::simd::exp(x);
  }
}

}  // namespace moelle::simd
