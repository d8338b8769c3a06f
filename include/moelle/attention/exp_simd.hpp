// moelle/attention/exp_simd.hpp -- e^x for the exponents of a softmax.
#pragma once
#include <cstdint>

#include <moelle/cpu/exp_simd.hpp>
#include <moelle/cpu/xsimd.hpp>

#include <moelle/core/config.hpp>
#include <moelle/gemm/fma_simd.hpp>

namespace moelle::attention::simd {

// e^x for x <= 88, -infinity and NaN included; 0 for x < -87, where the normal numbers end. In float within 2 ulp: x = n ln 2 + r with
// the nearest integer n and ln 2 in two parts, of which the first times n is exact (Cody and Waite); a polynomial of degree 7 in r (Moshier's
// Cephes, expf); n is added to the exponent. Half the instructions of xsimd's, which serves all x: at short head sizes the exponentials
// were a fifth of attention.
template <class Arch, class T>
MOELLE_INLINE xsimd::batch<T, Arch> exponential(const xsimd::batch<T, Arch>& x) {
  using B = xsimd::batch<T, Arch>;
  if constexpr (sizeof(T) == 4) {
    using gemm::simd::fused_multiply_add;
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

}  // namespace moelle::attention::simd
