// moelle/attention/product_simd.hpp -- gemm's register tile on operands that lie where attention has them.
//
// B is [k][n] with any distance from one k to the next: a panel of gemm's packing of which only the first columns are wanted (keys before
// the diagonal), or rows in place. A is [m][k], or turned, [k][m]: the transpose of a tile of scores, read where it is. Sums are gemm's, one chain
// of steps (gemm/dot_simd.hpp) per element, so the bits do not depend on which of these forms is used.
#pragma once
#include <cstdint>
#include <utility>

#include <moelle/core/config.hpp>
#include <moelle/gemm/dot_simd.hpp>
#include <moelle/gemm/tile_simd.hpp>  // Tile

namespace moelle::attention::simd {

template <class Dot, bool Turned, int Rows, int Vectors>
void tile(std::int64_t k, const typename Dot::Unit* MOELLE_RESTRICT a, std::int64_t lda, const typename Dot::Unit* MOELLE_RESTRICT b, std::int64_t ldb,
          typename Dot::Out* MOELLE_RESTRICT c, std::int64_t ldc, bool accumulate) {
  using Sum = typename Dot::Sum;
  using Vector = typename Dot::Vector;
  constexpr int kLanes = static_cast<int>(Sum::size);
  Sum sum[Rows][Vectors];
#pragma GCC unroll 16
  for (int i = 0; i < Rows; ++i)
#pragma GCC unroll 4
    for (int j = 0; j < Vectors; ++j) sum[i][j] = Sum(typename Dot::Out(0));
  for (std::int64_t p = 0; p < k; ++p) {
    Vector row[Vectors];
#pragma GCC unroll 4
    for (int j = 0; j < Vectors; ++j) row[j] = Dot::load(b + p * ldb + j * kLanes);
#pragma GCC unroll 16
    for (int i = 0; i < Rows; ++i) {
      const Vector left = Dot::spread(Turned ? a + p * lda + i : a + i * lda + p);
#pragma GCC unroll 4
      for (int j = 0; j < Vectors; ++j) sum[i][j] = Dot::step(sum[i][j], left, row[j]);
    }
  }
#pragma GCC unroll 16
  for (int i = 0; i < Rows; ++i)
#pragma GCC unroll 4
    for (int j = 0; j < Vectors; ++j) {
      typename Dot::Out* to = c + i * ldc + j * kLanes;
      if (accumulate) sum[i][j] = Sum::load_unaligned(to) + sum[i][j];
      sum[i][j].store_unaligned(to);
    }
}

template <class Arch, class Dot, bool Turned>
struct Tiles {
  using Unit = typename Dot::Unit;
  using Fn = void (*)(std::int64_t, const Unit*, std::int64_t, const Unit*, std::int64_t, typename Dot::Out*, std::int64_t, bool);
  static constexpr int kMr = gemm::simd::kHeight<Arch, Dot>;
  struct Heights {
    Fn rows[kMr];
  };
  template <int Vectors, int... I>
  static constexpr Heights heights(std::integer_sequence<int, I...>) {
    return {{&tile<Dot, Turned, I + 1, Vectors>...}};
  }
  static constexpr Heights kWidths[] = {heights<1>(std::make_integer_sequence<int, kMr>()), heights<2>(std::make_integer_sequence<int, kMr>()),
                                        heights<3>(std::make_integer_sequence<int, kMr>())};
};

// C[m, n] = (accumulate ? C : 0) + A B for one K block (gemm.hpp), k and the distances in units of Dot. A: rows, or ks if Turned, lda apart; B: ks
// ldb apart, and readable up to whole vectors; of C only the n columns are written. k = 0 writes zeros.
template <class Arch, class Dot, bool Turned>
void product(std::int64_t m, std::int64_t n, std::int64_t k, const typename Dot::Unit* a, std::int64_t lda, const typename Dot::Unit* b, std::int64_t ldb,
             typename Dot::Out* c, std::int64_t ldc, bool accumulate) {
  using Out = typename Dot::Out;
  using Shape = gemm::simd::Tile<Arch, Out>;
  const std::int64_t tiles = (m + Tiles<Arch, Dot, Turned>::kMr - 1) / Tiles<Arch, Dot, Turned>::kMr;
  for (std::int64_t j = 0; j < n; j += Shape::kNr) {
    const std::int64_t width = n - j < Shape::kNr ? n - j : Shape::kNr;
    const auto& table = Tiles<Arch, Dot, Turned>::kWidths[(width - 1) / Shape::kLanes];
    for (std::int64_t t = 0; t < tiles; ++t) {
      const std::int64_t i = m * t / tiles, rows = m * (t + 1) / tiles - i;
      const typename Dot::Unit* left = a + (Turned ? i : i * lda);
      Out* to = c + i * ldc + j;
      if (width % Shape::kLanes == 0) {
        table.rows[rows - 1](k, left, lda, b + j, ldb, to, ldc, accumulate);
        continue;
      }
      alignas(64) Out scratch[static_cast<std::size_t>(Shape::kMr) * Shape::kNr];
      table.rows[rows - 1](k, left, lda, b + j, ldb, scratch, Shape::kNr, false);
      for (std::int64_t r = 0; r < rows; ++r)
        for (std::int64_t x = 0; x < width; ++x) to[r * ldc + x] = accumulate ? to[r * ldc + x] + scratch[r * Shape::kNr + x] : scratch[r * Shape::kNr + x];
    }
  }
}

}  // namespace moelle::attention::simd
