// tests/norm/test_rms_norm.cpp
#include <doctest/doctest.h>

#include <activation/helpers.hpp>
#include <moelle/autograd/gradcheck.hpp>
#include <moelle/norm.hpp>
#include <moelle/norm/rms_norm_ref.hpp>

using namespace moelle;
using namespace moelle::testing;

namespace {
const Shape kShapes[] = {{1}, {3, 5}, {1, 64}, {2, 3, 33}, {4, 1, 128}, {17, 200}, {5, 1536}};
}

TEST_CASE_TEMPLATE("rms_norm and its gradients follow the oracle", T, float, double) {
  for (const Shape& shape : kShapes)
    for (const bool weighted : {true, false}) {
      const std::int64_t D = shape.back(), n = numel(shape) / D;
      const Tensor<T> x = normal<T>(shape, 1).set_requires_grad(true), dy = normal<T>(shape, 3);
      const Tensor<T> w = weighted ? normal<T>({D}, 2).set_requires_grad(true) : Tensor<T>();
      const Tensor<T> y = norm::rms_norm(x, w, 1e-6);
      y.backward(dy);
      const auto wide = [](const Tensor<T>& t) { const auto v = t.to_vector(); return std::vector<long double>(v.begin(), v.end()); };
      const std::vector<long double> dx = wide(x), ddy = wide(dy), dw = weighted ? wide(w) : std::vector<long double>();
      std::vector<long double> want(dx.size()), want_dx(dx.size()), want_dw(static_cast<std::size_t>(D));
      norm::ref::rms_norm(dx.data(), weighted ? dw.data() : nullptr, n, D, 1e-6L, want.data());
      norm::ref::rms_norm_grad(dx.data(), weighted ? dw.data() : nullptr, ddy.data(), n, D, 1e-6L, want_dx.data(), want_dw.data());
      INFO("shape=", str(shape), " weighted=", weighted);
      const double eps = std::numeric_limits<T>::epsilon();
      CHECK(relative_error(y.to_vector(), want) <= 4 * eps);  // one sum of squares, halved by the root; three products
      if (D > 1) CHECK(relative_error(x.grad().to_vector(), want_dx) <= 8 * eps);  // D = 1: all digits cancel
      if (weighted) CHECK(relative_error(w.grad().to_vector(), want_dw) <= 8 * eps);
    }
}

TEST_CASE("rms_norm and add_rms_norm pass gradcheck") {
  for (const Shape& shape : {Shape{1, 1}, Shape{3}, Shape{2, 5}, Shape{2, 2, 3}, Shape{19, 17}, Shape{1, 33}}) {
    const Tensor<double> x = leaf(shape, 4), r = leaf(shape, 5), w = leaf({shape.back()}, 6);
    CHECK(autograd::gradcheck1([](const auto& in) { return norm::rms_norm(in[0], in[1], 1e-3); }, {x, w}).ok);
    CHECK(autograd::gradcheck1([](const auto& in) { return norm::rms_norm(in[0], Tensor<double>(), 1e-3); }, {x}).ok);
    const auto both = [](const auto& in) {
      const auto out = norm::add_rms_norm(in[0], in[1], in[2], 1e-3);
      return std::vector<Tensor<double>>{out.sum, out.normed};
    };
    CHECK(autograd::gradcheck(both, {x, r, w}).ok);
    CHECK(autograd::gradcheck1([](const auto& in) { return norm::add_rms_norm(in[0], in[1], in[2], 1e-3).normed; }, {x, r, w}).ok);
  }
}

TEST_CASE("add_rms_norm gives the bits of adding first and normalising then") {
  const Tensor<float> x = normal<float>({9, 4, 77}, 7), r = normal<float>({9, 4, 77}, 8), w = normal<float>({77}, 9);
  Tensor<float> sum = Tensor<float>::empty(x.shape());
  for (std::int64_t i = 0; i < x.numel(); ++i) sum.data()[i] = x.data()[i] + r.data()[i];
  const auto out = norm::add_rms_norm(x, r, w, 1e-6);
  CHECK(same_bits(out.sum, sum));
  CHECK(same_bits(out.normed, norm::rms_norm(sum, w, 1e-6)));
}

TEST_CASE("a slice of a wider projection is normalised in place with the bits of a copy") {
  const Tensor<float> wide = normal<float>({3, 5, 48}, 10), w = normal<float>({32}, 11);
  const Tensor<float> part = wide.alias({3, 5, 32}, wide.strides(), 8);
  CHECK(moelle::detail::rows_of(part).data == part.data());  // no copy was made
  const Tensor<float> copy = Tensor<float>::from(part.to_vector(), part.shape());
  CHECK(same_bits(norm::rms_norm(part, w, 1e-6), norm::rms_norm(copy, w, 1e-6)));
  CHECK(same_bits(norm::rms_norm(scattered(copy), scattered(w), 1e-6), norm::rms_norm(copy, w, 1e-6)));
  const Tensor<float> turned = copy.alias({5, 3, 32}, {32, 5 * 32, 1});  // rows without a common stride
  CHECK(same_bits(norm::rms_norm(turned, w, 1e-6), norm::rms_norm(Tensor<float>::from(turned.to_vector(), turned.shape()), w, 1e-6)));
}

