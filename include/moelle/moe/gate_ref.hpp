// moelle/moe/gate_ref.hpp -- the oracle: written to be read beside the papers, never tuned.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <numeric>
#include <vector>

#include <moelle/moe/gate.hpp>

namespace moelle::moe::ref {

// logits[E] -> scores[E]. The approximate half: backends may differ here by a few ulp.
template <class T>
void gate_scores(const T* logits, int E, Score kind, T* scores) {
  if (kind == Score::softmax) {
    const T top = *std::max_element(logits, logits + E);
    double sum = 0.0;
    for (int e = 0; e < E; ++e) sum += static_cast<double>(scores[e] = std::exp(logits[e] - top));
    for (int e = 0; e < E; ++e) scores[e] = static_cast<T>(static_cast<double>(scores[e]) / sum);
    return;
  }
  for (int e = 0; e < E; ++e) {
    const T x = logits[e];
    if (kind == Score::sigmoid) scores[e] = T(1) / (T(1) + std::exp(-x));
    if (kind == Score::sqrt_softplus)
      scores[e] = x > T(kLinearSoftplus) ? std::sqrt(x) : x < sqrt_softplus_tail<T>() ? std::exp(x / 2) : std::sqrt(std::log1p(std::exp(x)));
  }
}

namespace detail {
template <class T>
std::vector<int> ranked(const std::vector<T>& values, std::vector<int> candidates) {
  std::sort(candidates.begin(), candidates.end(), [&](int a, int b) {
    return ranks_before(values[static_cast<std::size_t>(a)], a, values[static_cast<std::size_t>(b)], b);
  });
  return candidates;
}
inline std::vector<int> range(int first, int n) {
  std::vector<int> r(static_cast<std::size_t>(n));
  std::iota(r.begin(), r.end(), first);
  return r;
}
}  // namespace detail

// scores[E], experts[K] -> weights[K].
template <class T>
void gate_weights(const T* scores, const GateParams& p, const std::int32_t* experts, T* weights) {
  T sum = 0;
  for (int r = 0; r < p.top_k; ++r) sum += scores[experts[r]];
  sum += static_cast<T>(kNormEps);
  for (int r = 0; r < p.top_k; ++r)
    weights[r] = (p.normalize ? scores[experts[r]] / sum : scores[experts[r]]) * static_cast<T>(scale_of(p));
}

// scores[E], bias[E] or null -> experts[K], best first. The exact half: every backend returns the same indices.
template <class T>
void gate_select(const T* scores, const T* bias, int E, const GateParams& p, std::int32_t* experts) {
  check(p, E);
  const int size = E / p.groups;
  std::vector<T> ranking(scores, scores + E);
  if (bias != nullptr)
    for (int e = 0; e < E; ++e) ranking[static_cast<std::size_t>(e)] += bias[e];

  std::vector<T> group(static_cast<std::size_t>(p.groups));
  for (int g = 0; g < p.groups; ++g) {
    const std::vector<int> best = detail::ranked(ranking, detail::range(g * size, size));
    T s = ranking[static_cast<std::size_t>(best[0])];
    if (p.group_score == GroupScore::top2_sum && size > 1) s += ranking[static_cast<std::size_t>(best[1])];
    group[static_cast<std::size_t>(g)] = s;
  }
  const std::vector<int> kept = detail::ranked(group, detail::range(0, p.groups));
  std::vector<int> candidates;
  for (int r = 0; r < p.top_groups; ++r)
    for (const int e : detail::range(kept[static_cast<std::size_t>(r)] * size, size)) candidates.push_back(e);
  candidates = detail::ranked(ranking, candidates);
  for (int r = 0; r < p.top_k; ++r) experts[r] = candidates[static_cast<std::size_t>(r)];
}

// grad_weights[K] and grad_scores[E] (null: none) -> grad_logits[E], overwritten.
template <class T>
void gate_grad(const T* logits, const T* scores, int E, const GateParams& p, const std::int32_t* experts, const T* grad_weights,
               const T* grad_scores, T* grad_logits) {
  T sum = static_cast<T>(kNormEps), dot = 0;
  for (int r = 0; r < p.top_k; ++r) {
    sum += scores[experts[r]];
    dot += grad_weights[r] * scores[experts[r]];
  }
  for (int e = 0; e < E; ++e) grad_logits[e] = grad_scores != nullptr ? grad_scores[e] : T(0);
  for (int r = 0; r < p.top_k; ++r)
    grad_logits[experts[r]] += static_cast<T>(scale_of(p)) * (p.normalize ? (grad_weights[r] - dot / sum) / sum : grad_weights[r]);

  if (p.score == Score::softmax) {
    T inner = 0;
    for (int e = 0; e < E; ++e) inner += grad_logits[e] * scores[e];
    for (int e = 0; e < E; ++e) grad_logits[e] = scores[e] * (grad_logits[e] - inner);
    return;
  }
  for (int e = 0; e < E; ++e) {
    const T s = scores[e], x = logits[e];
    if (p.score == Score::sigmoid) grad_logits[e] *= s * (1 - s);
    if (p.score == Score::sqrt_softplus)
      grad_logits[e] *= x > T(kLinearSoftplus) ? T(0.5) / s : x < sqrt_softplus_tail<T>() ? s / 2 : T(1) / (1 + std::exp(-x)) / (2 * s);
  }
}

}  // namespace moelle::moe::ref
