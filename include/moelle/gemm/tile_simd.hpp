// moelle/gemm/tile_simd.hpp -- the register tile: Rows x (Vectors * lanes) of C stay in registers while k runs.
#pragma once
#include <cstdint>
#include <type_traits>
#include <utility>

#include <moelle/cpu/xsimd.hpp>

#include <moelle/core/config.hpp>
#include <moelle/gemm/dot_simd.hpp>

namespace moelle::gemm::simd {

// Shape of the full tile: three vectors wide and as high as the registers allow: Rows * 3 sums, 3 vectors of B, 1 broadcast element
// of A. Measured on Zen 4 in floats, per cent of peak: 9x48 and 6x64 96, 14x32 92, which loads as much of B and more of A per term.
template <class Arch, class T>
struct Tile {
  using B = xsimd::batch<T, Arch>;
  static constexpr int kLanes = static_cast<int>(B::size);
#if defined(__aarch64__)
  static constexpr int kRegisters = 32;
#else
  static constexpr int kRegisters = B::size * sizeof(T) == 64 ? 32 : 16;
#endif
  static constexpr int kVectors = 3;
  static constexpr int kMr = (kRegisters - kVectors - 1) / kVectors;  // 9 or 4
  static constexpr int kNr = kVectors * kLanes;
};
// As high as a Dot with temporaries leaves room for: with 16 registers, 4 rows would spill where 3 do not.
template <class Arch, class Dot>
inline constexpr int kHeight = (Tile<Arch, typename Dot::Out>::kRegisters - Tile<Arch, typename Dot::Out>::kVectors - 1 - Dot::kTemporaries) / Tile<Arch, typename Dot::Out>::kVectors;

// C[Rows, Vectors * lanes] = (accumulate ? C : 0) + A B, b[k][Vectors * lanes]; k counts units (dot_simd.hpp). Each element is one chain
// of steps, whatever Rows and Vectors are. `scale`, if given, holds a factor for each column, by which the sum is multiplied first.
// On the way memory from `ahead` on is called into the L2 cache, one line every `ahead_step` bytes for each vector of B: what is
// multiplied next comes from memory while this is computed, which the processor does not foresee across the pieces. Not for one row: B is then a
// single stream at the speed of memory, which the processor foresees, and asking ahead costs a fifth of it.
template <class Dot, int Rows, int Vectors>
void tile(std::int64_t k, const typename Dot::Unit* MOELLE_RESTRICT a, std::int64_t lda, const typename Dot::Unit* MOELLE_RESTRICT b,
          typename Dot::Out* MOELLE_RESTRICT c, std::int64_t ldc, bool accumulate, const typename Dot::Out* scale, const std::uint8_t* ahead,
          std::int64_t ahead_step) {
  using Out = typename Dot::Out;
  using Sum = typename Dot::Sum;
  constexpr int kLanes = static_cast<int>(Sum::size);
  Sum sum[Rows][Vectors];
#pragma GCC unroll 16
  for (int i = 0; i < Rows; ++i)
#pragma GCC unroll 4
    for (int j = 0; j < Vectors; ++j) sum[i][j] = Sum(Out(0));
  for (std::int64_t p = 0; p < k; ++p) {
    typename Dot::Vector row[Vectors];
#pragma GCC unroll 4
    for (int j = 0; j < Vectors; ++j) {
      row[j] = Dot::load(b + (p * Vectors + j) * kLanes);
      if constexpr (Rows > 1) {
        __builtin_prefetch(ahead, 0, 2);
        ahead += ahead_step;
      }
    }
#pragma GCC unroll 16
    for (int i = 0; i < Rows; ++i) {
      const typename Dot::Vector left = Dot::spread(a + i * lda + p);
#pragma GCC unroll 4
      for (int j = 0; j < Vectors; ++j) sum[i][j] = Dot::step(sum[i][j], left, row[j]);
    }
  }
  if constexpr (std::is_floating_point_v<Out>)
    if (scale != nullptr)
#pragma GCC unroll 16
      for (int i = 0; i < Rows; ++i)
#pragma GCC unroll 4
        for (int j = 0; j < Vectors; ++j) sum[i][j] = sum[i][j] * Sum::load_unaligned(scale + j * kLanes);
#pragma GCC unroll 16
  for (int i = 0; i < Rows; ++i)
#pragma GCC unroll 4
    for (int j = 0; j < Vectors; ++j) {
      Out* to = c + i * ldc + j * kLanes;
      if (accumulate) sum[i][j] = Sum::load_unaligned(to) + sum[i][j];
      sum[i][j].store_unaligned(to);
    }
}

// One function per height and width, so that the last rows and columns of a matrix cost what they are, and not a full tile.
template <class Arch, class Dot>
struct TileTable {
  using Unit = typename Dot::Unit;
  using Out = typename Dot::Out;
  using Fn = void (*)(std::int64_t, const Unit*, std::int64_t, const Unit*, Out*, std::int64_t, bool, const Out*, const std::uint8_t*,
                      std::int64_t);
  static constexpr int kMr = kHeight<Arch, Dot>;
  struct Column {
    Fn rows[kMr];
  };
  template <int Vectors, int... I>
  static constexpr Column column(std::integer_sequence<int, I...>) {
    return {{&tile<Dot, I + 1, Vectors>...}};
  }
  static constexpr Column kWidths[] = {column<1>(std::make_integer_sequence<int, kMr>()), column<2>(std::make_integer_sequence<int, kMr>()),
                                       column<3>(std::make_integer_sequence<int, kMr>())};
};

// A tile whose last columns do not fill a vector: computed in scratch, then only its own columns are written.
template <class Arch, class Dot>
MOELLE_INLINE void partial_tile(typename TileTable<Arch, Dot>::Fn fn, std::int64_t rows, std::int64_t cols, std::int64_t k, const typename Dot::Unit* a,
                                std::int64_t lda, const typename Dot::Unit* b, typename Dot::Out* c, std::int64_t ldc, bool accumulate,
                                const typename Dot::Out* scale, const std::uint8_t* ahead, std::int64_t ahead_step) {
  using Out = typename Dot::Out;
  constexpr int kNr = Tile<Arch, Out>::kNr;
  alignas(64) Out scratch[static_cast<std::size_t>(Tile<Arch, Out>::kMr) * kNr];
  fn(k, a, lda, b, scratch, kNr, false, scale, ahead, ahead_step);
  for (std::int64_t i = 0; i < rows; ++i)
    for (std::int64_t j = 0; j < cols; ++j) {
      Out* to = c + i * ldc + j;
      *to = accumulate ? *to + scratch[i * kNr + j] : scratch[i * kNr + j];
    }
}

// C[m, n] = (accumulate ? C : 0) + A B for one panel of n <= nr columns. The rows are spread evenly over the tiles: 10 rows are 5 + 5,
// not 9 + 1; each calls its part of `ahead_bytes` bytes from `ahead` on.
template <class Arch, class Dot>
void panel(std::int64_t m, std::int64_t n, std::int64_t k, const typename Dot::Unit* a, std::int64_t lda, const typename Dot::Unit* b,
           typename Dot::Out* c, std::int64_t ldc, bool accumulate, const typename Dot::Out* scale, const std::uint8_t* ahead, std::int64_t ahead_bytes) {
  using Shape = Tile<Arch, typename Dot::Out>;
  const std::int64_t tiles = (m + kHeight<Arch, Dot> - 1) / kHeight<Arch, Dot>;
  const bool whole = n % Shape::kLanes == 0;
  const std::int64_t vectors = (n + Shape::kLanes - 1) / Shape::kLanes, step = ahead_bytes / (tiles * k * vectors + 1);
  const auto& table = TileTable<Arch, Dot>::kWidths[vectors - 1];
  for (std::int64_t t = 0; t < tiles; ++t) {
    const std::int64_t i = m * t / tiles, rows = m * (t + 1) / tiles - i;
    const std::uint8_t* part = ahead + ahead_bytes * t / tiles;
    if (whole)
      table.rows[rows - 1](k, a + i * lda, lda, b, c + i * ldc, ldc, accumulate, scale, part, step);
    else
      partial_tile<Arch, Dot>(table.rows[rows - 1], rows, n, k, a + i * lda, lda, b, c + i * ldc, ldc, accumulate, scale, part, step);
  }
}

// C[m, n] = (accumulate ? C : 0) + A B for one K block. A panel of B is used by all rows before the next one, so that it is read from
// near caches.
template <class Arch, class Dot>
void block(std::int64_t m, std::int64_t n, std::int64_t k, const typename Dot::Unit* a, std::int64_t lda, const typename Dot::Unit* b,
           typename Dot::Out* c, std::int64_t ldc, bool accumulate) {
  constexpr std::int64_t kNr = Tile<Arch, typename Dot::Out>::kNr;
  for (std::int64_t j = 0; j < n; j += kNr) panel<Arch, Dot>(m, n - j < kNr ? n - j : kNr, k, a, lda, b + j * k, c + j, ldc, accumulate, nullptr,
                                                               reinterpret_cast<const std::uint8_t*>(b), 0);
}

}  // namespace moelle::gemm::simd
