// tests/cuda/test_gate_warp.cpp -- the CUDA bodies of the gate, run by 32 host threads.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include <moe/tables.hpp>
#include <moelle/moe/gate.cuh>
#include <support/host_warp.hpp>

using namespace moelle;
using namespace moelle::testing;
using moe::GateParams;
using test::as_warp;
using test::HostWarp;

namespace {
constexpr std::int32_t kUnwritten = -77;

std::vector<float> logits(int E, double spread, std::uint64_t seed) {
  const random::Stream stream(seed, "logits");
  std::vector<float> x(static_cast<std::size_t>(E));
  for (std::size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(spread * stream.normal(i));
  return x;
}
const moe::Score kScores[] = {moe::Score::sigmoid, moe::Score::softmax, moe::Score::sqrt_softplus};
}  // namespace

TEST_CASE("the warp picks the oracle's experts and gives them weights of the oracle's bits, ties and NaN included") {
  struct Job {
    std::vector<float> s, b;
    GateParams p;
    Picked<float> got;
  };
  std::vector<Job> jobs;
  for_gates({8, 30, 72, 256}, [&](int E, const GateParams& p, int levels, std::uint64_t seed) {
    if (p.top_groups == 2 && p.top_k == 2) return;  // enough of them
    const auto n = static_cast<std::size_t>(E), K = static_cast<std::size_t>(p.top_k);
    Job j{on_grid<float>(n, levels, random::Stream(seed, "scores")), {}, p, {std::vector<std::int32_t>(K, kUnwritten), std::vector<float>(K)}};
    if (seed % 2 == 0) j.b = on_grid<float>(n, levels, random::Stream(seed, "bias"));
    if (levels == 5) j.s[3] = NAN, j.s[5] = -0.0f, j.s[6] = INFINITY, j.s[7] = -INFINITY;
    jobs.push_back(j);
  });
  CHECK(jobs.size() > 100);
  as_warp([&](HostWarp& warp) {
    for (Job& j : jobs) {
      const float* bias = j.b.empty() ? nullptr : j.b.data();
      moe::gpu::gate_select<8>(warp, j.s.data(), bias, static_cast<int>(j.s.size()), j.p, j.got.experts.data(), j.got.weights.data());
    }
  });
  for (const Job& j : jobs) {
    const Picked<float> want = by_oracle(j.s, j.b, j.p);
    INFO("E=", j.s.size(), " groups=", j.p.groups, " top_groups=", j.p.top_groups, " top_k=", j.p.top_k);
    REQUIRE(j.got.experts == want.experts);
    for (std::size_t r = 0; r < want.weights.size(); ++r) {
      REQUIRE(std::isnan(j.got.weights[r]) == std::isnan(want.weights[r]));
      if (!std::isnan(want.weights[r])) REQUIRE(std::memcmp(&j.got.weights[r], &want.weights[r], 4) == 0);
    }
  }
}

TEST_CASE("1024 experts and more chosen experts than lanes work") {
  const std::vector<float> s = on_grid<float>(1024, 1 << 20, random::Stream(1, "scores"));
  const GateParams p{.groups = 32, .top_groups = 8, .top_k = 64};
  Picked<float> got{std::vector<std::int32_t>(64, kUnwritten), std::vector<float>(64)};
  as_warp([&](HostWarp& warp) { moe::gpu::gate_select<32>(warp, s.data(), nullptr, 1024, p, got.experts.data(), got.weights.data()); });
  const Picked<float> want = by_oracle(s, {}, p);
  CHECK(got.experts == want.experts);
  CHECK(got.weights == want.weights);
}

TEST_CASE("the warp's scores agree with the oracle in double to a few ulp") {
  for (const auto kind : kScores)
    for (const int E : {1, 31, 64, 200})
      for (const double spread : {1.0, 25.0}) {
        const std::vector<float> x = logits(E, spread, 2);
        const std::vector<double> wide(x.begin(), x.end());
        std::vector<double> want(x.size());
        std::vector<float> got(x.size(), NAN);
        moe::ref::gate_scores(wide.data(), E, kind, want.data());
        as_warp([&](HostWarp& warp) { moe::gpu::gate_scores(warp, x.data(), E, kind, got.data()); });
        INFO("E=", E, " score=", static_cast<int>(kind));
        for (std::size_t i = 0; i < x.size(); ++i)
          if (want[i] > 1e-35)  // softmax rounds x - max, which is below log(1 / score)
            CHECK(std::abs(static_cast<double>(got[i]) - want[i]) <= (16 + std::max(0.0, -std::log(want[i]))) * std::numeric_limits<float>::epsilon() * want[i]);
      }
}

TEST_CASE("the warp's softmax of minus infinity throughout is 0, and NaN makes the row NaN") {
  std::vector<float> x(40, -INFINITY), s(40, 1.0f);
  as_warp([&](HostWarp& warp) { moe::gpu::gate_scores(warp, x.data(), 40, moe::Score::softmax, s.data()); });
  CHECK(s == std::vector<float>(40, 0.0f));
  x[33] = NAN;
  as_warp([&](HostWarp& warp) { moe::gpu::gate_scores(warp, x.data(), 40, moe::Score::softmax, s.data()); });
  for (const float v : s) CHECK(std::isnan(v));
}

TEST_CASE("the warp's gradient is the oracle's") {
  int compared = 0;
  for (const auto kind : kScores)
    for (const bool normalize : {true, false})
      for (const int E : {6, 32, 100}) {
        const GateParams p{.top_k = 5, .score = kind, .normalize = normalize, .scale = 2.5};
        const std::vector<float> x = logits(E, 2.0, 3), gs = logits(E, 1.0, 4), gw = logits(5, 1.0, 5);
        std::vector<float> s(x.size()), want(x.size()), got(x.size(), NAN);
        std::vector<std::int32_t> chosen(5);
        moe::ref::gate_scores(x.data(), E, kind, s.data());
        moe::ref::gate_select(s.data(), static_cast<const float*>(nullptr), E, p, chosen.data());
        for (const float* scores : {gs.data(), static_cast<const float*>(nullptr)}) {
          moe::ref::gate_grad(x.data(), s.data(), E, p, chosen.data(), gw.data(), scores, want.data());
          as_warp([&](HostWarp& warp) { moe::gpu::gate_grad(warp, x.data(), s.data(), E, p, chosen.data(), gw.data(), scores, got.data()); });
          INFO("E=", E, " score=", static_cast<int>(kind), " normalize=", normalize);
          for (std::size_t i = 0; i < x.size(); ++i) CHECK(std::abs(got[i] - want[i]) <= 1e-5f);
          ++compared;
        }
      }
  CHECK(compared == 36);
}
