// bench/loss/bench_loss.cpp -- the loss with and without the output projection fused in; items are tokens.
#include <benchmark/benchmark.h>

#include <moelle/autograd/backward.hpp>
#include <moelle/gemm/products.hpp>
#include <moelle/loss.hpp>

namespace {

using namespace moelle;
using F = Tensor<float>;

F filled(const Shape& shape, float scale) {
  const F x = F::empty(shape);
  for (std::int64_t i = 0; i < x.numel(); ++i) x.data()[i] = (static_cast<float>(i * 7919 % 1009) / 504.5f - 1) * scale;
  return x;
}
Tensor<std::int64_t> some_labels(std::int64_t N, std::int64_t V) {
  const auto y = Tensor<std::int64_t>::empty({N});
  for (std::int64_t i = 0; i < N; ++i) y.data()[i] = i * 31 % V;
  return y;
}

void cross_entropy_both_ways(benchmark::State& state) {
  const std::int64_t N = state.range(0), V = state.range(2);
  const F x = filled({N, V}, 4).set_requires_grad(true);
  const auto labels = some_labels(N, V);
  const auto step = [&] {
    x.zero_grad();
    loss::cross_entropy(x, labels).backward();
  };
  step();  // the first pass pays for fresh memory
  for (auto _ : state) step();
  state.SetItemsProcessed(state.iterations() * N);
}
void linear_cross_entropy(benchmark::State& state, bool train) {
  const std::int64_t N = state.range(0), D = state.range(1), V = state.range(2);
  const F h = filled({N, D}, 1).set_requires_grad(train), w = filled({V, D}, 0.1f).set_requires_grad(train);
  const auto labels = some_labels(N, V);
  const auto step = [&] {
    h.zero_grad();
    w.zero_grad();
    const F y = loss::linear_cross_entropy(h, w, labels);
    if (train) y.backward();
  };
  step();
  for (auto _ : state) step();
  state.SetItemsProcessed(state.iterations() * N);
}
// The floor: the products alone (three in training, one without), on full logits.
void products(benchmark::State& state, bool train) {
  const std::int64_t N = state.range(0), D = state.range(1), V = state.range(2);
  const F h = filled({N, D}, 1), w = filled({V, D}, 0.1f), x = F::empty({N, V}), dh = F::empty({N, D}), dw = F::empty({V, D});
  const auto step = [&] {
    gemm::gemm<float>({.m = N, .n = V, .k = D, .a = gemm::plain<float>(h.data(), D), .b = gemm::transposed<float>(w.data(), D), .c = x.data(), .ldc = V});
    if (!train) return;
    gemm::gemm<float>({.m = N, .n = D, .k = V, .a = gemm::plain<float>(x.data(), V), .b = gemm::plain<float>(w.data(), D), .c = dh.data(), .ldc = D});
    gemm::gemm<float>({.m = V, .n = D, .k = N, .a = gemm::transposed<float>(x.data(), V), .b = gemm::plain<float>(h.data(), D), .c = dw.data(), .ldc = D});
  };
  step();
  for (auto _ : state) step();
  state.SetItemsProcessed(state.iterations() * N);
}

void shapes(benchmark::internal::Benchmark* b) {  // tokens, width, vocabulary: demo bytes, a 32 K and V2-Lite's vocabulary
  b->Args({2048, 256, 256})->Args({1024, 512, 32000})->Args({512, 512, 102400})->ArgNames({"N", "D", "V"})->UseRealTime()->Unit(benchmark::kMillisecond);
}
BENCHMARK(cross_entropy_both_ways)->Apply(shapes);
BENCHMARK_CAPTURE(linear_cross_entropy, forward, false)->Apply(shapes);
BENCHMARK_CAPTURE(products, forward, false)->Apply(shapes);
BENCHMARK_CAPTURE(linear_cross_entropy, training, true)->Apply(shapes);
BENCHMARK_CAPTURE(products, training, true)->Apply(shapes);

}  // namespace

BENCHMARK_MAIN();
