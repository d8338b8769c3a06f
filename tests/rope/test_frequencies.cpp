// tests/rope/test_frequencies.cpp
#include <doctest/doctest.h>

#include <activation/helpers.hpp>
#include <moelle/rope/rope_op.hpp>

using namespace moelle;
using namespace moelle::testing;
using rope::RopeParams;
using rope::Scaling;

namespace {
const RopeParams kV3{.dim = 64, .theta = 1e4, .scaling = Scaling::yarn, .factor = 40, .original_max_position = 4096, .mscale = 1, .mscale_all_dim = 1};
double corr(const RopeParams& p, double r) { return rope::yarn_correction(p, r); }
auto near(double v) { return doctest::Approx(v).epsilon(5e-4); }
}  // namespace

TEST_CASE("unscaled frequencies are theta^(-2i/dim), with no scale factors") {
  const auto f = rope::frequencies({.dim = 8, .theta = 10000});
  const double want[] = {1.0, 0.1, 0.01, 0.001};
  REQUIRE(f.inv_freq.size() == 4);
  for (std::size_t i = 0; i < 4; ++i) CHECK(f.inv_freq[i] == doctest::Approx(want[i]).epsilon(1e-14));
  CHECK(f.table_scale == 1.0);
  CHECK(f.softmax_scale == 1.0);
}

TEST_CASE("linear scaling divides every frequency; ntk keeps the first and divides the last by the factor") {
  const auto plain = rope::frequencies({.dim = 64}), linear = rope::frequencies({.dim = 64, .scaling = Scaling::linear, .factor = 4});
  const auto ntk = rope::frequencies({.dim = 64, .scaling = Scaling::ntk, .factor = 4});
  for (std::size_t i = 0; i < 32; ++i) CHECK(linear.inv_freq[i] == plain.inv_freq[i] / 4);
  CHECK(ntk.inv_freq.front() == 1.0);
  CHECK(ntk.inv_freq.back() == doctest::Approx(plain.inv_freq.back() / 4).epsilon(1e-12));
  CHECK(linear.table_scale == 1.0);
  CHECK(ntk.softmax_scale == 1.0);
}

TEST_CASE("yarn's correction range reproduces the published models: V3 10 to 23, V4 15 to 25, K2 8 to 20, gpt-oss unrounded") {
  RopeParams v4 = kV3, k2 = kV3, oss = kV3;
  v4.theta = 1.6e5, v4.original_max_position = 65536;
  k2.theta = 5e4;
  oss.theta = 1.5e5;
  CHECK(corr(kV3, 32) == near(10.47));
  CHECK(corr(kV3, 1) == near(22.51));
  CHECK(corr(v4, 32) == near(15.45));
  CHECK(corr(v4, 1) == near(24.71));
  CHECK(corr(k2, 32) == near(8.91));
  CHECK(corr(k2, 1) == near(19.16));
  CHECK(corr(oss, 32) == near(8.093));
  CHECK(corr(oss, 1) == near(17.398));
}

TEST_CASE("yarn leaves fast pairs alone, slows the slow ones by the factor, and ramps between") {
  const auto f = rope::frequencies(kV3), plain = rope::frequencies({.dim = 64});
  for (std::size_t i = 0; i < 32; ++i) {
    const double ramp = std::min(std::max((static_cast<double>(i) - 10) / 13, 0.0), 1.0);
    CHECK(f.inv_freq[i] == doctest::Approx(plain.inv_freq[i] * (1 - ramp) + plain.inv_freq[i] / 40 * ramp).epsilon(1e-14));
  }
  CHECK(f.inv_freq[10] == plain.inv_freq[10]);
  CHECK(f.inv_freq[11] < plain.inv_freq[11]);
  CHECK(f.inv_freq[23] == doctest::Approx(plain.inv_freq[23] / 40).epsilon(1e-14));
  RopeParams smooth = kV3;
  smooth.truncate = false;
  const auto g = rope::frequencies(smooth);
  CHECK(g.inv_freq[11] > f.inv_freq[11] * 0.9);
  CHECK(g.inv_freq[11] != f.inv_freq[11]);
}

