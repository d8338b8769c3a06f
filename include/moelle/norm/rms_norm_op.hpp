// moelle/norm/rms_norm_op.hpp -- RMSNorm on tensors, alone or fused with the residual sum that precedes it.
#pragma once
#include <algorithm>
#include <cstdint>

#include <moelle/activation/rows.hpp>
#include <moelle/autograd/record.hpp>
#include <moelle/core/parallel.hpp>
#include <moelle/core/tensor.hpp>
#include <moelle/cpu/caches.hpp>
#include <moelle/norm/kernels.hpp>
#include <moelle/norm/rms_norm.hpp>

namespace moelle::norm {

namespace detail {

inline std::int64_t row_grain(std::int64_t width) { return std::max<std::int64_t>(1, 8192 / std::max<std::int64_t>(1, width)); }

// `to`: the result, y or dx; may be undefined.
template <class T>
RmsNormArgs<T> rms_norm_args(const moelle::detail::Rows<T>& x, const Tensor<T>& weight, double eps, const Tensor<T>& to) {
  const bool past = to.defined() && cpu::past_caches(to.data(), x.rows, x.width * static_cast<std::int64_t>(sizeof(T)));
  return {x.data, x.stride, weight.defined() ? weight.data() : nullptr, x.width, static_cast<T>(eps), past};
}

// The gradient of input 0 (dx, may be undefined) and of the weight, which goes straight into its buffer. A fixed number of
// partial sums over fixed ranges of rows makes dw independent of the threads.
template <class T>
void rms_norm_backward(const RmsNormArgs<T>& args, std::int64_t rows, const Tensor<T>& rstd, const Tensor<T>& dy, const T* plus,
                       const Tensor<T>& dx, autograd::Accumulator<T>* dw) {
  T* out = dx.defined() ? dx.data() : nullptr;
  const auto kernel = kernels<T>().rms_norm_grad;
  if (dw == nullptr) {
    parallel_rows(rows, row_grain(args.D), [&](std::int64_t b, std::int64_t e) { kernel(args, rstd.data(), dy.data(), plus, out, nullptr, b, e); });
    return;
  }
  const std::int64_t chunks = std::min(rows, kReduceChunks);
  const Tensor<T> partial = Tensor<T>::zeros({chunks, args.D});
  parallel_for(chunks, [&](std::int64_t c) {
    kernel(args, rstd.data(), dy.data(), plus, out, partial.data() + c * args.D, rows * c / chunks, rows * (c + 1) / chunks);
  });
  T* w = dw->tensor.data();
  for (std::int64_t j = 0; j < args.D; ++j) {
    T sum = 0;
    for (std::int64_t c = 0; c < chunks; ++c) sum += partial.data()[c * args.D + j];
    w[j] = dw->overwrite ? sum : w[j] + sum;
  }
}

}  // namespace detail

// x[..., D], weight[D] or undefined -> [..., D]. Rows of a slice of the last axis are read in place.
template <class T>
Tensor<T> rms_norm(const Tensor<T>& x, const Tensor<T>& weight, double eps) {
  check_rms_norm(x.shape(), weight.defined() ? &weight.shape() : nullptr, eps);
  const auto rows = moelle::detail::rows_of(x);
  const Tensor<T> w = weight.defined() ? contiguous(weight.detach()) : Tensor<T>();
  const Tensor<T> y = Tensor<T>::empty(x.shape());
  const bool record = autograd::wants_grad(x, weight);
  const Tensor<T> rstd = Tensor<T>::empty({record ? rows.rows : 0});
  const auto args = detail::rms_norm_args(rows, w, eps, y);
  parallel_rows(rows.rows, detail::row_grain(args.D), [&](std::int64_t b, std::int64_t e) {
    kernels<T>().rms_norm(args, y.data(), record ? rstd.data() : nullptr, b, e);
  });
  if (!record) return y;
  autograd::record<T>("rms_norm", {x, weight}, {y},
                      [eps, rstd, sx = autograd::Saved<T>(rows.tensor), sw = autograd::Saved<T>(w)](autograd::Backward<T>& b) {
    const auto in = moelle::detail::rows_of(sx.get());
    const Tensor<T> dx = b.needs(0) ? Tensor<T>::empty(sx.get().shape()) : Tensor<T>();
    autograd::Accumulator<T> dw;
    if (b.needs(1)) dw = b.buffer(1);
    detail::rms_norm_backward(detail::rms_norm_args(in, sw.get(), eps, dx), in.rows, rstd, b.grad(0), static_cast<const T*>(nullptr), dx,
                              b.needs(1) ? &dw : nullptr);
    if (b.needs(0)) b.add(0, dx);
  });
  return y;
}

template <class T>
struct AddRmsNorm {
  Tensor<T> sum;     // x + residual [..., D]: the residual of the next layer
  Tensor<T> normed;  // rms_norm(sum) [..., D]
};

// x[..., D], residual[..., D], weight[D] or undefined. One pass forward, and backward joins the two gradients of the sum, so
// that a residual stream built of these needs no additions of its own.
template <class T>
AddRmsNorm<T> add_rms_norm(const Tensor<T>& x, const Tensor<T>& residual, const Tensor<T>& weight, double eps) {
  check_add_rms_norm(x.shape(), residual.shape(), weight.defined() ? &weight.shape() : nullptr, eps);
  const auto rows = moelle::detail::rows_of(x);
  const Tensor<T> other = contiguous(residual.detach());
  const Tensor<T> w = weight.defined() ? contiguous(weight.detach()) : Tensor<T>();
  const Tensor<T> sum = Tensor<T>::empty(x.shape()), y = Tensor<T>::empty(x.shape());
  const bool record = autograd::wants_grad(x, residual, weight);
  const Tensor<T> rstd = Tensor<T>::empty({record ? rows.rows : 0});
  const auto args = detail::rms_norm_args(rows, w, eps, y);
  parallel_rows(rows.rows, detail::row_grain(args.D), [&](std::int64_t b, std::int64_t e) {
    kernels<T>().add_rms_norm(args, other.data(), sum.data(), y.data(), record ? rstd.data() : nullptr, b, e);
  });
  if (!record) return {sum, y};
  autograd::record<T>("add_rms_norm", {x, residual, weight}, {sum, y},
                      [eps, rstd, ss = autograd::Saved<T>(sum), sw = autograd::Saved<T>(w)](autograd::Backward<T>& b) {
    const auto in = moelle::detail::rows_of(ss.get());
    const Tensor<T> dx = b.needs(0) || b.needs(1) ? Tensor<T>::empty(ss.get().shape()) : Tensor<T>();
    const Tensor<T> plus = b.has_grad(0) ? b.grad(0) : Tensor<T>();
    autograd::Accumulator<T> dw;
    if (b.needs(2)) dw = b.buffer(2);
    detail::rms_norm_backward(detail::rms_norm_args(in, sw.get(), eps, dx), in.rows, rstd, b.grad(1),
                              static_cast<const T*>(plus.defined() ? plus.data() : nullptr), dx, b.needs(2) ? &dw : nullptr);
    b.add(0, dx);  // shared, not copied: both gradients are the same tensor
    b.add(1, dx);
  });
  return {sum, y};
}

}  // namespace moelle::norm
