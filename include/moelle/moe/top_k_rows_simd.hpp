// moelle/moe/top_k_rows_simd.hpp -- the K best of as many rows as a vector has lanes, by top_k_simd.hpp's bound. See gate.hpp for the order.
//
// Values are read row by row; what remains of them (cells, groups, candidates) is turned so that a lane is a row, and put in order for all rows at
// once. Nearly no branch depends on the values: two to four times the speed of a row at a time. A token alone is faster there.
#pragma once
#include <cstdint>
#include <utility>
#if defined(__AVX512F__)
#include <immintrin.h>
#endif

#include <moelle/activation/lanes_simd.hpp>
#include <moelle/cpu/xsimd.hpp>
#include <moelle/gemm/pack_simd.hpp>  // Square
#include <moelle/moe/gate.hpp>
#include <moelle/moe/top_k_simd.hpp>  // kCells
#include <moelle/moe/turned_simd.hpp>
#include <moelle/norm/softmax_simd.hpp>  // infinity

namespace moelle::moe::simd {

inline constexpr int kSlots = 32;  // candidates of a row
template <class T>
inline constexpr T kCount[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};

// One row of what experts are ranked by: scores[E] + bias[E] (null: none).
template <class Arch, class T>
struct Ranking {
  using B = xsimd::batch<T, Arch>;
  static constexpr int L = static_cast<int>(moelle::simd::kLanes<Arch, T>);
  const T *scores, *bias;
  int E;

  MOELLE_INLINE T at(int i) const { return bias != nullptr ? scores[i] + bias[i] : scores[i]; }
  MOELLE_INLINE B load(int i) const {
    const B s = B::load_unaligned(scores + i);
    return bias != nullptr ? s + B::load_unaligned(bias + i) : s;
  }
  // f(vector, i, shift) over [first, last): lane j + shift holds element i + j. A vector that reaches beyond is moved into the row; lanes outside
  // [i, last) are -infinity.
  template <class F>
  MOELLE_INLINE void each(int first, int last, F f) const {
    int i = first;
    for (; i + L <= last; i += L) f(load(i), i, 0);
    if (i == last) return;
    const T lowest = -norm::simd::infinity<T>();
    int from = i + L <= E ? i : E - L;
    B v;
    if (from < 0) {
      from = 0;
      v = moelle::simd::load_part<Arch, T>(scores, E, lowest);
      if (bias != nullptr) v = v + moelle::simd::load_part<Arch, T>(bias, E, T(0));
    } else {
      v = load(from);
    }
    const B at = B::load_unaligned(kCount<T>);
    f(xsimd::select((at >= B(static_cast<T>(i - from))) & (at < B(static_cast<T>(last - from))), v, B(lowest)), i, i - from);
  }
};

// Writes the lanes of v that are set in `which`, and first + their numbers, one after the other; whole vectors may be written. Returns how many are set.
template <class Arch, class T>
MOELLE_INLINE int append(const xsimd::batch<T, Arch>& v, int first, const xsimd::batch_bool<T, Arch>& which, T* values, T* index) {
  std::uint32_t m = moelle::simd::lanes_set<Arch, T>(which);
#if defined(__AVX512F__)
  if constexpr (sizeof(v) == 64) {
    const xsimd::batch<T, Arch> at = xsimd::batch<T, Arch>::load_unaligned(kCount<T>) + xsimd::batch<T, Arch>(static_cast<T>(first));
    if constexpr (sizeof(T) == 4) {
      const auto mask = static_cast<__mmask16>(m);
      const __m512 x = _mm512_maskz_compress_ps(mask, v), i = _mm512_maskz_compress_ps(mask, at);
      __builtin_memcpy(values, &x, sizeof x / 2);
      __builtin_memcpy(index, &i, sizeof i / 2);
      if (__builtin_popcount(m) > 8) {
        _mm512_storeu_ps(values, x);
        _mm512_storeu_ps(index, i);
      }
    } else {
      const auto mask = static_cast<__mmask8>(m);
      _mm512_storeu_pd(values, _mm512_maskz_compress_pd(mask, v));
      _mm512_storeu_pd(index, _mm512_maskz_compress_pd(mask, at));
    }
    return __builtin_popcount(m);
  }
#endif
  T lanes[moelle::simd::kLanes<Arch, T>];
  v.store_unaligned(lanes);
  int n = 0;
  for (; m != 0; m &= m - 1, ++n) {
    values[n] = lanes[__builtin_ctz(m)];
    index[n] = static_cast<T>(first + __builtin_ctz(m));
  }
  return n;
}

// The `keep` best of v[0, n) lane by lane, best first, as their index. Of equals the earlier goes first. No NaN.
template <class Arch, class T>
MOELLE_INLINE void best_of(const T (*v)[moelle::simd::kLanes<Arch, T>], const T (*index)[moelle::simd::kLanes<Arch, T>], int n, int keep,
                           T (*chosen)[moelle::simd::kLanes<Arch, T>]) {
  using B = xsimd::batch<T, Arch>;
  T held[kCells][moelle::simd::kLanes<Arch, T>];
  for (int i = 0; i < n; ++i) {
    B x = B::load_unaligned(v[i]), at = B::load_unaligned(index[i]);
    auto before = x != x;
    for (int k = 0; k < (i < keep ? i : keep); ++k) {
      const B b = B::load_unaligned(held[k]), c = B::load_unaligned(chosen[k]);
      before = before | (x > b);  // what gave way to v[i] goes before its equals, too
      xsimd::max(x, b).store_unaligned(held[k]);
      xsimd::select(before, at, c).store_unaligned(chosen[k]);
      x = xsimd::min(x, b);
      at = xsimd::select(before, c, at);
    }
    if (i < keep) x.store_unaligned(held[i]), at.store_unaligned(chosen[i]);
  }
}

// Batcher's odd-even merges: which cells are compared to put sixteen in order.
struct Network {
  int size = 0, low[63] = {}, high[63] = {};
  constexpr Network() {
    for (int p = 1; p < kCells; p *= 2)
      for (int k = p; k >= 1; k /= 2)
        for (int from = k % p; from + k < kCells; from += 2 * k)
          for (int i = from; i < from + k && i + k < kCells; ++i)
            if (i / (2 * p) == (i + k) / (2 * p)) low[size] = i, high[size] = i + k, ++size;
  }
};
inline constexpr Network kNetwork;

// Sorts v[kCells][lanes], lane by lane, the largest first.
template <class Arch, class T, int... I>
MOELLE_INLINE void sort_cells(T* v, std::integer_sequence<int, I...>) {
  using B = xsimd::batch<T, Arch>;
  constexpr int L = static_cast<int>(moelle::simd::kLanes<Arch, T>);
  B c[kCells];
#pragma GCC unroll 16
  for (int i = 0; i < kCells; ++i) c[i] = B::load_unaligned(v + i * L);
  const auto order = [](B& a, B& b) {
    const B larger = xsimd::max(a, b);
    b = xsimd::min(a, b);
    a = larger;
  };
  (order(c[kNetwork.low[I]], c[kNetwork.high[I]]), ...);
#pragma GCC unroll 16
  for (int i = 0; i < kCells; ++i) c[i].store_unaligned(v + i * L);
}

// What is found out about up to L tokens, L the lanes of a vector: rows of E are read one by one, a lane is a token elsewhere.
template <class Arch, class T>
struct Bounded {
  using B = xsimd::batch<T, Arch>;
  static constexpr int L = static_cast<int>(moelle::simd::kLanes<Arch, T>);
  const T *scores, *bias;
  int E, rows, size;  // size: E / groups
  const GateParams& p;
  std::uint32_t refused = 0, kept[L];  // bit r: token r is not served; bit g: group g supplies experts

