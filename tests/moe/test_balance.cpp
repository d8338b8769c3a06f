// tests/moe/test_balance.cpp -- how balance is measured, and how the bias restores it.
#include <doctest/doctest.h>

#include <cmath>
#include <vector>

#include <activation/helpers.hpp>
#include <moelle/moe/balance.hpp>
#include <moelle/moe/gate_op.hpp>

using namespace moelle;
using namespace moelle::testing;
using Counts = std::vector<std::int64_t>;

TEST_CASE("an overloaded expert loses bias, an underloaded one gains it, and one at the mean keeps it") {
  const Tensor<float> b = Tensor<float>::from({.5f, .5f, .5f, .5f});
  moe::update_bias(b, {9, 5, 1, 5}, 0.25);
  CHECK(b.to_vector() == std::vector<float>{.25f, .5f, .75f, .5f});
}

TEST_CASE("the proportional rule moves the bias by the relative distance from the mean") {
  const Tensor<double> b = Tensor<double>::zeros({4});
  moe::update_bias(b, {8, 4, 0, 4}, 0.5, moe::BiasRule::proportional);
  CHECK(b.to_vector() == std::vector<double>{-.5, 0, .5, 0});
}

TEST_CASE("a zero-mean update shifts all biases alike, so that it moves no choice") {
  const Tensor<double> free = Tensor<double>::zeros({3}), zero = Tensor<double>::zeros({3});
  moe::update_bias(free, {10, 1, 1}, 1.0);
  moe::update_bias(zero, {10, 1, 1}, 1.0, moe::BiasRule::sign, moe::BiasMean::zero);
  CHECK(free.to_vector() == std::vector<double>{-1, 1, 1});
  for (std::int64_t e = 0; e < 3; ++e) CHECK(zero.data()[e] == doctest::Approx(free.data()[e] - 1.0 / 3));
}

TEST_CASE("repeated updates balance a router that prefers some experts") {
  const std::int64_t N = 512, E = 16;
  Tensor<float> x = normal<float>({N, E}, 1);
  for (std::int64_t i = 0; i < N * E; ++i) x.data()[i] += i % E < 4 ? 1.5f : 0.0f;
  const Tensor<float> bias = Tensor<float>::zeros({E});
  const auto counts = [&] { return moe::count_experts(moe::gate(x, bias, {.top_k = 2}).experts, E); };
  const double before = moe::max_violation(counts());
  for (int step = 0; step < 300; ++step) moe::update_bias(bias, counts(), 2e-3);
  CHECK(before > 1.0);
  CHECK(moe::max_violation(counts()) < 0.1);
}

TEST_CASE("a step without tokens, and rate 0, change nothing; wrong sizes and rates are refused") {
  const Tensor<float> b = Tensor<float>::from({1, 2});
  moe::update_bias(b, {0, 0}, 0.1);
  moe::update_bias(b, {7, 1}, 0.0);
  CHECK(b.to_vector() == std::vector<float>{1, 2});
  CHECK(contains(message_of([&] { moe::update_bias(b, {1, 2, 3}, 0.1); }), "update_bias: bias must have one entry per expert; got bias="));
  CHECK(contains(message_of([&] { moe::update_bias(b, {1, 2}, -0.1); }), "update_bias: rate must be finite and not negative; got rate=-0.1"));
  CHECK(contains(message_of([&] { moe::update_bias(b, {1, 2}, NAN); }), "update_bias: rate"));
}

TEST_CASE("MaxVio is the largest relative overload") {
  CHECK(moe::max_violation({4, 4, 4, 4}) == 0.0);
  CHECK(moe::max_violation({12, 4, 0, 0}) == 2.0);
  CHECK(moe::max_violation({0, 0}) == 0.0);
  CHECK(moe::max_violation({}) == 0.0);
}

TEST_CASE("dead experts are those below a tenth of the mean, unused ones those without a token") {
  const Counts c{100, 100, 5, 0, 6, 100, 100, 100, 100, 100};  // mean 71.1
  CHECK(moe::dead_experts(c) == 3);
  CHECK(moe::dead_experts(c, 0.0) == 1);
  const auto s = moe::load_stats(c);
  CHECK(s.dead == 3);
  CHECK(s.unused == 1);
}

TEST_CASE("entropy is log E for an even load or an undecided router and 0 for one expert") {
  CHECK(moe::load_entropy({3, 3, 3, 3}) == doctest::Approx(std::log(4.0)));
  CHECK(moe::load_entropy({0, 7, 0}) == 0.0);
  CHECK(moe::load_entropy({1, 3}) == doctest::Approx(-.25 * std::log(.25) - .75 * std::log(.75)));
  CHECK(moe::load_entropy({0, 0}) == 0.0);
  CHECK(moe::router_entropy(Tensor<float>::full({3, 8}, .5f)) == doctest::Approx(std::log(8.0)));
  CHECK(moe::router_entropy(Tensor<float>::from({0, 1, 0, 2, 0, 0}, {2, 3})) == 0.0);
  CHECK(moe::router_entropy(Tensor<float>::empty({0, 3})) == 0.0);
}

TEST_CASE("a tracker adds up micro-batches, does not count a recomputation, and starts anew after reset") {
  moe::LoadTracker t(3);
  const auto choice = Tensor<std::int32_t>::from({0, 2, 2, 1}, {2, 2});
  t.add(choice);
  t.add(choice);
  {
    const autograd::Recomputing guard;
    t.add(choice);
  }
  CHECK(t.counts() == Counts{2, 2, 4});
  CHECK(t.stats().max_violation == doctest::Approx(0.5));
  t.reset();
  CHECK(t.counts() == Counts{0, 0, 0});
  CHECK(contains(message_of([&] { t.add(Tensor<std::int32_t>::full({1, 1}, 3)); }), "experts must be in [0, 3); got expert=3"));
  CHECK(t.counts() == Counts{0, 0, 0});
}
