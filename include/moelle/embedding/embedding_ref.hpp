// moelle/embedding/embedding_ref.hpp -- the oracle: embedding.hpp id by id.
#pragma once
#include <cstdint>

#include <moelle/embedding/embedding.hpp>

namespace moelle::embedding::ref {

// ids[n], weight[V, D] -> y[n, D]
template <class T, class Index>
void embedding(const Index* ids, const T* weight, std::int64_t n, std::int64_t D, T* y) {
  for (std::int64_t i = 0; i < n; ++i)
    for (std::int64_t j = 0; j < D; ++j) y[i * D + j] = weight[static_cast<std::int64_t>(ids[i]) * D + j];
}

// dy[n, D] added to dweight[V, D].
template <class T, class Index>
void embedding_grad(const EmbeddingParams& p, const Index* ids, const T* dy, std::int64_t n, std::int64_t D, T* dweight) {
  for (std::int64_t i = 0; i < n; ++i)
    for (std::int64_t j = 0; j < D; ++j)
      if (static_cast<std::int64_t>(ids[i]) != p.padding_idx) dweight[static_cast<std::int64_t>(ids[i]) * D + j] += dy[i * D + j];
}

}  // namespace moelle::embedding::ref
