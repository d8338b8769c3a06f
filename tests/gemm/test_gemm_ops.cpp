// matmul, linear and grouped_linear on tensors: values, gradients, strides, bad arguments.
#include <doctest/doctest.h>

#include <cstdint>
#include <functional>
#include <vector>

#include <moelle/autograd/gradcheck.hpp>
#include <moelle/gemm.hpp>

using moelle::Shape;
using moelle::Tensor;
using moelle::grouped_linear;
using moelle::linear;
using moelle::matmul;

namespace {

template <class T>
Tensor<T> random_tensor(const Shape& shape, std::uint64_t seed, bool grad = false) {
  const moelle::random::Stream stream(seed, "test");
  const Tensor<T> t = Tensor<T>::empty(shape);
  for (std::int64_t i = 0; i < t.numel(); ++i) t.data()[i] = static_cast<T>(stream.normal(static_cast<std::uint64_t>(i)));
  if (grad) t.set_requires_grad(true);
  return t;
}

// Element by element, with broadcasting of the leading axes.
template <class T>
T matmul_element(const Tensor<T>& a, const Tensor<T>& b, const Shape& at) {
  const int rank = at.rank();
  const auto index = [&](const Tensor<T>& t, std::int64_t row, std::int64_t col) {
    Shape s(t.rank(), 0);
    for (int i = 0; i < t.rank() - 2; ++i) {
      const std::int64_t v = at[rank - t.rank() + i];
      s[i] = t.shape()[i] == 1 ? 0 : v;
    }
    s[t.rank() - 2] = row;
    s[t.rank() - 1] = col;
    return t.at(s);
  };
  T sum = 0;
  for (std::int64_t k = 0; k < a.size(-1); ++k) sum += index(a, at[rank - 2], k) * index(b, k, at[rank - 1]);
  return sum;
}

void check_values(const Tensor<double>& a, const Tensor<double>& b) {
  const Tensor<double> y = matmul(a, b);
  REQUIRE(y.shape() == moelle::gemm::matmul_shape(a.shape(), b.shape()));
  for (std::int64_t n = 0; n < y.numel(); ++n) {
    Shape at(y.rank(), 0);
    std::int64_t rest = n;
    for (int i = y.rank() - 1; i >= 0; --i) {
      at[i] = rest % y.shape()[i];
      rest /= y.shape()[i];
    }
    CHECK(y.data()[n] == doctest::Approx(matmul_element(a, b, at)).epsilon(1e-12));
  }
}

void gradients(const std::function<Tensor<double>(const std::vector<Tensor<double>>&)>& f, const std::vector<Tensor<double>>& inputs) {
  const auto result = moelle::autograd::gradcheck1(f, inputs);
  CAPTURE(result.where);
  CAPTURE(result.worst);
  CHECK(result.ok);
  CHECK(result.compared > 0);
}

const std::vector<std::pair<Shape, Shape>> kShapes = {{{3, 4}, {4, 5}},       {{1, 1}, {1, 1}},          {{2, 3, 4}, {4, 5}},          {{2, 3, 4}, {2, 4, 2}},
                                                      {{3, 4}, {2, 4, 2}},    {{2, 1, 3, 2}, {3, 2, 4}}, {{1, 2, 2, 3}, {3, 1, 3, 2}}, {{2, 2, 3, 2}, {2, 2, 2, 3}}};

}  // namespace

TEST_CASE("matmul broadcasts leading axes as numpy does") {
  for (const auto& [a, b] : kShapes) check_values(random_tensor<double>(a, 1), random_tensor<double>(b, 2));
}

TEST_CASE("matmul reads transposed and sliced operands in place") {
  const auto a = random_tensor<double>({5, 4, 6}, 1), b = random_tensor<double>({5, 7, 6}, 2);
  check_values(a, b.alias({5, 6, 7}, {42, 1, 6}));
  check_values(a.alias({4, 5, 6}, {6, 24, 1}), b.alias({6, 7}, {1, 6}));
  check_values(a.alias({2, 4, 3}, {48, 6, 2}), b.alias({2, 3, 4}, {1, 2, 6}));
}

TEST_CASE("matmul's gradients match differences for every kind of broadcasting") {
  for (const auto& [a, b] : kShapes)
    gradients([](const auto& in) { return matmul(in[0], in[1]); }, {random_tensor<double>(a, 1, true), random_tensor<double>(b, 2, true)});
}

TEST_CASE("a product of a tensor with itself gets both gradients") {
  gradients([](const auto& in) { return matmul(in[0], in[0]); }, {random_tensor<double>({4, 4}, 1, true)});
}

TEST_CASE("linear's gradients match differences with and without bias, for every rank") {
  const std::vector<std::pair<Shape, std::int64_t>> shapes = {{{3}, 2}, {{4, 3}, 5}, {{1, 1}, 1}, {{2, 3, 4}, 3}, {{2, 1, 2, 3}, 4}, {{40, 2}, 3}};
  for (const auto& [x, out] : shapes) {
    const auto w = random_tensor<double>({out, x.back()}, 2, true), bias = random_tensor<double>({out}, 3, true);
    gradients([](const auto& in) { return linear(in[0], in[1], in[2]); }, {random_tensor<double>(x, 1, true), w, bias});
    gradients([](const auto& in) { return linear(in[0], in[1]); }, {random_tensor<double>(x, 1, true), w});
  }
}

