// moelle/moe/permute.hpp -- tokens in order of their experts, and back: the contract.
//
// Axes: N tokens, K experts per token, E experts, R = N K rows, D elements of a row.
// Row order: by expert, then by (token, slot): a stable counting sort, exact and the same everywhere. No token is dropped.
//   permute    out[r] = x[token of r]                       dx[n] = sum_k dout[row of (n, k)]
//   unpermute  out[n] = sum_k w[n, k] y[row of (n, k)]      dy[r] = w[slot of r] dout[token of r]   dw[n, k] = <dout[n], y[row]>
// Sums over k run in slot order; each step is one fused multiply-add where the instruction set has it.
#pragma once
#include <algorithm>
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

namespace detail {
// choice's elements in row-major order; `keep` owns them if they had to be copied.
inline const std::int32_t* flat(const Tensor<std::int32_t>& choice, std::vector<std::int32_t>& keep) {
  if (choice.is_contiguous()) return choice.data();
  keep = choice.to_vector();
  return keep.data();
}
}  // namespace detail

// Tokens of each expert, [E]. A token that names an expert twice counts twice.
inline std::vector<std::int64_t> count_experts(const Tensor<std::int32_t>& choice, std::int64_t E) {
  std::vector<std::int64_t> counts(static_cast<std::size_t>(std::max<std::int64_t>(E, 0)));
  std::vector<std::int32_t> keep;
  const std::int32_t* from = detail::flat(choice, keep);
  for (std::int64_t i = 0; i < choice.numel(); ++i) {
    MOELLE_REQUIRE("count_experts", from[i] >= 0 && from[i] < E, str("experts must be in [0, ", E, "); got expert=", from[i]));
    ++counts[static_cast<std::size_t>(from[i])];
  }
  return counts;
}

// choice[N, K] with entries in [0, E).
inline Permutation make_permutation(const Tensor<std::int32_t>& choice, std::int64_t E) {
  MOELLE_REQUIRE("permute", choice.defined() && choice.rank() == 2 && E >= 1,
                 str("choice must be [N, K] and E positive; got shape=", choice.defined() ? choice.shape() : Shape(), " E=", E));
  const std::int64_t N = choice.size(0), K = choice.size(1), R = choice.numel();
  MOELLE_REQUIRE("permute", R < (std::int64_t{1} << 31), str("rows must fit 31 bits; got N=", N, " K=", K));
  Permutation p{Tensor<std::int32_t>::zeros({E + 1}), Tensor<std::int32_t>::empty({R}), Tensor<std::int32_t>::empty({N, K}), N, K};
  std::vector<std::int32_t> keep;
  const std::int32_t* from = detail::flat(choice, keep);
  std::int32_t *offsets = p.offsets.data(), *slot = p.slot.data(), *row = p.row.data();
  for (std::int64_t i = 0; i < R; ++i) {
    MOELLE_REQUIRE("permute", from[i] >= 0 && from[i] < E, str("experts must be in [0, ", E, "); got expert=", from[i]));
    ++offsets[from[i] + 1];
  }
  for (std::int64_t e = 0; e < E; ++e) offsets[e + 1] += offsets[e];
  std::vector<std::int32_t> next(offsets, offsets + E);
  for (std::int64_t i = 0; i < R; ++i) {
    const std::int32_t r = next[static_cast<std::size_t>(from[i])]++;
    slot[r] = static_cast<std::int32_t>(i);
    row[i] = r;
  }
  return p;
}

}  // namespace moelle::moe
