// tests/tensor/test_sort.cpp -- order, ties, NaN; top-k; running sums.
#include <doctest/doctest.h>

#include <algorithm>
#include <limits>
#include <numeric>
#include <vector>

#include <moelle/tensor/sort_op.hpp>
#include <support/compare.hpp>

#include "helpers.hpp"

using namespace moelle;
using namespace moelle::test;
using V = std::vector<std::int64_t>;

namespace {
constexpr float kNan = std::numeric_limits<float>::quiet_NaN(), kInf = std::numeric_limits<float>::infinity();

template <class T>
void sort_like_std(const Shape& shape, int d, bool descending) {
  const auto x = integers<T>(shape, 1, 0, 4);  // many ties
  const auto got = sort(x, {.dim = d, .descending = descending});
  const auto strided = sort(scattered(x), {.dim = d - shape.rank(), .descending = descending});
  Shape lanes = shape;
  lanes[d] = std::min<std::int64_t>(shape[d], 1);
  each_index(lanes, [&](const Shape& lane) {
    const auto at = [&](const auto& t, std::int64_t k) {
      Shape i = lane;
      i[d] = k;
      return t.at(i);
    };
    V order(static_cast<std::size_t>(shape[d]));
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(), [&](auto a, auto b) { return descending ? at(x, a) > at(x, b) : at(x, a) < at(x, b); });
    for (std::size_t k = 0; k < order.size(); ++k) {
      CHECK(at(got.indices, static_cast<std::int64_t>(k)) == order[k]);
      CHECK(at(got.values, static_cast<std::int64_t>(k)) == at(x, order[k]));
    }
  });
  CHECK(bitwise_equal(got.values, strided.values));
  CHECK(bitwise_equal(got.indices, strided.indices));
  for (const std::int64_t k : {std::int64_t{0}, shape[d] / 2, shape[d]}) {
    const auto all = sort(x, {.dim = d, .descending = true});
    CHECK(bitwise_equal(topk(x, k, d).indices, slice(all.indices, d, 0, k)));
    CHECK(bitwise_equal(topk(x, k, d).values, slice(all.values, d, 0, k)));
  }
}
}  // namespace

TEST_CASE("sort is std::stable_sort in both directions, along every axis, and topk its beginning") {
  for (const Shape& shape : std::vector<Shape>{{1}, {40}, {0}, {5, 7}, {3, 0}, {2, 9, 4}})
    for (int d = 0; d < shape.rank(); ++d)
      for (const bool descending : {false, true}) {
        CAPTURE(shape);
        CAPTURE(d);
        sort_like_std<float>(shape, d, descending);
        sort_like_std<std::int64_t>(shape, d, descending);
        sort_like_std<bfloat16>(shape, d, descending);
        sort_like_std<std::uint8_t>(shape, d, descending);
      }
}

TEST_CASE("NaN is larger than everything, equal zeros keep their order") {
  const auto x = Tensor<float>::from({kNan, kInf, 0.0f, -0.0f, -kInf, kNan});
  CHECK(sort(x).indices.to_vector() == V{4, 2, 3, 1, 0, 5});
  CHECK(sort(x, {.descending = true}).indices.to_vector() == V{0, 5, 1, 2, 3, 4});
  CHECK(topk(x, 3).indices.to_vector() == V{0, 5, 1});
  CHECK(argsort(x).to_vector() == V{4, 2, 3, 1, 0, 5});
  CHECK(sort(Tensor<float>::scalar(3)).indices.item() == 0);
  CHECK_THROWS_WITH_AS(topk(x, 7), "topk: k must be in [0, 6]; got k=7", Error);
  CHECK_THROWS_AS(topk(x, -1), Error);
}

TEST_CASE("running sums equal plain loops in double, along every axis") {
  for (const Shape& shape : small_shapes())
    for (int d = 0; d < shape.rank(); ++d) {
      CAPTURE(shape);
      const auto x = normal<float>(shape, 1);
      const auto want = built<float>(shape, [&](const Shape& i) {
        double sum = 0;
        Shape at = i;
        for (at[d] = 0; at[d] <= i[d]; ++at[d]) sum += x.at(at);
        return static_cast<float>(sum);
      });
      CHECK(bitwise_equal(cumsum(x, d), want));
      CHECK(bitwise_equal(cumsum(scattered(x), d - shape.rank()), want));
    }
  CHECK(cumsum(Tensor<std::int32_t>::from({1, 2, -5}), 0).to_vector() == std::vector<std::int32_t>{1, 3, -2});
}

TEST_CASE("gradients of sort, topk and cumsum") {
  for (const Shape& shape : small_shapes()) {
    if (shape.rank() == 0) continue;
    CAPTURE(shape);
    const Doubles in{leaf(distinct<double>(shape, 1))};
    for (const std::int64_t d : {0, -1}) {
      CHECK(gradient_error([&](const Doubles& x) { return sort(x[0], {.dim = d, .descending = true}).values; }, in) == "");
      CHECK(gradient_error([&](const Doubles& x) { return topk(x[0], (x[0].size(d) + 1) / 2, d).values; }, in) == "");
      CHECK(gradient_error([&](const Doubles& x) { return cumsum(x[0], d); }, in) == "");
    }
  }
}

TEST_CASE("order and running sums are the same for 1, 2, 3 and 7 threads") {
  const auto x = integers<float>({301, 64}, 1, 0, 9);
  Tensor<std::int64_t> order;
  Tensor<float> sums;
  for_thread_counts([&](int n) {
    CAPTURE(n);
    if (n == 1) order = topk(x, 8).indices, sums = cumsum(x, 0);
    CHECK(bitwise_equal(topk(x, 8).indices, order));
    CHECK(bitwise_equal(cumsum(x, 0), sums));
  });
}
