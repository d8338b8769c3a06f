// moelle/loss/linear_cross_entropy_op.hpp -- cross-entropy fused with the output projection, a chunk of tokens at a time.
//
// Logits exist for one chunk only. Where a gradient is wanted it is computed in the forward pass, while the chunk's logits are
// there (as in Liger Kernel, arXiv:2410.10989, section 3.2): three products instead of the four of recomputing them, for the
// price of holding the gradients of hidden and weight until backward, which scales them by the incoming gradient.
#pragma once
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include <moelle/autograd/record.hpp>
#include <moelle/core/parallel.hpp>
#include <moelle/core/tensor.hpp>
#include <moelle/gemm/products.hpp>
#include <moelle/loss/cross_entropy.hpp>
#include <moelle/loss/cross_entropy_op.hpp>
#include <moelle/loss/kernels.hpp>
#include <moelle/loss/targets.hpp>
#include <moelle/tensor/view_op.hpp>  // contiguous

namespace moelle::loss {

namespace detail {

// Tokens whose logits exist at once: 2^21 elements of them, in multiples of gemm's K block, so that the order of summation in
// the weight gradient does not depend on the chunk.
inline std::int64_t chunk_tokens(std::int64_t N, std::int64_t V) {
  const std::int64_t wanted = (std::int64_t{1} << 21) / std::max<std::int64_t>(1, V);
  const std::int64_t whole = std::max<std::int64_t>(1, wanted / gemm::kBlockK) * gemm::kBlockK;
  return std::min(N, whole);
}

// One run over the tokens: the rows' losses, and gradients into dhidden [N, D] and dweight [V, D] where these are defined.
template <class T>
class LinearLoss {
 public:
  LinearLoss(const Tensor<T>& hidden, const Tensor<T>& weight, const Targets& targets, double z, const Tensor<T>& dhidden, const Tensor<T>& dweight,
             gemm::Precision precision)
      : precision_(precision), hidden_(hidden), weight_(weight), targets_(targets), z_(z), dhidden_(dhidden), dweight_(dweight) {}

  std::vector<RowLoss<T>> run() {
    const std::int64_t N = targets_.size(), chunk = chunk_tokens(N, V_);
    rows_.resize(static_cast<std::size_t>(N));
    const Tensor<T> logits = Tensor<T>::empty({chunk, V_});
    for (std::int64_t begin = 0; begin < N; begin += chunk) {
      const std::int64_t n = std::min(chunk, N - begin);
      gemm::gemm<T>({.m = n, .n = V_, .k = D_, .a = gemm::plain<T>(hidden_.data() + begin * D_, D_),
                     .b = gemm::transposed<T>(weight_.data(), D_), .c = logits.data(), .ldc = V_, .precision = precision_});
      parallel_rows(n, vocabulary_grain(V_), [&](std::int64_t b, std::int64_t e) {
        for (std::int64_t i = b; i < e; ++i) finish_row(logits.data() + i * V_, begin + i);
      });
      add_gradients(logits.data(), begin, n);
    }
    return std::move(rows_);
  }

 private:
  bool wants_grad() const { return dhidden_.defined() || dweight_.defined(); }

  // Turns logits x[V] of token i into their gradient, in place, if gradients are wanted.
  void finish_row(T* x, std::int64_t i) {
    const std::int64_t label = targets_.at(i);
    RowLoss<T>& row = rows_[static_cast<std::size_t>(i)];
    if (label >= 0) {
      const T label_logit = x[label];
      kernels<T>().exponentials(x, V_, wants_grad() ? x : nullptr, &row.shift, &row.sum);
      row.finish(label_logit);
    }
    if (!wants_grad()) return;
    const double c = targets_.factor(i);
    kernels<T>().scale(x, V_, row.factor(label >= 0 ? c : 0.0, z_));
    if (label >= 0) x[label] -= static_cast<T>(c);
  }

