// bench/training/bench_optimizer.cpp -- one update of the demo's experts and of a large matrix, per optimiser.
#include <benchmark/benchmark.h>

#include <cstdint>
#include <vector>

#include <moelle/tensor/ops.hpp>
#include <moelle/training/optimizer.hpp>

using namespace moelle;
using namespace moelle::training;

namespace {

// `count` matrices [rows, cols] in one parameter.
void update(benchmark::State& state, Method method) {
  const std::int64_t count = state.range(0), rows = state.range(1), cols = state.range(2);
  set_num_threads(static_cast<int>(state.range(3)));
  Tensor<float> w = randn<float>({count, rows, cols}, {.seed = 1});
  w.set_requires_grad(true);
  sum(w * randn<float>({count, rows, cols}, {.seed = 2})).backward();
  const OptimizerOptions options{.method = method};
  Optimizer<float> optimizer({{method, {{"w", w, count, rows, cols}}, 1.0, 0.1}}, options);
  for (auto _ : state) optimizer.step(1e-3);
  const double r = static_cast<double>(std::min(rows, cols)), n = static_cast<double>(std::max(rows, cols));
  const double flops = method == Method::muon ? 10 * static_cast<double>(count) * (4 * r * r * n + 2 * r * r * r) : 0.0;
  state.counters["GF/s"] = benchmark::Counter(flops * 1e-9, benchmark::Counter::kIsIterationInvariantRate);
  state.counters["params/s"] = benchmark::Counter(static_cast<double>(count * rows * cols), benchmark::Counter::kIsIterationInvariantRate);
}

BENCHMARK_CAPTURE(update, muon, Method::muon)->Args({192, 96, 128, 1})->Args({192, 96, 128, 2})->Args({96, 128, 96, 2})->Args({1, 1024, 1024, 2})->UseRealTime()->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(update, adamw, Method::adamw)->Args({192, 96, 128, 1})->Args({192, 96, 128, 2})->UseRealTime()->Unit(benchmark::kMillisecond);

}  // namespace

BENCHMARK_MAIN();
