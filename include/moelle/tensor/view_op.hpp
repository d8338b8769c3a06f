// moelle/tensor/view_op.hpp -- other shapes over the same elements, with gradients.
//
// All share storage with x and see later changes to it, except clone (always a copy), contiguous, reshape, flatten and
// unflatten (a copy only where x is not contiguous). The gradient of a view is its gradient seen through the inverse view:
// zeros around a slice, sums over what expand repeats.
#pragma once
#include <algorithm>
#include <cstdint>
#include <limits>
#include <utility>
#include <vector>

#include <moelle/autograd/record.hpp>
#include <moelle/tensor/reduce_op.hpp>  // sum_to

namespace moelle {

// A bound left out of a slice: x[kOpen : 3] is slice(x, 0, kOpen, 3).
inline constexpr std::int64_t kOpen = std::numeric_limits<std::int64_t>::min();

namespace detail {

// y is a view of x; back(g) is the gradient of x, shaped as x.
template <class T, class F>
Tensor<T> with_gradient(const char* op, const Tensor<T>& x, const Tensor<T>& y, F back) {
  if constexpr (is_real<T>)
    if (autograd::wants_grad(x)) autograd::record<T>(op, {x}, {y}, [back](autograd::Backward<T>& b) { b.add(0, back(b.grad(0))); });
  return y;
}

// y is a view of part of x, and part(dx) the same part of a contiguous gradient. Several parts of one tensor (q, k and v of
// one product) are gathered in one buffer.
template <class T, class F>
Tensor<T> with_part_gradient(const char* op, const Tensor<T>& x, const Tensor<T>& y, F part) {
  if constexpr (is_real<T>)
    if (autograd::wants_grad(x))
      autograd::record<T>(op, {x}, {y}, [part](autograd::Backward<T>& b) {
        const Tensor<T> g = b.grad(0);
        const autograd::Accumulator<T> dx = b.buffer(0);
        if (dx.overwrite) {
          fill_elements(dx.tensor, T(0));
          copy_elements(g, part(dx.tensor));
        } else {
          update(part(dx.tensor), [](T a, T v) { return a + v; }, g);
        }
      });
  return y;
}

// -1 stands for whatever is left.
inline Shape completed(const char* op, const Shape& wanted, std::int64_t elements, const Shape& from) {
  Shape shape = wanted;
  std::int64_t known = 1;
  int open = -1;
  for (int i = 0; i < shape.rank(); ++i) {
    MOELLE_REQUIRE(op, shape[i] >= -1 && (shape[i] != -1 || open < 0), str("sizes must not be negative, but for one -1; got shape=", wanted));
    if (shape[i] == -1) open = i;
    else known = checked_mul(known, shape[i]);
  }
  if (open >= 0 && known > 0) shape[open] = elements / known;
  MOELLE_REQUIRE(op, (open < 0 || known > 0) && numel(shape) == elements, str("shape must hold as many elements; got shape=", wanted, " for x=", from));
  return shape;
}

}  // namespace detail

// A fresh copy in row-major order.
template <class T>
Tensor<T> clone(const Tensor<T>& x) {
  const Tensor<T> y = Tensor<T>::empty(x.shape());
  detail::copy_elements(x, y);
  return detail::with_gradient("clone", x, y, [](const auto& g) { return g; });
}

// x itself if it is contiguous, else a copy.
template <class T>
Tensor<T> contiguous(const Tensor<T>& x) {
  return x.is_contiguous() ? x : clone(x);
}

// One size may be -1: whatever is left.
template <class T>
Tensor<T> reshape(const Tensor<T>& x, const Shape& wanted) {
  const Shape shape = detail::completed("reshape", wanted, x.numel(), x.shape());
  const Tensor<T> y = x.is_contiguous() ? x.alias(shape) : clone(x.detach()).alias(shape);
  return detail::with_gradient("reshape", x, y, [from = x.shape()](const auto& g) { return g.alias(from); });
}

// Axes first to last, both included, as one.
template <class T>
Tensor<T> flatten(const Tensor<T>& x, std::int64_t first = 0, std::int64_t last = -1) {
  if (x.rank() == 0) return reshape(x, {1});
  const int from = normalize_dim("flatten", first, x.rank()), to = normalize_dim("flatten", last, x.rank());
  MOELLE_REQUIRE("flatten", from <= to, str("first must not come after last; got first=", first, " last=", last));
  Shape shape;
  for (int d = 0; d < x.rank(); ++d) {
    if (d <= from || d > to) shape.push_back(x.shape()[d]);
    else shape[from] = checked_mul(shape[from], x.shape()[d]);
  }
  return reshape(x, shape);
}

// One axis as several; one of the sizes may be -1.
template <class T>
Tensor<T> unflatten(const Tensor<T>& x, std::int64_t dim, const Shape& sizes) {
  const int d = normalize_dim("unflatten", dim, x.rank());
  const Shape parts = detail::completed("unflatten", sizes, x.shape()[d], x.shape());
  Shape shape;
  for (int i = 0; i < x.rank(); ++i) {
    if (i != d) shape.push_back(x.shape()[i]);
    else for (const std::int64_t s : parts) shape.push_back(s);
  }
  return reshape(x, shape);
}

// Axis i of the result is axis dims[i] of x.
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
  return detail::with_gradient("permute", x, x.alias(shape, strides), [inverse](const auto& g) {
    Shape back(g.rank(), 0), back_strides(g.rank(), 0);
    for (int i = 0; i < g.rank(); ++i) {
      back[i] = g.shape()[static_cast<int>(inverse[i])];
      back_strides[i] = g.strides()[static_cast<int>(inverse[i])];
    }
    return contiguous(g.alias(back, back_strides));
  });
}

