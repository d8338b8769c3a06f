// bench/tensor/bench_tensor.cpp -- operations on tensors against the memory traffic that they need.
//
// bytes_per_second counts every element read and written once; compare with BM_copy, a plain std::copy of as many bytes.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <cstdint>

#include <moelle/tensor/ops.hpp>

namespace {
using namespace moelle;
using Floats = Tensor<float>;

constexpr std::int64_t kRows = 2048;  // tokens of a training step

Floats rows(std::int64_t columns) { return randn<float>({kRows, columns}, {1, "bench"}); }

void traffic(benchmark::State& state, std::int64_t elements) {
  state.SetBytesProcessed(static_cast<std::int64_t>(state.iterations()) * elements * 4);
}

void BM_copy(benchmark::State& state) {
  const Floats x = rows(state.range(0)), y = Floats::empty(x.shape());
  for (auto _ : state) {
    std::copy(x.data(), x.data() + x.numel(), y.data());
    benchmark::ClobberMemory();
  }
  traffic(state, 2 * x.numel());
}
void BM_add(benchmark::State& state) {
  const Floats x = rows(state.range(0)), y = rows(state.range(0));
  for (auto _ : state) benchmark::DoNotOptimize(add(x, y).data());
  traffic(state, 3 * x.numel());
}
void BM_add_row(benchmark::State& state) {
  const Floats x = rows(state.range(0)), y = contiguous(select(x, 0, 0));
  for (auto _ : state) benchmark::DoNotOptimize(add(x, y).data());
  traffic(state, 2 * x.numel());
}
void BM_add_inplace(benchmark::State& state) {
  const Floats x = rows(state.range(0)), y = rows(state.range(0));
  for (auto _ : state) add_(x, y, 1e-9f);
  traffic(state, 3 * x.numel());
}
void BM_sum_columns(benchmark::State& state) {
  const Floats x = rows(state.range(0));
  for (auto _ : state) benchmark::DoNotOptimize(sum(x, 0).data());
  traffic(state, x.numel());
}
void BM_sum_rows(benchmark::State& state) {
  const Floats x = rows(state.range(0));
  for (auto _ : state) benchmark::DoNotOptimize(sum(x, 1).data());
  traffic(state, x.numel());
}
void BM_transposed_copy(benchmark::State& state) {
  const Floats x = transpose(rows(state.range(0)), 0, 1);
  for (auto _ : state) benchmark::DoNotOptimize(contiguous(x).data());
  traffic(state, 2 * x.numel());
}
void BM_heads_to_front(benchmark::State& state) {  // [T, heads, 64] -> [heads, T, 64]
  const Floats x = permute(unflatten(rows(state.range(0)), 1, {-1, 64}), {1, 0, 2});
  for (auto _ : state) benchmark::DoNotOptimize(contiguous(x).data());
  traffic(state, 2 * x.numel());
}
void BM_index_select(benchmark::State& state) {
  const Floats x = rows(state.range(0));
  const auto index = randint<std::int64_t>({kRows}, {1, "index"}, 0, kRows);
  for (auto _ : state) benchmark::DoNotOptimize(index_select(x, 0, index).data());
  traffic(state, 2 * x.numel());
}
void BM_index_add(benchmark::State& state) {
  const Floats x = rows(state.range(0)), y = Floats::zeros(x.shape());
  const auto index = randint<std::int64_t>({kRows}, {1, "index"}, 0, kRows);
  for (auto _ : state) benchmark::DoNotOptimize(index_add(y, 0, index, x).data());
  traffic(state, 5 * x.numel());
}
void BM_topk_3_of_32(benchmark::State& state) {
  const Floats x = randn<float>({kRows, 32}, {1, "bench"});
  for (auto _ : state) benchmark::DoNotOptimize(topk(x, 3).values.data());
}
void BM_small_add(benchmark::State& state) {  // what one call costs
  const Floats x = Floats::ones({4});
  for (auto _ : state) benchmark::DoNotOptimize(add(x, x).data());
}

#define MOELLE_BENCH(name) BENCHMARK(name)->Arg(64)->Arg(512)->Arg(2048)->UseRealTime()
MOELLE_BENCH(BM_copy);
MOELLE_BENCH(BM_add);
MOELLE_BENCH(BM_add_row);
MOELLE_BENCH(BM_add_inplace);
MOELLE_BENCH(BM_sum_columns);
MOELLE_BENCH(BM_sum_rows);
MOELLE_BENCH(BM_transposed_copy);
MOELLE_BENCH(BM_heads_to_front);
MOELLE_BENCH(BM_index_select);
MOELLE_BENCH(BM_index_add);
BENCHMARK(BM_topk_3_of_32)->UseRealTime();
BENCHMARK(BM_small_add)->UseRealTime();
#undef MOELLE_BENCH
}  // namespace

BENCHMARK_MAIN();
