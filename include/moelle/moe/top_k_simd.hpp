// moelle/moe/top_k_simd.hpp -- the K best of one row by a bound, without keeping a list in order. See gate.hpp for the order.
//
// Sixteen cells hold the largest of every sixteenth value. At least K values reach the K-th largest cell, so only those that do can be among the K
// best: some 7 of 64 for K = 6, 11 of 256 for K = 8. Their places follow from comparing each with each. Nearly no branch depends on the values.
// What this does not serve (NaN, infinities that decide, K or groups above 16, too many equal values) is refused, and gate_simd.hpp's list takes over.
#pragma once
#include <cstdint>
#include <type_traits>

#include <moelle/activation/lanes_simd.hpp>
#include <moelle/cpu/xsimd.hpp>
#include <moelle/moe/gate.hpp>
#include <moelle/norm/softmax_simd.hpp>  // infinity

namespace moelle::moe::simd {

inline constexpr int kCells = 16;

template <class Arch, class T>
MOELLE_INLINE xsimd::batch<T, Arch> larger(const xsimd::batch<T, Arch>& a, const xsimd::batch<T, Arch>& b) {
  return xsimd::select(b > a, b, a);
}
template <class Arch, class T>
MOELLE_INLINE xsimd::batch<T, Arch> smaller(const xsimd::batch<T, Arch>& a, const xsimd::batch<T, Arch>& b) {
  return xsimd::select(b > a, a, b);
}

// f(vector, index of its first element) over x[first, last); the last vector is padded with -infinity.
template <class Arch, class T, class F>
MOELLE_INLINE void for_vectors(const T* x, int first, int last, F f) {
  constexpr int L = static_cast<int>(moelle::simd::kLanes<Arch, T>);
  int i = first;
  for (; i + L <= last; i += L) f(xsimd::batch<T, Arch>::load_unaligned(x + i), i);
  if (i < last) f(moelle::simd::load_part<Arch, T>(x + i, last - i, -norm::simd::infinity<T>()), i);
}

// place[i]: how many of v[0, n) come before v[i], that is are larger, or equal and earlier. v has kCells elements, no NaN among them.
template <class Arch, class T>
MOELLE_INLINE void places(const T* v, int n, T* place) {
  using B = xsimd::batch<T, Arch>;
  constexpr int L = static_cast<int>(moelle::simd::kLanes<Arch, T>);
  static_assert(kCells % L == 0);
  T index[kCells];
  for (int i = 0; i < kCells; ++i) index[i] = static_cast<T>(i);
  for (int b = 0; b < kCells && b < n; b += L) {
    const B mine = B::load_unaligned(v + b), at = B::load_unaligned(index + b), one(T(1)), zero(T(0));
    B before(T(0));
    for (int j = 0; j < n; ++j) {
      const B other(v[j]);
      before = before + xsimd::select((other > mine) | ((other == mine) & (at > B(index[j]))), one, zero);
    }
    before.store_unaligned(place + b);
  }
}

// The K-th largest of cells[kCells], 1 <= K <= kCells.
template <class Arch, class T>
MOELLE_INLINE T kth_largest(const T* cells, int K) {
  using B = xsimd::batch<T, Arch>;
  constexpr int L = static_cast<int>(moelle::simd::kLanes<Arch, T>);
  const B one(T(1)), zero(T(0)), none(norm::simd::infinity<T>());
  B least = none;
  for (int b = 0; b < kCells; b += L) {
    const B mine = B::load_unaligned(cells + b);
    B above(T(0));
    for (int j = 0; j < kCells; ++j) above = above + xsimd::select(B(cells[j]) > mine, one, zero);
    least = smaller<Arch, T>(least, xsimd::select(above < B(static_cast<T>(K)), mine, none));
  }
  return -moelle::simd::max_lanes<Arch, T>(zero - least);
}

// Best value, or sum of the two best, of x[first, last), which holds no NaN.
template <class Arch, class T>
MOELLE_INLINE T group_value(const T* x, int first, int last, bool two) {
  using B = xsimd::batch<T, Arch>;
  const B none(-norm::simd::infinity<T>());
  B best = none, second = none;
  for_vectors<Arch, T>(x, first, last, [&](const B& v, int) {
    second = larger<Arch, T>(second, smaller<Arch, T>(best, v));
    best = larger<Arch, T>(best, v);
  });
  if (!two) return moelle::simd::max_lanes<Arch, T>(best);
  const auto merge = [&]<int W>(const auto& self, std::integral_constant<int, W>) -> void {
    if constexpr (W > 0) {
      const B b = moelle::simd::Lanes<Arch, T>::template turned<W>(best), s = moelle::simd::Lanes<Arch, T>::template turned<W>(second);
      second = larger<Arch, T>(smaller<Arch, T>(best, b), larger<Arch, T>(second, s));
      best = larger<Arch, T>(best, b);
      self(self, std::integral_constant<int, W / 2>());
    }
  };
  merge(merge, std::integral_constant<int, static_cast<int>(moelle::simd::kLanes<Arch, T>) / 2>());
  T b[moelle::simd::kLanes<Arch, T>], s[moelle::simd::kLanes<Arch, T>];
  best.store_unaligned(b);
  second.store_unaligned(s);
  return b[0] + s[0];
}

// ranking[E] -> the experts of one token, best first. False: not served, nothing is written.
template <class Arch, class T>
MOELLE_INLINE bool select_by_bound(const T* ranking, int E, const GateParams& p, std::int32_t* experts) {
  using B = xsimd::batch<T, Arch>;
  constexpr int L = static_cast<int>(moelle::simd::kLanes<Arch, T>);
  const T lowest = -norm::simd::infinity<T>();
  if (p.top_k > kCells || p.groups > kCells) return false;
  auto numbers = B(T(0)) == B(T(0));  // not by v != v: false for NaN on AVX-512 in xsimd 8.1
  for_vectors<Arch, T>(ranking, 0, E, [&](const B& v, int) { numbers = numbers & (v == v); });
  if (!xsimd::all(numbers)) return false;

  const int size = E / p.groups;
  T place[kCells], value[kCells];
  place[0] = T(0);
  if (p.groups > 1) {
    for (int g = 0; g < kCells; ++g) value[g] = lowest;
    for (int g = 0; g < p.groups; ++g) {
      value[g] = group_value<Arch, T>(ranking, g * size, (g + 1) * size, p.group_score == GroupScore::top2_sum);
      if (value[g] != value[g]) return false;  // infinity - infinity
    }
    places<Arch, T>(value, p.groups, place);
  }
  const T groups = static_cast<T>(p.top_groups);

  B top[kCells / L];
  for (B& t : top) t = B(lowest);
  for (int g = 0; g < p.groups; ++g)
    if (place[g] < groups)
      for_vectors<Arch, T>(ranking, g * size, (g + 1) * size, [&](const B& v, int i) {
        const int cell = (i - g * size) / L % (kCells / L);
        top[cell] = larger<Arch, T>(top[cell], v);
      });
  T cells[kCells];
  for (int c = 0; c < kCells / L; ++c) top[c].store_unaligned(cells + c * L);
  const T bound = kth_largest<Arch, T>(cells, p.top_k);
  if (!(bound > lowest)) return false;

  int n = 0, index[kCells];
  const B bar(bound);
  for (int c = 0; c < kCells; ++c) value[c] = lowest;
  for (int g = 0; g < p.groups; ++g)
    if (place[g] < groups)
      for_vectors<Arch, T>(ranking, g * size, (g + 1) * size, [&](const B& v, int i) {
        for (std::uint32_t m = moelle::simd::lanes_set<Arch, T>(v >= bar); m != 0; m &= m - 1) {
          index[n & (kCells - 1)] = i + __builtin_ctz(m);
          value[n & (kCells - 1)] = ranking[i + __builtin_ctz(m)];
          ++n;
        }
      });
  if (n > kCells) return false;
  places<Arch, T>(value, n, place);
  const T K = static_cast<T>(p.top_k);
  for (int i = 0; i < n; ++i)
    if (place[i] < K) experts[static_cast<int>(place[i])] = index[i];
  return true;
}

}  // namespace moelle::moe::simd
