// tests/tensor/test_elementwise.cpp -- broadcasting arithmetic against plain loops, its gradients, its corner cases.
#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <utility>
#include <vector>

#include <moelle/tensor/elementwise_op.hpp>
#include <support/compare.hpp>

#include "helpers.hpp"

using namespace moelle;
using namespace moelle::test;

namespace {
const std::vector<std::pair<Shape, Shape>>& pairs() {
  static const std::vector<std::pair<Shape, Shape>> p{
      {{}, {}},     {{5}, {5}},       {{4, 5}, {4, 5}}, {{4, 5}, {5}}, {{4, 1}, {1, 5}}, {{2, 3, 4}, {3, 1}},
      {{}, {2, 3}}, {{0}, {1}},       {{3, 0}, {3, 1}}, {{1}, {1, 1}}, {{2, 1, 3}, {2, 4, 1}}, {{2, 3, 4}, {2, 3, 4}}};
  return p;
}

template <class T, class Op, class Scalar>
void compare_with_loops(Op op, Scalar one) {
  for (const auto& pair : pairs()) {
    const auto& sa = pair.first;
    const auto& sb = pair.second;
    const Tensor<T> a = uniform<T>(sa, 1, 1.0, 9.0), b = uniform<T>(sb, 2, 1.0, 9.0);
    const auto want = built<T>(broadcast_shapes("test", sa, sb), [&](const Shape& i) { return static_cast<T>(one(at_broadcast(a, i), at_broadcast(b, i))); });
    CAPTURE(sa);
    CAPTURE(sb);
    CHECK(bitwise_equal(op(a, b), want));
    CHECK(bitwise_equal(op(scattered(a), b), want));
    CHECK(bitwise_equal(op(a, scattered(b)), want));
    CHECK(bitwise_equal(op(scattered(a), scattered(b)), want));
  }
}

template <class T>
void compare_all() {
  compare_with_loops<T>([](const auto& a, const auto& b) { return a + b; }, [](T p, T q) { return p + q; });
  compare_with_loops<T>([](const auto& a, const auto& b) { return a - b; }, [](T p, T q) { return p - q; });
  compare_with_loops<T>([](const auto& a, const auto& b) { return a * b; }, [](T p, T q) { return p * q; });
  compare_with_loops<T>([](const auto& a, const auto& b) { return a / b; }, [](T p, T q) { return p / q; });
  compare_with_loops<T>([](const auto& a, const auto& b) { return maximum(a, b); }, [](T p, T q) { return p > q ? p : q; });
  compare_with_loops<T>([](const auto& a, const auto& b) { return minimum(a, b); }, [](T p, T q) { return p < q ? p : q; });
}
constexpr double kNan = std::numeric_limits<double>::quiet_NaN(), kInf = std::numeric_limits<double>::infinity();
}  // namespace

TEST_CASE("arithmetic equals plain loops bit for bit, for every pair of shapes, strides and kind of type") {
  compare_all<float>();
  compare_all<bfloat16>();
  compare_all<std::int32_t>();
  compare_all<std::uint8_t>();
}

TEST_CASE("a number on either side stands for a tensor full of it") {
  const auto x = Tensor<float>::from({1, 2, 4});
  CHECK((x + 1).to_vector() == std::vector<float>{2, 3, 5});
  CHECK((1 + x).to_vector() == std::vector<float>{2, 3, 5});
  CHECK((x - 0.5).to_vector() == std::vector<float>{0.5f, 1.5f, 3.5f});
  CHECK((8 - x).to_vector() == std::vector<float>{7, 6, 4});
  CHECK((x * 0.1).to_vector() == std::vector<float>{1 * 0.1f, 2 * 0.1f, 4 * 0.1f});
  CHECK((x / 2).to_vector() == std::vector<float>{0.5f, 1, 2});
  CHECK((8 / x).to_vector() == std::vector<float>{8, 4, 2});
  CHECK((-x).to_vector() == std::vector<float>{-1, -2, -4});
  CHECK((Tensor<std::int32_t>::arange(0, 3) * 2).to_vector() == std::vector<std::int32_t>{0, 2, 4});
}

