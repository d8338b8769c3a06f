// moelle/activation/rows.hpp -- a tensor as rows of its last axis, read in place where its strides allow it.
#pragma once
#include <cstdint>

#include <moelle/core/tensor.hpp>
#include <moelle/tensor/view_op.hpp>  // contiguous

namespace moelle::detail {

// Row r starts at data + r * stride and has `width` elements side by side. `tensor` keeps them alive, without a graph.
template <class T>
struct Rows {
  Tensor<T> tensor;
  const T* data = nullptr;
  std::int64_t rows = 0, width = 0, stride = 0;
};

// A slice of the last axis of a contiguous tensor (half of a packed product, the latent part of a projection) has a common
// stride between rows and is not copied; anything else that is not contiguous is. A scalar is one row of one element.
template <class T>
Rows<T> rows_of(const Tensor<T>& x) {
  const int rank = x.rank();
  const std::int64_t width = rank == 0 ? 1 : x.size(-1);
  const std::int64_t rows = width == 0 ? 0 : x.numel() / width;
  const auto as = [&](const Tensor<T>& t, std::int64_t stride) { return Rows<T>{t, t.data(), rows, width, stride}; };
  if (x.is_contiguous()) return as(x.detach(), width);
  bool regular = x.strides().back() == 1 || width == 1;
  std::int64_t stride = width, span = 1;  // of the axes seen so far, from the innermost row axis outwards
  for (int i = rank - 2; i >= 0 && regular; --i) {
    if (x.shape()[i] == 1) continue;
    if (span == 1) stride = x.strides()[i];
    regular = x.strides()[i] == stride * span;
    span *= x.shape()[i];
  }
  return regular ? as(x.detach(), stride) : as(contiguous(x.detach()), width);
}

}  // namespace moelle::detail
