// moelle/tensor/view_op.hpp -- other shapes over the same elements, with gradients.
//
// reshape shares storage if the tensor is contiguous and copies otherwise; all others share. The gradient of a view is the
// gradient seen through the inverse view: for slices, zeros around it.
#pragma once
#include <algorithm>
#include <cstdint>
#include <vector>

#include <moelle/autograd/record.hpp>
#include <moelle/core/parallel.hpp>
#include <moelle/core/tensor.hpp>
#include <moelle/tensor/loops.hpp>

namespace moelle {

namespace detail {

// A view of x whose gradient g maps back by back(g), shaped as x.
template <class T, class F>
Tensor<T> with_gradient(const char* op, const Tensor<T>& x, const Tensor<T>& y, F back) {
  if constexpr (is_real<T>)
    if (autograd::wants_grad(x)) autograd::record<T>(op, {x}, {y}, [back](autograd::Backward<T>& b) { b.add(0, back(b.grad(0))); });
  return y;
}

}  // namespace detail

// A fresh copy in row-major order.
template <class T>
Tensor<T> clone(const Tensor<T>& x) {
  const Tensor<T> y = Tensor<T>::empty(x.shape());
  detail::copy_elements(x, y);
  return detail::with_gradient("clone", x, y, [](const Tensor<T>& g) { return g; });
}

// x itself if it is contiguous, else a copy.
template <class T>
Tensor<T> contiguous(const Tensor<T>& x) {
  return x.is_contiguous() ? x : clone(x);
}

// One size may be -1: whatever is left.
template <class T>
Tensor<T> reshape(const Tensor<T>& x, const Shape& wanted) {
  Shape shape = wanted;
  std::int64_t known = 1;
  int open = -1;
  for (int i = 0; i < shape.rank(); ++i) {
    MOELLE_REQUIRE("reshape", shape[i] >= -1 && (shape[i] != -1 || open < 0), str("sizes must not be negative, but for one -1; got shape=", wanted));
    if (shape[i] == -1) open = i;
    else known = checked_mul(known, shape[i]);
  }
  if (open >= 0 && known > 0) shape[open] = x.numel() / known;
  MOELLE_REQUIRE("reshape", (open < 0 || known > 0) && numel(shape) == x.numel(), str("shape must hold as many elements; got shape=", wanted, " for x=", x.shape()));
  const Tensor<T> y = x.is_contiguous() ? x.alias(shape) : clone(x.detach()).alias(shape);
  return detail::with_gradient("reshape", x, y, [from = x.shape()](const Tensor<T>& g) { return g.alias(from); });
}

template <class T>
Tensor<T> permute(const Tensor<T>& x, const std::vector<std::int64_t>& dims) {
  MOELLE_REQUIRE("permute", static_cast<int>(dims.size()) == x.rank(), str("dims must name every axis; got ", dims.size(), " for x=", x.shape()));
  Shape shape(x.rank(), 0), strides(x.rank(), 0), inverse(x.rank(), -1);
  for (int i = 0; i < x.rank(); ++i) {
    const int d = normalize_dim("permute", dims[static_cast<std::size_t>(i)], x.rank());
    MOELLE_REQUIRE("permute", inverse[d] < 0, str("dims must name every axis once; got axis ", d, " twice"));
    inverse[d] = i;
    shape[i] = x.shape()[d];
    strides[i] = x.strides()[d];
  }
  return detail::with_gradient("permute", x, x.alias(shape, strides), [inverse](const Tensor<T>& g) {
    Shape s(g.rank(), 0), t(g.rank(), 0);
    for (int i = 0; i < g.rank(); ++i) s[i] = g.shape()[static_cast<int>(inverse[i])], t[i] = g.strides()[static_cast<int>(inverse[i])];
    return clone(g.alias(s, t));
  });
}

template <class T>
Tensor<T> transpose(const Tensor<T>& x, std::int64_t dim0, std::int64_t dim1) {
  std::vector<std::int64_t> dims;
  for (int i = 0; i < x.rank(); ++i) dims.push_back(i);
  std::swap(dims[static_cast<std::size_t>(normalize_dim("transpose", dim0, x.rank()))], dims[static_cast<std::size_t>(normalize_dim("transpose", dim1, x.rank()))]);
  return permute(x, dims);
}

// Elements begin, begin + step, ... below end of one axis; negative bounds count from the end, as in Python.
template <class T>
Tensor<T> slice(const Tensor<T>& x, std::int64_t dim, std::int64_t begin, std::int64_t end, std::int64_t step = 1) {
  const int d = normalize_dim("slice", dim, x.rank());
  const std::int64_t n = x.shape()[d];
  MOELLE_REQUIRE("slice", step > 0, str("step must be positive; got step=", step));
  const auto clip = [n](std::int64_t i) { return std::clamp<std::int64_t>(i < 0 ? i + n : i, 0, n); };
  const std::int64_t first = clip(begin), last = std::max(first, clip(end));
  Shape shape = x.shape();
  Strides strides = x.strides();
  const std::int64_t offset = first * strides[d];
  shape[d] = (last - first + step - 1) / step;
  strides[d] *= step;
  const Tensor<T> y = x.alias(shape, strides, numel(shape) == 0 ? 0 : offset);
  return detail::with_gradient("slice", x, y, [from = x.shape(), d, first, step](const Tensor<T>& g) {
    const Tensor<T> full = Tensor<T>::zeros(from);
    Strides s = full.strides();
    const std::int64_t at = first * s[d];
    s[d] *= step;
    if (g.numel() > 0) detail::copy_elements(g, full.alias(g.shape(), s, at));
    return full;
  });
}

template <class T>
Tensor<T> narrow(const Tensor<T>& x, std::int64_t dim, std::int64_t begin, std::int64_t length) {
  const int d = normalize_dim("narrow", dim, x.rank());
  MOELLE_REQUIRE("narrow", begin >= 0 && length >= 0 && begin + length <= x.shape()[d],
                 str("range must lie in the axis; got begin=", begin, " length=", length, " size=", x.shape()[d]));
  return slice(x, dim, begin, begin + length);
}

}  // namespace moelle
