// tests/activation/test_unary.cpp
#include <doctest/doctest.h>

#include <activation/helpers.hpp>
#include <moelle/activation.hpp>
#include <moelle/activation/unary_ref.hpp>
#include <moelle/autograd/gradcheck.hpp>

using namespace moelle;
using namespace moelle::testing;
using activation::Unary;

namespace {

constexpr Unary kAll[] = {Unary::sigmoid, Unary::silu, Unary::softplus, Unary::gelu, Unary::gelu_tanh, Unary::relu};

// The bounds of unary.hpp, eps of T.
template <class T>
double bound(Unary f, double x, double y) {
  const double eps = std::numeric_limits<T>::epsilon(), tiny = sizeof(T) == 4 ? 1e-35 : 1e-300;
  switch (f) {
    case Unary::relu: return 0.0;
    case Unary::gelu: return (sizeof(T) == 4 ? 4 : 64) * eps * std::abs(x) + tiny;
    case Unary::gelu_tanh: return 8 * eps * std::abs(x) + tiny;
    default: return 4 * eps * std::abs(y) + tiny;
  }
}

template <class T>
Tensor<T> sweep() {  // dense near 0, to both ends of the range
  std::vector<T> v;
  for (double x = -120; x <= 120; x += 0.00731) v.push_back(static_cast<T>(x));
  for (double x = 1e-30; x < (sizeof(T) == 4 ? 1e38 : 1e300); x *= 3.7)
    for (const double s : {x, -x}) v.push_back(static_cast<T>(s));
  return Tensor<T>::from(v);
}

template <class T>
void check_against_float64() {
  const Tensor<T> x = sweep<T>();
  for (const Unary f : kAll) {
    const std::vector<T> y = activation::unary(f, x).to_vector();
    double worst = 0.0, at = 0.0;
    for (std::size_t i = 0; i < y.size(); ++i) {
      const auto v = static_cast<double>(x.data()[i]);
      const auto want = static_cast<double>(activation::ref::unary(f, static_cast<long double>(v)));
      const double error = std::abs(static_cast<double>(y[i]) - want) / bound<T>(f, v, want);
      if (f == Unary::relu ? static_cast<double>(y[i]) != want : !(error <= worst)) worst = error, at = v;
    }
    INFO(str(activation::name(f)), " worst ", worst, " of its bound at x=", at);
    CHECK(worst <= 1.0);
  }
}

}  // namespace

TEST_CASE("activations stay within their written error bounds of float64 from the smallest to the largest finite input") {
  SUBCASE("float") { check_against_float64<float>(); }
  SUBCASE("double") { check_against_float64<double>(); }
}

TEST_CASE("derivatives of activations agree with the oracle and stay finite for every finite input") {
  const Tensor<float> x = sweep<float>().set_requires_grad(true);
  for (const Unary f : kAll) {
    x.zero_grad();
    activation::unary(f, x).backward(Tensor<float>::ones(x.shape()));
    double worst = 0.0, at = 0.0;
    for (std::int64_t i = 0; i < x.numel(); ++i) {
      const auto want = static_cast<double>(activation::ref::unary_grad(f, static_cast<long double>(x.data()[i])));
      const double error = std::abs(static_cast<double>(x.grad().data()[i]) - (std::isfinite(want) ? want : (x.data()[i] > 0 ? 1.0 : 0.0)));
      if (!(error <= worst)) worst = std::isnan(error) ? kInf : error, at = x.data()[i];
    }
    INFO(str(activation::name(f)), " worst absolute error ", worst, " at x=", at);
    CHECK(worst <= 1e-6);
  }
}

TEST_CASE("activations pass gradcheck") {
  for (const Unary f : kAll)
    for (const Shape& shape : {Shape{1}, Shape{7}, Shape{2, 3}, Shape{3, 1, 5}, Shape{2, 17}, Shape{4, 8}}) {
      const Tensor<double> x = leaf(shape, 3);
      for (std::int64_t i = 0; i < x.numel(); ++i)
        if (f == Unary::relu && std::abs(x.data()[i]) < 0.01) x.data()[i] = 0.5;  // away from the corner
      const auto r = autograd::gradcheck1([&](const auto& in) { return activation::unary(f, in[0]); }, {x});
      INFO(str(activation::name(f)), " shape=", str(shape), " ", r.where);
      CHECK(r.ok);
    }
}

TEST_CASE("NaN gives NaN and infinities give the stated limits") {
  const Tensor<float> x = Tensor<float>::from({static_cast<float>(kNaN), static_cast<float>(kInf), static_cast<float>(-kInf)});
  for (const Unary f : kAll) {
    const std::vector<float> y = activation::unary(f, x).to_vector();
    CHECK(std::isnan(y[0]));
    CHECK(y[1] == (f == Unary::sigmoid ? 1.0f : static_cast<float>(kInf)));
    if (f == Unary::sigmoid || f == Unary::softplus || f == Unary::relu) CHECK(y[2] == 0.0f);
    if (f == Unary::silu || f == Unary::gelu || f == Unary::gelu_tanh) CHECK(std::isnan(y[2]));
  }
}

TEST_CASE("an infinite gradient behind relu's flat side is stopped, not turned into NaN") {
  const Tensor<float> x = Tensor<float>::from({-1.0f, 1.0f, 0.0f}).set_requires_grad(true);
  activation::relu(x).backward(Tensor<float>::full({3}, static_cast<float>(kInf)));
  CHECK(x.grad().to_vector() == std::vector<float>{0.0f, static_cast<float>(kInf), 0.0f});
}

TEST_CASE("an element's bits depend neither on its place, its neighbours, strides nor threads") {
  const Tensor<float> x = normal<float>({37, 1001}, 5, 3.0);
  for (const Unary f : kAll) {
    const Tensor<float> y = activation::unary(f, x);
    CHECK(same_bits(activation::unary(f, rows(x, 11, 12)), rows(y, 11, 12)));
    CHECK(same_bits(activation::unary(f, scattered(rows(x, 0, 2))), rows(y, 0, 2)));
    CHECK(same_for_all_threads<float>([&] {
      const Tensor<float> v = x.detach().set_requires_grad(true);
      const Tensor<float> out = activation::unary(f, v);
      out.backward(x);
      return std::vector<Tensor<float>>{out, v.grad()};
    }));
  }
}

TEST_CASE("empty tensors and scalars are legal") {
  for (const Unary f : kAll) {
    CHECK(activation::unary(f, Tensor<float>::empty({0, 3})).shape() == Shape{0, 3});
    CHECK(activation::unary(f, Tensor<double>::scalar(0.5)).shape() == Shape{});
  }
}

TEST_CASE("float and double agree to 1e-6") {
  for (const Unary f : kAll) {
    const Shape shape{64, 33};
    const Tensor<float> x = normal<float>(shape, 9, 4.0).set_requires_grad(true);
    const Tensor<double> z = normal<double>(shape, 9, 4.0).set_requires_grad(true);
    const Tensor<float> y = activation::unary(f, x);
    const Tensor<double> w = activation::unary(f, z);
    y.backward(normal<float>(shape, 10));
    w.backward(normal<double>(shape, 10));
    CHECK(relative_error(y.to_vector(), w.to_vector()) <= 1e-6);
    CHECK(relative_error(x.grad().to_vector(), z.grad().to_vector()) <= 1e-6);
  }
}