TEST_CASE("both mscale factors: V3 scales the scores by 1.87385, V2-Lite by 1.58963, neither the tables") {
  const auto v3 = rope::frequencies(kV3);
  CHECK(v3.softmax_scale == doctest::Approx(1.87385).epsilon(1e-5));
  CHECK(v3.table_scale == 1.0);
  RopeParams lite = kV3;
  lite.mscale = lite.mscale_all_dim = 0.707;
  CHECK(rope::frequencies(lite).softmax_scale == doctest::Approx(1.58963).epsilon(1e-5));
  CHECK(rope::frequencies(lite).table_scale == 1.0);
}

TEST_CASE("yarn without mscale keys scales the tables; with different ones by their quotient; attention_factor rules") {
  RopeParams p = kV3;
  p.mscale = p.mscale_all_dim = 0;
  CHECK(rope::frequencies(p).table_scale == doctest::Approx(0.1 * std::log(40.0) + 1).epsilon(1e-14));
  CHECK(rope::frequencies(p).softmax_scale == 1.0);
  p.mscale = 1.0;  // alone it does not count
  CHECK(rope::frequencies(p).table_scale == doctest::Approx(0.1 * std::log(40.0) + 1).epsilon(1e-14));
  p.mscale_all_dim = 0.5;
  CHECK(rope::frequencies(p).table_scale == doctest::Approx((0.1 * std::log(40.0) + 1) / (0.05 * std::log(40.0) + 1)).epsilon(1e-14));
  p.attention_factor = 1.25;
  CHECK(rope::frequencies(p).table_scale == 1.25);
  p.factor = 1.0;  // no stretching
  p.attention_factor.reset();
  CHECK(rope::frequencies(p).table_scale == 1.0);
  CHECK(rope::frequencies(p).softmax_scale == 1.0);
}

TEST_CASE("tables are the rounded double cosines and sines, times the table scale") {
  RopeParams p = kV3;
  p.attention_factor = 1.5;
  const auto t = rope::make_tables<float>(p, 9000);
  const auto f = rope::frequencies(p);
  CHECK(t.cos.shape() == Shape{9000, 32});
  CHECK(t.softmax_scale == f.softmax_scale);
  for (const std::int64_t pos : {0, 1, 4095, 8999})
    for (const std::int64_t i : {0, 9, 31}) {
      const double angle = static_cast<double>(pos) * f.inv_freq[static_cast<std::size_t>(i)];
      CHECK(t.cos.at({pos, i}) == static_cast<float>(1.5 * std::cos(angle)));
      CHECK(t.sin.at({pos, i}) == static_cast<float>(1.5 * std::sin(angle)));
    }
  CHECK(rope::make_tables<double>(p, 0).sin.shape() == Shape{0, 32});
}

TEST_CASE("impossible parameters are refused by name and value") {
  const auto fails = [](RopeParams p, const char* part) { CHECK(contains(message_of([&] { rope::frequencies(p); }), part)); };
  fails({.dim = 7}, "got dim=7");
  fails({.dim = 0}, "got dim=0");
  fails({.theta = 1.0}, "got theta=1");
  fails({.theta = kNaN}, "got theta=nan");
  fails({.scaling = Scaling::linear, .factor = 0}, "got factor=0");
  fails({.dim = 2, .scaling = Scaling::ntk, .factor = 2}, "got dim=2");
  fails({.scaling = Scaling::yarn, .factor = 2, .beta_fast = 1, .beta_slow = 2}, "beta_fast=1 beta_slow=2");
  fails({.scaling = Scaling::yarn, .factor = 2, .original_max_position = 0}, "original_max_position=0");
  fails({.attention_factor = -1.0}, "got attention_factor=-1");
}
