// tests/core/test_shape.cpp -- sizes are checked, whatever their product.
#include <doctest/doctest.h>

#include <limits>

#include <moelle/core/shape.hpp>

using namespace moelle;

namespace {
constexpr std::int64_t kBig = std::int64_t{1} << 40;
}

TEST_CASE("a product of sizes that does not fit 64 bits is an error, not a wrong number") {
  CHECK_THROWS_WITH_AS(numel({kBig, kBig}), "size: product must fit 64 bits; got 1099511627776 * 1099511627776", Error);
  CHECK_THROWS_AS(numel({std::numeric_limits<std::int64_t>::max(), 2}), Error);
  CHECK_THROWS_AS(checked_add(std::numeric_limits<std::int64_t>::max(), 1), Error);
  CHECK_THROWS_AS(checked_mul(std::numeric_limits<std::int64_t>::min(), -1), Error);
  CHECK(numel({kBig, 1 << 20}) == std::int64_t{1} << 60);
}

TEST_CASE("a shape with a size of 0 is empty even if the other sizes overflow") {
  CHECK(numel({0, kBig, kBig}) == 0);
  CHECK(numel({kBig, kBig, 0}) == 0);
  CHECK(is_contiguous({0, kBig, kBig}, contiguous_strides({0, kBig, kBig})));
}

TEST_CASE("negative sizes and more than six axes are refused") {
  CHECK_THROWS_WITH_AS(numel({2, -1}), "shape: sizes must not be negative; got shape=[2, -1]", Error);
  CHECK_THROWS_AS((Shape{1, 2, 3, 4, 5, 6, 7}), Error);
  Shape six{1, 2, 3, 4, 5, 6};
  CHECK_THROWS_WITH_AS(six.push_back(7), "shape: rank must be at most 6; got rank=7", Error);
}

TEST_CASE("axes are counted from the end by negative numbers, and only within the rank") {
  CHECK(normalize_dim("op", -1, 3) == 2);
  CHECK(normalize_dim("op", -3, 3) == 0);
  CHECK_THROWS_WITH_AS(normalize_dim("op", 3, 3), "op: dim must be in [-3, 3); got dim=3", Error);
  CHECK_THROWS_AS(normalize_dim("op", -4, 3), Error);
  CHECK_THROWS_AS(normalize_dim("op", 0, 0), Error);
}

TEST_CASE("shapes broadcast by NumPy's rule") {
  CHECK(broadcast_shapes("op", {2, 1, 4}, {3, 1}) == Shape{2, 3, 4});
  CHECK(broadcast_shapes("op", {}, {5}) == Shape{5});
  CHECK(broadcast_shapes("op", {0}, {1}) == Shape{0});
  CHECK_THROWS_WITH_AS(broadcast_shapes("op", {2, 3}, {2}), "op: shapes must broadcast; got a=[2, 3] b=[2]", Error);
  CHECK_THROWS_AS(broadcast_shapes("op", {0}, {2}), Error);
}

TEST_CASE("strides are row-major, and axes of size 1 do not matter for contiguity") {
  CHECK(contiguous_strides({2, 3, 4}) == Strides{12, 4, 1});
  CHECK(is_contiguous({2, 1, 4}, {4, 99, 1}));
  CHECK_FALSE(is_contiguous({2, 4}, {1, 2}));
}