TEST_CASE("grouped_linear's gradients match differences, experts without rows included") {
  for (const auto& load : std::vector<std::vector<std::int32_t>>{{0, 2, 5}, {0, 0, 3}, {0, 3, 3}, {0, 1, 1, 4, 6}, {0, 7}, {0, 0, 0, 2}}) {
    const auto offsets = Tensor<std::int32_t>::from(load);
    const auto x = random_tensor<double>({load.back(), 3}, 1, true), w = random_tensor<double>({offsets.size(0) - 1, 4, 3}, 2, true);
    gradients([&](const auto& in) { return grouped_linear(in[0], in[1], offsets); }, {x, w});
  }
}

TEST_CASE("grouped_linear equals linear on each expert's rows, bit for bit") {
  const auto x = random_tensor<float>({100, 40}, 1), w = random_tensor<float>({3, 24, 40}, 2);
  const auto offsets = Tensor<std::int32_t>::from({0, 10, 10, 100});
  const auto y = grouped_linear(x, w, offsets);
  const auto part = [](const Tensor<float>& t, std::int64_t begin, std::int64_t rows) { return t.alias({rows, t.size(1)}, t.strides(), begin * t.size(1)); };
  CHECK(part(y, 0, 10).to_vector() == linear(part(x, 0, 10), w.alias({24, 40}, {40, 1})).to_vector());
  CHECK(part(y, 10, 90).to_vector() == linear(part(x, 10, 90), w.alias({24, 40}, {40, 1}, 2 * 24 * 40)).to_vector());
}

TEST_CASE("linear reads a slice of wider rows in place and gives its gradient the slice's shape") {
  const auto wide = random_tensor<float>({2, 3, 8}, 1), w = random_tensor<float>({5, 4}, 2, true);
  const auto slice = wide.alias({2, 3, 4}, {24, 8, 1}, 2);
  slice.set_requires_grad(true);
  const auto y = linear(slice, w);
  CHECK(y.to_vector() == linear(Tensor<float>::from(slice.to_vector(), {2, 3, 4}), w).to_vector());
  y.backward(Tensor<float>::ones(y.shape()));
  CHECK(slice.grad().shape() == Shape{2, 3, 4});
}

TEST_CASE("weight gradients of several uses accumulate in one buffer") {
  const auto x = random_tensor<double>({6, 3}, 1), w = random_tensor<double>({2, 3}, 2, true);
  const auto once = linear(x, w);
  once.backward(Tensor<double>::ones(once.shape()));
  const auto single = w.grad().to_vector();
  const auto again = linear(x, w);
  again.backward(Tensor<double>::ones(again.shape()));
  const auto twice = w.grad().to_vector();
  for (std::size_t i = 0; i < single.size(); ++i) CHECK(twice[i] == doctest::Approx(2.0 * single[i]));
}

TEST_CASE("products with an empty axis are empty or zero, and so are their gradients") {
  const auto zero_rows = matmul(Tensor<float>::zeros({0, 3}), Tensor<float>::ones({3, 2}));
  CHECK(zero_rows.shape() == Shape{0, 2});
  CHECK(matmul(Tensor<float>::zeros({2, 0}), Tensor<float>::zeros({0, 2})).to_vector() == std::vector<float>(4, 0.0f));
  CHECK(matmul(Tensor<float>::zeros({0, 2, 3}), Tensor<float>::zeros({1, 3, 4})).shape() == Shape{0, 2, 4});
  const auto w = Tensor<float>::ones({2, 3});
  w.set_requires_grad(true);
  const auto bias = Tensor<float>::ones({2});
  bias.set_requires_grad(true);
  const auto y = linear(Tensor<float>::zeros({0, 3}), w, bias);
  y.backward(Tensor<float>::zeros({0, 2}));
  CHECK(w.grad().to_vector() == std::vector<float>(6, 0.0f));
  CHECK(bias.grad().to_vector() == std::vector<float>(2, 0.0f));
}

TEST_CASE("shapes that do not fit are refused with the shapes") {
  const auto t = [](const Shape& s) { return Tensor<float>::zeros(s); };
  CHECK_THROWS_WITH_AS(matmul(t({2, 3}), t({4, 5})), "matmul: operands must be [..., m, k] and [..., k, n]; got a=[2, 3] b=[4, 5]", moelle::Error);
  CHECK_THROWS_AS(matmul(t({3}), t({3, 2})), moelle::Error);
  CHECK_THROWS_AS(matmul(t({2, 3, 3}), t({3, 3, 3})), moelle::Error);
  CHECK_THROWS_AS(matmul(t({2, 3}), Tensor<float>()), moelle::Error);
  CHECK_THROWS_WITH_AS(linear(t({2, 3}), t({4, 5})), "linear: x must be [..., in] and weight [out, in]; got x=[2, 3] weight=[4, 5]", moelle::Error);
  CHECK_THROWS_WITH_AS(linear(t({2, 3}), t({4, 3}), t({3})), "linear: bias must be [out]; got bias=[3] weight=[4, 3]", moelle::Error);
  const auto offsets = Tensor<std::int32_t>::from({0, 1, 2});
  CHECK_THROWS_AS(grouped_linear(t({2, 3}), t({3, 4, 3}), offsets), moelle::Error);
  CHECK_THROWS_AS(grouped_linear(t({2, 3}), t({2, 4, 5}), offsets), moelle::Error);
  CHECK_THROWS_WITH_AS(grouped_linear(t({5, 3}), t({2, 4, 3}), offsets),
                       "grouped_linear: offsets must end at the number of rows; got offsets[2]=2 rows=5", moelle::Error);
}
