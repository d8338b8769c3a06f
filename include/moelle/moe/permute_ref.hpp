// moelle/moe/permute_ref.hpp -- the oracle of permute and unpermute: the formulas of permute.hpp on plain vectors.
#pragma once
#include <algorithm>
#include <cstdint>
#include <numeric>
#include <vector>

namespace moelle::moe::ref {

// slot[R]: (token, slot) pairs in a stable order of their experts.
inline std::vector<std::int32_t> sorted_slots(const std::vector<std::int32_t>& choice) {
  std::vector<std::int32_t> slot(choice.size());
  std::iota(slot.begin(), slot.end(), 0);
  std::stable_sort(slot.begin(), slot.end(), [&](std::int32_t a, std::int32_t b) {
    return choice[static_cast<std::size_t>(a)] < choice[static_cast<std::size_t>(b)];
  });
  return slot;
}

// x[N, D] -> [R, D]
template <class T>
std::vector<T> permute(const std::vector<T>& x, const std::vector<std::int32_t>& slot, std::size_t K, std::size_t D) {
  std::vector<T> out;
  for (const std::int32_t s : slot)
    for (std::size_t d = 0; d < D; ++d) out.push_back(x[static_cast<std::size_t>(s) / K * D + d]);
  return out;
}

// y[R, D], weights[R] by (token, slot) -> [N, D], sums in double.
template <class T>
std::vector<double> unpermute(const std::vector<T>& y, const std::vector<T>& weights, const std::vector<std::int32_t>& slot, std::size_t K,
                              std::size_t D) {
  std::vector<double> out(K == 0 ? 0 : slot.size() / K * D);
  for (std::size_t r = 0; r < slot.size(); ++r)
    for (std::size_t d = 0; d < D; ++d) {
      const auto s = static_cast<std::size_t>(slot[r]);
      out[s / K * D + d] += static_cast<double>(weights[s]) * static_cast<double>(y[r * D + d]);
    }
  return out;
}

}  // namespace moelle::moe::ref
