// bench/moe/bench_experts.cpp -- the routed experts of one layer at the training sizes "pilot" and "demo", forward and with gradients,
// under even and skewed loads, beside the bare grouped products. GFLOP/s counts products only.
#include <benchmark/benchmark.h>

#include <cmath>
#include <cstdint>
#include <string>
#include <vector>

#include <moelle/autograd/backward.hpp>
#include <moelle/core/random.hpp>
#include <moelle/gemm/products.hpp>
#include <moelle/moe/experts_op.hpp>

namespace {
using namespace moelle;

struct Size {
  const char* name;
  std::int64_t N, K, E, D, F;
};
const Size kSizes[] = {{"pilot", 2048, 3, 32, 128, 96}, {"demo", 8192, 4, 32, 256, 128}, {"v2lite_512", 512, 6, 64, 2048, 1408}};

Tensor<float> normal(const Shape& shape, std::uint64_t seed, double scale) {
  const random::Stream stream(seed, "bench");
  const Tensor<float> t = Tensor<float>::empty(shape);
  for (std::int64_t i = 0; i < t.numel(); ++i) t.data()[i] = static_cast<float>(scale * stream.normal(static_cast<std::uint64_t>(i)));
  return t;
}

struct Layer {
  Tensor<float> x, gate_up, down, dy;
  moe::Routing<float> routing;

  // skew: how many logits of spread the experts' popularity has; 0 is an even load.
  Layer(const Size& s, double skew)
      : x(normal({s.N, s.D}, 1, 1.0)),
        gate_up(normal({s.E, 2 * s.F, s.D}, 2, 1 / std::sqrt(static_cast<double>(s.D)))),
        down(normal({s.E, s.D, s.F}, 3, 1 / std::sqrt(static_cast<double>(s.F)))),
        dy(normal({s.N, s.D}, 4, 1.0)) {
    const Tensor<float> logits = normal({s.N, s.E}, 5, 1.0), lean = normal({s.E}, 6, skew);
    for (std::int64_t i = 0; i < logits.numel(); ++i) logits.data()[i] += lean.data()[i % s.E];
    routing = moe::gate(logits, Tensor<float>(), moe::noaux_tc(1, 1, static_cast<int>(s.K)));
  }
};

void report(benchmark::State& state, const Size& s, double passes) {
  const double flops = passes * 2.0 * static_cast<double>(s.N * s.K) * 3.0 * static_cast<double>(s.D * s.F);
  state.counters["GFLOP/s"] = benchmark::Counter(flops * static_cast<double>(state.iterations()) * 1e-9, benchmark::Counter::kIsRate);
  state.counters["tok/s"] = benchmark::Counter(static_cast<double>(s.N * state.iterations()), benchmark::Counter::kIsRate);
}

void forward(benchmark::State& state, const Size& s, double skew) {
  const Layer l(s, skew);
  for (auto _ : state) benchmark::DoNotOptimize(moe::experts(l.x, l.routing, l.gate_up, l.down).data());
  report(state, s, 1);
}

void training(benchmark::State& state, const Size& s, double skew) {
  const Layer l(s, skew);
  const Tensor<float> w = l.routing.weights.detach();
  for (const auto& t : {l.x, w, l.gate_up, l.down}) t.set_requires_grad(true);
  for (auto _ : state) {
    moe::experts(l.x, l.routing.experts, w, l.gate_up, l.down).backward(l.dy);
    for (const auto& t : {l.x, w, l.gate_up, l.down}) t.zero_grad();
  }
  report(state, s, 3);
}

// The six products of a step and nothing else: what the layer could reach at best.
void products(benchmark::State& state, const Size& s, double skew) {
  const Layer l(s, skew);
  const auto p = moe::make_permutation(l.routing.experts, s.E);
  const Tensor<float> X = moe::permute(l.x, p), G = moe::permute(l.dy, p);
  const Tensor<float> du = Tensor<float>::empty(l.gate_up.shape()), dd = Tensor<float>::empty(l.down.shape());
  const auto rows = [&](const Tensor<float>& a, const Tensor<float>& w, bool transpose) {
    const std::int64_t k = a.size(1), n = w.size(transpose ? 1 : 2), ld = w.size(2);
    const Tensor<float> y = Tensor<float>::empty({a.size(0), n});
    gemm::grouped<float>({.groups = s.E, .offsets = p.offsets.data(), .rows = p.rows(), .n = n, .k = k, .a = gemm::plain<float>(a.data(), k),
                          .b = transpose ? gemm::transposed<float>(w.data(), ld) : gemm::plain<float>(w.data(), ld), .stride_b = w.size(1) * w.size(2), .c = y.data(), .ldc = n});
    return y;
  };
  const auto grad = [&](const Tensor<float>& a, const Tensor<float>& b, const Tensor<float>& c) {
    const std::int64_t m = a.size(1), n = b.size(1);
    gemm::grouped_grad<float>({.groups = s.E, .offsets = p.offsets.data(), .rows = p.rows(), .m = m, .n = n, .a = gemm::plain<float>(a.data(), m),
                               .b = gemm::plain<float>(b.data(), n), .c = c.data(), .ldc = n, .stride_c = m * n});
  };
  for (auto _ : state) {
    const Tensor<float> H = rows(X, l.gate_up, true), P = rows(G, l.down, false);
    benchmark::DoNotOptimize(rows(P, l.down, true).data());
    benchmark::DoNotOptimize(rows(H, l.gate_up, false).data());
    grad(G, P, dd);
    grad(H, X, du);
  }
  report(state, s, 3);
}
}  // namespace

int main(int argc, char** argv) {
  for (const int threads : {1, 2})
    for (const Size& s : kSizes)
      for (const double skew : {0.0, 1.0}) {
        const std::string name = std::string("experts/") + s.name + (skew > 0 ? "/skewed" : "/even") + "/threads:" + std::to_string(threads);
        const auto add = [&](const char* what, auto f) {
          benchmark::RegisterBenchmark((name + "/" + what).c_str(), [=, &s](benchmark::State& state) {
            set_num_threads(threads);
            f(state, s, skew);
          })->UseRealTime();
        };
        add("forward", forward);
        add("training", training);
        add("products", products);
      }
  benchmark::Initialize(&argc, argv);
  benchmark::RunSpecifiedBenchmarks();
}
