// tests/tensor/helpers.hpp -- plain index loops to compare with, and gradient checks on contiguous and strided inputs.
#pragma once
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include <moelle/autograd/gradcheck.hpp>
#include <moelle/core/parallel.hpp>
#include <moelle/tensor/view_op.hpp>
#include <support/random_tensor.hpp>
#include <support/tolerance.hpp>

namespace moelle::test {

// f(index) for every index of a shape, in row-major order.
template <class F>
void each_index(const Shape& shape, F f) {
  const std::int64_t n = numel(shape);
  for (std::int64_t flat = 0; flat < n; ++flat) {
    Shape index(shape.rank(), 0);
    std::int64_t rest = flat;
    for (int d = shape.rank() - 1; d >= 0; --d) {
      index[d] = rest % shape[d];
      rest /= shape[d];
    }
    f(index);
  }
}

// x under the index of a shape that it broadcasts to.
template <class T>
T at_broadcast(const Tensor<T>& x, const Shape& index) {
  Shape own(x.rank(), 0);
  for (int d = 0; d < x.rank(); ++d) own[d] = x.shape()[d] == 1 ? 0 : index[d + index.rank() - x.rank()];
  return x.at(own);
}

// A tensor of the shape with f(index) as its elements.
template <class T, class F>
Tensor<T> built(const Shape& shape, F f) {
  const Tensor<T> y = Tensor<T>::empty(shape);
  each_index(shape, [&](const Shape& index) { y.at(index) = f(index); });
  return y;
}

using Doubles = std::vector<Tensor<double>>;
using Op = std::function<Tensor<double>(const Doubles&)>;

// Same shape, seen through other strides than row-major, as a differentiable view of a leaf.
inline Tensor<double> strided_leaf(const Tensor<double>& x) {
  if (x.rank() == 0) return leaf(x);
  Shape shape(1, 2);
  for (int d = x.rank() - 1; d >= 0; --d)
    if (shape.rank() < kMaxRank) shape.push_back(x.shape()[d]);
  return leaf(uniform<double>(shape, 99));
}
inline Tensor<double> strided_view(const Tensor<double>& laid_out, int rank) {
  if (rank == 0) return laid_out;
  std::vector<std::int64_t> dims;
  for (int d = rank - 1; d >= 0; --d) dims.push_back(d);
  return permute(select(laid_out, 0, 1), dims);
}

// "" if the gradients of f are right for these inputs, contiguous and strided; empty inputs must at least go through.
inline std::string gradient_error(const Op& f, const Doubles& inputs) {
  std::int64_t elements = 0;
  for (const auto& x : inputs) elements += x.requires_grad() ? x.numel() : 0;
  if (elements == 0) {
    const Tensor<double> y = f(inputs);
    y.backward(Tensor<double>::ones(y.shape()));
    for (const auto& x : inputs)
      if (x.requires_grad() && x.grad().shape() != x.shape()) return "gradient of another shape";
    return "";
  }
  const auto plain = autograd::gradcheck1(f, inputs, {.tolerance = kGradcheck});
  if (!plain.ok) return "contiguous: " + plain.where;
  Doubles laid_out;
  for (const auto& x : inputs) {
    if (!x.requires_grad()) {
      laid_out.push_back(x);
      continue;
    }
    const Tensor<double> l = strided_leaf(x);
    std::int64_t i = 0;  // same values, so that domains and order stay as the test chose them
    const std::vector<double> values = x.to_vector();
    const Tensor<double> view = strided_view(l.detach(), x.rank());
    each_index(x.shape(), [&](const Shape& index) { view.at(index) = values[static_cast<std::size_t>(i++)]; });
    laid_out.push_back(l);
  }
  const auto through_views = [&](const Doubles& x) {
    Doubles views;
    for (std::size_t k = 0; k < x.size(); ++k) views.push_back(x[k].requires_grad() ? strided_view(x[k], inputs[k].rank()) : x[k]);
    return f(views);
  };
  // Under NoGrad requires_grad stays true on leaves, so views are made there, too.
  const auto strided = autograd::gradcheck1(through_views, laid_out, {.tolerance = kGradcheck});
  return strided.ok ? "" : "strided: " + strided.where;
}

inline const std::vector<Shape>& small_shapes() {
  static const std::vector<Shape> shapes{{}, {1}, {7}, {0}, {3, 0, 2}, {4, 5}, {1, 3, 1}, {2, 3, 4}, {2, 1, 2, 3}};
  return shapes;
}

// f under 1, 2, 3 and 7 threads; the pool is left as it was.
template <class F>
void for_thread_counts(F f) {
  const int before = num_threads();
  for (const int n : {1, 2, 3, 7}) {
    set_num_threads(n);
    f(n);
  }
  set_num_threads(before);
}

}  // namespace moelle::test
