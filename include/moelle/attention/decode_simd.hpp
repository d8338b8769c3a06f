// moelle/attention/decode_simd.hpp -- steps of attention for few queries, where keys are read in place: packing would cost more than the product.
//
// Sums and maxima have the terms, lanes and order of the tiles (product_simd.hpp, softmax_simd.hpp), so the bits are the same.
#pragma once
#include <cstdint>
#include <utility>

#include <moelle/cpu/xsimd.hpp>

#include <moelle/attention/attention.hpp>  // kFewRows
#include <moelle/cpu/exp_simd.hpp>
#include <moelle/attention/softmax_simd.hpp>
#include <moelle/core/config.hpp>
#include <moelle/cpu/fma_simd.hpp>
#include <moelle/gemm/pack_simd.hpp>  // Square
#include <moelle/gemm/tile_simd.hpp>  // Tile

namespace moelle::attention::simd {

// s[r][key] = (accumulate ? s : 0) + q[r] . k[key] for one K block: squares of keys are turned in registers, once for all rows. Whole vectors
// of s are written. Rows of keys are too far apart for the processor to foresee which come next: meanwhile as many rows `ahead` are fetched.
template <class Arch, class T, int Rows>
void few_scores_of(std::int64_t keys, std::int64_t d, const T* q, std::int64_t ldq, const T* k, std::int64_t ldk, const T* ahead, std::int64_t ld_ahead, T* s,
                   std::int64_t lds, bool accumulate) {
  using B = xsimd::batch<T, Arch>;
  constexpr auto N = static_cast<std::int64_t>(B::size);
  alignas(64) T square[static_cast<std::size_t>(N) * N] = {};
  for (std::int64_t key = 0; key < keys; key += N) {
    const std::int64_t n = keys - key < N ? keys - key : N;
    B sum[Rows];
#pragma GCC unroll 8
    for (int r = 0; r < Rows; ++r) sum[r] = B(T(0));
    for (std::int64_t p = 0; p < d; p += N) {
      const T* from = k + key * ldk + p;
      const std::int64_t depth = d - p < N ? d - p : N;
      if (n == N && depth == N) {
#pragma GCC unroll 16
        for (std::int64_t i = 0; i < N; ++i) __builtin_prefetch(ahead + (key + i) * ld_ahead + p, 0, 2);
        gemm::simd::Square<Arch, T>::transpose(from, ldk, square, N);
      } else {
        gemm::simd::transpose_slow<Arch>(from, ldk, 1, n, depth, square, N);
      }
      for (std::int64_t i = 0; i < depth; ++i) {
        const B column = B::load_aligned(square + i * N);
#pragma GCC unroll 8
        for (int r = 0; r < Rows; ++r) sum[r] = moelle::simd::fused_multiply_add<Arch, T>(B(q[r * ldq + p + i]), column, sum[r]);
      }
    }
#pragma GCC unroll 8
    for (int r = 0; r < Rows; ++r) {
      T* to = s + r * lds + key;
      if (accumulate) sum[r] = B::load_unaligned(to) + sum[r];
      sum[r].store_unaligned(to);
    }
  }
}

// o[r][n] = (first ? 0 : o) + s[r] V, every element one chain that goes on from what o holds; n a whole number of vectors, in strips as wide as
// the registers allow.
template <class Arch, class T, int Rows, int Vectors>
MOELLE_INLINE void weigh_strip(std::int64_t keys, const T* s, std::int64_t lds, const T* v, std::int64_t ldv, const T* ahead, std::int64_t ld_ahead, T* o, std::int64_t ldo,
                               bool first) {
  using B = xsimd::batch<T, Arch>;
  constexpr int N = static_cast<int>(B::size), kLine = 64 / static_cast<int>(sizeof(T));
  B sum[Rows][Vectors];
#pragma GCC unroll 8
  for (int r = 0; r < Rows; ++r)
#pragma GCC unroll 8
    for (int j = 0; j < Vectors; ++j) sum[r][j] = first ? B(T(0)) : B::load_unaligned(o + r * ldo + j * N);
  for (std::int64_t key = 0; key < keys; ++key) {
    B row[Vectors];
#pragma GCC unroll 8
    for (int j = 0; j < Vectors; ++j) {
      if (j * N % kLine == 0) __builtin_prefetch(ahead + key * ld_ahead + j * N, 0, 2);
      row[j] = B::load_unaligned(v + key * ldv + j * N);
    }
#pragma GCC unroll 8
    for (int r = 0; r < Rows; ++r) {
      const B weight(s[r * lds + key]);
#pragma GCC unroll 8
      for (int j = 0; j < Vectors; ++j) sum[r][j] = moelle::simd::fused_multiply_add<Arch, T>(weight, row[j], sum[r][j]);
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < Rows; ++r)
#pragma GCC unroll 8
    for (int j = 0; j < Vectors; ++j) sum[r][j].store_unaligned(o + r * ldo + j * N);
}
template <class Arch, class T, int Rows>
void few_weighted_of(std::int64_t keys, std::int64_t n, const T* s, std::int64_t lds, const T* v, std::int64_t ldv, const T* ahead, std::int64_t ld_ahead, T* o,
                     std::int64_t ldo, bool first) {
  constexpr int N = static_cast<int>(xsimd::batch<T, Arch>::size), kMost = gemm::simd::Tile<Arch, T>::kRegisters / 2 / Rows;
  constexpr int kWide = kMost >= 8 ? 8 : kMost >= 4 ? 4 : kMost >= 2 ? 2 : 1;
  std::int64_t c = 0;
  for (; c + kWide * N <= n; c += kWide * N) weigh_strip<Arch, T, Rows, kWide>(keys, s, lds, v + c, ldv, ahead + c, ld_ahead, o + c, ldo, first);
  for (; c < n; c += N) weigh_strip<Arch, T, Rows, 1>(keys, s, lds, v + c, ldv, ahead + c, ld_ahead, o + c, ldo, first);
}

// One function per number of rows.
template <class Arch, class T>
struct FewRows {
  using Scores = void (*)(std::int64_t, std::int64_t, const T*, std::int64_t, const T*, std::int64_t, const T*, std::int64_t, T*, std::int64_t, bool);
  using Weighted = void (*)(std::int64_t, std::int64_t, const T*, std::int64_t, const T*, std::int64_t, const T*, std::int64_t, T*, std::int64_t, bool);
  struct Table {
    Scores scores[kFewRows];
    Weighted weighted[kFewRows];
  };
  template <int... I>
  static constexpr Table table(std::integer_sequence<int, I...>) {
    return {{&few_scores_of<Arch, T, I + 1>...}, {&few_weighted_of<Arch, T, I + 1>...}};
  }
  static constexpr Table kTable = table(std::make_integer_sequence<int, static_cast<int>(kFewRows)>());
};
template <class Arch, class T>
void few_scores(std::int64_t rows, std::int64_t keys, std::int64_t d, const T* q, std::int64_t ldq, const T* k, std::int64_t ldk, const T* ahead, std::int64_t ld_ahead, T* s,
                std::int64_t lds, bool accumulate) {
  FewRows<Arch, T>::kTable.scores[rows - 1](keys, d, q, ldq, k, ldk, ahead, ld_ahead, s, lds, accumulate);
}
template <class Arch, class T>
void few_weighted(std::int64_t rows, std::int64_t keys, std::int64_t n, const T* s, std::int64_t lds, const T* v, std::int64_t ldv, const T* ahead, std::int64_t ld_ahead, T* o,
                  std::int64_t ldo, bool first) {
  FewRows<Arch, T>::kTable.weighted[rows - 1](keys, n, s, lds, v, ldv, ahead, ld_ahead, o, ldo, first);
}

// softmax_row for as many rows as a vector has lanes, side by side: column r of s[key][ld] is row r. Keys [lo, hi), lo < hi.
template <class Arch, class T>
MOELLE_INLINE void softmax_lanes(T* s, std::int64_t ld, std::int64_t lo, std::int64_t hi, T scale, T* top, T* sum) {
  using B = xsimd::batch<T, Arch>;
  constexpr auto N = static_cast<std::int64_t>(B::size);
  const B none(kNone<T>), zero(T(0));
  B best = none;
  auto number = zero == zero;
  for (std::int64_t key = lo; key < hi; ++key) {
    const B x = B::load_unaligned(s + key * ld);
    best = xsimd::max(best, x);
    number = number & (x == x);
  }
  best = best * B(scale);
  const auto finite = best > none;  // of +infinity too: it makes NaN below, as it should
  const B highest = xsimd::select(finite, best, zero);
  B total[N];
#pragma GCC unroll 16
  for (std::int64_t u = 0; u < N; ++u) total[u] = zero;
  for (std::int64_t base = lo / N * N; base < hi; base += N)
#pragma GCC unroll 16
    for (std::int64_t u = 0; u < N; ++u) {
      if (base + u < lo || base + u >= hi) continue;
      T* at = s + (base + u) * ld;
      const B p = moelle::simd::exp_below_88<Arch, T>(moelle::simd::fused_multiply_add<Arch, T>(B::load_unaligned(at), B(scale), -highest));
      p.store_unaligned(at);
      total[u] = total[u] + p;
    }
#pragma GCC unroll 4
  for (std::int64_t half = N / 2; half > 0; half /= 2)
#pragma GCC unroll 8
    for (std::int64_t u = 0; u < half; ++u) total[u] = total[u] + total[u + half];
  total[0].store_unaligned(sum);
  xsimd::select(finite | !number, highest, none).store_unaligned(top);
}

// All columns, a whole number of vectors.
template <class Arch, class T>
void softmax_columns(T* s, std::int64_t ld, std::int64_t columns, std::int64_t lo, std::int64_t hi, T scale, T* top, T* sum) {
  constexpr auto N = static_cast<std::int64_t>(xsimd::batch<T, Arch>::size);
  for (std::int64_t c = 0; c < columns; c += N) softmax_lanes<Arch, T>(s + c, ld, lo, hi, scale, top + c, sum + c);
}

}  // namespace moelle::attention::simd
