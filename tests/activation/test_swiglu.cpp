// tests/activation/test_swiglu.cpp
#include <doctest/doctest.h>

#include <activation/helpers.hpp>
#include <moelle/activation.hpp>
#include <moelle/activation/swiglu_ref.hpp>
#include <moelle/autograd/gradcheck.hpp>

using namespace moelle;
using namespace moelle::testing;
using activation::SwigluParams;

namespace {
// Halves of the last axis of packed [..., 2H], as views.
template <class T>
Tensor<T> half(const Tensor<T>& x, int which) {
  Shape shape = x.shape();
  shape[shape.rank() - 1] /= 2;
  return x.alias(shape, x.strides(), which * shape.back());
}
constexpr double kNone = kInf;
}  // namespace

TEST_CASE_TEMPLATE("swiglu and its gradient follow the oracle, with and without a limit", T, float, double) {
  for (const double limit : {kNone, 0.7})
    for (const Shape& shape : {Shape{1}, Shape{5, 3}, Shape{2, 3, 64}, Shape{4, 33}, Shape{2, 1408}}) {
      const Tensor<T> gate = normal<T>(shape, 1, 3.0).set_requires_grad(true), up = normal<T>(shape, 2, 3.0).set_requires_grad(true);
      const Tensor<T> dy = normal<T>(shape, 3);
      const Tensor<T> y = activation::swiglu(gate, up, {.limit = limit});
      y.backward(dy);
      std::vector<double> want, dgate, dup;
      for (std::int64_t i = 0; i < gate.numel(); ++i) {
        const double g = gate.data()[i], u = up.data()[i];
        want.push_back(activation::ref::swiglu(g, u, limit));
        const auto d = activation::ref::swiglu_grad(g, u, limit, static_cast<double>(dy.data()[i]));
        dgate.push_back(d.gate);
        dup.push_back(d.up);
      }
      INFO("shape=", str(shape), " limit=", limit);
      CHECK(relative_error(y.to_vector(), want) <= 4 * std::numeric_limits<T>::epsilon());
      CHECK(relative_error(gate.grad().to_vector(), dgate) <= 8 * std::numeric_limits<T>::epsilon());
      CHECK(relative_error(up.grad().to_vector(), dup) <= 8 * std::numeric_limits<T>::epsilon());
    }
}

TEST_CASE("swiglu passes gradcheck, separate and packed") {
  for (const double limit : {kNone, 5.0})  // 5: no sample lies within a difference step of the corner
    for (const Shape& shape : {Shape{2}, Shape{3, 4}, Shape{2, 2, 6}, Shape{1, 34}, Shape{5, 16}}) {
      const Tensor<double> a = leaf(shape, 4), b = leaf(shape, 5);
      CHECK(autograd::gradcheck1([&](const auto& in) { return activation::swiglu(in[0], in[1], {.limit = limit}); }, {a, b}).ok);
      CHECK(autograd::gradcheck1([&](const auto& in) { return activation::swiglu_packed(in[0], {.limit = limit}); }, {a}).ok);
    }
}

TEST_CASE("packed, separate and sliced operands give the same bits, forward and backward") {
  const Tensor<float> x = normal<float>({3, 7, 66}, 6).set_requires_grad(true), dy = normal<float>({3, 7, 33}, 7);
  const Tensor<float> packed = activation::swiglu_packed(x);
  packed.backward(dy);
  const Tensor<float> gate = half(x.detach(), 0).set_requires_grad(true), up = half(x.detach(), 1).set_requires_grad(true);
  const Tensor<float> y = activation::swiglu(gate, up);  // strided views, read in place
  y.backward(dy);
  CHECK(same_bits(y, packed));
  CHECK(same_bits(half(x.grad(), 0), gate.grad()));
  CHECK(same_bits(half(x.grad(), 1), up.grad()));
  CHECK(same_bits(activation::swiglu_packed(scattered(x.detach())), packed));
}

