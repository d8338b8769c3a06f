// moelle/moe/permute.hpp -- tokens in order of their experts, and back: the contract.
//
// Axes: N tokens, K experts per token, E experts, R = N K rows. Row order: by expert, then by (token, slot): a stable counting
// sort, exact and the same everywhere. No token is dropped.
#pragma once
#include <cstdint>
#include <vector>

#include <moelle/core/tensor.hpp>

namespace moelle::moe {

struct Permutation {
  Tensor<std::int32_t> offsets;  // [E + 1]: rows [offsets[e], offsets[e + 1]) belong to expert e
  Tensor<std::int32_t> slot;     // [R]: row r is slot slot[r] % K of token slot[r] / K
  Tensor<std::int32_t> row;      // [N, K]: the inverse
  std::int64_t tokens = 0, per_token = 0;

  std::int64_t rows() const { return slot.numel(); }
  std::int64_t experts() const { return offsets.numel() - 1; }
  // Rows of each expert.
  std::vector<std::int64_t> counts() const {
    std::vector<std::int64_t> c;
    for (std::int64_t e = 0; e < experts(); ++e) c.push_back(offsets.data()[e + 1] - offsets.data()[e]);
    return c;
  }
};

// choice[N, K] with entries in [0, E).
inline Permutation make_permutation(const Tensor<std::int32_t>& choice, std::int64_t E) {
  MOELLE_REQUIRE("permute", choice.rank() == 2 && E >= 1, str("choice must be [N, K] and E positive; got shape=", choice.shape(), " E=", E));
  const std::int64_t N = choice.size(0), K = choice.size(1), R = choice.numel();
  MOELLE_REQUIRE("permute", R < (std::int64_t{1} << 31), str("rows must fit 31 bits; got N=", N, " K=", K));
  Permutation p{Tensor<std::int32_t>::zeros({E + 1}), Tensor<std::int32_t>::empty({R}), Tensor<std::int32_t>::empty({N, K}), N, K};
  std::int32_t* offsets = p.offsets.data();
  const std::vector<std::int32_t> flat = choice.to_vector();
  for (const std::int32_t e : flat) {
    MOELLE_REQUIRE("permute", e >= 0 && e < E, str("experts must be in [0, ", E, "); got expert=", e));
    ++offsets[e + 1];
  }
  for (std::int64_t e = 0; e < E; ++e) offsets[e + 1] += offsets[e];
  std::vector<std::int32_t> next(offsets, offsets + E);
  for (std::int64_t i = 0; i < R; ++i) {
    const std::int32_t r = next[static_cast<std::size_t>(flat[static_cast<std::size_t>(i)])]++;
    p.slot.data()[r] = static_cast<std::int32_t>(i);
    p.row.data()[i] = r;
  }
  return p;
}

}  // namespace moelle::moe
