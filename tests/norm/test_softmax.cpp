// tests/norm/test_softmax.cpp
#include <doctest/doctest.h>

#include <activation/helpers.hpp>
#include <moelle/autograd/gradcheck.hpp>
#include <moelle/norm.hpp>
#include <moelle/norm/softmax_ref.hpp>

using namespace moelle;
using namespace moelle::testing;
using norm::Softmax;

namespace {
template <class T>
Tensor<T> apply(Softmax form, const Tensor<T>& x, std::int64_t dim = -1) {
  return form == Softmax::plain ? norm::softmax(x, dim) : norm::log_softmax(x, dim);
}
template <class T>
std::vector<double> wide(const Tensor<T>& t) {
  const auto v = t.to_vector();
  return {v.begin(), v.end()};
}
const Softmax kForms[] = {Softmax::plain, Softmax::log};
}  // namespace

TEST_CASE_TEMPLATE("softmax, its logarithm and their gradients follow the oracle", T, float, double) {
  const double eps = std::numeric_limits<T>::epsilon();
  for (const Softmax form : kForms)
    for (const Shape& shape : {Shape{1}, Shape{4, 7}, Shape{2, 3, 32}, Shape{5, 65}, Shape{3, 1000}}) {
      const auto n = static_cast<std::size_t>(shape.back());
      const Tensor<T> x = normal<T>(shape, 1, 5.0).set_requires_grad(true), dy = normal<T>(shape, 2);
      const Tensor<T> y = apply(form, x);
      y.backward(dy);
      const std::vector<double> in = wide(x), g = wide(dy);
      std::vector<double> want(in.size()), dx(in.size());
      for (std::size_t r = 0; r < in.size(); r += n) {
        norm::ref::softmax(form, in.data() + r, shape.back(), want.data() + r);
        norm::ref::softmax_grad(form, want.data() + r, g.data() + r, shape.back(), dx.data() + r);
      }
      INFO(str(norm::name(form)), " shape=", str(shape));
      const std::vector<double> got = wide(y);
      for (std::size_t i = 0; i < got.size(); ++i) {
        const double below = std::log(1.0 / std::max(want[i], 1e-300));  // at least m - x
        const double bound = form == Softmax::plain ? (8 + below) * eps * want[i] + 1e-37 : 4 * eps * (1 + std::abs(want[i]));
        if (!(std::abs(got[i] - want[i]) <= bound)) FAIL_CHECK("element " << i << ": got " << got[i] << " want " << want[i]);
      }
      if (shape != Shape{1}) CHECK(relative_error(wide(x.grad()), dx) <= 16 * eps);
    }
}

TEST_CASE("softmax passes gradcheck along every axis") {
  for (const Softmax form : kForms)
    for (const Shape& shape : {Shape{1}, Shape{5}, Shape{3, 4}, Shape{2, 3, 4}, Shape{2, 17}, Shape{1, 33}})
      for (std::int64_t dim = 0; dim < shape.rank(); ++dim) {
        const auto r = autograd::gradcheck1([&](const auto& in) { return apply(form, in[0], dim); }, {leaf(shape, 3)});
        INFO(str(norm::name(form)), " shape=", str(shape), " dim=", dim, " ", r.where);
        CHECK(r.ok);
      }
}

TEST_CASE("an inner axis, strided input and any number of threads give the bits of contiguous rows") {
  const Tensor<float> x = normal<float>({70, 65}, 4, 3.0), dy = normal<float>({70, 65}, 5);
  for (const Softmax form : kForms) {
    const Tensor<float> y = apply(form, x), turned = x.alias({65, 70}, {1, 65});
    CHECK(same_bits(apply(form, turned, 0).alias({70, 65}, {1, 70}), y));
    CHECK(same_bits(apply(form, scattered(x)), y));
    CHECK(same_bits(apply(form, rows(x, 3, 4)), rows(y, 3, 4)));
    CHECK(same_for_all_threads<float>([&] {
      const Tensor<float> v = x.detach().set_requires_grad(true);
      const Tensor<float> out = apply(form, v);
      out.backward(dy);
      return std::vector<Tensor<float>>{out, v.grad()};
    }));
  }
}

TEST_CASE_TEMPLATE("a row alone has the bits of the row in a batch, short or long", T, float, double) {
  for (const std::int64_t n : {std::int64_t{1}, std::int64_t{7}, std::int64_t{64}, std::int64_t{256}, std::int64_t{300}}) {
    const Tensor<T> x = normal<T>({37, n}, 1, 5.0), y = norm::softmax(x);
    for (std::int64_t r = 0; r < x.size(0); ++r) {
      INFO("n=", n, " r=", r);
      CHECK(norm::softmax(x.alias({n}, {1}, r * n)).to_vector() == y.alias({n}, {1}, r * n).to_vector());
    }
  }
}

TEST_CASE("a row of -infinity throughout gives zeros, and -infinity in the logarithm") {
  for (const std::int64_t n : {1, 3, 16, 40}) {
    const Tensor<float> x = Tensor<float>::full({2, n}, static_cast<float>(-kInf));
    x.at({1, n / 2}) = 3.0f;
    const Tensor<float> y = norm::softmax(x), z = norm::log_softmax(x);
    for (std::int64_t j = 0; j < n; ++j) {
      CHECK(y.at({0, j}) == 0.0f);
      CHECK(z.at({0, j}) == static_cast<float>(-kInf));
      CHECK(y.at({1, j}) == (j == n / 2 ? 1.0f : 0.0f));
      CHECK(z.at({1, j}) == (j == n / 2 ? 0.0f : static_cast<float>(-kInf)));
    }
  }
}

TEST_CASE("NaN or +infinity makes its row NaN, even among -infinity, and leaves the others alone") {
  for (const double bad : {kNaN, kInf})
    for (const double rest : {1.0, -kInf})
      for (const std::int64_t at : {0, 5, 16, 36}) {
        const Tensor<float> x = Tensor<float>::full({2, 37}, static_cast<float>(rest));
        x.at({0, at}) = static_cast<float>(bad);
        x.at({1, at}) = 1.0f;
        for (const Softmax form : kForms) {
          const Tensor<float> y = apply(form, x);
          for (std::int64_t j = 0; j < 37; ++j) {
            CHECK(std::isnan(y.at({0, j})));
            CHECK(!std::isnan(y.at({1, j})));
          }
        }
      }
}

TEST_CASE("huge inputs do not overflow, and shifting a row changes little") {
  const Tensor<float> y = norm::softmax(Tensor<float>::from({3e38f, -3e38f, 3e38f}));
  CHECK(y.to_vector() == std::vector<float>{0.5f, 0.0f, 0.5f});
  CHECK(norm::softmax(Tensor<float>::from({1e4f, 1e4f + 1})).data()[1] == doctest::Approx(0.731058578));
}

TEST_CASE("softmax accepts empty tensors and names what is wrong with its arguments") {
  CHECK(norm::softmax(Tensor<float>::empty({0, 3})).shape() == Shape{0, 3});
  CHECK(norm::softmax(Tensor<float>::empty({3, 0})).shape() == Shape{3, 0});
  CHECK(norm::log_softmax(Tensor<float>::empty({2, 0, 3}), 1).shape() == Shape{2, 0, 3});
  CHECK(contains(message_of([] { norm::softmax(Tensor<float>::ones({2, 2}), 2); }), "softmax: dim must be in [-2, 2); got dim=2"));
  CHECK(contains(message_of([] { norm::log_softmax(Tensor<float>::scalar(1)); }), "log_softmax: dim"));
}