TEST_CASE("gradients of arithmetic, broadcast and strided") {
  for (const auto& pair : pairs()) {
    const auto& sa = pair.first;
    const auto& sb = pair.second;
    CAPTURE(sa);
    CAPTURE(sb);
    const Doubles in{leaf(uniform<double>(sa, 1, 0.5, 1.5)), leaf(uniform<double>(sb, 2, 0.5, 1.5))};
    CHECK(gradient_error([](const Doubles& x) { return x[0] + x[1]; }, in) == "");
    CHECK(gradient_error([](const Doubles& x) { return x[0] - x[1]; }, in) == "");
    CHECK(gradient_error([](const Doubles& x) { return x[0] * x[1]; }, in) == "");
    CHECK(gradient_error([](const Doubles& x) { return x[0] / x[1]; }, in) == "");
    const Doubles only_second{uniform<double>(sa, 1, 0.5, 1.5), in[1]};
    CHECK(gradient_error([](const Doubles& x) { return x[0] / x[1] - x[0] * x[1]; }, only_second) == "");
    const Doubles apart{leaf(distinct<double>(sa, 1)), leaf(distinct<double>(sb, 2) + 0.05)};
    const Doubles leaves{apart[0], leaf(apart[1].detach())};
    CHECK(gradient_error([](const Doubles& x) { return maximum(x[0], x[1]); }, leaves) == "");
    CHECK(gradient_error([](const Doubles& x) { return minimum(x[0], x[1]); }, leaves) == "");
  }
  for (const Shape& shape : small_shapes()) {
    CAPTURE(shape);
    const Doubles x{leaf(uniform<double>(shape, 1, 0.5, 1.5))};
    CHECK(gradient_error([](const Doubles& in) { return (3 - in[0]) * 2 + 0.5 - in[0] / 4 + (1 - 2 / in[0]) - (in[0] - 1) + (-in[0]); }, x) == "");
  }
}

TEST_CASE("maximum and minimum: NaN wins, of equals the first; the gradient goes to the winner alone") {
  const auto a = leaf(Tensor<double>::from({1, kNan, 2, -0.0, kNan, -kInf})), b = leaf(Tensor<double>::from({1, 2, kNan, 0.0, kNan, 5}));
  const auto y = maximum(a, b), z = minimum(a, b);
  CHECK(bitwise_equal(y, Tensor<double>::from({1, kNan, kNan, -0.0, kNan, 5})));
  CHECK(bitwise_equal(z, Tensor<double>::from({1, kNan, kNan, -0.0, kNan, -kInf})));
  y.backward(Tensor<double>::ones({6}));
  CHECK(a.grad().to_vector() == std::vector<double>{1, 1, 0, 1, 1, 0});
  CHECK(b.grad().to_vector() == std::vector<double>{0, 0, 1, 0, 0, 1});
}

TEST_CASE("integers wrap around, cut quotients towards zero, and refuse to be divided by zero") {
  using I = Tensor<std::int32_t>;
  constexpr std::int32_t low = std::numeric_limits<std::int32_t>::min(), high = std::numeric_limits<std::int32_t>::max();
  CHECK((I::from({high}) + I::from({1})).item() == low);
  CHECK((I::from({low}) - 1).item() == high);
  CHECK((I::from({1 << 20}) * I::from({1 << 20})).item() == 0);
  CHECK((-I::from({low})).item() == low);
  CHECK((I::from({low}) / -1).item() == low);
  CHECK((I::from({-7, 7}) / 2).to_vector() == std::vector<std::int32_t>{-3, 3});
  CHECK((Tensor<std::uint8_t>::from({200}) + Tensor<std::uint8_t>::from({100})).item() == 44);
  CHECK_THROWS_WITH_AS(I::from({5}) / I::from({0}), "div: integers must not be divided by 0; got 5 / 0", Error);
}

TEST_CASE("bool adds as or and multiplies as and") {
  const auto a = Tensor<bool>::from({false, false, true, true}), b = Tensor<bool>::from({false, true, false, true});
  CHECK((a + b).to_vector() == std::vector<bool>{false, true, true, true});
  CHECK((a * b).to_vector() == std::vector<bool>{false, false, false, true});
}

TEST_CASE("shapes that do not broadcast are refused by name") {
  CHECK_THROWS_WITH_AS(Tensor<float>::zeros({2, 3}) + Tensor<float>::zeros({2}), "add: shapes must broadcast; got a=[2, 3] b=[2]", Error);
  CHECK_THROWS_AS(Tensor<float>::zeros({0}) * Tensor<float>::zeros({2}), Error);
}

TEST_CASE("results are the same bits for 1, 2, 3 and 7 threads") {
  const auto a = normal<float>({301, 517}, 1), b = normal<float>({517}, 2);
  Tensor<float> y, db;
  for_thread_counts([&](int n) {
    CAPTURE(n);
    const auto w = leaf(b.detach());
    const auto z = a * w + transpose(transpose(a, 0, 1) / 3, 0, 1) - w;
    z.backward(a);
    if (n == 1) y = z.detach(), db = w.grad();
    CHECK(bitwise_equal(z.detach(), y));
    CHECK(bitwise_equal(w.grad(), db));
  });
}