template <class T>
Tensor<T> transpose(const Tensor<T>& x, std::int64_t dim0, std::int64_t dim1) {
  std::vector<std::int64_t> dims;
  for (int i = 0; i < x.rank(); ++i) dims.push_back(i);
  const auto a = static_cast<std::size_t>(normalize_dim("transpose", dim0, x.rank()));
  const auto b = static_cast<std::size_t>(normalize_dim("transpose", dim1, x.rank()));
  std::swap(dims[a], dims[b]);
  return permute(x, dims);
}

// x[begin : end : step] along one axis, by Python's rules: negative bounds count from the end, bounds outside are moved to
// the nearest, kOpen leaves one out, a negative step runs backwards.
template <class T>
Tensor<T> slice(const Tensor<T>& x, std::int64_t dim, std::int64_t begin, std::int64_t end, std::int64_t step = 1) {
  const int d = normalize_dim("slice", dim, x.rank());
  const std::int64_t n = x.shape()[d];
  MOELLE_REQUIRE("slice", step != 0 && step != kOpen, str("step must not be 0; got step=", step));
  const std::int64_t low = step > 0 ? 0 : -1, high = step > 0 ? n : n - 1;
  const auto bound = [&](std::int64_t i, std::int64_t open) {
    if (i == kOpen) return open;
    return std::clamp<std::int64_t>(i < 0 ? i + n : i, low, high);
  };
  const std::int64_t first = bound(begin, step > 0 ? low : high), last = bound(end, step > 0 ? high : low);
  const std::int64_t span = step > 0 ? last - first : first - last, stride = step > 0 ? step : -step;
  Shape shape = x.shape();
  shape[d] = span > 0 ? (span - 1) / stride + 1 : 0;
  const auto part = [shape, d, first, step](const auto& whole) {
    Strides strides = whole.strides();
    const std::int64_t offset = first * strides[d];
    if (shape[d] > 1) strides[d] *= step;  // a step past the end must not overflow
    return whole.alias(shape, strides, numel(shape) == 0 ? 0 : offset);
  };
  return detail::with_part_gradient("slice", x, part(x), part);
}

// x[begin : begin + length], which must lie inside.
template <class T>
Tensor<T> narrow(const Tensor<T>& x, std::int64_t dim, std::int64_t begin, std::int64_t length) {
  const int d = normalize_dim("narrow", dim, x.rank());
  MOELLE_REQUIRE("narrow", begin >= 0 && length >= 0 && begin <= x.shape()[d] && length <= x.shape()[d] - begin,
                 str("range must lie in the axis; got begin=", begin, " length=", length, " size=", x.shape()[d]));
  return slice(x, dim, begin, begin + length);
}

// x[index] along one axis, which goes away; negative indices count from the end.
template <class T>
Tensor<T> select(const Tensor<T>& x, std::int64_t dim, std::int64_t index) {
  const int d = normalize_dim("select", dim, x.rank());
  const std::int64_t n = x.shape()[d];
  MOELLE_REQUIRE("select", index >= -n && index < n, str("index must be in [", -n, ", ", n, "); got index=", index));
  const std::int64_t at = index < 0 ? index + n : index;
  const auto part = [d, at](const auto& whole) {
    Shape shape = whole.shape();
    Strides strides = whole.strides();
    const std::int64_t offset = at * strides[d];
    shape.erase(d);
    strides.erase(d);
    return whole.alias(shape, strides, numel(shape) == 0 ? 0 : offset);
  };
  return detail::with_part_gradient("select", x, part(x), part);
}

// Removes an axis of size 1.
template <class T>
Tensor<T> squeeze(const Tensor<T>& x, std::int64_t dim) {
  const int d = normalize_dim("squeeze", dim, x.rank());
  MOELLE_REQUIRE("squeeze", x.shape()[d] == 1, str("the axis must have size 1; got dim=", dim, " of shape=", x.shape()));
  Shape shape = x.shape(), strides = x.strides();
  shape.erase(d);
  strides.erase(d);
  return detail::with_gradient("squeeze", x, x.alias(shape, strides), [from = x.shape()](const auto& g) { return g.alias(from); });
}

// Puts an axis of size 1 before axis dim (of the result).
template <class T>
Tensor<T> unsqueeze(const Tensor<T>& x, std::int64_t dim) {
  const int d = normalize_dim("unsqueeze", dim, x.rank() + 1);
  Shape shape = x.shape(), strides = x.strides();
  shape.insert(d, 1);
  strides.insert(d, d < x.rank() ? x.shape()[d] * x.strides()[d] : 1);
  return detail::with_gradient("unsqueeze", x, x.alias(shape, strides), [from = x.shape()](const auto& g) { return g.alias(from); });
}

// x under a larger shape, repeated without being copied; -1 keeps a size. Not to be written to.
template <class T>
Tensor<T> expand(const Tensor<T>& x, const Shape& wanted) {
  Shape shape = wanted;
  const int skip = shape.rank() - x.rank();
  for (int d = std::max(skip, 0); d < shape.rank(); ++d)
    if (shape[d] == -1) shape[d] = x.shape()[d - skip];
  MOELLE_REQUIRE("expand", skip >= 0 && broadcast_shapes("expand", x.shape(), shape) == shape,
                 str("x must broadcast to the shape; got x=", x.shape(), " shape=", wanted));
  return detail::with_gradient("expand", x, x.alias(shape, detail::broadcast_strides(x, shape)),
                               [from = x.shape()](const auto& g) { return detail::sum_to(g, from); });
}
template <class T>
Tensor<T> broadcast_to(const Tensor<T>& x, const Shape& shape) {
  return expand(x, shape);
}

}  // namespace moelle
