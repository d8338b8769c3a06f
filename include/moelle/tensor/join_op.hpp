// moelle/tensor/join_op.hpp -- tensors side by side along one axis, and apart again.
//
// concat and stack copy; split and chunk give views (see view_op.hpp). The gradient of each part is its part of the gradient.
#pragma once
#include <cstdint>
#include <vector>

#include <moelle/tensor/view_op.hpp>

namespace moelle {

namespace detail {
template <class T>
Shape joined_shape(const std::vector<Tensor<T>>& parts, int dim) {
  Shape shape = parts[0].shape();
  shape[dim] = 0;
  for (const auto& p : parts) {
    MOELLE_REQUIRE("concat", p.rank() == shape.rank(), str("tensors must have one rank; got ", parts[0].shape(), " and ", p.shape()));
    for (int i = 0; i < shape.rank(); ++i)
      MOELLE_REQUIRE("concat", i == dim || p.shape()[i] == shape[i], str("tensors must agree outside of dim ", dim, "; got ", parts[0].shape(), " and ", p.shape()));
    shape[dim] = checked_add(shape[dim], p.shape()[dim]);
  }
  return shape;
}
}  // namespace detail

// All other axes must agree.
template <class T>
Tensor<T> concat(const std::vector<Tensor<T>>& parts, std::int64_t dim) {
  MOELLE_REQUIRE("concat", !parts.empty(), "at least one tensor must be given; got none");
  const int d = normalize_dim("concat", dim, parts[0].rank());
  const Tensor<T> y = Tensor<T>::empty(detail::joined_shape(parts, d));
  std::vector<std::int64_t> sizes;
  std::int64_t at = 0;
  for (const auto& p : parts) {
    const std::int64_t size = p.shape()[d];
    if (p.numel() > 0) detail::copy_elements(p, y.alias(p.shape(), y.strides(), at * y.strides()[d]));
    sizes.push_back(size);
    at += size;
  }
  if constexpr (is_real<T>)
    autograd::record<T>("concat", parts, {y}, [sizes, d](autograd::Backward<T>& b) {
      const Tensor<T> g = b.grad(0);
      std::int64_t first = 0;
      for (std::size_t i = 0; i < sizes.size(); first += sizes[i++])
        if (b.needs(i)) b.add(i, contiguous(slice(g, d, first, first + sizes[i])));
    });
  return y;
}

// Tensors of one shape along a further axis, put before axis dim.
template <class T>
Tensor<T> stack(const std::vector<Tensor<T>>& parts, std::int64_t dim) {
  MOELLE_REQUIRE("stack", !parts.empty(), "at least one tensor must be given; got none");
  const int d = normalize_dim("stack", dim, parts[0].rank() + 1);
  std::vector<Tensor<T>> rows;
  for (const auto& p : parts) {
    MOELLE_REQUIRE("stack", p.shape() == parts[0].shape(), str("tensors must have one shape; got ", parts[0].shape(), " and ", p.shape()));
    rows.push_back(unsqueeze(p, d));
  }
  return concat(rows, d);
}

// Views of the given sizes along one axis; the sizes must add up to it.
template <class T>
std::vector<Tensor<T>> split(const Tensor<T>& x, const std::vector<std::int64_t>& sizes, std::int64_t dim) {
  const int d = normalize_dim("split", dim, x.rank());
  std::int64_t sum = 0;
  for (const std::int64_t s : sizes) {
    MOELLE_REQUIRE("split", s >= 0, str("sizes must not be negative; got size=", s));
    sum = checked_add(sum, s);
  }
  MOELLE_REQUIRE("split", sum == x.shape()[d], str("sizes must add up to the axis; got sum=", sum, " size=", x.shape()[d]));
  std::vector<Tensor<T>> parts;
  std::int64_t first = 0;
  for (const std::int64_t s : sizes) {
    parts.push_back(narrow(x, d, first, s));
    first += s;
  }
  return parts;
}

// Views of n sizes that differ by at most one, larger ones first.
template <class T>
std::vector<Tensor<T>> chunk(const Tensor<T>& x, std::int64_t n, std::int64_t dim) {
  const std::int64_t size = x.shape()[normalize_dim("chunk", dim, x.rank())];
  MOELLE_REQUIRE("chunk", n > 0, str("the number of chunks must be positive; got n=", n));
  std::vector<std::int64_t> sizes;
  for (std::int64_t i = 0; i < n; ++i) sizes.push_back(size / n + (i < size % n ? 1 : 0));
  return split(x, sizes, dim);
}

}  // namespace moelle
