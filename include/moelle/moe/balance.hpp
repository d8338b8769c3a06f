// moelle/moe/balance.hpp -- how evenly experts are used, and the bias that evens it out: counts only, no gradient.
//
// Bias rule (Wang et al., arXiv:2408.15664; DeepSeek-V3, 2412.19437, section 2.1.2): after each step b_e += rate * sign(mean - c_e),
// c_e the tokens of expert e in the whole step: an expert with too many tokens loses bias. `proportional` takes
// (mean - c_e) / mean in place of the sign. sign(0) = 0.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <numeric>
#include <vector>

#include <moelle/core/tensor.hpp>

namespace moelle::moe {

enum class BiasRule : std::uint8_t { sign, proportional };

inline double mean_load(const std::vector<std::int64_t>& counts) {
  return counts.empty() ? 0.0 : static_cast<double>(std::accumulate(counts.begin(), counts.end(), std::int64_t{0})) / static_cast<double>(counts.size());
}

// bias[E] in place. Nothing happens if no token was counted.
template <class T>
void update_bias(const Tensor<T>& bias, const std::vector<std::int64_t>& counts, double rate, BiasRule rule = BiasRule::sign) {
  MOELLE_REQUIRE("update_bias", bias.shape() == Shape({static_cast<std::int64_t>(counts.size())}),
                 str("bias must have one entry per expert; got bias=", bias.shape(), " experts=", counts.size()));
  MOELLE_REQUIRE("update_bias", std::isfinite(rate) && rate >= 0, str("rate must be finite and not negative; got rate=", rate));
  const double mean = mean_load(counts);
  if (mean == 0.0) return;
  for (std::size_t e = 0; e < counts.size(); ++e) {
    const double gap = mean - static_cast<double>(counts[e]);
    const double step = rule == BiasRule::sign ? static_cast<double>((gap > 0) - (gap < 0)) : gap / mean;
    T& b = bias.data()[static_cast<std::int64_t>(e) * bias.strides()[0]];
    b = static_cast<T>(static_cast<double>(b) + rate * step);
  }
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

}  // namespace moelle::moe
