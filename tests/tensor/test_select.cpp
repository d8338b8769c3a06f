// tests/tensor/test_select.cpp -- masks, one-hot rows and counts.
#include <doctest/doctest.h>

#include <vector>

#include <moelle/tensor/select_op.hpp>
#include <support/compare.hpp>

#include "helpers.hpp"

using namespace moelle;
using namespace moelle::test;
using I = Tensor<std::int64_t>;
using V = std::vector<std::int64_t>;

TEST_CASE("nonzero lists the indices of what holds, in row-major order") {
  const auto mask = Tensor<bool>::from({false, true, true, false, false, true}, {2, 3});
  CHECK(bitwise_equal(nonzero(mask), I::from({0, 1, 0, 2, 1, 2}, {3, 2})));
  CHECK(bitwise_equal(nonzero(transpose(mask, 0, 1)), I::from({1, 0, 2, 0, 2, 1}, {3, 2})));
  CHECK(nonzero(Tensor<bool>::zeros({2, 2})).shape() == Shape{0, 2});
  CHECK(nonzero(Tensor<bool>::scalar(true)).shape() == Shape{1, 0});
}

TEST_CASE("masked_select takes what holds; its gradient goes back there") {
  const auto mask = Tensor<bool>::from({false, true, true, false, false, true}, {2, 3});
  CHECK(masked_select(I::arange(0, 6).alias({2, 3}), mask).to_vector() == V{1, 2, 5});
  CHECK(masked_select(I::zeros({0}), Tensor<bool>::zeros({0})).numel() == 0);
  CHECK_THROWS_AS(masked_select(I::zeros({3}), mask), Error);
  for (const Shape& shape : small_shapes()) {
    const auto m = built<bool>(shape, [n = 0](const Shape&) mutable { return n++ % 3 != 1; });
    CAPTURE(shape);
    CHECK(gradient_error([&](const Doubles& x) { return masked_select(x[0], m); }, {leaf(uniform<double>(shape, 1))}) == "");
  }
}

TEST_CASE("one_hot has a single 1 per index, at the index") {
  const auto y = one_hot<float>(Tensor<std::int32_t>::from({2, 0}, {2, 1}), 3);
  CHECK(bitwise_equal(y, Tensor<float>::from({0, 0, 1, 1, 0, 0}, {2, 1, 3})));
  CHECK(one_hot(I::zeros({0}), 3).shape() == Shape{0, 3});
  CHECK_THROWS_WITH_AS(one_hot(I::from({3}), 3), "one_hot: indices must be in [0, 3); got index=3", Error);
}

TEST_CASE("bincount counts every value") {
  CHECK(bincount(I::from({3, 0, 3, 1})).to_vector() == V{1, 1, 0, 2});
  CHECK(bincount(Tensor<std::int32_t>::from({0}), 3).to_vector() == V{1, 0, 0});
  CHECK(bincount(I::zeros({0})).numel() == 0);
  CHECK_THROWS_WITH_AS(bincount(I::from({-2})), "bincount: values must not be negative; got value=-2", Error);
}
