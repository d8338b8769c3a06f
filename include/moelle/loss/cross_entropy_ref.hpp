// moelle/loss/cross_entropy_ref.hpp -- the oracle: cross_entropy.hpp row by row.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>

#include <moelle/loss/cross_entropy.hpp>

namespace moelle::loss::ref {

template <class T>
T log_sum_exp(const T* x, std::int64_t V) {
  const T top = *std::max_element(x, x + V);
  T sum = 0;
  for (std::int64_t j = 0; j < V; ++j) sum += std::exp(x[j] - top);
  return top + std::log(sum);
}

// logits[N, V], labels[N], label_weight[V] or null -> L; dlogits[N, V] overwritten unless null.
template <class T, class Index>
T cross_entropy(const CrossEntropyParams& p, const T* logits, const Index* labels, const T* label_weight, std::int64_t N, std::int64_t V,
                T* dlogits) {
  const auto weight = [&](std::int64_t i) {
    if (labels[i] == p.ignore_index) return T(0);
    return label_weight != nullptr ? label_weight[labels[i]] : T(1);
  };
  T n = 0, loss = 0;
  for (std::int64_t i = 0; i < N; ++i) n += weight(i);
  if (p.reduction == Reduction::sum) n = 1;
  if (p.normalizer > 0) n = static_cast<T>(p.normalizer);
  for (std::int64_t i = 0; i < N; ++i) {
    const bool used = labels[i] != p.ignore_index;
    const T* x = logits + i * V;
    const T lse = used ? log_sum_exp(x, V) : T(0), z = static_cast<T>(p.z_loss);
    if (used) loss += weight(i) * (lse - x[labels[i]] + z * lse * lse) / n;
    if (dlogits == nullptr) continue;
    for (std::int64_t j = 0; j < V; ++j)
      dlogits[i * V + j] = used ? weight(i) / n * (std::exp(x[j] - lse) * (1 + 2 * z * lse) - (j == labels[i] ? 1 : 0)) : T(0);
  }
  return loss;
}

}  // namespace moelle::loss::ref
