// moelle/moe/gate_simd.hpp -- the gate on CPU vectors, for any xsimd Arch. See gate.hpp for the contract.
//
// Rows [begin, end) of contiguous tensors. Which experts are chosen and the bits of their weights are the oracle's.
#pragma once
#include <cstdint>

#include <moelle/activation/lanes_simd.hpp>
#include <moelle/activation/unary_simd.hpp>
#include <moelle/cpu/exp_simd.hpp>
#include <moelle/cpu/xsimd.hpp>
#include <moelle/moe/gate.hpp>
#include <moelle/moe/top_k_rows_simd.hpp>
#include <moelle/moe/top_k_simd.hpp>
#include <moelle/moe/turned_simd.hpp>
#include <moelle/norm/exp_simd.hpp>
#include <moelle/norm/softmax_simd.hpp>

namespace moelle::moe::simd {

template <class Arch, class T>
MOELLE_INLINE xsimd::batch<T, Arch> sqrt_softplus(const xsimd::batch<T, Arch>& x) {
  using B = xsimd::batch<T, Arch>;
  const B softplus = xsimd::select(x > B(T(kLinearSoftplus)), x, xsimd::log1p(moelle::simd::exp(x)));
  return xsimd::select(x < B(sqrt_softplus_tail<T>()), moelle::simd::exp(x * B(T(0.5))), xsimd::sqrt(softplus));
}

// softmax of rows: as norm::simd::softmax, but maxima and sums of as many rows as a vector has lanes are found at once.
template <class Arch, class T>
MOELLE_INLINE void softmax_rows(const T* x, std::int64_t E, T* y, int rows) {
  using B = xsimd::batch<T, Arch>;
  constexpr int L = static_cast<int>(moelle::simd::kLanes<Arch, T>);
  const B zero(T(0)), lowest(-norm::simd::infinity<T>());
  const auto larger = [](const B& a, const B& v) { return xsimd::select(v > a, v, a); };  // NaN in v is passed over
  B v[L][1];
  for (auto& of : v) of[0] = lowest;
  for (int r = 0; r < rows; ++r) v[r][0] = moelle::simd::fold<Arch, T>(E, -norm::simd::infinity<T>(), -norm::simd::infinity<T>(), larger, larger, x + r * E);
  Turned<Arch, T>::template fold<1>(v, rows, [](B* a, const B* b) { a[0] = xsimd::max(a[0], b[0]); });
  T shift[L], inverse[L];
  xsimd::select(v[0][0] == lowest, zero, v[0][0]).store_unaligned(shift);
  for (int r = 0; r < rows; ++r) {
    const B s(shift[r]);
    v[r][0] = moelle::simd::map_sum<Arch, T>(E, -norm::simd::infinity<T>(), [&](const B& at) { return norm::simd::exp_not_above_zero<Arch, T>(at - s); }, x + r * E, y + r * E);
  }
  Turned<Arch, T>::template fold<1>(v, rows, [](B* a, const B* b) { a[0] = a[0] + b[0]; });
  xsimd::select(v[0][0] == zero, zero, B(T(1)) / v[0][0]).store_unaligned(inverse);  // 0 for a row of -infinity; else the sum is at least 1
  for (int r = 0; r < rows; ++r) {
    const B by(inverse[r]);
    moelle::simd::map<Arch, T>(E, y + r * E, [&](const B& at) { return at * by; }, y + r * E);
  }
}

// logits[N, E] -> scores[N, E]
template <class Arch, class T>
void gate_scores(const T* logits, std::int64_t E, Score kind, T* scores, std::int64_t begin, std::int64_t end) {
  using B = xsimd::batch<T, Arch>;
  const T* x = logits + begin * E;
  T* s = scores + begin * E;
  const std::int64_t n = (end - begin) * E;
  constexpr std::int64_t L = moelle::simd::kLanes<Arch, T>;
  if (kind == Score::softmax)
    for (std::int64_t r = begin; r < end; r += L) softmax_rows<Arch, T>(logits + r * E, E, scores + r * E, static_cast<int>(end - r < L ? end - r : L));
  else if (kind == Score::sigmoid)
    moelle::simd::map<Arch, T>(n, s, [](const B& v) { return activation::simd::sigmoid<Arch, T>(v); }, x);
  else
    moelle::simd::map<Arch, T>(n, s, [](const B& v) { return sqrt_softplus<Arch, T>(v); }, x);
}

// The best `capacity` keys seen so far, descending. Key 0 marks a free slot.
template <class Arch, class T>
struct Best {
  using Bits = typename Rank<T>::Bits;
  using Key = RankKey<T>;
  Key key[kMaxTopK];
  int capacity;