  // Tokens [begin, begin + n).
  void add_gradients(const T* dlogits, std::int64_t begin, std::int64_t n) {
    if (dhidden_.defined())
      gemm::gemm<T>({.m = n, .n = D_, .k = V_, .a = gemm::plain<T>(dlogits, V_), .b = gemm::plain<T>(weight_.data(), D_),
                     .c = dhidden_.data() + begin * D_, .ldc = D_, .precision = precision_});
    if (dweight_.defined())
      gemm::gemm<T>({.m = V_, .n = D_, .k = n, .a = gemm::transposed<T>(dlogits, V_),
                     .b = gemm::plain<T>(hidden_.data() + begin * D_, D_), .c = dweight_.data(), .ldc = D_, .accumulate = begin > 0, .precision = precision_});
  }

  gemm::Precision precision_;
  const Tensor<T>&hidden_, &weight_;
  const Targets& targets_;
  double z_;
  const Tensor<T>&dhidden_, &dweight_;
  std::int64_t V_ = weight_.size(0), D_ = weight_.size(1);
  std::vector<RowLoss<T>> rows_;
};

// factor x; x itself for factor 1.
template <class T>
Tensor<T> scaled(const Tensor<T>& x, T factor) {
  if (factor == T(1)) return x;
  const Tensor<T> y = Tensor<T>::empty(x.shape());
  parallel_rows(x.numel(), 16384, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) y.data()[i] = x.data()[i] * factor;
  });
  return y;
}

}  // namespace detail

// hidden[..., D], weight[V, D], labels[...] (int32 or int64), label_weight[V] or undefined -> scalar:
// cross_entropy(hidden weight^T, labels) without ever holding all logits.
template <class T, class Index>
Tensor<T> linear_cross_entropy(const Tensor<T>& hidden, const Tensor<T>& weight, const Tensor<Index>& labels,
                               const CrossEntropyParams& params = {}, const Tensor<T>& label_weight = Tensor<T>(),
                               gemm::Precision precision = gemm::Precision::native) {
  check_projection(hidden.shape(), weight.shape());
  const Targets targets = make_targets("linear_cross_entropy", params, hidden.shape(), labels, weight.size(0), label_weight);
  const bool record = autograd::wants_grad(hidden, weight), any = targets.size() > 0;
  const auto place = [&](const Tensor<T>& x) {  // dweight is written by the first chunk, if there is one
    if (!record || !x.requires_grad()) return Tensor<T>();
    return any ? Tensor<T>::empty(x.shape()) : Tensor<T>::zeros(x.shape());
  };
  const Tensor<T> h = contiguous(hidden.detach()), w = contiguous(weight.detach()), dh = place(hidden), dw = place(weight);
  const auto rows = detail::LinearLoss<T>(h, w, targets, params.z_loss, dh, dw, precision).run();
  const Tensor<T> y = Tensor<T>::scalar(static_cast<T>(total_loss(targets, rows, params.z_loss)));
  if (record)
    autograd::record<T>("linear_cross_entropy", {hidden, weight}, {y}, [dh, dw](autograd::Backward<T>& b) {
      const T g = b.grad(0).item();
      if (b.needs(0)) b.add(0, detail::scaled(dh, g));
      if (b.needs(1)) b.add(1, detail::scaled(dw, g));
    });
  return y;
}

// log p(labels | hidden weight^T) per token, 0 where the label is ignore_index: [...]. For evaluation: records no gradient.
template <class T, class Index>
Tensor<T> linear_token_log_probs(const Tensor<T>& hidden, const Tensor<T>& weight, const Tensor<Index>& labels, std::int64_t ignore_index = -100) {
  check_projection(hidden.shape(), weight.shape());
  const Targets targets =
      make_targets("linear_token_log_probs", {.ignore_index = ignore_index}, hidden.shape(), labels, weight.size(0), Tensor<T>());
  const Tensor<T> h = contiguous(hidden.detach()), w = contiguous(weight.detach()), none, y = Tensor<T>::empty(labels.shape());
  const auto rows = detail::LinearLoss<T>(h, w, targets, 0.0, none, none, gemm::Precision::native).run();
  for (std::size_t i = 0; i < rows.size(); ++i) y.data()[i] = static_cast<T>(rows[i].log_prob);
  return y;
}

}  // namespace moelle::loss