TEST_CASE("rms_norm has the same bits for every number of threads, and a row alone those of the row in the batch") {
  const Tensor<float> x = normal<float>({301, 190}, 12), dy = normal<float>({301, 190}, 13), w = normal<float>({190}, 14);
  CHECK(same_for_all_threads<float>([&] {
    const Tensor<float> v = x.detach().set_requires_grad(true), u = w.detach().set_requires_grad(true), r = dy.detach().set_requires_grad(true);
    const Tensor<float> y = norm::rms_norm(v, u, 1e-6);
    y.backward(dy);
    const Tensor<float> z = norm::add_rms_norm(v, r, u, 1e-6).normed;
    z.backward(dy);
    return std::vector<Tensor<float>>{y, z, v.grad(), u.grad(), r.grad()};
  }));
  CHECK(same_bits(norm::rms_norm(rows(x, 200, 201), w, 1e-6), rows(norm::rms_norm(x, w, 1e-6), 200, 201)));
  const auto input_grad = [&](const Tensor<float>& in, const Tensor<float>& out) {
    const Tensor<float> v = in.detach().set_requires_grad(true);
    norm::rms_norm(v, w, 1e-6).backward(out);
    return v.grad();
  };
  CHECK(same_bits(input_grad(rows(x, 200, 201), rows(dy, 200, 201)), rows(input_grad(x, dy), 200, 201)));
}

TEST_CASE_TEMPLATE("results written past the caches have the bits of those that are not", T, float, double) {
  constexpr std::int64_t kRows = 5, kWidth = 176;
  const Tensor<T> x = normal<T>({kRows, kWidth}, 1), other = normal<T>({kRows, kWidth}, 2), w = normal<T>({kWidth}, 3), rstd = Tensor<T>::empty({kRows});
  for (const T* weight : std::initializer_list<const T*>{w.data(), nullptr}) {
    const auto results = [&](bool past) {
      const norm::RmsNormArgs<T> args{x.data(), kWidth, weight, kWidth, T(1e-6), past};
      const Tensor<T> out = Tensor<T>::empty({5, kRows, kWidth}), dw = Tensor<T>::zeros({kWidth});
      const auto part = [&](std::int64_t i) { return out.data() + i * kRows * kWidth; };
      norm::kernels<T>().add_rms_norm(args, other.data(), part(0), part(1), rstd.data(), 0, kRows);
      norm::kernels<T>().rms_norm(args, part(2), rstd.data(), 0, kRows);
      norm::kernels<T>().rms_norm_grad(args, rstd.data(), other.data(), nullptr, part(3), dw.data(), 0, kRows);
      norm::kernels<T>().rms_norm_grad(args, rstd.data(), other.data(), x.data(), part(4), dw.data(), 0, kRows);
      return std::pair(out.to_vector(), dw.to_vector());
    };
    CHECK(results(true) == results(false));
  }
}

TEST_CASE("the weight's gradient is added to what its buffer holds") {
  const Tensor<double> x = normal<double>({7, 6}, 15), w = leaf({6}, 16), dy = normal<double>({7, 6}, 17);
  norm::rms_norm(x, w, 1e-6).backward(dy);
  const std::vector<double> once = w.grad().to_vector();
  norm::rms_norm(x, w, 1e-6).backward(dy);
  for (std::size_t i = 0; i < once.size(); ++i) CHECK(w.grad().data()[i] == 2 * once[i]);
}

TEST_CASE("NaN spoils its own row and no other; rows of zeros give zeros; tiny rows are not lost") {
  Tensor<float> x = Tensor<float>::full({4, 40}, 1.0f);
  x.at({1, 3}) = static_cast<float>(kNaN);
  for (std::int64_t j = 0; j < 40; ++j) x.at({2, j}) = 0.0f, x.at({3, j}) = 1e-12f;
  const std::vector<float> y = norm::rms_norm(x, Tensor<float>(), 1e-20).to_vector();
  for (std::size_t j = 0; j < 40; ++j) {
    CHECK(y[j] == doctest::Approx(1.0));
    CHECK(std::isnan(y[40 + j]));
    CHECK(y[80 + j] == 0.0f);
    CHECK(y[120 + j] == doctest::Approx(1e-12 / std::sqrt(1e-24 + 1e-20)));
  }
}

TEST_CASE("rms_norm accepts empty tensors and names what is wrong with its arguments") {
  const Tensor<float> w = Tensor<float>::ones({4}).set_requires_grad(true);
  const Tensor<float> y = norm::rms_norm(Tensor<float>::empty({0, 4}), w, 1e-6);
  CHECK(y.shape() == Shape{0, 4});
  y.backward(y.detach());
  CHECK(w.grad().to_vector() == std::vector<float>(4, 0.0f));
  CHECK(norm::rms_norm(Tensor<float>::empty({3, 0}), Tensor<float>(), 1e-6).shape() == Shape{3, 0});
  const Tensor<float> x = Tensor<float>::ones({2, 3});
  CHECK(contains(message_of([&] { norm::rms_norm(x, w, 1e-6); }), "rms_norm: weight must have the size of the last axis; got x=[2, 3] weight=[4]"));
  CHECK(contains(message_of([&] { norm::rms_norm(x, Tensor<float>(), -1.0); }), "got eps=-1"));
  CHECK(contains(message_of([&] { norm::rms_norm(x, Tensor<float>(), kNaN); }), "got eps=nan"));
  CHECK(contains(message_of([&] { norm::rms_norm(Tensor<float>::scalar(1), Tensor<float>(), 1e-6); }), "got x=[]"));
  CHECK(contains(message_of([&] { norm::add_rms_norm(x, w, Tensor<float>(), 1e-6); }), "got x=[2, 3] residual=[4]"));
}