  MOELLE_INLINE explicit Best(int n) : capacity(n) {
    for (int i = 0; i < n; ++i) key[i] = 0;
  }
  MOELLE_INLINE bool full() const { return key[capacity - 1] != 0; }

  // The value of the worst kept key (NaN if that key came from a NaN).
  MOELLE_INLINE T bar() const {
    constexpr Bits kSign = Bits{1} << (8 * sizeof(Bits) - 1);
    const Bits ordered = static_cast<Bits>(key[capacity - 1] >> (8 * sizeof(Bits)));
    return __builtin_bit_cast(T, static_cast<Bits>((ordered & kSign) != 0 ? ordered & ~kSign : ~ordered));
  }
  MOELLE_INLINE void push(T value, int index) {
    const Key k = rank_key<T>(__builtin_bit_cast(Bits, value), index);
    int i = capacity - 1;
    if (k <= key[i]) return;
    for (; i > 0 && key[i - 1] < k; --i) key[i] = key[i - 1];
    key[i] = k;
  }
};

// Offers x[first, last) to `best`, in index order. Once the list is full, a whole vector is skipped when no lane can enter:
// an equal lane has a higher index than the one it ties with.
template <class Arch, class T>
MOELLE_INLINE void scan(Best<Arch, T>& best, const T* x, int first, int last) {
  using B = xsimd::batch<T, Arch>;
  constexpr int kStep = static_cast<int>(B::size);
  int i = first;
  for (; i + kStep <= last; i += kStep) {
    if (best.full() && xsimd::all(B::load_unaligned(x + i) <= B(best.bar()))) continue;
    for (int j = i; j < i + kStep; ++j) best.push(x[j], j);
  }
  for (; i < last; ++i) best.push(x[i], i);
}

// Bit g is set if group g may supply experts.
template <class Arch, class T>
MOELLE_INLINE std::uint32_t chosen_groups(const T* ranking, int size, const GateParams& p) {
  const int per_group = p.group_score == GroupScore::top2_sum && size > 1 ? 2 : 1;
  Best<Arch, T> groups(p.top_groups);
  for (int g = 0; g < p.groups; ++g) {
    Best<Arch, T> top(per_group);
    scan(top, ranking, g * size, (g + 1) * size);
    T s = ranking[index_of(top.key[0])];
    if (per_group == 2) s += ranking[index_of(top.key[1])];
    groups.push(s, g);
  }
  std::uint32_t chosen = 0;
  for (int r = 0; r < p.top_groups; ++r) chosen |= 1u << index_of(groups.key[r]);
  return chosen;
}

// The choice for one token, whatever the values: ranking[E] -> experts[K].
template <class Arch, class T>
MOELLE_INLINE void select_by_list(const T* ranking, int E, const GateParams& p, std::int32_t* experts) {
  const int size = E / p.groups;
  Best<Arch, T> top(p.top_k);
  if (p.groups == 1) {
    scan(top, ranking, 0, size);
  } else {
    const std::uint32_t chosen = chosen_groups<Arch, T>(ranking, size, p);
    for (int g = 0; g < p.groups; ++g)  // ascending, so that scan() still sees index order
      if ((chosen >> g & 1u) != 0) scan(top, ranking, g * size, (g + 1) * size);
  }
  for (int r = 0; r < p.top_k; ++r) experts[r] = index_of(top.key[r]);
}

// scores[N, E], bias[E] or null -> experts[N, K]; scratch[E] is used if there is a bias.
template <class Arch, class T>
void gate_select(const T* scores, const T* bias, std::int64_t E, const GateParams& p, T* scratch, std::int32_t* experts,
                 std::int64_t begin, std::int64_t end) {
  using B = xsimd::batch<T, Arch>;
  constexpr std::int64_t L = moelle::simd::kLanes<Arch, T>;
  for (std::int64_t n = begin; n < end; n += L) {
    const int rows = static_cast<int>(end - n < L ? end - n : L);
    std::uint32_t left = (1u << rows) - 1;  // bit r: token n + r has no experts yet
    if (rows > 1) left &= select_by_bounds<Arch, T>(scores + n * E, bias, static_cast<int>(E), rows, p, experts + n * p.top_k);
    for (; left != 0; left &= left - 1) {
      const std::int64_t at = n + __builtin_ctz(left);
      const T* ranking = scores + at * E;
      if (bias != nullptr) {
        moelle::simd::map<Arch, T>(E, scratch, [](const B& s, const B& b) { return s + b; }, ranking, bias);
        ranking = scratch;
      }
      std::int32_t* chosen = experts + at * p.top_k;
      if (rows > 1 || !select_by_bound<Arch, T>(ranking, static_cast<int>(E), p, chosen)) select_by_list<Arch, T>(ranking, static_cast<int>(E), p, chosen);
    }
  }
}

// scores[N, E], experts[N, K] -> weights[N, K]
template <class Arch, class T>
void gate_weights(const T* scores, std::int64_t E, const GateParams& p, const std::int32_t* experts, T* weights, std::int64_t begin,
                  std::int64_t end) {
  const T scale = static_cast<T>(scale_of(p));
  for (std::int64_t n = begin; n < end; ++n) {
    const T* s = scores + n * E;
    const std::int32_t* chosen = experts + n * p.top_k;
    T sum = 0;
    for (int r = 0; r < p.top_k; ++r) sum += s[chosen[r]];
    sum += static_cast<T>(kNormEps);
    for (int r = 0; r < p.top_k; ++r) weights[n * p.top_k + r] = (p.normalize ? s[chosen[r]] / sum : s[chosen[r]]) * scale;
  }
}

// dL/ds -> dL/dx in place, one row.
template <class Arch, class T>
MOELLE_INLINE void through_scores(const T* x, const T* s, std::int64_t E, Score kind, T* d) {
  using B = xsimd::batch<T, Arch>;
  const B one(T(1)), half(T(0.5));
  if (kind == Score::softmax)
    norm::simd::softmax_grad<Arch, T>(s, d, E, d, 0, 1);
  else if (kind == Score::sigmoid)
    moelle::simd::map<Arch, T>(E, d, [&](const B& g, const B& v) { return g * (v * (one - v)); }, d, s);
  else
    moelle::simd::map<Arch, T>(
        E, d,
        [&](const B& g, const B& v, const B& at) {
          const B slope = xsimd::select(at > B(T(kLinearSoftplus)), one, activation::simd::sigmoid<Arch, T>(at));
          return g * xsimd::select(at < B(sqrt_softplus_tail<T>()), v * half, slope / (v + v));
        },
        d, s, x);
}

// grad_weights[N, K] and grad_scores[N, E] (either null: none) -> grad_logits[N, E], overwritten.
template <class Arch, class T>
void gate_grad(const T* logits, const T* scores, std::int64_t E, const GateParams& p, const std::int32_t* experts, const T* grad_weights,
               const T* grad_scores, T* grad_logits, std::int64_t begin, std::int64_t end) {
  const T scale = static_cast<T>(scale_of(p));
  for (std::int64_t n = begin; n < end; ++n) {
    const T* s = scores + n * E;
    T* d = grad_logits + n * E;
    if (grad_scores != nullptr)
      __builtin_memcpy(d, grad_scores + n * E, static_cast<std::size_t>(E) * sizeof(T));
    else
      for (std::int64_t e = 0; e < E; ++e) d[e] = T(0);
    if (grad_weights != nullptr) {
      const std::int32_t* chosen = experts + n * p.top_k;
      const T* g = grad_weights + n * p.top_k;
      T sum = static_cast<T>(kNormEps), dot = 0;
      for (int r = 0; r < p.top_k; ++r) {
        sum += s[chosen[r]];
        dot += g[r] * s[chosen[r]];
      }
      for (int r = 0; r < p.top_k; ++r) d[chosen[r]] += scale * (p.normalize ? (g[r] - dot / sum) / sum : g[r]);
    }
    through_scores<Arch, T>(logits + n * E, s, E, p.score, d);
  }
}

}  // namespace moelle::moe::simd
