// tests/moe/test_gate_grad.cpp -- gradients through weights and scores, with the choice held fixed and without.
#include <doctest/doctest.h>

#include <cmath>
#include <vector>

#include <activation/helpers.hpp>
#include <moelle/autograd/gradcheck.hpp>
#include <moelle/moe/gate_op.hpp>

using namespace moelle;
using namespace moelle::testing;
using moe::GateParams;

namespace {
struct Case {
  std::int64_t N, E;
  int G, top, K;
};
const Case kCases[] = {{1, 1, 1, 1, 1}, {3, 4, 1, 1, 4}, {2, 8, 4, 2, 3}, {5, 12, 3, 2, 2}, {4, 33, 1, 1, 6}, {1, 64, 8, 4, 8}};
const moe::Score kScores[] = {moe::Score::sigmoid, moe::Score::softmax, moe::Score::sqrt_softplus};

Tensor<std::int32_t> choice_of(const Tensor<double>& x, const GateParams& p) { return moe::gate(x.detach(), Tensor<double>(), p).experts; }
}  // namespace

TEST_CASE("weights and scores pass gradcheck for every score, with and without normalisation, the choice held fixed") {
  for (const Case& c : kCases)
    for (const auto score : kScores)
      for (const bool normalize : {true, false}) {
        const GateParams p{.groups = c.G, .top_groups = c.top, .top_k = c.K, .score = score, .normalize = normalize, .scale = 2.5};
        const Tensor<double> x = leaf({c.N, c.E}, 7);
        const auto chosen = choice_of(x, p);
        const auto r = autograd::gradcheck(
            [&](const auto& in) {
              const auto y = moe::gate_given(in[0], chosen, p);
              return std::vector<Tensor<double>>{y.weights, y.scores};
            },
            {x});
        INFO("E=", c.E, " K=", c.K, " score=", static_cast<int>(score), " normalize=", normalize, " ", r.where);
        CHECK(r.ok);
      }
}

TEST_CASE("weights alone and scores alone pass gradcheck") {
  for (const auto score : kScores) {
    const GateParams p{.top_k = 3, .score = score};
    const Tensor<double> x = leaf({4, 9}, 8);
    const auto chosen = choice_of(x, p);
    CHECK(autograd::gradcheck1([&](const auto& in) { return moe::gate_given(in[0], chosen, p).weights; }, {x}).ok);
    CHECK(autograd::gradcheck1([&](const auto& in) { return moe::gate_given(in[0], chosen, p).scores; }, {x}).ok);
  }
}

TEST_CASE("where no choice is near a tie, the gate itself passes gradcheck, bias and groups included") {
  for (const auto score : kScores) {
    const GateParams p{.groups = 4, .top_groups = 2, .top_k = 3, .score = score};
    Tensor<double> x = Tensor<double>::empty({3, 16});
    const random::Stream stream(9, "order");
    for (std::int64_t i = 0; i < x.numel(); ++i)  // a different shuffle of well-separated values in each row
      x.data()[i] = 0.11 * static_cast<double>((i * 7 + i / 16 * 5) % 16) - 0.8 + 1e-3 * stream.uniform(static_cast<std::uint64_t>(i));
    x.set_requires_grad(true);
    const Tensor<double> bias = normal<double>({16}, 10, 0.3);
    const auto r = autograd::gradcheck(
        [&](const auto& in) {
          const auto y = moe::gate(in[0], bias, p);
          return std::vector<Tensor<double>>{y.weights, y.scores};
        },
        {x});
    INFO("score=", static_cast<int>(score), " ", r.where);
    CHECK(r.ok);
  }
}

TEST_CASE("sqrt_softplus has the right gradient far out on both sides, where softplus underflows or is linear") {
  const GateParams p{.top_k = 1, .score = moe::Score::sqrt_softplus, .normalize = false};
  const Tensor<double> x = Tensor<double>::from({-60.0, -39.5, -40.5, -17.0, 19.5, 20.5, 100.0}, {7, 1}).set_requires_grad(true);
  const auto r = moe::gate(x, Tensor<double>(), p);
  r.weights.backward(Tensor<double>::ones({7, 1}));
  for (std::int64_t i = 0; i < 7; ++i) {
    const double v = x.data()[i], want = v < 20 ? 1 / (1 + std::exp(-v)) / (2 * std::sqrt(std::log1p(std::exp(v)))) : 0.5 / std::sqrt(v);
    CHECK(x.grad().data()[i] == doctest::Approx(want).epsilon(1e-12).scale(0));
  }
  const Tensor<float> f = Tensor<float>::from({-120.0f, -160.0f}, {2, 1}).set_requires_grad(true);
  const auto g = moe::gate(f, Tensor<float>(), p);
  g.weights.backward(Tensor<float>::ones({2, 1}));
  CHECK(f.grad().data()[0] == doctest::Approx(0.5 * std::exp(-60.0)).epsilon(1e-5).scale(0));
  CHECK(f.grad().data()[1] == doctest::Approx(0.5 * std::exp(-80.0)).epsilon(1e-5).scale(0));
}

TEST_CASE("the bias receives no gradient, and experts that were not chosen none from sigmoid weights") {
  const Tensor<float> x = normal<float>({5, 8}, 11).set_requires_grad(true);
  const Tensor<float> bias = normal<float>({8}, 12).set_requires_grad(true);
  const auto r = moe::gate(x, bias, {.top_k = 2});
  r.weights.backward(normal<float>({5, 2}, 13));
  CHECK(!bias.grad().defined());
  for (std::int64_t n = 0; n < 5; ++n)
    for (std::int32_t e = 0; e < 8; ++e) {
      const bool chosen = r.experts.at({n, 0}) == e || r.experts.at({n, 1}) == e;
      CHECK((x.grad().at({n, e}) != 0.0f) == chosen);
    }
}

TEST_CASE("gradients are the same bits for any number of threads, and a graph is only recorded where it is wanted") {
  const Tensor<float> x = normal<float>({150, 40}, 14), gw = normal<float>({150, 4}, 15), gs = normal<float>({150, 40}, 16);
  CHECK(same_for_all_threads<float>([&] {
    const Tensor<float> in = x.detach().set_requires_grad(true);
    const auto r = moe::gate(in, Tensor<float>(), {.top_k = 4, .score = moe::Score::softmax});
    autograd::backward<float>({r.weights, r.scores}, {gw, gs});
    return std::vector<Tensor<float>>{in.grad()};
  }));
  CHECK(!moe::gate(x, Tensor<float>(), {.top_k = 4}).weights.requires_grad());
}

TEST_CASE("changing the scores in place before backward is refused") {
  const Tensor<float> x = normal<float>({2, 4}, 17).set_requires_grad(true);
  const auto r = moe::gate(x, Tensor<float>(), {.top_k = 2});
  r.scores.data()[0] = 0;
  r.scores.bump_version();
  CHECK(contains(message_of([&] { r.weights.backward(Tensor<float>::ones({2, 2})); }), "must not be changed in place"));
}
