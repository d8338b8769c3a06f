// bench/attention/bench_attention.cpp -- attention at the sizes of the training yardstick, beside a plain product of the same run.
//
// GF/s counts what causal attention needs, T (T + 1) / 2 pairs of 2 (Dk + Dv) operations forward and 2 (3 Dk + 2 Dv) backward
// (scores again, dP, dV, dQ, dK); decoding counts every key. MOELLE_NUM_THREADS sets the threads. compare.py
// measures PyTorch beside the Python module.
#include <benchmark/benchmark.h>

#include <moelle/attention.hpp>
#include <moelle/autograd/backward.hpp>
#include <moelle/gemm/products.hpp>

namespace {

using namespace moelle;
using F = Tensor<float>;

F filled(const Shape& shape, std::int64_t seed) {
  const F x = F::empty(shape);
  for (std::int64_t i = 0; i < x.numel(); ++i) x.data()[i] = static_cast<float>((i + seed) * 7919 % 1009) / 504.5f - 1;
  return x;
}
void rate(benchmark::State& state, double flops) {
  state.counters["GF/s"] = benchmark::Counter(flops * 1e-9, benchmark::Counter::kIsIterationInvariantRate);
}

struct Sizes {
  std::int64_t B, T, H, nope, rope, value;
  explicit Sizes(const benchmark::State& s) : B(s.range(0)), T(s.range(1)), H(s.range(2)), nope(s.range(3)), rope(s.range(4)), value(s.range(5)) {}
  double pairs() const { return static_cast<double>(B * H) * static_cast<double>(T * (T + 1)) / 2; }
  double forward() const { return pairs() * 2 * static_cast<double>(nope + rope + value); }
  double backward() const { return pairs() * 2 * static_cast<double>(3 * (nope + rope) + 2 * value); }
};

// Latent attention between the projections: the rotary key is one for all heads.
void latent(benchmark::State& state, bool train) {
  const Sizes s(state);
  const F q = filled({s.B, s.T, s.H, s.nope + s.rope}, 1).set_requires_grad(train), kv = filled({s.B, s.T, s.H, s.nope + s.value}, 2).set_requires_grad(train);
  const F r = filled({s.B, s.T, s.rope}, 3).set_requires_grad(train), g = filled({s.B, s.T, s.H, s.value}, 4);
  const auto step = [&] {
    q.zero_grad(), kv.zero_grad(), r.zero_grad();
    const F y = attention::shared_rope_attention(q, kv, r, {s.nope, s.rope, s.value});
    if (train) y.backward(g);
  };
  step();  // the first pass pays for fresh memory
  for (auto _ : state) step();
  rate(state, s.forward() + (train ? s.backward() : 0.0));
}

// Plain attention; the size called value serves as the head size of keys and values.
void plain(benchmark::State& state, bool train) {
  const Sizes s(state);
  const F q = filled({s.B, s.T, s.H, s.nope + s.rope}, 1).set_requires_grad(train), k = filled({s.B, s.T, s.H, s.nope + s.rope}, 2).set_requires_grad(train);
  const F v = filled({s.B, s.T, s.H, s.value}, 3).set_requires_grad(train), g = filled({s.B, s.T, s.H, s.value}, 4);
  const auto step = [&] {
    q.zero_grad(), k.zero_grad(), v.zero_grad();
    const F y = attention::attention(q, k, v);
    if (train) y.backward(g);
  };
  step();
  for (auto _ : state) step();
  rate(state, s.forward() + (train ? s.backward() : 0.0));
}

// One new token against a cache of T tokens: per-head keys, and the latent cache that all heads share.
void decode_grouped(benchmark::State& state) {
  const std::int64_t B = state.range(0), T = state.range(1), H = state.range(2), J = state.range(3), D = state.range(4);
  const F q = filled({B, 1, H, D}, 1), k = filled({B, T, J, D}, 2), v = filled({B, T, J, D}, 3);
  for (auto _ : state) benchmark::DoNotOptimize(attention::attention(q, k, v).data());
  rate(state, static_cast<double>(B * T * H) * 4 * static_cast<double>(D));
  state.counters["GB/s"] = benchmark::Counter(static_cast<double>(B * T * J * D) * 8e-9, benchmark::Counter::kIsIterationInvariantRate);
}
// One query of every head over the latent cache: the products of decode_absorbed without those with kv_b.
void decode_latent(benchmark::State& state) {
  const std::int64_t B = state.range(0), T = state.range(1), H = state.range(2), C = state.range(3), R = state.range(4);
  const F q = filled({B, 1, H, C + R}, 1), cache = filled({B, T, 1, C + R}, 2), values = narrow(cache, 3, 0, C);
  for (auto _ : state) benchmark::DoNotOptimize(attention::attention(q, cache, values).data());
  rate(state, static_cast<double>(B * T * H) * 2 * static_cast<double>(2 * C + R));
  state.counters["GB/s"] = benchmark::Counter(static_cast<double>(B * T * (C + R)) * 4e-9, benchmark::Counter::kIsIterationInvariantRate);
}
// The same over a cache in bfloat16.
void decode_latent_bf16(benchmark::State& state) {
  const std::int64_t B = state.range(0), T = state.range(1), H = state.range(2), C = state.range(3), R = state.range(4);
  const F q = filled({B, 1, H, C + R}, 1), out = F::empty({B, 1, H, C});
  const Tensor<bfloat16> cache = cast<bfloat16>(filled({B, T, 1, C + R}, 2));
  const attention::Problem<float> p{.B = B, .Tq = 1, .Tk = T, .H = H, .J = 1, .parts = 1, .q = {attention::detail::heads(q)}, .k = {}, .dk = {C + R}, .v = {}, .dv = C, .scale = 0.05f};
  for (auto _ : state) attention::run_latent_decode(p, attention::detail::heads(cache), attention::detail::writable(out));
  rate(state, static_cast<double>(B * T * H) * 2 * static_cast<double>(2 * C + R));
  state.counters["GB/s"] = benchmark::Counter(static_cast<double>(B * T * (C + R)) * 2e-9, benchmark::Counter::kIsIterationInvariantRate);
}
void decode_absorbed(benchmark::State& state) {
  const std::int64_t B = state.range(0), T = state.range(1), H = state.range(2), C = state.range(3), R = state.range(4);
  const F q = filled({B, 1, H, 128 + R}, 1), cache = filled({B, T, C + R}, 2), kv_b = filled({H * 256, C}, 3);
  for (auto _ : state) benchmark::DoNotOptimize(attention::mla_absorbed(q, cache, kv_b, {128, R, 128}).data());
  rate(state, static_cast<double>(B * T * H) * 2 * static_cast<double>(2 * C + R) + static_cast<double>(B * H * C) * 2 * 256);
  state.counters["GB/s"] = benchmark::Counter(static_cast<double>(B * T * (C + R)) * 4e-9, benchmark::Counter::kIsIterationInvariantRate);
}

// What the machine gives a product: the ceiling.
void product(benchmark::State& state) {
  const std::int64_t n = state.range(0);
  const F a = filled({n, n}, 1), b = filled({n, n}, 2), c = F::empty({n, n});
  for (auto _ : state)
    gemm::gemm<float>({.m = n, .n = n, .k = n, .a = gemm::plain<float>(a.data(), n), .b = gemm::plain<float>(b.data(), n), .c = c.data(), .ldc = n});
  rate(state, 2.0 * static_cast<double>(n) * static_cast<double>(n) * static_cast<double>(n));
}

void latent_shapes(benchmark::internal::Benchmark* b) {  // pilot, demo, small of the yardstick, then V2's head sizes, short and long
  b->Args({16, 128, 4, 32, 16, 32})->Args({32, 256, 8, 32, 16, 32})->Args({16, 512, 8, 64, 32, 64});
  b->Args({16, 128, 8, 128, 64, 128})->Args({16, 256, 8, 128, 64, 128})->Args({1, 2048, 16, 128, 64, 128})->Args({1, 8192, 1, 128, 64, 128});
  b->ArgNames({"B", "T", "H", "nope", "rope", "value"})->UseRealTime()->Unit(benchmark::kMillisecond);
}
void plain_shapes(benchmark::internal::Benchmark* b) {
  b->Args({16, 128, 4, 32, 16, 32})->Args({16, 128, 8, 64, 0, 64})->Args({16, 256, 8, 64, 0, 64})->Args({8, 256, 8, 128, 0, 128});
  b->Args({1, 2048, 8, 64, 0, 64})->Args({1, 2048, 8, 128, 0, 128});
  b->ArgNames({"B", "T", "H", "nope", "rope", "value"})->UseRealTime()->Unit(benchmark::kMillisecond);
}
BENCHMARK_CAPTURE(latent, forward, false)->Apply(latent_shapes);
BENCHMARK_CAPTURE(latent, training, true)->Apply(latent_shapes);
BENCHMARK_CAPTURE(plain, forward, false)->Apply(plain_shapes);
BENCHMARK_CAPTURE(plain, training, true)->Apply(plain_shapes);
BENCHMARK(decode_grouped)->Args({1, 4096, 32, 8, 128})->Args({1, 4096, 16, 16, 128})->Args({8, 512, 4, 4, 48})->ArgNames({"B", "T", "H", "J", "D"})->UseRealTime()->Unit(benchmark::kMicrosecond);
BENCHMARK(decode_latent)->Args({1, 4096, 16, 512, 64})->Args({1, 4096, 128, 512, 64})->ArgNames({"B", "T", "H", "C", "R"})->UseRealTime()->Unit(benchmark::kMicrosecond);
BENCHMARK(decode_latent_bf16)->Args({1, 4096, 16, 512, 64})->Args({1, 4096, 128, 512, 64})->ArgNames({"B", "T", "H", "C", "R"})->UseRealTime()->Unit(benchmark::kMicrosecond);
BENCHMARK(decode_absorbed)->Args({1, 4096, 16, 512, 64})->Args({1, 4096, 128, 512, 64})->ArgNames({"B", "T", "H", "C", "R"})->UseRealTime()->Unit(benchmark::kMicrosecond);
BENCHMARK(product)->Arg(512)->UseRealTime()->Unit(benchmark::kMillisecond);

}  // namespace

BENCHMARK_MAIN();
