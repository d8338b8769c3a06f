// moelle/gemm/few_rows_simd.hpp -- a few rows times weights that must be unpacked: in registers, since each weight is used only that often.
//
// The sums are those of unpacking and the tile, term by term, so few rows have the same bits as many.
#pragma once
#include <cstdint>

#include <moelle/core/config.hpp>
#include <moelle/gemm/dot_simd.hpp>
#include <moelle/gemm/format.hpp>
#include <moelle/gemm/unpack_simd.hpp>

namespace moelle::gemm::simd {

#if defined(MOELLE_GEMM_QUADS)
// c[Rows, W] = A B for int4 over the whole of K. The group scale is applied to the sum of a group, s sum(nibble a) - 8 s sum(a), which is
// the same integer as the sum of (nibble - 8) s a.
template <class Arch, int Rows, int Vectors>
void few_int4(const std::uint8_t* stored, std::int64_t k, const std::uint32_t* a, std::int64_t lda, std::int32_t* c, std::int64_t ldc) {
  using R = Registers<Arch>;
  using Dot = ByteQuads<Arch>;
  using Sum = typename Dot::Sum;
  constexpr std::int64_t W = Vectors * R::kLanes, kGroups = kScaleBlock / kInt4Group, kStored = kInt4Group / 8;
  const Sum ones(0x01010101), nibble(0x0f0f0f0f);
  Sum total[Rows][Vectors];
  for (auto& row : total)
    for (auto& sum : row) sum = Sum(0);
  for (std::int64_t p = 0; p < k; p += kScaleBlock) {
    const std::uint8_t* scales = stored;
    stored += kGroups * W;
    for (std::int64_t g = 0; g < kGroups; ++g, a += kInt4Group / 4) {
      Sum sum[Rows][Vectors], all[Rows];
#pragma GCC unroll 4
      for (int i = 0; i < Rows; ++i) {
        all[i] = Sum(0);
#pragma GCC unroll 3
        for (int v = 0; v < Vectors; ++v) sum[i][v] = Sum(0);
      }
#pragma GCC unroll 4
      for (std::int64_t r = 0; r < kStored; ++r, stored += 4 * W)
#pragma GCC unroll 4
        for (int i = 0; i < Rows; ++i) {
          const Sum left = Dot::spread(a + i * lda + 2 * r), right = Dot::spread(a + i * lda + 2 * r + 1);
          all[i] = Dot::step(Dot::step(all[i], left, ones), right, ones);
#pragma GCC unroll 3
          for (int v = 0; v < Vectors; ++v) {
            const Sum x = Dot::load(reinterpret_cast<const std::uint32_t*>(stored + v * R::kBytes));
            sum[i][v] = Dot::step(Dot::step(sum[i][v], left, x & nibble), right, (x >> 4) & nibble);
          }
        }
#pragma GCC unroll 3
      for (int v = 0; v < Vectors; ++v) {
        const auto s = load_as<typename R::I32>(scales + v * R::kBytes) >> static_cast<std::int32_t>(8 * g) & 0xff;
#pragma GCC unroll 4
        for (int i = 0; i < Rows; ++i) {
          const auto exact = (__builtin_bit_cast(typename R::I32, sum[i][v]) - (__builtin_bit_cast(typename R::I32, all[i]) << 3)) * s;
          total[i][v] = total[i][v] + __builtin_bit_cast(Sum, exact);
        }
      }
    }
  }
  for (int i = 0; i < Rows; ++i)
    for (int v = 0; v < Vectors; ++v) total[i][v].store_unaligned(c + i * ldc + v * R::kLanes);
}

template <class Arch>
void few_rows_int4(std::int64_t m, const std::uint8_t* stored, std::int64_t k, std::int64_t width, const std::uint32_t* a, std::int64_t lda,
                   std::int32_t* c, std::int64_t ldc) {
  for_width<Arch>(width, [&](auto vectors) __attribute__((always_inline)) {
    switch (m) {
      case 1: return few_int4<Arch, 1, vectors>(stored, k, a, lda, c, ldc);
      case 2: return few_int4<Arch, 2, vectors>(stored, k, a, lda, c, ldc);
      case 3: return few_int4<Arch, 3, vectors>(stored, k, a, lda, c, ldc);
      default: return few_int4<Arch, 4, vectors>(stored, k, a, lda, c, ldc);
    }
  });
}
#endif

#if defined(MOELLE_GEMM_PAIRS)
// c[Rows, W] = (accumulate ? c : 0) + A B for fp8 over the whole of K: each block of 128 terms times its scales, block after block.
template <class Arch, int Rows, int Vectors>
void few_fp8(const std::uint8_t* stored, std::int64_t k, const std::uint32_t* small, const std::uint32_t* a, std::int64_t lda, float* c, std::int64_t ldc,
             bool accumulate, const float* scale) {
  using Dot = Bf16Pairs<Arch>;
  using Sum = typename Dot::Sum;
  Sum total[Rows][Vectors];
  for (int i = 0; i < Rows && accumulate; ++i)
    for (int v = 0; v < Vectors; ++v) total[i][v] = Sum::load_unaligned(c + i * ldc + 16 * v);
  for (std::int64_t first = 0; first < k; first += kScaleBlock, scale += 16 * Vectors, accumulate = true) {
    Sum sum[Rows][Vectors];
    for (auto& row : sum)
      for (auto& s : row) s = Sum(0.0f);
    std::uint32_t here = *small++;
    for (std::int64_t p = first; p < k && p < first + kScaleBlock; p += 4, stored += 64 * Vectors, a += 2, here >>= 1)
      fp8_four_terms<Arch, Vectors>(stored, (here & 1) != 0, [&](int v, __m512i two, __m512i next) __attribute__((always_inline)) {
#pragma GCC unroll 4
        for (int i = 0; i < Rows; ++i)
          sum[i][v] = Dot::step(Dot::step(sum[i][v], Dot::spread(a + i * lda), typename Dot::Vector(two)), Dot::spread(a + i * lda + 1), typename Dot::Vector(next));
      });
    for (int i = 0; i < Rows; ++i)
      for (int v = 0; v < Vectors; ++v) {
        const Sum y = sum[i][v] * Sum::load_unaligned(scale + 16 * v);
        total[i][v] = accumulate ? total[i][v] + y : y;
      }
  }
  for (int i = 0; i < Rows; ++i)
    for (int v = 0; v < Vectors; ++v) total[i][v].store_unaligned(c + i * ldc + 16 * v);
}

template <class Arch>
void few_rows_fp8(std::int64_t m, const std::uint8_t* stored, std::int64_t k, std::int64_t width, const std::uint32_t* small, const std::uint32_t* a,
                  std::int64_t lda, float* c, std::int64_t ldc, bool accumulate, const float* scale) {
  for_width<Arch>(width, [&](auto vectors) __attribute__((always_inline)) {
    switch (m) {
      case 1: return few_fp8<Arch, 1, vectors>(stored, k, small, a, lda, c, ldc, accumulate, scale);
      case 2: return few_fp8<Arch, 2, vectors>(stored, k, small, a, lda, c, ldc, accumulate, scale);
      case 3: return few_fp8<Arch, 3, vectors>(stored, k, small, a, lda, c, ldc, accumulate, scale);
      default: return few_fp8<Arch, 4, vectors>(stored, k, small, a, lda, c, ldc, accumulate, scale);
    }
  });
}
#endif

}  // namespace moelle::gemm::simd
