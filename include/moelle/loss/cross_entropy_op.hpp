// moelle/loss/cross_entropy_op.hpp -- cross-entropy and per-token log-probabilities of given logits.
#pragma once
#include <algorithm>
#include <cstdint>
#include <vector>

#include <moelle/autograd/record.hpp>
#include <moelle/core/parallel.hpp>
#include <moelle/core/tensor.hpp>
#include <moelle/loss/cross_entropy.hpp>
#include <moelle/loss/kernels.hpp>
#include <moelle/loss/targets.hpp>
#include <moelle/tensor/view_op.hpp>  // contiguous

namespace moelle::loss {

namespace detail {

inline std::int64_t vocabulary_grain(std::int64_t V) { return std::max<std::int64_t>(1, 4096 / std::max<std::int64_t>(1, V)); }

// logits[N, V], contiguous; ignored rows are not read.
template <class T>
std::vector<RowLoss<T>> row_losses(const T* logits, std::int64_t V, const Targets& t) {
  std::vector<RowLoss<T>> rows(static_cast<std::size_t>(t.size()));
  parallel_rows(t.size(), vocabulary_grain(V), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) {
      if (t.at(i) < 0) continue;
      RowLoss<T>& row = rows[static_cast<std::size_t>(i)];
      kernels<T>().exponentials(logits + i * V, V, nullptr, &row.shift, &row.sum);
      row.finish(logits[i * V + t.at(i)]);
    }
  });
  return rows;
}

// dlogits[N, V] of sum_i c_i l_i, overwritten.
template <class T, class C>
void row_gradients(const T* logits, std::int64_t V, const Targets& t, const std::vector<RowLoss<T>>& rows, double z, C c, T* dlogits) {
  parallel_rows(t.size(), vocabulary_grain(V), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) {
      const RowLoss<T>& row = rows[static_cast<std::size_t>(i)];
      const double ci = t.at(i) < 0 ? 0.0 : c(i);
      kernels<T>().scaled_exponentials(logits + i * V, V, row.shift, row.factor(ci, z), dlogits + i * V);
      if (t.at(i) >= 0) dlogits[i * V + t.at(i)] -= static_cast<T>(ci);
    }
  });
}

}  // namespace detail

// logits[..., V], labels[...] (int32 or int64), label_weight[V] or undefined -> scalar.
template <class T, class Index>
Tensor<T> cross_entropy(const Tensor<T>& logits, const Tensor<Index>& labels, const CrossEntropyParams& params = {},
                        const Tensor<T>& label_weight = Tensor<T>()) {
  const std::int64_t V = logits.rank() > 0 ? logits.size(-1) : 0;
  Targets targets = make_targets("cross_entropy", params, logits.shape(), labels, V, label_weight);
  const Tensor<T> x = contiguous(logits.detach());
  std::vector<RowLoss<T>> rows = detail::row_losses(x.data(), V, targets);
  const Tensor<T> y = Tensor<T>::scalar(static_cast<T>(total_loss(targets, rows, params.z_loss)));
  if (!autograd::wants_grad(logits)) return y;
  autograd::record<T>("cross_entropy", {logits}, {y},
                      [V, z = params.z_loss, targets = std::move(targets), rows = std::move(rows), saved = autograd::Saved<T>(x)](
                          autograd::Backward<T>& b) {
    const Tensor<T> dx = Tensor<T>::empty(saved.get().shape());
    const auto g = static_cast<double>(b.grad(0).item());
    detail::row_gradients(saved.get().data(), V, targets, rows, z, [&](std::int64_t i) { return g * targets.factor(i); }, dx.data());
    b.add(0, dx);
  });
  return y;
}

// log p(labels | logits): logits[..., V], labels[...] -> [...]; 0 where the label is ignore_index.
// Gradient: dlogits_ij = g_i ([j = y_i] - p_ij).
template <class T, class Index>
Tensor<T> token_log_probs(const Tensor<T>& logits, const Tensor<Index>& labels, std::int64_t ignore_index = -100) {
  const std::int64_t V = logits.rank() > 0 ? logits.size(-1) : 0;
  Targets targets = make_targets("token_log_probs", {.ignore_index = ignore_index}, logits.shape(), labels, V, Tensor<T>());
  const Tensor<T> x = contiguous(logits.detach()), y = Tensor<T>::empty(labels.shape());
  std::vector<RowLoss<T>> rows = detail::row_losses(x.data(), V, targets);
  for (std::size_t i = 0; i < rows.size(); ++i) y.data()[i] = static_cast<T>(rows[i].log_prob);
  if (!autograd::wants_grad(logits)) return y;
  autograd::record<T>("token_log_probs", {logits}, {y},
                      [V, targets = std::move(targets), rows = std::move(rows), saved = autograd::Saved<T>(x)](autograd::Backward<T>& b) {
    const Tensor<T> g = b.grad(0), dx = Tensor<T>::empty(saved.get().shape());
    detail::row_gradients(saved.get().data(), V, targets, rows, 0.0, [&](std::int64_t i) { return -static_cast<double>(g.data()[i]); }, dx.data());
    b.add(0, dx);
  });
  return y;
}

}  // namespace moelle::loss
