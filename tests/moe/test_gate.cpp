// tests/moe/test_gate.cpp -- which experts the gate picks and how it weighs them, by hand-made examples.
#include <doctest/doctest.h>

#include <cmath>
#include <string>
#include <vector>

#include <activation/helpers.hpp>
#include <moe/tables.hpp>
#include <moelle/moe/gate_op.hpp>
#include <moelle/tensor/ops.hpp>  // cast

using namespace moelle;
using namespace moelle::testing;
using moe::GateParams;
using Ids = std::vector<std::int32_t>;

namespace {
Picked<float> pick(const std::vector<float>& s, const std::vector<float>& b, const GateParams& p) {
  const Picked<float> want = by_oracle(s, b, p);
  for (const auto& t : tables<float>()) {  // every example is one for every kernel, too
    INFO(std::string(t.isa));
    CHECK(by_kernels(t.kernels, s, b, p).experts == want.experts);
  }
  return want;
}
float logit(float s) { return std::log(s / (1 - s)); }
}  // namespace

TEST_CASE("the worked example: four groups of two, keep two groups, pick three") {
  //                            g0          g1          g2          g3
  const std::vector<float> s{.9f, .1f,   .5f, .6f,   .2f, .3f,   .8f, .7f};
  const auto r = pick(s, {}, {.groups = 4, .top_groups = 2, .top_k = 3});  // sums 1.0, 1.1, 0.5, 1.5: keep g3 and g1
  CHECK(r.experts == Ids{6, 7, 3});
  CHECK(r.weights[0] == doctest::Approx(.8 / 2.1));
}

TEST_CASE("V2 ranks groups by their best expert and V3 by the sum of the two best, which can differ") {
  const std::vector<float> s{.9f, .0f, .1f,   .6f, .5f, .1f,   .3f, .2f, .1f};
  CHECK(pick(s, {}, {.groups = 3, .top_groups = 1, .top_k = 2, .group_score = moe::GroupScore::max}).experts == Ids{0, 2});
  CHECK(pick(s, {}, {.groups = 3, .top_groups = 1, .top_k = 2, .group_score = moe::GroupScore::top2_sum}).experts == Ids{3, 4});
}

TEST_CASE("the bias steers which experts and groups are picked, never how they are weighted") {
  const std::vector<float> s{.5f, .4f, .3f, .2f}, b{0, 0, 0, 9};
  const auto r = pick(s, b, {.top_k = 2, .normalize = false});
  CHECK(r.experts == Ids{3, 0});
  CHECK(r.weights == std::vector<float>{.2f, .5f});
  CHECK(pick(s, b, {.groups = 2, .top_groups = 1, .top_k = 2}).experts == Ids{3, 2});
}

TEST_CASE("experts outside the kept groups are never picked, even when every kept score is negative") {
  const std::vector<float> s{.1f, .1f, .1f, .1f}, b{-5, -6, -9, -9};
  CHECK(pick(s, b, {.groups = 2, .top_groups = 1, .top_k = 2}).experts == Ids{0, 1});
}

TEST_CASE("ties go to the lower index, among experts and among groups") {
  CHECK(pick(std::vector<float>(64, .5f), {}, {.groups = 8, .top_groups = 2, .top_k = 4}).experts == Ids{0, 1, 2, 3});
  CHECK(pick({.1f, .5f, .5f, .1f, .5f, .1f}, {}, {.top_k = 4}).experts == Ids{1, 2, 4, 0});
  CHECK(pick({.1f, .5f, .5f, .1f, .5f, .1f}, {}, {.groups = 3, .top_groups = 2, .top_k = 3}).experts == Ids{1, 2, 0});
  CHECK(pick({-0.0f, 0.0f}, {}, {.top_k = 1}).experts == Ids{0});
  CHECK(pick({0.0f, -0.0f}, {}, {.top_k = 1}).experts == Ids{0});
}

TEST_CASE("NaN ranks below minus infinity, and NaN ties go to the lower index") {
  const float inf = INFINITY;
  CHECK(pick({NAN, -inf, NAN, inf, 0.0f}, {}, {.top_k = 5}).experts == Ids{3, 4, 1, 0, 2});
  CHECK(pick(std::vector<float>(20, NAN), {}, {.top_k = 3}).experts == Ids{0, 1, 2});
}

TEST_CASE("K = E returns every expert, best first, with weights that sum to the scale") {
  const auto r = pick({.2f, .9f, .4f}, {}, {.top_k = 3, .scale = 2.5});
  CHECK(r.experts == Ids{1, 2, 0});
  CHECK(r.weights[0] + r.weights[1] + r.weights[2] == doctest::Approx(2.5));
}

TEST_CASE("scores that all vanish give weights of zero, not NaN") {
  CHECK(pick({0, 0, 0}, {}, {.top_k = 2}).weights == std::vector<float>{0, 0});
}

TEST_CASE("the scale follows normalisation in V3 and transformers, and is either-or in DeepSeek's V2 code") {
  const std::vector<float> s{.6f, .3f};
  const auto first = [&](bool normalize, moe::ScaleRule rule) {
    return pick(s, {}, {.top_k = 2, .normalize = normalize, .scale = 16.0, .scale_rule = rule}).weights[0];
  };
  CHECK(first(true, moe::ScaleRule::always) == doctest::Approx(16 * .6 / .9));
  CHECK(first(false, moe::ScaleRule::always) == doctest::Approx(16 * .6));
  CHECK(first(true, moe::ScaleRule::unless_normalized) == doctest::Approx(.6 / .9));
  CHECK(first(false, moe::ScaleRule::unless_normalized) == doctest::Approx(16 * .6));
}

