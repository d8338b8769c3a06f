// bench/activation/bench_activation.cpp -- activations and SwiGLU at model widths; bytes are what must be read and written.
#include <benchmark/benchmark.h>

#include <cmath>

#include <moelle/activation.hpp>
#include <moelle/autograd/backward.hpp>

namespace {

using namespace moelle;
using F = Tensor<float>;

F filled(const Shape& shape) {
  const F x = F::empty(shape);
  for (std::int64_t i = 0; i < x.numel(); ++i) x.data()[i] = static_cast<float>(i % 97) * 0.05f - 2.4f;
  return x;
}

void unary(benchmark::State& state, activation::Unary f) {
  const F x = filled({4096, 1408});
  for (auto _ : state) benchmark::DoNotOptimize(activation::unary(f, x).data());
  state.SetBytesProcessed(state.iterations() * 8 * x.numel());
}
void swiglu_forward(benchmark::State& state) {
  const F x = filled({state.range(0), 2 * state.range(1)});
  for (auto _ : state) benchmark::DoNotOptimize(activation::swiglu_packed(x).data());
  state.SetBytesProcessed(state.iterations() * 6 * x.numel());
}
void swiglu_both_ways(benchmark::State& state) {
  const F x = filled({state.range(0), 2 * state.range(1)}).set_requires_grad(true), dy = filled({state.range(0), state.range(1)});
  const auto step = [&] {
    x.zero_grad();
    activation::swiglu_packed(x).backward(dy);
  };
  step();  // the first pass pays for fresh memory
  for (auto _ : state) step();
  state.SetBytesProcessed(state.iterations() * (6 + 10) * x.numel());
}
void swiglu_plain_loop(benchmark::State& state) {  // std::exp, one thread: why there is a kernel
  const F x = filled({state.range(0), 2 * state.range(1)}), y = F::empty({state.range(0), state.range(1)});
  const std::int64_t H = state.range(1);
  for (auto _ : state) {
    for (std::int64_t r = 0; r < state.range(0); ++r)
      for (std::int64_t i = 0; i < H; ++i) {
        const float g = x.data()[r * 2 * H + i];
        y.data()[r * H + i] = g / (1 + std::exp(-g)) * x.data()[r * 2 * H + H + i];
      }
    benchmark::ClobberMemory();
  }
  state.SetBytesProcessed(state.iterations() * 6 * x.numel());
}

void shapes(benchmark::internal::Benchmark* b) {  // tokens, intermediate size: demo expert, V2-Lite expert, V3 expert
  b->Args({6144, 88})->Args({4096, 1408})->Args({4096, 2048})->ArgNames({"T", "H"})->UseRealTime();
}
BENCHMARK_CAPTURE(unary, sigmoid, activation::Unary::sigmoid)->UseRealTime();
BENCHMARK_CAPTURE(unary, silu, activation::Unary::silu)->UseRealTime();
BENCHMARK_CAPTURE(unary, softplus, activation::Unary::softplus)->UseRealTime();
BENCHMARK_CAPTURE(unary, gelu, activation::Unary::gelu)->UseRealTime();
BENCHMARK_CAPTURE(unary, gelu_tanh, activation::Unary::gelu_tanh)->UseRealTime();
BENCHMARK_CAPTURE(unary, relu, activation::Unary::relu)->UseRealTime();
BENCHMARK(swiglu_forward)->Apply(shapes);
BENCHMARK(swiglu_both_ways)->Apply(shapes);
BENCHMARK(swiglu_plain_loop)->Apply(shapes);

}  // namespace

BENCHMARK_MAIN();
