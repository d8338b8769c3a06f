// moelle/cpu/stream_simd.hpp -- stores past the caches, and reading ahead, for results that are larger than they (caches.hpp, past_caches).
//
// A plain store reads its line before it changes it. A streaming store of whole lines does not: a third of the traffic of an operation that
// reads as much as it writes. With `Past` false, or without such an instruction, all of this is plain or nothing.
#pragma once
#include <cstddef>

#if defined(__SSE2__)
#include <immintrin.h>
#endif

#include <moelle/core/config.hpp>
#include <moelle/cpu/xsimd.hpp>

namespace moelle::simd {

// Past: p is aligned to the vector, and the neighbours in its line are stored next.
template <bool Past, class Arch, class T>
MOELLE_INLINE void store(const xsimd::batch<T, Arch>& v, T* p) {
#if defined(__SSE2__)
  [[maybe_unused]] constexpr std::size_t kBytes = sizeof(xsimd::batch<T, Arch>);
  if constexpr (Past && kBytes == 16) return _mm_stream_si128(reinterpret_cast<__m128i*>(p), __builtin_bit_cast(__m128i, v));
#if defined(__AVX__)
  if constexpr (Past && kBytes == 32) return _mm256_stream_si256(reinterpret_cast<__m256i*>(p), __builtin_bit_cast(__m256i, v));
#endif
#if defined(__AVX512F__)
  if constexpr (Past && kBytes == 64) return _mm512_stream_si512(reinterpret_cast<__m512i*>(p), __builtin_bit_cast(__m512i, v));
#endif
#endif
  v.store_unaligned(p);
}

// To be called by the thread that stored, before others may read.
template <bool Past>
MOELLE_INLINE void stores_done() {
#if defined(__SSE2__)
  if constexpr (Past) _mm_sfence();
#endif
}

// Begins to fetch an array, a vector with each step: what comes after the row at work, which the processor does not see coming.
template <bool Past, class Arch, class T>
struct Ahead {
  const T* p;
  MOELLE_INLINE void step() {
    if constexpr (Past) {
      __builtin_prefetch(p);
      p += xsimd::batch<T, Arch>::size;
    }
  }
};

}  // namespace moelle::simd
