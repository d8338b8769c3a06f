// moelle/tensor/join_op.hpp -- tensors side by side along one axis.
#pragma once
#include <cstdint>
#include <vector>

#include <moelle/tensor/view_op.hpp>

namespace moelle {

// All other axes must agree.
template <class T>
Tensor<T> concat(const std::vector<Tensor<T>>& parts, std::int64_t dim) {
  MOELLE_REQUIRE("concat", !parts.empty(), "at least one tensor must be given; got none");
  const int d = normalize_dim("concat", dim, parts[0].rank());
  Shape shape = parts[0].shape();
  shape[d] = 0;
  for (const auto& p : parts) {
    Shape rest = p.shape();
    MOELLE_REQUIRE("concat", p.rank() == shape.rank(), str("tensors must have one rank; got ", p.shape(), " and ", parts[0].shape()));
    rest[d] = shape[d];
    MOELLE_REQUIRE("concat", rest == shape, str("tensors must agree outside of dim ", d, "; got ", p.shape(), " and ", parts[0].shape()));
    shape[d] = checked_add(shape[d], p.shape()[d]);
  }
  const Tensor<T> y = Tensor<T>::empty(shape);
  std::int64_t at = 0;
  for (const auto& p : parts) {
    if (p.numel() > 0) detail::copy_elements(p, y.alias(p.shape(), y.strides(), at * y.strides()[d]));
    at += p.shape()[d];
  }
  if constexpr (is_real<T>) {
    std::vector<std::int64_t> sizes;
    for (const auto& p : parts) sizes.push_back(p.shape()[d]);
    autograd::record<T>("concat", parts, {y}, [sizes, d](autograd::Backward<T>& b) {
      const Tensor<T> g = b.grad(0);
      std::int64_t first = 0;
      for (std::size_t i = 0; i < sizes.size(); first += sizes[i++])
        if (b.needs(i)) b.add(i, contiguous(slice(g, d, first, first + sizes[i])));
    });
  }
  return y;
}

// Views of the given sizes along one axis.
template <class T>
std::vector<Tensor<T>> split(const Tensor<T>& x, const std::vector<std::int64_t>& sizes, std::int64_t dim) {
  const int d = normalize_dim("split", dim, x.rank());
  std::int64_t sum = 0;
  for (const std::int64_t s : sizes) sum = checked_add(sum, s);
  MOELLE_REQUIRE("split", sum == x.shape()[d], str("sizes must add up to the axis; got sum=", sum, " size=", x.shape()[d]));
  std::vector<Tensor<T>> parts;
  std::int64_t first = 0;
  for (const std::int64_t s : sizes) {
    parts.push_back(narrow(x, d, first, s));
    first += s;
  }
  return parts;
}

}  // namespace moelle
