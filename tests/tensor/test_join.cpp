// tests/tensor/test_join.cpp -- concat and stack put elements where they belong, split and chunk are views.
#include <doctest/doctest.h>

#include <vector>

#include <moelle/tensor/join_op.hpp>
#include <support/compare.hpp>

#include "helpers.hpp"

using namespace moelle;
using namespace moelle::test;
using I = Tensor<std::int32_t>;

TEST_CASE("concat places each part behind the one before, along any axis, from any strides") {
  for (int d = 0; d < 3; ++d) {
    std::vector<I> parts;
    std::vector<std::int64_t> sizes{2, 0, 1, 3};
    for (std::size_t k = 0; k < sizes.size(); ++k) {
      Shape s{2, 3, 4};
      s[d] = sizes[k];
      const auto p = integers<std::int32_t>(s, k, 0, 99);
      parts.push_back(k % 2 == 0 ? scattered(p) : p);
    }
    Shape whole{2, 3, 4};
    whole[d] = 6;
    const auto want = built<std::int32_t>(whole, [&](const Shape& index) {
      Shape i = index;
      std::size_t k = 0;
      while (i[d] >= sizes[k]) i[d] -= sizes[k++];
      return parts[k].at(i);
    });
    CHECK(bitwise_equal(concat(parts, d), want));
    CHECK(bitwise_equal(concat(parts, d - 3), want));
    const auto back = split(want, sizes, d);
    for (std::size_t k = 0; k < sizes.size(); ++k) CHECK(bitwise_equal(back[k], parts[k]));
  }
}

TEST_CASE("stack makes a further axis") {
  const auto a = I::from({1, 2, 3}), b = I::from({4, 5, 6});
  CHECK(stack<std::int32_t>({a, b}, 0).shape() == Shape{2, 3});
  CHECK(stack<std::int32_t>({a, b}, -1).to_vector() == std::vector<std::int32_t>{1, 4, 2, 5, 3, 6});
  CHECK(stack<std::int32_t>({I::scalar(1), I::scalar(2)}, 0).to_vector() == std::vector<std::int32_t>{1, 2});
}

TEST_CASE("parts are views, and chunks differ by at most one, larger ones first") {
  const auto x = I::arange(0, 7);
  const auto parts = chunk(x, 3, 0);
  CHECK(parts[0].numel() == 3);
  CHECK(parts[1].numel() == 2);
  CHECK(parts[2].to_vector() == std::vector<std::int32_t>{5, 6});
  parts[1].at({0}) = 99;
  CHECK(x.at({3}) == 99);
  CHECK(chunk(x, 9, 0)[8].numel() == 0);
}

TEST_CASE("parts that do not fit are refused with their shapes") {
  const auto a = I::zeros({2, 3});
  CHECK_THROWS_WITH_AS(concat<std::int32_t>({a, I::zeros({2, 4})}, 0), "concat: tensors must agree outside of dim 0; got [2, 3] and [2, 4]", Error);
  CHECK_THROWS_AS(concat<std::int32_t>({a, I::zeros({2})}, 0), Error);
  CHECK_THROWS_AS(concat<std::int32_t>({}, 0), Error);
  CHECK_THROWS_AS(concat<std::int32_t>({I::scalar(1)}, 0), Error);
  CHECK_THROWS_AS(stack<std::int32_t>({a, I::zeros({2, 4})}, 0), Error);
  CHECK_THROWS_WITH_AS(split(a, {1, 1}, 1), "split: sizes must add up to the axis; got sum=2 size=3", Error);
  CHECK_THROWS_AS(split(a, {4, -1}, 1), Error);
  CHECK_THROWS_AS(chunk(a, 0, 1), Error);
}

TEST_CASE("gradients of concat, stack, split and chunk") {
  for (const Shape& shape : small_shapes()) {
    CAPTURE(shape);
    const Doubles in{leaf(uniform<double>(shape, 1)), leaf(uniform<double>(shape, 2)), uniform<double>(shape, 3)};
    CHECK(gradient_error([](const Doubles& x) { return stack<double>({x[0], x[1], x[2], x[0]}, 0); }, in) == "");
    CHECK(gradient_error([](const Doubles& x) { return stack<double>({x[1], x[0]}, -1); }, in) == "");
    if (shape.rank() == 0) continue;
    CHECK(gradient_error([](const Doubles& x) { return concat<double>({x[0], x[2], x[1], x[1]}, -1); }, in) == "");
    CHECK(gradient_error([](const Doubles& x) { return concat<double>({x[0], x[1]}, 0); }, in) == "");
    const Op swap = [](const Doubles& x) {
      const auto parts = chunk(concat<double>({x[0], x[1]}, 0), 3, 0);
      return concat<double>({parts[2], parts[0], parts[1], parts[0]}, 0);
    };
    CHECK(gradient_error(swap, in) == "");
  }
}
