// tests/tensor/test_cast.cpp -- conversions as stated, ends of ranges included; the gradients that survive them.
#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <vector>

#include <moelle/tensor/cast_op.hpp>
#include <moelle/tensor/elementwise_op.hpp>
#include <support/compare.hpp>

#include "helpers.hpp"

using namespace moelle;
using namespace moelle::test;

namespace {
constexpr double kNan = std::numeric_limits<double>::quiet_NaN(), kInf = std::numeric_limits<double>::infinity();

template <class T, class U>
void from_one(const Tensor<U>& want) {
  CHECK(bitwise_equal(cast<U>(Tensor<T>::arange(0, 3)), want));
  CHECK(bitwise_equal(cast<U>(scattered(Tensor<T>::arange(0, 3))), want));
}
template <class U>
void to_each(const Tensor<U>& want) {
  from_one<float>(want), from_one<double>(want), from_one<bfloat16>(want);
  from_one<std::int32_t>(want), from_one<std::int64_t>(want), from_one<std::uint8_t>(want);
}
}  // namespace

TEST_CASE("every type converts to every other, small whole numbers exactly") {
  to_each<float>(Tensor<float>::from({0, 1, 2}));
  to_each<double>(Tensor<double>::from({0, 1, 2}));
  to_each<bfloat16>(Tensor<bfloat16>::arange(0, 3));
  to_each<std::int32_t>(Tensor<std::int32_t>::from({0, 1, 2}));
  to_each<std::int64_t>(Tensor<std::int64_t>::from({0, 1, 2}));
  to_each<std::uint8_t>(Tensor<std::uint8_t>::from({0, 1, 2}));
  to_each<bool>(Tensor<bool>::from({false, true, true}));
  const auto b = Tensor<bool>::from({false, true});
  CHECK(bitwise_equal(cast<float>(b), Tensor<float>::from({0, 1})));
  CHECK(bitwise_equal(cast<std::int64_t>(b), Tensor<std::int64_t>::from({0, 1})));
  CHECK(bitwise_equal(cast<bfloat16>(b), Tensor<bfloat16>::arange(0, 2)));
  for (const Shape& shape : small_shapes()) {
    const auto x = scattered(uniform<float>(shape, 1));
    CHECK(bitwise_equal(cast<double>(x), built<double>(shape, [&](const Shape& i) { return static_cast<double>(x.at(i)); })));
  }
}

TEST_CASE("to integers, fractions are cut towards zero, the range is the end, NaN is 0") {
  const auto x = Tensor<double>::from({-1.9, 1.9, -0.5, kNan, kInf, -kInf, 1e30, -1e30, 2147483647.5, -2147483648.5});
  constexpr std::int32_t low = std::numeric_limits<std::int32_t>::min(), high = std::numeric_limits<std::int32_t>::max();
  CHECK(cast<std::int32_t>(x).to_vector() == std::vector<std::int32_t>{-1, 1, 0, 0, high, low, high, low, high, low});
  CHECK(cast<std::uint8_t>(Tensor<float>::from({-1, 255.9f, 256, 3})).to_vector() == std::vector<std::uint8_t>{0, 255, 255, 3});
  constexpr std::int64_t far = std::numeric_limits<std::int64_t>::max();
  CHECK(cast<std::int64_t>(Tensor<float>::from({0x1p63f, std::nextafter(0x1p63f, 0.0f), -0x1p63f})).to_vector() ==
        std::vector<std::int64_t>{far, 0x7fffff8000000000, -far - 1});
  CHECK(cast<std::int32_t>(Tensor<float>::from({0x1p31f})).item() == high);
  CHECK(cast<std::int32_t>(Tensor<bfloat16>::full({1}, bfloat16(-3e38f))).item() == low);
}

TEST_CASE("between integers the value is taken modulo 2^bits; bool asks whether it is 0") {
  CHECK(cast<std::uint8_t>(Tensor<std::int64_t>::from({256, -1, 511})).to_vector() == std::vector<std::uint8_t>{0, 255, 255});
  CHECK(cast<std::int32_t>(Tensor<std::int64_t>::from({(std::int64_t{1} << 32) + 5})).item() == 5);
  CHECK(cast<bool>(Tensor<double>::from({0, -0.0, 1e-300, kNan})).to_vector() == std::vector<bool>{false, false, true, true});
  CHECK(cast<bool>(Tensor<std::int32_t>::from({256})).item());
}

TEST_CASE("a cast to the same type is the tensor itself") {
  const auto x = Tensor<float>::ones({2});
  CHECK(cast<float>(x).same(x));
}

TEST_CASE("gradients pass between float and double, and stop at other types") {
  const auto x = leaf(uniform<double>({3, 2}, 1));
  const auto y = cast<double>(cast<float>(x) * 2.0f) * 3.0;
  y.backward(Tensor<double>::ones({3, 2}));
  CHECK(x.grad().to_vector() == std::vector<double>(6, 6.0));
  CHECK_FALSE(cast<std::int64_t>(x).requires_grad());
  CHECK_FALSE(cast<bfloat16>(x).requires_grad());
  const auto w = leaf(uniform<float>({4}, 2));
  CHECK(gradient_error([](const Doubles& in) { return in[0] * 2; }, {x}) == "");
  const auto z = cast<double>(w);
  sum(z * z).backward();
  CHECK(bitwise_equal(w.grad(), w.detach() * 2));
  CHECK_THROWS_WITH_AS(sum(z).backward(), "backward: the graph was freed by an earlier backward; pass retain_graph to keep it; got node=cast", Error);
}

TEST_CASE("round_to_bf16 gives the value bfloat16 would hold and passes the gradient unchanged") {
  const auto x = leaf(normal<float>({1000}, 3));
  const auto y = round_to_bf16(x);
  CHECK(bitwise_equal(y.detach(), cast<float>(cast<bfloat16>(x))));
  CHECK_FALSE(bitwise_equal(y.detach(), x.detach()));
  const auto g = normal<float>({1000}, 4);
  y.backward(g);
  CHECK(bitwise_equal(x.grad(), g));
}
