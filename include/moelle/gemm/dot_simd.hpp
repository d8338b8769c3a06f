// moelle/gemm/dot_simd.hpp -- what one step of a register tile multiplies and adds: one unit of a row of A, one vector of units of B.
//
// A unit is as wide as a sum: one float or double, two bfloat16, four bytes, two 16-bit integers. kTemporaries registers hold what is between
// multiplying and adding, where that takes two instructions. Where xsimd has no instruction for it,
// the intrinsics stand here and nowhere else.
#pragma once
#include <cstdint>

#include <moelle/cpu/xsimd.hpp>

#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

#include <moelle/core/config.hpp>
#include <moelle/cpu/fma_simd.hpp>
#include <moelle/cpu/isa.hpp>  // MOELLE_AVX512_BF16

#if defined(MOELLE_AVX512_BF16)
#define MOELLE_GEMM_PAIRS 1
#define MOELLE_GEMM_QUADS 1
#elif defined(__AVXVNNI__) && !defined(__AVX512BW__)
#define MOELLE_GEMM_QUADS 1
#elif defined(__AVX2__) && !defined(__AVX512BW__)
#define MOELLE_GEMM_SIGNED_QUADS 1
#endif

namespace moelle::gemm::simd {

// sum + a * b in T, one rounding where the instruction set can.
template <class Arch, class T>
struct Multiply {
  using Unit = T;
  using Out = T;
  using Sum = xsimd::batch<T, Arch>;
  using Vector = xsimd::batch<T, Arch>;
#if defined(__FMA__) || defined(__aarch64__)
  static constexpr int kTemporaries = 0;
#else
  static constexpr int kTemporaries = 1;
#endif
  MOELLE_INLINE static Vector spread(const Unit* a) { return Vector(*a); }
  MOELLE_INLINE static Vector load(const Unit* b) { return Vector::load_unaligned(b); }
  MOELLE_INLINE static Sum step(const Sum& sum, const Vector& a, const Vector& b) { return moelle::simd::fused_multiply_add<Arch, T>(a, b, sum); }
};

template <class Arch>
struct Integers {
  using Unit = std::uint32_t;
  using Vector = xsimd::batch<std::int32_t, Arch>;
  MOELLE_INLINE static Vector spread(const Unit* a) { return Vector(static_cast<std::int32_t>(*a)); }
  MOELLE_INLINE static Vector load(const Unit* b) { return Vector::load_unaligned(reinterpret_cast<const std::int32_t*>(b)); }
};

// Two products of 16-bit integers. Exact: the sums of int8 products that it is used for fit 32 bits.
template <class Arch>
struct ShortPairs : Integers<Arch> {
  using Out = std::int32_t;
  using Sum = xsimd::batch<std::int32_t, Arch>;
  using Vector = typename Integers<Arch>::Vector;
  static constexpr int kTemporaries = 1;
  MOELLE_INLINE static Sum step(const Sum& sum, const Vector& a, const Vector& b) {
#if defined(__AVX512BW__)
    return Sum(_mm512_add_epi32(sum, _mm512_madd_epi16(a, b)));
#elif defined(__AVX2__)
    return Sum(_mm256_add_epi32(sum, _mm256_madd_epi16(a, b)));
#elif defined(__x86_64__)
    return Sum(_mm_add_epi32(sum, _mm_madd_epi16(a, b)));
#else
    const int16x8_t x = vreinterpretq_s16_s32(a), y = vreinterpretq_s16_s32(b);
    const int32x4_t products = vpaddq_s32(vmull_s16(vget_low_s16(x), vget_low_s16(y)), vmull_high_s16(x, y));
    return Sum(vaddq_s32(sum, products));
#endif
  }
};

#if defined(MOELLE_GEMM_PAIRS)
// Two products of bfloat16: sum + a1 b1, rounded, + a0 b0, rounded (vdpbf16ps). Denormals count as zero, in operands and sums.
template <class Arch>
struct Bf16Pairs : Integers<Arch> {
  using Out = float;
  using Sum = xsimd::batch<float, Arch>;
  using Vector = typename Integers<Arch>::Vector;
  static constexpr int kTemporaries = 0;
  MOELLE_INLINE static Sum step(const Sum& sum, const Vector& a, const Vector& b) {
    return Sum(_mm512_dpbf16_ps(sum, __builtin_bit_cast(__m512bh, static_cast<__m512i>(a)), __builtin_bit_cast(__m512bh, static_cast<__m512i>(b))));
  }
};
#endif

#if defined(MOELLE_GEMM_QUADS)
// Four products of an unsigned byte of A and a signed byte of B, summed in 32 bits without saturation (vpdpbusd).
template <class Arch>
struct ByteQuads : Integers<Arch> {
  using Out = std::int32_t;
  using Sum = xsimd::batch<std::int32_t, Arch>;
  using Vector = typename Integers<Arch>::Vector;
  static constexpr int kTemporaries = 0;
  MOELLE_INLINE static Sum step(const Sum& sum, const Vector& a, const Vector& b) {
#if defined(__AVX512VNNI__) && defined(__AVX512BW__)
    return Sum(_mm512_dpbusd_epi32(sum, a, b));
#else
    return Sum(_mm256_dpbusd_avx_epi32(sum, a, b));
#endif
  }
};
#endif

#if defined(MOELLE_GEMM_SIGNED_QUADS)
// Four products of signed bytes, -128 not among them: |a| times b with the sign of a. Two of those are at most 2 * 127 * 127 and fit the 16 bits
// that vpmaddubsw saturates at.
template <class Arch>
struct SignedQuads : Integers<Arch> {
  using Out = std::int32_t;
  using Sum = xsimd::batch<std::int32_t, Arch>;
  using Vector = typename Integers<Arch>::Vector;
  static constexpr int kTemporaries = 3;  // |a|, ones, what becomes of b
  MOELLE_INLINE static Sum step(const Sum& sum, const Vector& a, const Vector& b) {
    const __m256i pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(a), _mm256_sign_epi8(b, a));
    return Sum(_mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1))));
  }
};
#endif

}  // namespace moelle::gemm::simd
