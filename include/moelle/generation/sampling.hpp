// moelle/generation/sampling.hpp -- one token from one row of logits.
//
// Filters apply in the order temperature, top-k, top-p, min-p, as in Hugging Face's processors; equal logits go to the lower
// id. A NaN among the logits is an error. Sources: top-k: Fan et al., arXiv:1805.04833; top-p: Holtzman et al., arXiv:1904.09751;
// min-p: Nguyen et al., arXiv:2407.01082.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <numeric>
#include <vector>

#include <moelle/core/error.hpp>

namespace moelle::generation {

struct SamplingOptions {
  double temperature = 1.0;  // 0: greedy
  std::int64_t top_k = 0;    // keep the k most likely; 0: all
  double top_p = 1.0;        // keep the smallest set of tokens with at least this probability
  double min_p = 0.0;        // keep tokens at least this likely relative to the most likely
};

inline void check(const SamplingOptions& o) {
  MOELLE_REQUIRE("sampling", o.temperature >= 0 && std::isfinite(o.temperature), str("temperature must be finite and not negative; got temperature=", o.temperature));
  MOELLE_REQUIRE("sampling", o.top_k >= 0, str("top_k must not be negative; got top_k=", o.top_k));
  MOELLE_REQUIRE("sampling", o.top_p > 0 && o.top_p <= 1, str("top_p must be in (0, 1]; got top_p=", o.top_p));
  MOELLE_REQUIRE("sampling", o.min_p >= 0 && o.min_p <= 1, str("min_p must be in [0, 1]; got min_p=", o.min_p));
}

// First index of the largest value.
template <class T>
std::int64_t argmax(const T* x, std::int64_t n) {
  return std::max_element(x, x + n) - x;
}

// logits[V] -> an id. `u` is uniform in [0, 1): one number decides, so a seed decides.
template <class T>
std::int64_t sample(const T* logits, std::int64_t V, const SamplingOptions& o, double u) {
  check(o);
  MOELLE_REQUIRE("sampling", V > 0, str("logits must not be empty; got vocab=", V));
  for (std::int64_t i = 0; i < V; ++i)
    MOELLE_REQUIRE("sampling", logits[i] == logits[i], str("logits must not be NaN; got NaN at token ", i));
  const std::int64_t best = argmax(logits, V);
  const auto top = static_cast<double>(logits[best]);
  MOELLE_REQUIRE("sampling", std::isfinite(top), str("the largest logit must be finite; got ", top, " at token ", best));
  if (o.temperature == 0 || o.top_k == 1) return best;

  std::vector<std::int64_t> order(static_cast<std::size_t>(V));
  std::iota(order.begin(), order.end(), std::int64_t{0});
  const auto before = [&](std::int64_t a, std::int64_t b) { return logits[a] != logits[b] ? logits[a] > logits[b] : a < b; };
  auto keep = static_cast<std::int64_t>(order.size());
  if (o.top_k > 0 && o.top_k < V) {
    keep = o.top_k;
    std::partial_sort(order.begin(), order.begin() + keep, order.end(), before);
  } else {
    std::sort(order.begin(), order.end(), before);
  }
  std::vector<double> p(static_cast<std::size_t>(keep));
  double sum = 0.0;
  for (std::size_t i = 0; i < p.size(); ++i) sum += p[i] = std::exp((static_cast<double>(logits[order[i]]) - top) / o.temperature);
  if (o.top_p < 1.0) {
    double mass = 0.0;
    std::size_t n = 0;
    while (n < p.size() && mass < o.top_p * sum) mass += p[n++];
    p.resize(n);
  }
  while (p.size() > 1 && p.back() < o.min_p * p.front()) p.pop_back();

  sum = std::accumulate(p.begin(), p.end(), 0.0);
  double at = u * sum;
  for (std::size_t i = 0; i < p.size(); ++i) {
    at -= p[i];
    if (at < 0) return order[i];
  }
  return order[p.size() - 1];
}

}  // namespace moelle::generation
