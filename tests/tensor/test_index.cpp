// tests/tensor/test_index.cpp -- choosing and scattering by index tensors: plain loops, order of additions, gradients.
#include <doctest/doctest.h>

#include <vector>

#include <moelle/tensor/elementwise_op.hpp>
#include <moelle/tensor/index_op.hpp>
#include <support/compare.hpp>

#include "helpers.hpp"

using namespace moelle;
using namespace moelle::test;

namespace {
template <class T, class I>
void gather_and_scatter(const Shape& shape, int d, std::int64_t length) {
  Shape index_shape = shape;
  index_shape[d] = length;
  if (shape.rank() > 1) index_shape[(d + 1) % shape.rank()] -= 1;  // smaller than x in another axis
  const auto x = integers<T>(shape, 1, 0, 100);
  const auto src = integers<T>(index_shape, 2, 0, 100);
  const auto index = integers<I>(index_shape, 3, 0, shape[d] - 1);
  const auto gathered = built<T>(index_shape, [&](const Shape& i) {
    Shape at = i;
    at[d] = index.at(i);
    return x.at(at);
  });
  const auto added = clone(x);
  each_index(index_shape, [&](const Shape& i) {
    Shape at = i;
    at[d] = index.at(i);
    added.at(at) = static_cast<T>(added.at(at) + src.at(i));
  });
  CHECK(bitwise_equal(gather(x, d, index), gathered));
  CHECK(bitwise_equal(gather(scattered(x), d - shape.rank(), scattered(index)), gathered));
  CHECK(bitwise_equal(scatter_add(x, d, index, src), added));
  CHECK(bitwise_equal(scatter_add(scattered(x), d, scattered(index), scattered(src)), added));
}

template <class T, class I>
void select_and_add(const Shape& shape, int d, std::int64_t length) {
  Shape out_shape = shape;
  out_shape[d] = length;
  const auto x = integers<T>(shape, 1, 0, 100), src = integers<T>(out_shape, 2, 0, 100);
  const auto index = integers<I>({length}, 3, 0, shape[d] - 1);
  const auto chosen = built<T>(out_shape, [&](const Shape& i) {
    Shape at = i;
    at[d] = index.at({i[d]});
    return x.at(at);
  });
  const auto added = clone(x);
  each_index(out_shape, [&](const Shape& i) {
    Shape at = i;
    at[d] = index.at({i[d]});
    added.at(at) = static_cast<T>(added.at(at) + src.at(i));
  });
  CHECK(bitwise_equal(index_select(x, d, index), chosen));
  CHECK(bitwise_equal(index_select(scattered(x), d, scattered(index)), chosen));
  CHECK(bitwise_equal(index_add(x, d, index, src), added));
  CHECK(bitwise_equal(index_add(scattered(x), d, scattered(index), scattered(src)), added));
}
const std::vector<Shape> kShapes{{1}, {6}, {4, 3}, {2, 3, 4}, {2, 1, 3, 2}};
}  // namespace

TEST_CASE("gather, scatter_add, index_select and index_add equal plain loops, along every axis, for every type") {
  for (const Shape& shape : kShapes)
    for (int d = 0; d < shape.rank(); ++d)
      for (const std::int64_t length : {0, 1, 9}) {
        CAPTURE(shape);
        CAPTURE(d);
        gather_and_scatter<float, std::int64_t>(shape, d, length);
        gather_and_scatter<std::int32_t, std::int32_t>(shape, d, length);
        gather_and_scatter<bfloat16, std::int32_t>(shape, d, length);
        select_and_add<float, std::int32_t>(shape, d, length);
        select_and_add<std::uint8_t, std::int64_t>(shape, d, length);
      }
}

TEST_CASE("additions to one element happen in the order of the indices, whatever the number of threads") {
  // In float (1e8 + 1) - 1e8 is 0 but (1e8 - 1e8) + 1 is 1: another order would show.
  const auto x = Tensor<float>::zeros({1});
  const auto index = Tensor<std::int32_t>::zeros({3});
  CHECK(index_add(x, 0, index, Tensor<float>::from({1e8f, 1, -1e8f})).item() == 0);
  CHECK(scatter_add(x, 0, index, Tensor<float>::from({1e8f, -1e8f, 1})).item() == 1);
  const auto src = normal<float>({3000, 129}, 1), base = normal<float>({50, 129}, 2);
  const auto rows = integers<std::int64_t>({3000}, 3, 0, 49), cells = integers<std::int64_t>({3000, 129}, 4, 0, 49);
  Tensor<float> by_row, by_cell;
  for_thread_counts([&](int n) {
    CAPTURE(n);
    if (n == 1) by_row = index_add(base, 0, rows, src), by_cell = scatter_add(base, 0, cells, src);
    CHECK(bitwise_equal(index_add(base, 0, rows, src), by_row));
    CHECK(bitwise_equal(scatter_add(base, 0, cells, src), by_cell));
    CHECK(bitwise_equal(index_select(by_row, 0, rows), gather(by_row, 0, contiguous(expand(unsqueeze(rows, 1), {-1, 129})))));
  });
}

