// moelle/embedding/embedding_op.hpp -- embedding on tensors.
#pragma once
#include <algorithm>
#include <cstdint>

#include <moelle/autograd/record.hpp>
#include <moelle/core/parallel.hpp>
#include <moelle/core/tensor.hpp>
#include <moelle/embedding/embedding.hpp>
#include <moelle/tensor/view_op.hpp>  // contiguous

namespace moelle::embedding {

namespace detail {

// Adds dy[n, D] to the rows of dw. A task owns a range of columns and walks through all ids in order, so a row's sum has one
// order whatever the threads, and popular ids do not unbalance the tasks.
template <class T, class Index>
void scatter_rows(const Index* ids, const T* dy, std::int64_t n, std::int64_t D, std::int64_t padding, T* dw) {
  const std::int64_t blocks = (D + 63) / 64;  // 64 columns: whole cache lines
  parallel_for(blocks, [&](std::int64_t block) {
    const std::int64_t first = block * 64, columns = std::min<std::int64_t>(64, D - first);
    for (std::int64_t i = 0; i < n; ++i) {
      const auto id = static_cast<std::int64_t>(ids[i]);
      if (id == padding) continue;
      const T* MOELLE_RESTRICT from = dy + i * D + first;
      T* MOELLE_RESTRICT to = dw + id * D + first;
      for (std::int64_t j = 0; j < columns; ++j) to[j] += from[j];
    }
  });
}

}  // namespace detail

// ids[...] (int32 or int64), weight[V, D] -> [..., D]. The gradient is added into the weight's gradient buffer in place.
template <class T, class Index>
Tensor<T> embedding(const Tensor<Index>& ids, const Tensor<T>& weight, const EmbeddingParams& params = {}) {
  static_assert(dtype_of<Index> == DType::int32 || dtype_of<Index> == DType::int64, "ids must be int32 or int64");
  check(params, weight.shape());
  const Tensor<Index> at = contiguous(ids);
  const std::int64_t n = at.numel(), V = weight.size(0), D = weight.size(1);
  check_ids(at.data(), n, V);
  Shape shape = ids.shape();
  shape.push_back(D);
  const Tensor<T> y = Tensor<T>::empty(shape), w = contiguous(weight.detach());
  parallel_rows(n, std::max<std::int64_t>(1, 16384 / std::max<std::int64_t>(1, D)), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) std::copy_n(w.data() + static_cast<std::int64_t>(at.data()[i]) * D, D, y.data() + i * D);
  });
  const std::int64_t padding = params.padding_idx.value_or(-1);
  if (!autograd::wants_grad(weight)) return y;
  autograd::record<T>("embedding", {weight}, {y}, [n, V, D, padding, saved = autograd::Saved<Index>(at)](autograd::Backward<T>& b) {
    const autograd::Accumulator<T> dw = b.buffer(0);
    if (dw.overwrite) parallel_rows(V, 64, [&](std::int64_t begin, std::int64_t end) { std::fill_n(dw.tensor.data() + begin * D, (end - begin) * D, T(0)); });
    detail::scatter_rows(saved.get().data(), b.grad(0).data(), n, D, padding, dw.tensor.data());
  });
  return y;
}

}  // namespace moelle::embedding
