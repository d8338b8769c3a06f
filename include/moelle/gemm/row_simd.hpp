// moelle/gemm/row_simd.hpp -- one row times B, which is read in place: decoding, where B is used once and reading it is all the cost.
//
// The sums are those of the tile, term by term, so the row has the same bits here and there.
#pragma once
#include <cstdint>

#include <moelle/cpu/xsimd.hpp>

#include <moelle/core/config.hpp>
#include <moelle/cpu/fma_simd.hpp>
#include <moelle/gemm/gemm.hpp>  // Matrix
#include <moelle/gemm/pack_simd.hpp>  // Square, kAhead
#include <moelle/gemm/tile_simd.hpp>  // Tile

namespace moelle::gemm::simd {

// c[lanes * Vectors] = (accumulate ? c : 0) + a B for B row by row.
template <class Arch, class T, int Vectors>
MOELLE_INLINE void row_by_rows(std::int64_t k, const T* a, const T* b, std::int64_t ld, T* c, bool accumulate) {
  using B = xsimd::batch<T, Arch>;
  constexpr int kLanes = static_cast<int>(B::size);
  B sum[Vectors];
#pragma GCC unroll 16
  for (int j = 0; j < Vectors; ++j) sum[j] = B(T(0));
  for (std::int64_t p = 0; p < k; ++p) {
    const B left(a[p]);
    const T* row = b + p * ld;
#pragma GCC unroll 16
    for (int j = 0; j < Vectors; ++j) {
      __builtin_prefetch(row + kAhead * ld + j * kLanes, 0, 2);
      sum[j] = moelle::simd::fused_multiply_add<Arch, T>(left, B::load_unaligned(row + j * kLanes), sum[j]);
    }
  }
#pragma GCC unroll 16
  for (int j = 0; j < Vectors; ++j) {
    if (accumulate) sum[j] = B::load_unaligned(c + j * kLanes) + sum[j];
    sum[j].store_unaligned(c + j * kLanes);
  }
}

// c[lanes] = (accumulate ? c : 0) + a B for B column by column: squares of B are turned in registers.
template <class Arch, class T>
MOELLE_INLINE void row_by_columns(std::int64_t k, const T* a, const T* b, std::int64_t ld, T* c, bool accumulate) {
  using B = xsimd::batch<T, Arch>;
  constexpr int kLanes = static_cast<int>(B::size);
  alignas(64) T square[static_cast<std::size_t>(kLanes) * kLanes];
  B sum(T(0));
  for (std::int64_t p = 0; p < k; p += kLanes) {
    const std::int64_t depth = k - p < kLanes ? k - p : kLanes;
    if (depth == kLanes) {
#pragma GCC unroll 16
      for (std::int64_t i = 0; i < kLanes; ++i) __builtin_prefetch(b + (kLanes + i) * ld + p, 0, 2);
      Square<Arch, T>::transpose(b + p, ld, square, kLanes);
    } else {
      transpose_slow<Arch>(b + p, ld, 1, kLanes, depth, square, kLanes);
    }
    for (std::int64_t i = 0; i < depth; ++i) sum = moelle::simd::fused_multiply_add<Arch, T>(B(a[p + i]), B::load_aligned(square + i * kLanes), sum);
  }
  if (accumulate) sum = B::load_unaligned(c) + sum;
  sum.store_unaligned(c);
}

// c[n] = (accumulate ? c : 0) + a[k] B for one K block; n a multiple of the lanes, one of B's strides 1.
template <class Arch, class T>
void row(std::int64_t n, std::int64_t k, const T* a, Matrix<T> b, T* c, bool accumulate) {
  constexpr int kLanes = Tile<Arch, T>::kLanes, kWide = Tile<Arch, T>::kRegisters / 2;
  std::int64_t j = 0;
  if (b.col_stride == 1) {
    for (; j + kWide * kLanes <= n; j += kWide * kLanes) row_by_rows<Arch, T, kWide>(k, a, b.data + j, b.row_stride, c + j, accumulate);
    for (; j < n; j += kLanes) row_by_rows<Arch, T, 1>(k, a, b.data + j, b.row_stride, c + j, accumulate);
  } else {
    for (; j < n; j += kLanes) row_by_columns<Arch, T>(k, a, b.data + j * b.col_stride, b.col_stride, c + j, accumulate);
  }
}

}  // namespace moelle::gemm::simd
