// moelle/embedding/embedding_op.hpp -- embedding on tensors.
#pragma once
#include <algorithm>
#include <cstdint>
#include <vector>

#include <moelle/autograd/record.hpp>
#include <moelle/core/parallel.hpp>
#include <moelle/core/tensor.hpp>
#include <moelle/embedding/embedding.hpp>
#include <moelle/tensor/view_op.hpp>  // contiguous

namespace moelle::embedding {

namespace detail {

// The places at which each row of a table is named, in ascending order: those of row v are places[first[v] .. first[v + 1]).
struct Mentions {
  std::vector<std::int64_t> first, places;  // [V + 1], [n]
};

// A place with the id `padding` is left out.
template <class Index>
Mentions mentions_of(const Index* ids, std::int64_t n, std::int64_t V, std::int64_t padding) {
  Mentions m{std::vector<std::int64_t>(static_cast<std::size_t>(V + 2)), std::vector<std::int64_t>(static_cast<std::size_t>(n))};
  for (std::int64_t i = 0; i < n; ++i)
    if (const auto id = static_cast<std::int64_t>(ids[i]); id != padding) ++m.first[static_cast<std::size_t>(id + 2)];
  for (std::size_t v = 2; v < m.first.size(); ++v) m.first[v] += m.first[v - 1];
  for (std::int64_t i = 0; i < n; ++i)  // first[v + 1] runs from the start of row v to its end
    if (const auto id = static_cast<std::int64_t>(ids[i]); id != padding) m.places[static_cast<std::size_t>(m.first[static_cast<std::size_t>(id + 1)]++)] = i;
  return m;
}

// Rows of dy[n, D] added to those of dw[V, D] that their ids name, or to zeros in their place. A task owns a block of dw, of whole rows unless
// they are long, so that each piece of memory is touched once, in order, and a popular id does not keep one thread alone.
template <class T, class Index>
void scatter_rows(const Index* ids, const T* dy, std::int64_t n, std::int64_t V, std::int64_t D, std::int64_t padding, bool overwrite, T* dw) {
  constexpr std::int64_t kColumns = 4096;
  const Mentions m = mentions_of(ids, n, V, padding);
  const std::int64_t blocks = (D + kColumns - 1) / kColumns;
  const std::int64_t grain = std::max<std::int64_t>(1, 16384 * V / std::max<std::int64_t>(1, (V + n) * std::min(D, kColumns)));  // rows of a task
  const std::int64_t groups = (V + grain - 1) / grain;
  parallel_rows(groups * blocks, 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t task = begin; task < end; ++task) {
      const std::int64_t at = task % blocks * kColumns, columns = std::min(kColumns, D - at), last = std::min(V, (task / blocks + 1) * grain);
      for (std::int64_t v = task / blocks * grain; v < last; ++v) {
        T* MOELLE_RESTRICT to = dw + v * D + at;
        std::int64_t k = m.first[static_cast<std::size_t>(v)];
        const std::int64_t behind = m.first[static_cast<std::size_t>(v + 1)];
        const auto row = [&](std::int64_t i) { return dy + m.places[static_cast<std::size_t>(i)] * D + at; };
        if (overwrite && k == behind) std::fill_n(to, columns, T(0));
        if (overwrite && k < behind) {
          const T* MOELLE_RESTRICT from = row(k++);
          for (std::int64_t j = 0; j < columns; ++j) to[j] = T(0) + from[j];  // -0 becomes 0, as in a sum that starts there
        }
        for (; k < behind; ++k) {
          const T* MOELLE_RESTRICT from = row(k);
          for (std::int64_t j = 0; j < columns; ++j) to[j] += from[j];
        }
      }
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
    detail::scatter_rows(saved.get().data(), b.grad(0).data(), n, V, D, padding, dw.overwrite, dw.tensor.data());
  });
  return y;
}

}  // namespace moelle::embedding