  MOELLE_INLINE Ranking<Arch, T> row(int r) const { return {scores + static_cast<std::int64_t>(r) * E, bias, E}; }
  MOELLE_INLINE static void turn(const T (*in)[kCells], T (*out)[L]) {
    for (int c = 0; c < kCells; c += L) gemm::simd::Square<Arch, T>::transpose(in[0] + c, kCells, out[c], L);
  }

  // The best value of each group, or the sum of its two best; then the best groups.
  MOELLE_INLINE void choose_groups() {
    const B none(-norm::simd::infinity<T>());
    T value[kCells][L], index[kCells][L], chosen[kCells][L];
    for (int g = 0; g < p.groups; ++g) {
      B two[L][2];  // best, second best
      for (int r = 0; r < L; ++r) {
        B best = none, second = none;
        if (r < rows) {
          auto numbers = none == none;
          row(r).each(g * size, (g + 1) * size, [&](const B& v, int, int) {
            numbers = numbers & (v == v);
            second = xsimd::max(second, xsimd::min(best, v));
            best = xsimd::max(best, v);
          });
          refused |= static_cast<std::uint32_t>(!xsimd::all(numbers)) << r;
        }
        two[r][0] = best;
        two[r][1] = second;
      }
      Turned<Arch, T>::template fold<2>(two, rows, [](B* a, const B* b) {
        a[1] = xsimd::max(xsimd::max(a[1], b[1]), xsimd::min(a[0], b[0]));
        a[0] = xsimd::max(a[0], b[0]);
      });
      const B v = p.group_score == GroupScore::top2_sum ? two[0][0] + two[0][1] : two[0][0];
      refused |= ~moelle::simd::lanes_set<Arch, T>(v == v) & ((1u << rows) - 1);  // infinity - infinity
      v.store_unaligned(value[g]);
      B(static_cast<T>(g)).store_unaligned(index[g]);
    }
    best_of<Arch, T>(value, index, p.groups, p.top_groups, chosen);
    for (int r = 0; r < rows; ++r) {
      kept[r] = 0;
      for (int k = 0; k < p.top_groups; ++k) kept[r] |= 1u << static_cast<int>(chosen[k][r]);
    }
  }