TEST_CASE("Mixtral's softmax over the K best logits is greedy softmax with normalisation") {
  const Tensor<double> x = Tensor<double>::from({.3, 2.0, -1.0, 1.5, .2}, {1, 5});
  const auto r = moe::gate(x, Tensor<double>(), moe::greedy(2, true));
  CHECK(r.experts.to_vector() == Ids{1, 3});
  CHECK(r.weights.data()[0] == doctest::Approx(1 / (1 + std::exp(-.5))).epsilon(1e-14));
  const auto plain = moe::gate(x, Tensor<double>(), moe::greedy(2, false));
  double sum = 0;
  for (const double v : x.to_vector()) sum += std::exp(v);
  CHECK(plain.weights.data()[1] == doctest::Approx(std::exp(1.5) / sum).epsilon(1e-14));
}

TEST_CASE("the operation is V3's equations: sigmoid, bias, groups, normalise, scale") {
  const std::vector<float> s{.9f, .1f, .5f, .6f, .2f, .3f, .8f, .7f};
  std::vector<float> x;
  for (const float v : s) x.push_back(logit(v));
  const auto p = moe::noaux_tc(4, 2, 3, 2.5);
  const auto r = moe::gate(Tensor<float>::from(x, {1, 8}), Tensor<float>::from({0, 0, .5f, .5f, 0, 0, 0, 0}), p);
  CHECK(r.experts.to_vector() == Ids{3, 2, 6});  // group sums 1.0, 2.1, 0.5, 1.5
  CHECK(r.weights.data()[0] == doctest::Approx(2.5 * .6 / 1.9));
  CHECK(r.scores.data()[0] == doctest::Approx(.9));
}

TEST_CASE("a choice that is given gets the weights and scores that the gate would give it") {
  const Tensor<float> x = normal<float>({9, 24}, 1), b = normal<float>({24}, 2, 0.1);
  for (const auto score : {moe::Score::sigmoid, moe::Score::softmax, moe::Score::sqrt_softplus}) {
    const GateParams p{.groups = 4, .top_groups = 2, .top_k = 5, .score = score, .scale = 2.5};
    const auto r = moe::gate(x, b, p), again = moe::gate_given(x, r.experts, p);
    CHECK(same_bits(again.weights, r.weights));
    CHECK(same_bits(again.scores, r.scores));
    CHECK(same_bits(again.experts, r.experts));
  }
}

TEST_CASE("rows alone, strided input and any number of threads give the same bits") {
  const Tensor<float> x = normal<float>({201, 37}, 3), b = normal<float>({37}, 4, 0.1);
  for (const auto score : {moe::Score::sigmoid, moe::Score::softmax, moe::Score::sqrt_softplus}) {
    const GateParams p{.top_k = 6, .score = score};
    const auto all = moe::gate(x, b, p);
    const auto some = moe::gate(rows(x, 77, 78), b, p);
    CHECK(same_bits(some.weights, rows(all.weights, 77, 78)));
    CHECK(same_bits(some.scores, rows(all.scores, 77, 78)));
    CHECK(same_bits(some.experts, rows(all.experts, 77, 78)));
    const auto strided = moe::gate(scattered(x), scattered(b), p);
    CHECK(same_bits(strided.weights, all.weights));
    CHECK(same_bits(strided.experts, all.experts));
    CHECK(same_for_all_threads<float>([&] {
      const auto r = moe::gate(x, b, p);
      return std::vector<Tensor<float>>{r.weights, r.scores, cast<float>(r.experts)};
    }));
  }
}

TEST_CASE("no tokens are legal") {
  const auto r = moe::gate(Tensor<float>::empty({0, 8}), Tensor<float>(), {.top_k = 2});
  CHECK(r.experts.shape() == Shape{0, 2});
  CHECK(r.weights.shape() == Shape{0, 2});
  CHECK(r.scores.shape() == Shape{0, 8});
}

TEST_CASE("impossible requests are refused with the numbers in the message") {
  const Tensor<float> x = Tensor<float>::zeros({2, 32}), none;
  const auto refuse = [&](const GateParams& p) { return message_of([&] { moe::gate(x, none, p); }); };
  CHECK(refuse({.groups = 8, .top_groups = 1, .top_k = 8}) ==
        "gate: top_k must be in [1, min(64, top_groups * experts / groups)]; got experts=32 groups=8 top_groups=1 top_k=8");
  CHECK(contains(refuse({.top_k = 0}), "gate: top_k must be in"));
  CHECK(contains(refuse({.groups = 5}), "gate: groups must be in [1, 32] and divide experts; got experts=32 groups=5"));
  CHECK(contains(refuse({.groups = 0}), "gate: groups"));
  CHECK(contains(refuse({.groups = 32, .top_groups = 2}), "gate: top2_sum needs at least two experts per group"));
  CHECK(contains(refuse({.groups = 4, .top_groups = 5}), "gate: top_groups must be in [1, groups]"));
  CHECK(contains(refuse({.scale = NAN}), "gate: scale must be finite"));
  CHECK(contains(message_of([&] { moe::gate(Tensor<float>::zeros({32}), none, {}); }), "gate: logits must be [N, E]; got shape="));
  CHECK(contains(message_of([&] { moe::gate(none, none, {}); }), "gate: logits must be [N, E]"));
  CHECK(contains(message_of([&] { moe::gate(x, Tensor<float>::zeros({31}), {}); }), "gate: bias must be [E]"));
  CHECK(contains(message_of([&] { moe::gate_given(x, Tensor<std::int32_t>::full({2, 1}, 32), {}); }), "gate: experts must be in [0, 32); got expert=32"));
  CHECK(contains(message_of([&] { moe::gate_given(x, Tensor<std::int32_t>::zeros({2, 2}), {}); }), "gate: experts must be [N, top_k]"));
}