TEST_CASE("swiglu has the same bits for every number of threads and for a row alone") {
  const Tensor<float> x = normal<float>({301, 2 * 97}, 8), dy = normal<float>({301, 97}, 9);
  CHECK(same_for_all_threads<float>([&] {
    const Tensor<float> v = x.detach().set_requires_grad(true);
    const Tensor<float> y = activation::swiglu_packed(v, {.limit = 2.0});
    y.backward(dy);
    return std::vector<Tensor<float>>{y, v.grad()};
  }));
  CHECK(same_bits(activation::swiglu_packed(rows(x, 100, 101)), rows(activation::swiglu_packed(x), 100, 101)));
}

TEST_CASE_TEMPLATE("results written past the caches have the bits of those that are not", T, float, double) {
  constexpr std::int64_t kRows = 5, kWidth = 176;
  const Tensor<T> x = normal<T>({kRows, 2 * kWidth}, 1), dy = normal<T>({kRows, kWidth}, 2);
  const auto results = [&](bool past) {
    const activation::SwigluArgs<T> args{x.data(), 2 * kWidth, x.data() + kWidth, 2 * kWidth, kWidth, T(1.5), past};
    const Tensor<T> y = Tensor<T>::empty(dy.shape()), dx = Tensor<T>::empty(x.shape());
    activation::kernels<T>().swiglu(args, y.data(), 0, kRows);
    activation::kernels<T>().swiglu_grad(args, dy.data(), {dx.data(), 2 * kWidth, dx.data() + kWidth, 2 * kWidth}, 0, kRows);
    return std::pair(y.to_vector(), dx.to_vector());
  };
  CHECK(results(true) == results(false));
}

TEST_CASE("the limit caps the gate from above and up on both sides, and gradients stop there") {
  const Tensor<float> gate = Tensor<float>::from({9.0f, -9.0f, 1.0f, 1.0f}).set_requires_grad(true);
  const Tensor<float> up = Tensor<float>::from({1.0f, 1.0f, 9.0f, -9.0f}).set_requires_grad(true);
  const Tensor<float> y = activation::swiglu(gate, up, {.limit = 2.0});
  y.backward(Tensor<float>::ones({4}));
  const auto silu = [](double v) { return activation::ref::unary(activation::Unary::silu, v); };
  CHECK(relative_error(y.to_vector(), std::vector<double>{silu(2), silu(-9), 2 * silu(1), -2 * silu(1)}) < 1e-6);
  CHECK(gate.grad().data()[0] == 0.0f);
  CHECK(gate.grad().data()[1] != 0.0f);
  CHECK(up.grad().data()[2] == 0.0f);
  CHECK(up.grad().data()[3] == 0.0f);
}

TEST_CASE("large inputs give no NaN; NaN in either operand gives NaN") {
  const Tensor<float> gate = Tensor<float>::from({-1e30f, 1e18f, -100.0f, static_cast<float>(kNaN), 1.0f});
  const Tensor<float> up = Tensor<float>::from({5.0f, 1e18f, 1e30f, 1.0f, static_cast<float>(kNaN)});
  for (const double limit : {kNone, 3.0}) {
    const std::vector<float> y = activation::swiglu(gate, up, {.limit = limit}).to_vector();
    for (std::size_t i = 0; i < 3; ++i) CHECK(std::isfinite(y[i]));
    CHECK(std::isnan(y[3]));
    CHECK(std::isnan(y[4]));
  }
}

TEST_CASE("swiglu accepts empty tensors and names what is wrong with its arguments") {
  CHECK(activation::swiglu_packed(Tensor<float>::empty({0, 8})).shape() == Shape{0, 4});
  CHECK(activation::swiglu_packed(Tensor<float>::empty({3, 0})).shape() == Shape{3, 0});
  const Tensor<float> a = Tensor<float>::ones({2, 3}), b = Tensor<float>::ones({3, 2});
  CHECK(contains(message_of([&] { activation::swiglu(a, b); }), "swiglu: gate and up must have one shape; got gate=[2, 3] up=[3, 2]"));
  CHECK(contains(message_of([&] { activation::swiglu_packed(a); }), "got shape=[2, 3]"));
  CHECK(contains(message_of([&] { activation::swiglu(a, a, {.limit = -1.0}); }), "got limit=-1"));
}