  // f(first, last) for the experts that may be chosen for token r.
  template <class F>
  MOELLE_INLINE void each_group(int r, F f) const {
    for (std::uint32_t m = kept[r]; m != 0; m &= m - 1) f(__builtin_ctz(m) * size, (__builtin_ctz(m) + 1) * size);
  }

  // experts[rows, K], best first, but for the tokens whose bits are set in what is returned.
  MOELLE_INLINE std::uint32_t select(std::int32_t* experts) {
    const T lowest = -norm::simd::infinity<T>();
    const B none(lowest);
    for (int r = 0; r < L; ++r) kept[r] = 1;
    if (p.groups > 1) choose_groups();

    T cells[L][kCells], sorted[kCells][L];
    for (int r = 0; r < L; ++r) {
      B top[kCells / L];
      for (B& t : top) t = none;
      if (r < rows) {
        auto numbers = none == none;
        const auto from = row(r);
        each_group(r, [&](int first, int last) {
          from.each(first, last, [&](const B& v, int i, int) {
            numbers = numbers & (v == v);
            B& t = top[(i - first) / L % (kCells / L)];
            t = xsimd::max(t, v);
          });
        });
        refused |= static_cast<std::uint32_t>(!xsimd::all(numbers)) << r;
      }
      for (int c = 0; c < kCells / L; ++c) top[c].store_unaligned(cells[r] + c * L);
    }
    turn(cells, sorted);
    sort_cells<Arch, T>(sorted[0], std::make_integer_sequence<int, kNetwork.size>());
    const T* bound = sorted[p.top_k - 1];

    T candidates[L][kSlots + 2 * L], experts_of[L][kSlots + 2 * L];
    int count[L] = {}, most = p.top_k;
    for (int r = 0; r < rows; ++r) {
      refused |= static_cast<std::uint32_t>(!(bound[r] > lowest)) << r;
      if ((refused >> r & 1u) != 0) continue;
      const auto from = row(r);
      const B bar(bound[r]);
      int n = 0;
      each_group(r, [&](int first, int last) {
        from.each(first, last, [&](const B& v, int i, int shift) {
          const int at = n < kSlots ? n : kSlots;
          n += append<Arch, T>(v, i - shift, v >= bar, candidates[r] + at, experts_of[r] + at);
        });
      });
      if (n > kSlots) refused |= 1u << r, n = 0;
      count[r] = n;
      most = n > most ? n : most;
    }
    for (int r = 0; r < L; ++r)
      for (int i = count[r]; i < most; i += L) none.store_unaligned(candidates[r] + i);

    T value[kSlots][L], index[kSlots][L], chosen[kCells][L] = {}, turned[L][kCells] = {};  // all of them become integers
    for (int c = 0; c < most; c += L) {
      gemm::simd::Square<Arch, T>::transpose(candidates[0] + c, kSlots + 2 * L, value[c], L);
      gemm::simd::Square<Arch, T>::transpose(experts_of[0] + c, kSlots + 2 * L, index[c], L);
    }
    best_of<Arch, T>(value, index, most, p.top_k, chosen);
    std::int32_t ordered[(L + 1) * kCells];  // what lies beyond the K best of a token is overwritten by the next
    for (int c = 0; c < p.top_k; c += L) gemm::simd::Square<Arch, T>::transpose(chosen[c], L, turned[0] + c, kCells);
    for (int r = 0; r < rows; ++r)
      if ((refused >> r & 1u) == 0)
        for (int k = 0; k < kCells; ++k) ordered[r * p.top_k + k] = static_cast<std::int32_t>(turned[r][k]);
    __builtin_memcpy(experts, ordered, static_cast<std::size_t>(rows * p.top_k) * sizeof(std::int32_t));
    return refused;
  }
};

// scores[rows, E], bias[E] or null -> the experts[rows, K] of up to L tokens, but for those whose bits are set in what is returned.
template <class Arch, class T>
MOELLE_INLINE std::uint32_t select_by_bounds(const T* scores, const T* bias, int E, int rows, const GateParams& p, std::int32_t* experts) {
  if (p.top_k > kCells || p.groups > kCells || E > 1 << 24) return ~std::uint32_t{0};
  return Bounded<Arch, T>{scores, bias, E, rows, E / p.groups, p, 0, {}}.select(experts);
}

}  // namespace moelle::moe::simd
