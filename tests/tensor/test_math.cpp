// tests/tensor/test_math.cpp -- functions of one tensor: values, special values, gradients.
#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <vector>

#include <moelle/tensor/math_op.hpp>
#include <support/compare.hpp>

#include "helpers.hpp"

using namespace moelle;
using namespace moelle::test;

namespace {
constexpr double kNan = std::numeric_limits<double>::quiet_NaN(), kInf = std::numeric_limits<double>::infinity();

template <class T, class F, class G>
void same_as_loop(F f, G one) {
  for (const Shape& shape : small_shapes()) {
    const auto x = uniform<T>(shape, 3, 0.1, 3.0);
    const auto want = built<T>(shape, [&](const Shape& i) { return static_cast<T>(one(static_cast<detail::Wide<T>>(x.at(i)))); });
    CAPTURE(shape);
    CHECK(bitwise_equal(f(x), want));
    CHECK(bitwise_equal(f(scattered(x)), want));
  }
}
template <class T>
void all_functions() {
  using W = detail::Wide<T>;
  same_as_loop<T>([](const auto& x) { return exp(x); }, [](W v) { return std::exp(v); });
  same_as_loop<T>([](const auto& x) { return log(x); }, [](W v) { return std::log(v); });
  same_as_loop<T>([](const auto& x) { return sqrt(x); }, [](W v) { return std::sqrt(v); });
  same_as_loop<T>([](const auto& x) { return rsqrt(x); }, [](W v) { return W(1) / std::sqrt(v); });
  same_as_loop<T>([](const auto& x) { return tanh(x); }, [](W v) { return std::tanh(v); });
  same_as_loop<T>([](const auto& x) { return pow(x, 2.5); }, [](W v) { return std::pow(v, W(2.5)); });
  same_as_loop<T>([](const auto& x) { return pow(x, 2); }, [](W v) { return v * v; });
  same_as_loop<T>([](const auto& x) { return abs(x - 1); }, [](W v) { return std::fabs(static_cast<W>(static_cast<T>(v - 1))); });
  same_as_loop<T>([](const auto& x) { return clamp(x, 0.5, 2); }, [](W v) { return std::min(std::max(v, W(0.5)), W(2)); });
}
}  // namespace

TEST_CASE("functions are the C library's, element by element, for every shape and strides") {
  all_functions<float>();
  all_functions<double>();
  all_functions<bfloat16>();
}

TEST_CASE("gradients of functions") {
  for (const Shape& shape : small_shapes()) {
    CAPTURE(shape);
    const Doubles positive{leaf(uniform<double>(shape, 1, 0.5, 1.5))}, any{leaf(distinct<double>(shape, 2))};
    CHECK(gradient_error([](const Doubles& x) { return exp(x[0]); }, positive) == "");
    CHECK(gradient_error([](const Doubles& x) { return log(x[0]); }, positive) == "");
    CHECK(gradient_error([](const Doubles& x) { return sqrt(x[0]); }, positive) == "");
    CHECK(gradient_error([](const Doubles& x) { return rsqrt(x[0]); }, positive) == "");
    CHECK(gradient_error([](const Doubles& x) { return tanh(x[0]); }, positive) == "");
    CHECK(gradient_error([](const Doubles& x) { return pow(x[0], -1.5); }, positive) == "");
    CHECK(gradient_error([](const Doubles& x) { return pow(x[0], 2); }, any) == "");
    CHECK(gradient_error([](const Doubles& x) { return pow(x[0], 3); }, any) == "");
    CHECK(gradient_error([](const Doubles& x) { return abs(x[0]); }, any) == "");
    CHECK(gradient_error([](const Doubles& x) { return clamp(x[0], -0.2, 0.35); }, any) == "");
  }
}

TEST_CASE("special values follow the C library") {
  const auto x = Tensor<double>::from({-kInf, -1, -0.0, 0.0, kInf, kNan});
  CHECK(bitwise_equal(exp(x), Tensor<double>::from({0, std::exp(-1), 1, 1, kInf, kNan})));
  const auto l = log(x).to_vector();
  CHECK((std::isnan(l[0]) && std::isnan(l[1]) && l[2] == -kInf && l[3] == -kInf && l[4] == kInf && std::isnan(l[5])));
  CHECK(std::signbit(sqrt(x).at({2})));
  CHECK(rsqrt(x).at({3}) == kInf);
  CHECK(rsqrt(x).at({4}) == 0);
  CHECK(bitwise_equal(abs(x), Tensor<double>::from({kInf, 1, 0, 0, kInf, kNan})));
  CHECK(bitwise_equal(sign(x), Tensor<double>::from({-1, -1, 0, 0, 1, kNan})));
  CHECK(bitwise_equal(clamp(x, -1, 1), Tensor<double>::from({-1, -1, -0.0, 0, 1, kNan})));
  CHECK(abs(Tensor<std::int32_t>::from({-3, 0, 3})).to_vector() == std::vector<std::int32_t>{3, 0, 3});
  CHECK(sign(Tensor<std::int64_t>::from({-3, 0, 3})).to_vector() == std::vector<std::int64_t>{-1, 0, 1});
}

TEST_CASE("at the corners the gradient is the stated one") {
  const auto x = leaf(Tensor<double>::from({0, 0, 2}));
  sum(abs(x)).backward();
  CHECK(x.grad().to_vector() == std::vector<double>{0, 0, 1});
  x.zero_grad();
  sum(pow(x, 0)).backward();
  CHECK(x.grad().to_vector() == std::vector<double>{0, 0, 0});
  x.zero_grad();
  sum(clamp(x, 0, 1)).backward();
  CHECK(x.grad().to_vector() == std::vector<double>{1, 1, 0});
  CHECK_THROWS_WITH_AS(clamp(x, 2, 1), "clamp: low must not exceed high; got low=2 high=1", Error);
  CHECK_THROWS_AS(clamp(x, kNan, 1), Error);
}
