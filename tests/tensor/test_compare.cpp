// tests/tensor/test_compare.cpp -- comparisons, masks and choosing by them.
#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <vector>

#include <moelle/tensor/compare_op.hpp>
#include <support/compare.hpp>

#include "helpers.hpp"

using namespace moelle;
using namespace moelle::test;
using B = std::vector<bool>;

namespace {
constexpr float kNan = std::numeric_limits<float>::quiet_NaN(), kInf = std::numeric_limits<float>::infinity();

template <class T>
void all_comparisons() {
  const auto a = integers<T>({5, 4}, 1, 0, 3), b = integers<T>({4}, 2, 0, 3);
  const auto check = [&](const Tensor<bool>& got, auto one) {
    CHECK(bitwise_equal(got, built<bool>({5, 4}, [&](const Shape& i) { return one(a.at(i), b.at({i[1]})); })));
  };
  check(eq(a, b), [](T p, T q) { return p == q; });
  check(ne(scattered(a), b), [](T p, T q) { return p != q; });
  check(lt(a, b), [](T p, T q) { return p < q; });
  check(le(a, scattered(b)), [](T p, T q) { return p <= q; });
  check(gt(a, b), [](T p, T q) { return p > q; });
  check(ge(a, b), [](T p, T q) { return p >= q; });
}
}  // namespace

TEST_CASE("comparisons broadcast and equal plain loops for every type") {
  all_comparisons<float>();
  all_comparisons<double>();
  all_comparisons<bfloat16>();
  all_comparisons<std::int32_t>();
  all_comparisons<std::int64_t>();
  all_comparisons<std::uint8_t>();
}

TEST_CASE("with NaN every comparison but ne is false; zeros are equal whatever their sign") {
  const auto x = Tensor<float>::from({kNan, 0.0f, -0.0f, kInf});
  CHECK(eq(x, x).to_vector() == B{false, true, true, true});
  CHECK(ne(x, x).to_vector() == B{true, false, false, false});
  CHECK(lt(x, 1).to_vector() == B{false, true, true, false});
  CHECK(ge(x, 0).to_vector() == B{false, true, true, true});
  CHECK(eq(x, 0).to_vector() == B{false, true, true, false});
  CHECK(isnan(x).to_vector() == B{true, false, false, false});
  CHECK(isfinite(x).to_vector() == B{false, true, true, false});
  CHECK(lt(Tensor<bfloat16>::ones({1}), 1.001).item());  // the number is not rounded to bfloat16
}

TEST_CASE("logic on masks") {
  const auto a = Tensor<bool>::from({false, false, true, true}), b = Tensor<bool>::from({false, true, false, true});
  CHECK(logical_and(a, b).to_vector() == B{false, false, false, true});
  CHECK(logical_or(a, b).to_vector() == B{false, true, true, true});
  CHECK(logical_not(a).to_vector() == B{true, true, false, false});
}

TEST_CASE("where takes from one or the other, all three broadcast") {
  const auto c = Tensor<bool>::from({true, false}, {2, 1});
  const auto a = Tensor<std::int32_t>::arange(0, 3), b = Tensor<std::int32_t>::scalar(9);
  CHECK(where(c, a, b).to_vector() == std::vector<std::int32_t>{0, 1, 2, 9, 9, 9});
  CHECK(masked_fill(Tensor<bfloat16>::ones({2, 2}), c, -kInf).at({0, 1}) == -kInf);
  CHECK_THROWS_AS(where(Tensor<bool>::ones({3}), Tensor<float>::ones({2}), Tensor<float>::ones({1})), Error);
  CHECK_THROWS_WITH_AS(masked_fill(Tensor<float>::ones({2}), Tensor<bool>::ones({3, 2}), 0), "masked_fill: mask must broadcast to x; got x=[2] mask=[3, 2]", Error);
}

TEST_CASE("NaN and infinity that are not chosen do not reach value or gradient") {
  const auto x = leaf(Tensor<float>::from({1, kNan, kInf}));
  const auto y = where(isfinite(x), x, Tensor<float>::zeros({3}));
  CHECK(y.to_vector() == std::vector<float>{1, 0, 0});
  y.backward(Tensor<float>::from({2, kNan, kInf}));
  CHECK(x.grad().to_vector() == std::vector<float>{2, 0, 0});
}

TEST_CASE("gradients of where and masked_fill, broadcast and strided") {
  for (const Shape& shape : small_shapes()) {
    CAPTURE(shape);
    const auto mask = gt(uniform<double>(shape, 5), 0);
    const Shape row = shape.rank() > 0 ? Shape{shape.back()} : Shape{};
    const Doubles in{leaf(uniform<double>(shape, 1)), leaf(uniform<double>(row, 2))};
    CHECK(gradient_error([&](const Doubles& x) { return where(mask, x[0], x[1]); }, in) == "");
    CHECK(gradient_error([&](const Doubles& x) { return where(mask, x[1], x[0]); }, in) == "");
    CHECK(gradient_error([&](const Doubles& x) { return masked_fill(x[0], mask, -3); }, {in[0]}) == "");
  }
}
