// moelle/embedding/embedding.hpp -- rows of a table picked by number: the contract.
//
// Shapes: ids [...] int32 or int64, weight [V, D], y [..., D].
//   y[i, :] = weight[ids[i], :]        dweight[v, :] = sum over i with ids[i] = v, in the order of i, of dy[i, :]
// The row `padding_idx` is read like any other but receives no gradient (as in PyTorch). Copies are exact, NaN included.
// An id outside [0, V) is an error that names the id and its position. Empty ids are legal.
#pragma once
#include <cstdint>
#include <optional>

#include <moelle/core/error.hpp>
#include <moelle/core/shape.hpp>

namespace moelle::embedding {

struct EmbeddingParams {
  std::optional<std::int64_t> padding_idx = std::nullopt;
};

inline void check(const EmbeddingParams& p, const Shape& weight) {
  MOELLE_REQUIRE("embedding", weight.rank() == 2, str("weight must be [V, D]; got weight=", weight));
  MOELLE_REQUIRE("embedding", !p.padding_idx || (*p.padding_idx >= 0 && *p.padding_idx < weight[0]),
                 str("padding_idx must be in [0, V); got padding_idx=", p.padding_idx.value_or(-1), " V=", weight[0]));
}
// ids[n], contiguous.
template <class Index>
void check_ids(const Index* ids, std::int64_t n, std::int64_t V) {
  for (std::int64_t i = 0; i < n; ++i)
    MOELLE_REQUIRE("embedding", ids[i] >= 0 && static_cast<std::int64_t>(ids[i]) < V,
                   str("ids must be in [0, V); got ids[", i, "]=", ids[i], " V=", V));
}

}  // namespace moelle::embedding