TEST_CASE("take_rows has the index's shape before that of a row") {
  const auto x = Tensor<std::int32_t>::arange(0, 6).alias({3, 2});
  const auto index = Tensor<std::int64_t>::from({2, 0, 0, 1}, {2, 2});
  CHECK(bitwise_equal(take_rows(x, index), Tensor<std::int32_t>::from({4, 5, 0, 1, 0, 1, 2, 3}, {2, 2, 2})));
  CHECK(take_rows(x, Tensor<std::int64_t>::scalar(1)).to_vector() == std::vector<std::int32_t>{2, 3});
  CHECK(take_rows(x, Tensor<std::int64_t>::zeros({0})).shape() == Shape{0, 2});
}

TEST_CASE("index_copy_ writes rows in order: of equal indices the last wins") {
  const auto x = Tensor<float>::zeros({3, 2});
  index_copy_(x, 0, Tensor<std::int32_t>::from({2, 0, 2}), Tensor<float>::from({1, 2, 3, 4, 5, 6}, {3, 2}));
  CHECK(x.to_vector() == std::vector<float>{3, 4, 0, 0, 5, 6});
  index_copy_(x, 1, Tensor<std::int32_t>::from({1}), Tensor<float>::scalar(9));
  CHECK(x.to_vector() == std::vector<float>{3, 9, 0, 9, 5, 9});
  index_copy_(x, 0, Tensor<std::int32_t>::from({0, 1}), slice(x, 0, 1, 3));
  CHECK(x.to_vector() == std::vector<float>{0, 9, 5, 9, 5, 9});
  CHECK_THROWS_AS(index_copy_(leaf(Tensor<float>::ones({2})), 0, Tensor<std::int32_t>::zeros({1}), Tensor<float>::ones({1})), Error);
}

TEST_CASE("indices outside the axis and shapes that do not fit are refused before anything is written") {
  const auto x = Tensor<float>::zeros({2, 3});
  using Index = Tensor<std::int64_t>;
  CHECK_THROWS_WITH_AS(index_select(x, 1, Index::from({0, 3})), "index_select: indices must be in [0, 3); got index=3", Error);
  CHECK_THROWS_AS(index_select(x, 1, Index::from({-1})), Error);
  CHECK_THROWS_AS(index_select(Tensor<float>::zeros({0, 3}), 0, Index::from({0})), Error);
  CHECK_THROWS_AS(index_copy_(x, 0, Index::from({0, 5}), Tensor<float>::ones({2, 3})), Error);
  CHECK(x.to_vector() == std::vector<float>(6));
  CHECK_THROWS_AS(gather(x, 0, Index::zeros({2})), Error);
  CHECK_THROWS_WITH_AS(gather(x, 0, Index::zeros({2, 4})), "gather: index must not exceed the tensor outside of dim 0; got x=[2, 3] index=[2, 4]", Error);
  CHECK_THROWS_AS(scatter_add(x, 0, Index::zeros({1, 3}), Tensor<float>::ones({1, 2})), Error);
  CHECK_THROWS_AS(index_add(x, 0, Index::zeros({1}), Tensor<float>::ones({2, 3})), Error);
}

TEST_CASE("gradients of gather, scatter_add, index_select, index_add and take_rows, repeated indices included") {
  for (const Shape& shape : kShapes)
    for (int d = 0; d < shape.rank(); ++d) {
      CAPTURE(shape);
      CAPTURE(d);
      Shape longer = shape;
      longer[d] = 5;
      const auto cells = integers<std::int64_t>(longer, 3, 0, shape[d] - 1), rows = integers<std::int64_t>({5}, 4, 0, shape[d] - 1);
      const Doubles in{leaf(uniform<double>(shape, 1)), leaf(uniform<double>(longer, 2))};
      CHECK(gradient_error([&](const Doubles& x) { return gather(x[0], d, cells); }, {in[0]}) == "");
      CHECK(gradient_error([&](const Doubles& x) { return index_select(x[0], d, rows); }, {in[0]}) == "");
      CHECK(gradient_error([&](const Doubles& x) { return scatter_add(x[0], d, cells, x[1]); }, in) == "");
      CHECK(gradient_error([&](const Doubles& x) { return index_add(x[0], d, rows, x[1]); }, in) == "");
      // two uses of one tensor share its gradient buffer
      CHECK(gradient_error([&](const Doubles& x) { return index_select(x[0], d, rows) * gather(x[0], d, cells); }, {in[0]}) == "");
    }
  const auto x = leaf(uniform<double>({3, 2}, 1));
  CHECK(gradient_error([](const Doubles& in) { return take_rows(in[0], Tensor<std::int32_t>::from({2, 0, 0, 1}, {2, 2})); }, {x}) == "");
  CHECK(gradient_error([](const Doubles& in) { return index_select(in[0], 0, Tensor<std::int32_t>::zeros({2})); }, {leaf(uniform<double>({3, 0}, 1))}) == "");
  CHECK(gradient_error([](const Doubles& in) { return gather(in[0], 0, Tensor<std::int32_t>::zeros({0, 2})); }, {leaf(uniform<double>({3, 2}, 1))}) == "");
}
