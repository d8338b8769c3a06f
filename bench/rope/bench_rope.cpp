// bench/rope/bench_rope.cpp -- rotary embedding of queries and of MLA's shared key, kernel against the oracle's loop.
#include <benchmark/benchmark.h>

#include <moelle/rope.hpp>
#include <moelle/rope/rope_ref.hpp>

namespace {

using namespace moelle;
using F = Tensor<float>;
using rope::Layout;

struct Data {
  F x;
  Tensor<std::int64_t> positions;
  rope::RopeTables<float> tables;
  rope::RopeOptions options;

  explicit Data(const benchmark::State& state)
      : x(F::full({state.range(0), state.range(1), state.range(2)}, 0.5f)), positions(Tensor<std::int64_t>::arange(0, state.range(0))),
        tables(rope::make_tables<float>({.dim = 64}, state.range(0))),
        options{.layout = static_cast<Layout>(state.range(3)), .offset = state.range(2) - 64} {}
  std::int64_t bytes(const benchmark::State& state) const { return state.iterations() * 8 * x.numel(); }
};

void op(benchmark::State& state) {
  const Data d(state);
  for (auto _ : state) benchmark::DoNotOptimize(rope::rope(d.x, d.positions, d.tables, d.options).data());
  state.SetBytesProcessed(d.bytes(state));
}
void oracle(benchmark::State& state) {
  const Data d(state);
  const std::int64_t H = d.x.size(1), D = d.x.size(2);
  for (auto _ : state) {
    const F y = F::empty(d.x.shape());
    for (std::int64_t t = 0; t < d.x.size(0); ++t)
      for (std::int64_t h = 0; h < H; ++h)
        rope::ref::rope(d.options, d.x.data() + (t * H + h) * D, d.tables.cos.data() + t * 32, d.tables.sin.data() + t * 32, D, 64,
                        y.data() + (t * H + h) * D);
    benchmark::DoNotOptimize(y.data());
  }
  state.SetBytesProcessed(d.bytes(state));
}

void shapes(benchmark::internal::Benchmark* b) {  // V2-Lite's queries, the shared key, a full head; each layout
  for (const std::int64_t layout : {0, 1, 2})
    b->Args({4096, 16, 192, layout})->Args({4096, 1, 64, layout})->Args({4096, 16, 64, layout});
  b->ArgNames({"T", "H", "D", "layout"})->UseRealTime();
}
BENCHMARK(op)->Apply(shapes);
BENCHMARK(oracle)->Apply(shapes);

}  // namespace

BENCHMARK_MAIN();
