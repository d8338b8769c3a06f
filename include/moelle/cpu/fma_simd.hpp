// moelle/cpu/fma_simd.hpp -- x * y + z with one rounding, where the instruction set can.
//
// xsimd 8.1 has no fused multiply-add for AVX-512 (it multiplies and adds), later versions have: without this file, speed and
// bits would depend on the version of xsimd.
#pragma once
#include <type_traits>

#include <moelle/cpu/xsimd.hpp>

#if defined(__FMA__) || defined(__AVX512F__)
#include <immintrin.h>
#endif

#include <moelle/core/config.hpp>

namespace moelle::simd {

template <class Arch, class T>
MOELLE_INLINE xsimd::batch<T, Arch> fused_multiply_add(const xsimd::batch<T, Arch>& x, const xsimd::batch<T, Arch>& y,
                                                       const xsimd::batch<T, Arch>& z) {
  using B = xsimd::batch<T, Arch>;
  [[maybe_unused]] constexpr bool kFloat = std::is_same_v<T, float>;
  [[maybe_unused]] constexpr std::size_t kBytes = B::size * sizeof(T);
#if defined(__AVX512F__)
  if constexpr (kBytes == 64 && kFloat) return B(_mm512_fmadd_ps(x, y, z));
  if constexpr (kBytes == 64 && !kFloat) return B(_mm512_fmadd_pd(x, y, z));
#endif
#if defined(__FMA__)
  if constexpr (kBytes == 32 && kFloat) return B(_mm256_fmadd_ps(x, y, z));
  if constexpr (kBytes == 32 && !kFloat) return B(_mm256_fmadd_pd(x, y, z));
#endif
  return xsimd::fma(x, y, z);
}

}  // namespace moelle::simd
