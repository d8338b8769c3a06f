// moelle/moe/balance.hpp -- how evenly experts are used, and the bias that evens it out: counts only, no gradient.
//
// Bias rule (Wang et al., arXiv:2408.15664; DeepSeek-V3, 2412.19437, section 2.1.2): after each step b_e += rate * sign(mean - c_e),
// c_e the tokens of expert e in the whole step: an expert with too many tokens loses bias. `proportional` takes
// (mean - c_e) / mean in place of the sign. sign(0) = 0. BiasMean::zero then subtracts the mean bias, which moves no choice.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <numeric>
#include <vector>

#include <moelle/autograd/mode.hpp>
#include <moelle/core/tensor.hpp>
#include <moelle/moe/permute.hpp>  // count_experts

namespace moelle::moe {

enum class BiasRule : std::uint8_t { sign, proportional };
enum class BiasMean : std::uint8_t { free, zero };

inline double mean_load(const std::vector<std::int64_t>& counts) {
  return counts.empty() ? 0.0 : static_cast<double>(std::accumulate(counts.begin(), counts.end(), std::int64_t{0})) / static_cast<double>(counts.size());
}

// bias[E] in place. Nothing happens if no token was counted.
template <class T>
void update_bias(const Tensor<T>& bias, const std::vector<std::int64_t>& counts, double rate, BiasRule rule = BiasRule::sign, BiasMean keep = BiasMean::free) {
  const auto E = static_cast<std::int64_t>(counts.size());
  MOELLE_REQUIRE("update_bias", bias.defined() && bias.shape() == Shape({E}),
                 str("bias must have one entry per expert; got bias=", bias.defined() ? bias.shape() : Shape(), " experts=", E));
  MOELLE_REQUIRE("update_bias", std::isfinite(rate) && rate >= 0, str("rate must be finite and not negative; got rate=", rate));
  const double mean = mean_load(counts);
  if (mean == 0.0) return;
  const auto at = [&](std::int64_t e) -> T& { return bias.data()[e * bias.strides()[0]]; };
  double sum = 0.0;
  for (std::int64_t e = 0; e < E; ++e) {
    const double gap = mean - static_cast<double>(counts[static_cast<std::size_t>(e)]);
    const double step = rule == BiasRule::sign ? static_cast<double>((gap > 0) - (gap < 0)) : gap / mean;
    at(e) = static_cast<T>(static_cast<double>(at(e)) + rate * step);
    sum += static_cast<double>(at(e));
  }
  if (keep == BiasMean::zero)
    for (std::int64_t e = 0; e < E; ++e) at(e) = static_cast<T>(static_cast<double>(at(e)) - sum / static_cast<double>(E));
  bias.bump_version();
}

// MaxVio: (largest - mean) / mean load (arXiv:2408.15664, section 3). 0 if nothing was counted.
inline double max_violation(const std::vector<std::int64_t>& counts) {
  const double mean = mean_load(counts);
  return mean == 0.0 ? 0.0 : (static_cast<double>(*std::max_element(counts.begin(), counts.end())) - mean) / mean;
}

// Experts with fewer tokens than `below` times the mean; 0: with none at all.
inline std::int64_t dead_experts(const std::vector<std::int64_t>& counts, double below = 0.1) {
  const double bar = below * mean_load(counts);
  return std::count_if(counts.begin(), counts.end(), [&](std::int64_t c) { return c == 0 || static_cast<double>(c) < bar; });
}

// Entropy of the load in nats; log(E) is perfect balance.
inline double load_entropy(const std::vector<std::int64_t>& counts) {
  const double total = mean_load(counts) * static_cast<double>(counts.size());
  double h = 0.0;
  for (const std::int64_t c : counts)
    if (c > 0) h -= static_cast<double>(c) / total * std::log(static_cast<double>(c) / total);
  return h;
}

// Mean over tokens of the entropy, in nats, of a token's scores divided by their sum: log(E) if the router prefers nobody,
// 0 if it is certain. scores[N, E], none negative; 0 if there is no token.
template <class T>
double router_entropy(const Tensor<T>& scores) {
  MOELLE_REQUIRE("router_entropy", scores.defined() && scores.rank() == 2, str("scores must be [N, E]; got shape=", scores.defined() ? scores.shape() : Shape()));
  const std::vector<T> flat = scores.to_vector();
  const std::int64_t N = scores.size(0), E = scores.size(1);
  double h = 0.0;
  for (std::int64_t n = 0; n < N; ++n) {
    const T* row = flat.data() + n * E;
    double sum = 0.0;
    for (std::int64_t e = 0; e < E; ++e) sum += static_cast<double>(row[e]);
    for (std::int64_t e = 0; e < E; ++e)
      if (row[e] > T(0)) h -= static_cast<double>(row[e]) / sum * std::log(static_cast<double>(row[e]) / sum);
  }
  return N == 0 ? 0.0 : h / static_cast<double>(N);
}

struct LoadStats {
  double max_violation = 0.0;
  std::int64_t unused = 0;  // experts without a token
  std::int64_t dead = 0;    // experts below a tenth of the mean, the unused among them
  double entropy = 0.0;     // of the load, in nats
};

inline LoadStats load_stats(const std::vector<std::int64_t>& counts) {
  return {max_violation(counts), dead_experts(counts, 0.0), dead_experts(counts), load_entropy(counts)};
}

// Tokens of each expert of one layer, over all micro-batches of a step. What is computed a second time during backward
// (autograd/checkpoint.hpp) is not counted a second time.
class LoadTracker {
 public:
  explicit LoadTracker(std::int64_t experts) : counts_(static_cast<std::size_t>(experts), 0) {
    MOELLE_REQUIRE("LoadTracker", experts >= 1, str("experts must be positive; got experts=", experts));
  }
  // choice[N, K]
  void add(const Tensor<std::int32_t>& choice) {
    if (autograd::recomputing()) return;
    const std::vector<std::int64_t> more = count_experts(choice, static_cast<std::int64_t>(counts_.size()));
    for (std::size_t e = 0; e < more.size(); ++e) counts_[e] += more[e];
  }
  void reset() { std::fill(counts_.begin(), counts_.end(), 0); }
  const std::vector<std::int64_t>& counts() const { return counts_; }
  LoadStats stats() const { return load_stats(counts_); }

 private:
  std::vector<std::int64_t> counts_;
};

}  // namespace moelle::moe
