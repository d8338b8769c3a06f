// bench/norm/bench_norm.cpp -- RMSNorm and softmax at model widths; bytes are what must be read and written at least once.
#include <benchmark/benchmark.h>

#include <moelle/autograd/backward.hpp>
#include <moelle/norm.hpp>

namespace {

using namespace moelle;
using F = Tensor<float>;

F filled(const Shape& shape) {
  const F x = F::empty(shape);
  for (std::int64_t i = 0; i < x.numel(); ++i) x.data()[i] = static_cast<float>(i % 97) * 0.05f - 2.4f;
  return x;
}
void bytes(benchmark::State& state, std::int64_t per_iteration) { state.SetBytesProcessed(state.iterations() * per_iteration); }

void rms_norm_forward(benchmark::State& state) {
  const F x = filled({state.range(0), state.range(1)}), w = filled({state.range(1)});
  for (auto _ : state) benchmark::DoNotOptimize(norm::rms_norm(x, w, 1e-6).data());
  bytes(state, 8 * x.numel());
}
void rms_norm_both_ways(benchmark::State& state) {
  const F x = filled({state.range(0), state.range(1)}).set_requires_grad(true), w = filled({state.range(1)}).set_requires_grad(true), dy = filled(x.shape());
  const auto step = [&] {
    x.zero_grad();
    norm::rms_norm(x, w, 1e-6).backward(dy);
  };
  step();  // the first pass pays for fresh memory
  for (auto _ : state) step();
  bytes(state, 8 * x.numel() + 12 * x.numel());
}
// What a residual stream does per norm: fused, and as an addition followed by a norm whose gradient is added to the stream's.
void add_rms_norm_fused(benchmark::State& state) {
  const F x = filled({state.range(0), state.range(1)}), r = filled(x.shape()), w = filled({state.range(1)});
  norm::add_rms_norm(x, r, w, 1e-6);  // the first pass pays for fresh memory
  for (auto _ : state) benchmark::DoNotOptimize(norm::add_rms_norm(x, r, w, 1e-6).normed.data());
  bytes(state, 16 * x.numel());
}
void add_then_rms_norm(benchmark::State& state) {
  const F x = filled({state.range(0), state.range(1)}), r = filled(x.shape()), w = filled({state.range(1)});
  norm::add_rms_norm(x, r, w, 1e-6);
  for (auto _ : state) {
    const F sum = F::empty(x.shape());
    parallel_rows(x.numel(), 16384, [&](std::int64_t b, std::int64_t e) {
      const float *p = x.data(), *q = r.data();
      float* s = sum.data();
      for (std::int64_t i = b; i < e; ++i) s[i] = p[i] + q[i];
    });
    benchmark::DoNotOptimize(norm::rms_norm(sum, w, 1e-6).data());
  }
  bytes(state, 16 * x.numel());
}
void softmax_forward(benchmark::State& state) {
  const F x = filled({state.range(0), state.range(1)});
  for (auto _ : state) benchmark::DoNotOptimize(norm::softmax(x).data());
  bytes(state, 8 * x.numel());
}
void memory_copy(benchmark::State& state) {  // the yardstick: what these sizes allow
  const F x = filled({state.range(0), state.range(1)});
  for (auto _ : state) {
    const F y = F::empty(x.shape());
    parallel_rows(x.numel(), 16384, [&](std::int64_t b, std::int64_t e) { std::copy(x.data() + b, x.data() + e, y.data() + b); });
    benchmark::DoNotOptimize(y.data());
  }
  bytes(state, 8 * x.numel());
}

void shapes(benchmark::internal::Benchmark* b) {  // tokens, width: demo, V2-Lite, V3
  b->Args({2048, 256})->Args({4096, 2048})->Args({2048, 7168})->ArgNames({"T", "D"})->UseRealTime();
}
BENCHMARK(memory_copy)->Apply(shapes);
BENCHMARK(rms_norm_forward)->Apply(shapes);
BENCHMARK(rms_norm_both_ways)->Apply(shapes);
BENCHMARK(add_rms_norm_fused)->Apply(shapes);
BENCHMARK(add_then_rms_norm)->Apply(shapes);
BENCHMARK(softmax_forward)->Args({8192, 32})->Args({4096, 1024})->Args({512, 32000})->ArgNames({"rows", "n"})->UseRealTime();

}  // namespace

BENCHMARK_MAIN();
