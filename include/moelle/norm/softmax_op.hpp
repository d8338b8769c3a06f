// moelle/norm/softmax_op.hpp -- softmax and log_softmax along any axis of a tensor.
#pragma once
#include <algorithm>
#include <cstdint>
#include <utility>

#include <moelle/autograd/record.hpp>
#include <moelle/core/parallel.hpp>
#include <moelle/core/tensor.hpp>
#include <moelle/norm/kernels.hpp>
#include <moelle/norm/softmax.hpp>
#include <moelle/tensor/view_op.hpp>  // contiguous

namespace moelle::norm {

namespace detail {

// x with axis `dim` and the last one exchanged, in row-major order; its own inverse.
template <class T>
Tensor<T> exchange_with_last(const Tensor<T>& x, int dim) {
  if (dim == x.rank() - 1) return contiguous(x.detach());
  Shape shape = x.shape();
  Strides strides = x.strides();
  std::swap(shape[dim], shape[shape.rank() - 1]);
  std::swap(strides[dim], strides[strides.rank() - 1]);
  return contiguous(x.alias(shape, strides));
}

template <class T>
Tensor<T> softmax(Softmax form, const Tensor<T>& x, std::int64_t dim) {
  const int form_index = static_cast<int>(form), axis = normalize_dim(name(form), dim, x.rank());
  const Tensor<T> in = exchange_with_last(x, axis), out = Tensor<T>::empty(in.shape());
  const std::int64_t n = in.size(-1), rows = n == 0 ? 0 : in.numel() / n;
  const std::int64_t grain = std::max<std::int64_t>(1, 4096 / std::max<std::int64_t>(1, n));
  parallel_rows(rows, grain, [&](std::int64_t b, std::int64_t e) { kernels<T>().softmax[form_index](in.data(), n, out.data(), b, e); });
  const Tensor<T> y = exchange_with_last(out, axis);
  if (!autograd::wants_grad(x)) return y;
  autograd::record<T>(name(form), {x}, {y}, [=, saved = autograd::Saved<T>(out)](autograd::Backward<T>& b) {
    const Tensor<T> dy = exchange_with_last(b.grad(0), axis), dx = Tensor<T>::empty(dy.shape());
    const T* p = saved.get().data();
    parallel_rows(rows, grain, [&](std::int64_t first, std::int64_t last) {
      kernels<T>().softmax_grad[form_index](p, dy.data(), n, dx.data(), first, last);
    });
    b.add(0, exchange_with_last(dx, axis));
  });
  return y;
}

}  // namespace detail

// x, axis `dim` (negative counts from the end) -> same shape
template <class T>
Tensor<T> softmax(const Tensor<T>& x, std::int64_t dim = -1) {
  return detail::softmax(Softmax::plain, x, dim);
}
template <class T>
Tensor<T> log_softmax(const Tensor<T>& x, std::int64_t dim = -1) {
  return detail::softmax(Softmax::log, x, dim);
}

}  // namespace moelle::norm
