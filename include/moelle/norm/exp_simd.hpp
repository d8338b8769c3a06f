// moelle/norm/exp_simd.hpp -- e^x for the exponents of a softmax.
#pragma once
#include <cstdint>

#include <moelle/core/config.hpp>
#include <moelle/cpu/exp_simd.hpp>
#include <moelle/cpu/xsimd.hpp>
#include <moelle/cpu/fma_simd.hpp>

namespace moelle::norm::simd {

// e^x for x <= 0, -infinity and NaN included; 0 for x < -87, where the normal numbers of float end. In float the relative error is below
// (2 + |x| / 2) 2^-23: x log2(e) = n + f is rounded once, 2^f = 1 + f q(f) within 0.8 2^-23 for |f| <= 1/2 (least squares, reweighted until all
// extremes are equal), and n is added to the exponent. e^0 is 1. A third of the instructions of xsimd's, which serves all x.
template <class Arch, class T>
MOELLE_INLINE xsimd::batch<T, Arch> exp_not_above_zero(const xsimd::batch<T, Arch>& x) {
  using B = xsimd::batch<T, Arch>;
  if constexpr (sizeof(T) == 4) {
    using moelle::simd::fused_multiply_add;
    using I = xsimd::batch<std::int32_t, Arch>;
    const B magic(T(12582912)), z = x * B(T(1.44269504088896341));  // 1.5 * 2^23: adding it leaves the nearest integer in the low bits
    const B shifted = z + magic, f = z - (shifted - magic);
    B q = fused_multiply_add<Arch, T>(f, B(T(0.001326472731307149)), B(T(0.009671512991189957)));
    q = fused_multiply_add<Arch, T>(f, q, B(T(0.05550733581185341)));
    q = fused_multiply_add<Arch, T>(f, q, B(T(0.24022242426872253)));
    q = fused_multiply_add<Arch, T>(f, q, B(T(0.6931470036506653)));
    const B p = fused_multiply_add<Arch, T>(f, q, B(T(1)));
    const I scaled = __builtin_bit_cast(I, p) + (__builtin_bit_cast(I, shifted) << 23);
    return xsimd::select(x < B(T(-87)), B(T(0)), __builtin_bit_cast(B, scaled));
  } else {
    return moelle::simd::exp(x);
  }
}

}  // namespace moelle::norm::simd
