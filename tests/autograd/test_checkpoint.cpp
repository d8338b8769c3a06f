// tests/autograd/test_checkpoint.cpp -- recomputation changes memory, never a bit of the result.
#include <doctest/doctest.h>

#include <vector>

#include <moelle/autograd/checkpoint.hpp>
#include <moelle/tensor/ops.hpp>
#include <support/compare.hpp>
#include <support/random_tensor.hpp>

using namespace moelle;
using T = Tensor<float>;

namespace {
T block(const T& x, const T& w) { return tanh(x * w) * exp(x) + sqrt(exp(x * w)); }

struct Run {
  T y, dx, dw;
};
Run run(bool recompute) {
  const T x = test::leaf(test::normal<float>({50, 20}, 1)), w = test::leaf(test::normal<float>({20}, 2));
  T y = x;
  for (int i = 0; i < 3; ++i) {
    if (recompute) y = autograd::checkpoint<float>([w](const std::vector<T>& in) { return block(in[0], w); }, {y});
    else y = block(y, w);
  }
  mean(y).backward();
  return {y, x.grad(), w.grad()};
}
}  // namespace

TEST_CASE("checkpointed results and gradients, of inputs and of captured parameters, are the same bits") {
  const Run plain = run(false), again = run(true);
  CHECK(test::bitwise_equal(plain.y, again.y));
  CHECK(test::bitwise_equal(plain.dx, again.dx));
  CHECK(test::bitwise_equal(plain.dw, again.dw));
}

TEST_CASE("the function runs once forward and once more in backward, which it can ask") {
  const T x = T::ones({2}).set_requires_grad(true);
  std::vector<bool> recomputing;
  const T y = autograd::checkpoint<float>(
      [&](const std::vector<T>& in) {
        recomputing.push_back(autograd::recomputing());
        return in[0] * in[0];
      },
      {x});
  CHECK(recomputing == std::vector<bool>{false});
  sum(y).backward();
  CHECK(recomputing == std::vector<bool>{false, true});
  CHECK_FALSE(autograd::recomputing());
  CHECK(x.grad().to_vector() == std::vector<float>{2, 2});
}

TEST_CASE("parameters get gradients even if no input requires one") {
  const T w = T::full({2}, 3).set_requires_grad(true);
  const T y = autograd::checkpoint<float>([w](const std::vector<T>& in) { return in[0] * w; }, {T::full({2}, 5)});
  sum(y).backward();
  CHECK(w.grad().to_vector() == std::vector<float>{5, 5});
}

TEST_CASE("what the function would have saved is released") {
  constexpr std::int64_t n = 1 << 16;
  const auto held = [](bool recompute) {
    const T x = test::leaf(T::ones({n}));
    const std::int64_t before = memory_stats().live_bytes;
    const auto f = [](const std::vector<T>& in) {
      T y = in[0];
      for (int i = 0; i < 8; ++i) y = exp(mul(y, 0.1));
      return y;
    };
    const T y = recompute ? autograd::checkpoint<float>(f, {x}) : f({x});
    return (memory_stats().live_bytes - before) / static_cast<std::int64_t>(n * sizeof(float));
  };
  CHECK(held(false) >= 8);
  CHECK(held(true) == 1);  // the output alone
}

TEST_CASE("several outputs, some of them unused, and inputs changed since") {
  const T x = T::full({2}, 2).set_requires_grad(true);
  const auto f = [](const std::vector<T>& in) { return std::vector<T>{in[0] * in[0], exp(in[0])}; };
  const auto y = autograd::checkpoint_all<float>(f, {x});
  sum(y[0]).backward();
  CHECK(x.grad().to_vector() == std::vector<float>{4, 4});
  const auto z = autograd::checkpoint_all<float>(f, {x});
  {
    const autograd::NoGrad guard;
    fill_(x, 7);
  }
  CHECK_THROWS_AS(sum(z[0]).backward(), Error);
}

TEST_CASE("under NoGrad the function runs plainly") {
  const autograd::NoGrad guard;
  const T x = T::ones({2}).set_requires_grad(true);
  CHECK_FALSE(autograd::checkpoint<float>([](const std::vector<T>& in) { return in[0] * in[0]; }, {x}).requires_grad());
}
