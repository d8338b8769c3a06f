// bench/moe/bench_gate.cpp -- the gate at the shapes people run: oracle, kernels alone, the whole operation forward and backward.
#include <benchmark/benchmark.h>

#include <cstdint>
#include <string>
#include <vector>

#include <moelle/autograd/backward.hpp>
#include <moelle/core/random.hpp>
#include <moelle/moe/gate_op.hpp>
#include <moelle/moe/gate_ref.hpp>

namespace {
using namespace moelle;

struct GateShape {
  const char* name;
  std::int64_t E;
  moe::GateParams p;
};
const GateShape kShapes[] = {
    {"v3", 256, moe::noaux_tc(8, 4, 8, 2.5)},
    {"v2", 160, moe::group_limited_greedy(8, 3, 6, 16.0)},
    {"flat384", 384, moe::noaux_tc(1, 1, 8, 2.827)},
    {"qwen3", 128, moe::greedy(8, true)},
    {"pilot", 32, moe::noaux_tc(1, 1, 3)},
};
constexpr std::int64_t kTokens = 512;  // enough rows that the branch predictor cannot learn one

Tensor<float> normal(const Shape& shape, std::uint64_t seed, double scale) {
  const random::Stream stream(seed, "bench");
  const Tensor<float> t = Tensor<float>::empty(shape);
  for (std::int64_t i = 0; i < t.numel(); ++i) t.data()[i] = static_cast<float>(scale * stream.normal(static_cast<std::uint64_t>(i)));
  return t;
}

void per_token(benchmark::State& state) {
  state.SetItemsProcessed(state.iterations() * kTokens);
}

// Scores are given: selection and weights only.
template <class Select>
void select(benchmark::State& state, const GateShape& s, Select f) {
  const auto r = moe::gate(normal({kTokens, s.E}, 0, 1.0), Tensor<float>(), s.p);
  const Tensor<float> bias = normal({s.E}, 1, 0.1);
  for (auto _ : state) {
    f(r, bias);
    benchmark::ClobberMemory();
  }
  per_token(state);
}
void by_oracle(const GateShape& s, const moe::Routing<float>& r, const Tensor<float>& bias) {
  for (std::int64_t n = 0; n < kTokens; ++n) {
    std::int32_t* experts = r.experts.data() + n * s.p.top_k;
    moe::ref::gate_select(r.scores.data() + n * s.E, bias.data(), static_cast<int>(s.E), s.p, experts);
    moe::ref::gate_weights(r.scores.data() + n * s.E, s.p, experts, r.weights.data() + n * s.p.top_k);
  }
}
void by_kernels(const GateShape& s, const moe::Routing<float>& r, const Tensor<float>& bias, std::vector<float>& scratch) {
  const auto& k = moe::kernels<float>();
  k.gate_select(r.scores.data(), bias.data(), s.E, s.p, scratch.data(), r.experts.data(), 0, kTokens);
  k.gate_weights(r.scores.data(), s.E, s.p, r.experts.data(), r.weights.data(), 0, kTokens);
}

void scores(benchmark::State& state, const GateShape& s) {
  const Tensor<float> x = normal({kTokens, s.E}, 0, 1.0), out = Tensor<float>::empty(x.shape());
  for (auto _ : state) {
    moe::kernels<float>().gate_scores(x.data(), s.E, s.p.score, out.data(), 0, kTokens);
    benchmark::ClobberMemory();
  }
  per_token(state);
}

void forward_backward(benchmark::State& state, const GateShape& s) {
  const Tensor<float> x = normal({kTokens, s.E}, 0, 1.0).set_requires_grad(true), bias = normal({s.E}, 1, 0.1), g = normal({kTokens, s.p.top_k}, 2, 1.0);
  for (auto _ : state) {
    moe::gate(x, bias, s.p).weights.backward(g);
    x.zero_grad();
  }
  per_token(state);
}
}  // namespace

int main(int argc, char** argv) {
  set_num_threads(1);
  for (const GateShape& s : kShapes) {
    const std::string name = std::string("gate/") + s.name;
    benchmark::RegisterBenchmark((name + "/select/oracle").c_str(), [&s](benchmark::State& state) {
      select(state, s, [&](const auto& r, const auto& bias) { by_oracle(s, r, bias); });
    });
    benchmark::RegisterBenchmark((name + "/select/kernels").c_str(), [&s](benchmark::State& state) {
      std::vector<float> scratch(static_cast<std::size_t>(s.E));
      select(state, s, [&](const auto& r, const auto& bias) { by_kernels(s, r, bias, scratch); });
    });
    benchmark::RegisterBenchmark((name + "/scores").c_str(), [&s](benchmark::State& state) { scores(state, s); });
    benchmark::RegisterBenchmark((name + "/forward+backward").c_str(), [&s](benchmark::State& state) { forward_backward(state, s); });
  }
  benchmark::Initialize(&argc, argv);
  benchmark::RunSpecifiedBenchmarks();
}
