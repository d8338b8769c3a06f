// moelle/tensor/reduce_plan.hpp -- which axes a reduction runs over, and where its elements lie.
#pragma once
#include <algorithm>
#include <cstdint>
#include <vector>

#include <moelle/tensor/loops.hpp>

namespace moelle {

// Axes to reduce over; none named means all of them. keepdim leaves them in the shape with size 1.
struct Over {
  std::vector<std::int64_t> dims = {};
  bool keepdim = false;
};

namespace detail {

// The input as [outputs..., K]: K elements `step` apart for each output, in row-major order of the reduced axes.
template <class T>
struct ReducePlan {
  Shape result;    // as the caller sees it
  Shape kept;      // with the reduced axes as size 1: broadcasts against the input
  Tensor<T> x;     // axes [kept..., K]
  std::int64_t outputs = 0, K = 0, step = 0;
};

inline std::vector<bool> reduced_axes(const char* op, const Shape& shape, const Over& over) {
  std::vector<bool> reduced(static_cast<std::size_t>(shape.rank()), over.dims.empty());
  for (const std::int64_t dim : over.dims) {
    const auto d = static_cast<std::size_t>(normalize_dim(op, dim, shape.rank()));
    MOELLE_REQUIRE(op, !reduced[d], str("dims must name an axis once; got dim=", dim, " twice"));
    reduced[d] = true;
  }
  return reduced;
}

template <class T>
ReducePlan<T> plan_reduction(const char* op, const Tensor<T>& x, const Over& over) {
  const std::vector<bool> reduced = reduced_axes(op, x.shape(), over);
  ReducePlan<T> plan;
  Shape kept_shape, kept_strides, run_shape, run_strides;
  plan.K = plan.outputs = 1;
  for (int d = 0; d < x.rank(); ++d) {
    const bool gone = reduced[static_cast<std::size_t>(d)];
    (gone ? run_shape : kept_shape).push_back(x.shape()[d]);
    (gone ? run_strides : kept_strides).push_back(x.strides()[d]);
    (gone ? plan.K : plan.outputs) *= x.shape()[d];
    plan.kept.push_back(gone ? 1 : x.shape()[d]);
    if (!gone || over.keepdim) plan.result.push_back(gone ? 1 : x.shape()[d]);
  }
  plan.x = x.detach();
  if (plan.K == 0 || plan.outputs == 0) return plan;
  Axes run = merged(run_shape, {run_strides});
  if (run.shape.rank() > 1) {  // reduced axes that do not lie in one line: bring them into one
    Shape shape = kept_shape, strides = kept_strides;
    for (int i = 0; i < run_shape.rank(); ++i) shape.push_back(run_shape[i]), strides.push_back(run_strides[i]);
    const Tensor<T> dense = Tensor<T>::empty(shape);
    copy_elements(plan.x.alias(shape, strides), dense);
    plan.x = dense;
    for (int i = 0; i < kept_strides.rank(); ++i) kept_strides[i] = dense.strides()[i];
    run.strides[0] = Strides{1};
  }
  plan.step = run.strides[0][0];
  const Axes outer = merged(kept_shape, {kept_strides});
  Shape shape = outer.shape, strides = outer.strides[0];
  shape.push_back(plan.K);
  strides.push_back(plan.step);
  plan.x = plan.x.alias(shape, strides);
  return plan;
}

// f(first output, count, pointer to the first output's elements, stride between outputs) for runs of outputs that lie
// evenly, [begin, end) of them.
template <class T, class F>
void for_outputs(const ReducePlan<T>& plan, std::int64_t begin, std::int64_t end, F f) {
  const Shape& shape = plan.x.shape();
  const Strides& strides = plan.x.strides();
  const int inner = shape.rank() - 2;
  while (begin < end) {
    std::int64_t at = 0, rest = begin;
    const std::int64_t first = begin % shape[inner];
    for (int d = inner; d >= 0; --d) {
      at += rest % shape[d] * strides[d];
      rest /= shape[d];
    }
    const std::int64_t count = std::min(end - begin, shape[inner] - first);
    f(begin, count, static_cast<const T*>(plan.x.data()) + at, strides[inner]);
    begin += count;
  }
}

}  // namespace detail
}  // namespace moelle
