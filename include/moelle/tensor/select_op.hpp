// moelle/tensor/select_op.hpp -- between masks, indices and counts.
//
// nonzero and masked_select visit elements in row-major order. The gradient of masked_select goes back to the places taken.
#pragma once
#include <algorithm>
#include <cstdint>
#include <vector>

#include <moelle/tensor/index_op.hpp>

namespace moelle {

// Indices of the elements that hold: [N, rank].
inline Tensor<std::int64_t> nonzero(const Tensor<bool>& mask) {
  std::vector<std::int64_t> flat;
  std::int64_t i = 0;
  mask.each([&](bool m) {
    if (m) flat.push_back(i);
    ++i;
  });
  const auto rank = static_cast<std::size_t>(mask.rank());
  const Tensor<std::int64_t> y = Tensor<std::int64_t>::empty({static_cast<std::int64_t>(flat.size()), mask.rank()});
  for (std::size_t n = 0; n < flat.size(); ++n)
    for (std::size_t d = rank; d-- > 0; flat[n] /= mask.shape()[static_cast<int>(d)])
      y.data()[n * rank + d] = flat[n] % mask.shape()[static_cast<int>(d)];
  return y;
}

// Elements where the mask (of x's shape) holds, as a list.
template <class T>
Tensor<T> masked_select(const Tensor<T>& x, const Tensor<bool>& mask) {
  MOELLE_REQUIRE("masked_select", mask.shape() == x.shape(), str("mask must have x's shape; got x=", x.shape(), " mask=", mask.shape()));
  return index_select(reshape(x, {x.numel()}), 0, reshape(nonzero(reshape(mask, {mask.numel()})), {-1}));
}

// 1 at index, 0 elsewhere along a further last axis of size `classes`.
template <class U = std::int64_t, IndexType I>
Tensor<U> one_hot(const Tensor<I>& index, std::int64_t classes) {
  detail::check_indices("one_hot", index, classes);
  Shape shape = index.shape();
  shape.push_back(classes);
  const Tensor<U> y = Tensor<U>::zeros(shape);
  U* row = y.data();
  index.each([&](I i) {
    row[i] = U(1);
    row += classes;
  });
  return y;
}

// How often each of 0, 1, ... occurs; at least `least` counts.
template <IndexType I>
Tensor<std::int64_t> bincount(const Tensor<I>& x, std::int64_t least = 0) {
  MOELLE_REQUIRE("bincount", least >= 0, str("least must not be negative; got least=", least));
  std::int64_t size = least;
  x.each([&](I v) {
    MOELLE_REQUIRE("bincount", v >= 0, str("values must not be negative; got value=", v));
    size = std::max<std::int64_t>(size, checked_add(v, 1));
  });
  const Tensor<std::int64_t> y = Tensor<std::int64_t>::zeros({size});
  x.each([&](I v) { ++y.data()[v]; });
  return y;
}

}  // namespace moelle
