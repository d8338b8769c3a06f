// moelle/gemm/tile_simd.hpp -- the register tile: Rows x (Vectors * lanes) of C stay in registers while k runs.
#pragma once
#include <cstdint>
#include <utility>

#include <moelle/cpu/xsimd.hpp>

#include <moelle/core/config.hpp>
#include <moelle/gemm/fma_simd.hpp>

namespace moelle::gemm::simd {

// Shape of the full tile. Two vectors wide (32 floats on AVX-512: the widths of models are multiples of it) and as high as the
// registers allow: Rows * 2 sums, 2 vectors of B, 1 broadcast element of A. Measured on Zen 4 in floats, 14x32, 8x48 and 6x64
// are within 2 %.
template <class Arch, class T>
struct Tile {
  using B = xsimd::batch<T, Arch>;
  static constexpr int kLanes = static_cast<int>(B::size);
#if defined(__aarch64__)
  static constexpr int kRegisters = 32;
#else
  static constexpr int kRegisters = B::size * sizeof(T) == 64 ? 32 : 16;
#endif
  static constexpr int kVectors = 2;
  static constexpr int kMr = (kRegisters - kVectors - 1) / kVectors;  // 14 or 6
  static constexpr int kNr = kVectors * kLanes;
};

// C[Rows, Vectors * lanes] = (accumulate ? C : 0) + A B. Each element is one chain of multiply-adds, whatever Rows and Vectors are.
template <class Arch, class T, int Rows, int Vectors>
void tile(std::int64_t k, const T* MOELLE_RESTRICT a, std::int64_t lda, const T* MOELLE_RESTRICT b, T* MOELLE_RESTRICT c, std::int64_t ldc,
          bool accumulate) {
  using B = xsimd::batch<T, Arch>;
  constexpr int kLanes = Tile<Arch, T>::kLanes;
  constexpr int kNr = Tile<Arch, T>::kNr;
  B sum[Rows][Vectors];
#pragma GCC unroll 16
  for (int i = 0; i < Rows; ++i)
#pragma GCC unroll 4
    for (int j = 0; j < Vectors; ++j) sum[i][j] = B(T(0));
  for (std::int64_t p = 0; p < k; ++p) {
    B row[Vectors];
#pragma GCC unroll 4
    for (int j = 0; j < Vectors; ++j) row[j] = B::load_unaligned(b + p * kNr + j * kLanes);
#pragma GCC unroll 16
    for (int i = 0; i < Rows; ++i) {
      const B left(a[i * lda + p]);
#pragma GCC unroll 4
      for (int j = 0; j < Vectors; ++j) sum[i][j] = fused_multiply_add<Arch, T>(left, row[j], sum[i][j]);
    }
  }
#pragma GCC unroll 16
  for (int i = 0; i < Rows; ++i)
#pragma GCC unroll 4
    for (int j = 0; j < Vectors; ++j) {
      T* to = c + i * ldc + j * kLanes;
      if (accumulate) sum[i][j] = B::load_unaligned(to) + sum[i][j];
      sum[i][j].store_unaligned(to);
    }
}

// One function per height, so that the last rows of a matrix cost what they are, and not a full tile.
template <class Arch, class T>
struct TileTable {
  using Fn = void (*)(std::int64_t, const T*, std::int64_t, const T*, T*, std::int64_t, bool);
  static constexpr int kMr = Tile<Arch, T>::kMr;
  struct Column {
    Fn rows[kMr];
  };
  template <int Vectors, int... I>
  static constexpr Column column(std::integer_sequence<int, I...>) {
    return {{&tile<Arch, T, I + 1, Vectors>...}};
  }
  static constexpr Column kHalf = column<1>(std::make_integer_sequence<int, kMr>());
  static constexpr Column kFull = column<2>(std::make_integer_sequence<int, kMr>());
};

// A tile whose last columns do not fill a vector: computed in scratch, then only its own columns are written.
template <class Arch, class T>
MOELLE_INLINE void partial_tile(typename TileTable<Arch, T>::Fn fn, std::int64_t rows, std::int64_t cols, std::int64_t k, const T* a,
                                std::int64_t lda, const T* b, T* c, std::int64_t ldc, bool accumulate) {
  constexpr int kNr = Tile<Arch, T>::kNr;
  alignas(64) T scratch[static_cast<std::size_t>(Tile<Arch, T>::kMr) * kNr];
  fn(k, a, lda, b, scratch, kNr, false);
  for (std::int64_t i = 0; i < rows; ++i)
    for (std::int64_t j = 0; j < cols; ++j) {
      T* to = c + i * ldc + j;
      *to = accumulate ? *to + scratch[i * kNr + j] : scratch[i * kNr + j];
    }
}

// C[m, n] = (accumulate ? C : 0) + A B for one K block. The rows are spread evenly over the tiles: 16 rows are
// 8 + 8, not 14 + 2. A panel of B is used by all rows before the next one, so that it is read from the L1 cache.
template <class Arch, class T>
void block(std::int64_t m, std::int64_t n, std::int64_t k, const T* a, std::int64_t lda, const T* b, T* c, std::int64_t ldc, bool accumulate) {
  using Shape = Tile<Arch, T>;
  const std::int64_t tiles = (m + Shape::kMr - 1) / Shape::kMr;
  for (std::int64_t j = 0; j < n; j += Shape::kNr, b += Shape::kNr * k) {
    const std::int64_t cols = n - j < Shape::kNr ? n - j : Shape::kNr;
    const bool half = cols <= Shape::kLanes;
    const bool whole = cols % Shape::kLanes == 0;
    const auto& table = half ? TileTable<Arch, T>::kHalf : TileTable<Arch, T>::kFull;
    for (std::int64_t t = 0; t < tiles; ++t) {
      const std::int64_t i = m * t / tiles, rows = m * (t + 1) / tiles - i;
      const auto fn = table.rows[rows - 1];
      const T* left = a + i * lda;
      T* to = c + i * ldc + j;
      if (whole)
        fn(k, left, lda, b, to, ldc, accumulate);
      else
        partial_tile<Arch, T>(fn, rows, cols, k, left, lda, b, to, ldc, accumulate);
    }
  }
}

}  // namespace moelle::gemm::simd
