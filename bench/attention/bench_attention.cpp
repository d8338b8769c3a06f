// bench/attention/bench_attention.cpp -- attention, forward alone and with gradients, beside a plain product of the same run; decoding over caches.
//
// GF/s counts what causal attention needs, T (T + 1) / 2 pairs of 2 (Dk + Dv) operations forward and 2 (3 Dk + 2 Dv) backward
// (scores again, dP, dV, dQ, dK); decoding counts every key. compare.py measures PyTorch and llama.cpp in the same rounds.
#include <cstdint>
#include <string>

#include <moelle/attention.hpp>
#include <moelle/autograd/backward.hpp>
#include <moelle/gemm/products.hpp>

#include <samples.hpp>

namespace {

using namespace moelle;
using F = Tensor<float>;
using bench::Contender;

constexpr std::int64_t kWholeTiles = 512;  // from here on a pass should come near a product
constexpr std::int64_t kLong = 8192;  // from here on a step with gradients takes seconds: measured on several threads only

F filled(const Shape& shape, std::int64_t seed) {
  const F x = F::empty(shape);
  for (std::int64_t i = 0; i < x.numel(); ++i) x.data()[i] = static_cast<float>((i + seed) * 7919 % 1009) / 504.5f - 1;
  return x;
}

struct Sizes {
  std::int64_t B, T, H, nope, rope, value;  // keys have nope + rope channels
  double pairs() const { return static_cast<double>(B * H) * static_cast<double>(T * (T + 1)) / 2; }
  double forward() const { return pairs() * 2 * static_cast<double>(nope + rope + value); }
  double flops(bool train) const { return forward() + (train ? pairs() * 2 * static_cast<double>(3 * (nope + rope) + 2 * value) : 0.0); }
  std::string name() const { return str("B", B, " T", T, " H", H, " D", nope + rope, "/", value); }
};
// Training sizes "pilot" and "demo", then the head sizes of models from 512 to 16K tokens.
constexpr Sizes kPlain[] = {{16, 128, 4, 32, 16, 32}, {32, 256, 8, 32, 16, 32},   {4, 512, 8, 64, 0, 64},      {1, 2048, 8, 64, 0, 64},     {1, 16384, 1, 64, 0, 64},    {4, 512, 8, 128, 0, 128},
                            {1, 2048, 8, 128, 0, 128}, {1, 16384, 1, 128, 0, 128}, {4, 512, 8, 128, 64, 128}, {1, 2048, 8, 128, 64, 128}, {1, 16384, 1, 128, 64, 128}};
constexpr Sizes kLatent[] = {{16, 128, 4, 32, 16, 32}, {32, 256, 8, 32, 16, 32}, {16, 512, 8, 64, 32, 64}, {16, 256, 8, 128, 64, 128}};

// What the machine gives a product, as fast as if it did this work.
struct Product {
  static constexpr std::int64_t n = 1024;
  F a = filled({n, n}, 1), b = filled({n, n}, 2), c = F::empty({n, n});
  Contender as(double flops) const {
    const double own = 2.0 * static_cast<double>(n * n) * static_cast<double>(n);
    return {"product", [this] { gemm::gemm<float>({.m = n, .n = n, .k = n, .a = gemm::plain<float>(a.data(), n), .b = gemm::plain<float>(b.data(), n), .c = c.data(), .ldc = n}); },
            own / flops};
  }
};

// `call` computes attention of tensors that want gradients or not.
template <class Call>
void measure(bench::Samples& samples, const Product& product, const char* layout, const Sizes& s, bool train, Call call) {
  const std::string pass = train ? "training" : "forward", work = str(pass, layout, " ", s.name());
  if (!samples.wants("attention", work) || (train && s.T >= kLong && samples.threads() == 1) || (samples.quick() && s.T >= kLong)) return;
  const auto step = call();
  samples.measure({.section = "attention", .work = work, .group = str(pass, layout, ", heads of ", s.nope + s.rope, "/", s.value), .flops = s.flops(train),
                   .limit = "fp32_gflops", .target = s.T >= kWholeTiles ? 0.70 : 0, .against = s.T >= kWholeTiles ? "product" : "", .contenders = {{"moelle", step}, product.as(s.flops(train))}});
}

auto plain(const Sizes& s, bool train) {
  return [=] {
    const F q = filled({s.B, s.T, s.H, s.nope + s.rope}, 1).set_requires_grad(train), k = filled({s.B, s.T, s.H, s.nope + s.rope}, 2).set_requires_grad(train);
    const F v = filled({s.B, s.T, s.H, s.value}, 3).set_requires_grad(train), g = filled({s.B, s.T, s.H, s.value}, 4);
    return [=] {
      q.zero_grad(), k.zero_grad(), v.zero_grad();
      const F y = attention::attention(q, k, v);
      if (train) y.backward(g);
    };
  };
}
// Latent attention between the projections: the rotary key is one for all heads.
auto latent(const Sizes& s, bool train) {
  return [=] {
    const F q = filled({s.B, s.T, s.H, s.nope + s.rope}, 1).set_requires_grad(train), kv = filled({s.B, s.T, s.H, s.nope + s.value}, 2).set_requires_grad(train);
    const F r = filled({s.B, s.T, s.rope}, 3).set_requires_grad(train), g = filled({s.B, s.T, s.H, s.value}, 4);
    return [=] {
      q.zero_grad(), kv.zero_grad(), r.zero_grad();
      const F y = attention::shared_rope_attention(q, kv, r, {s.nope, s.rope, s.value});
      if (train) y.backward(g);
    };
  };
}

// One new token for each of B sequences against a cache of T tokens with J key heads.
void decode_grouped(bench::Samples& samples, std::int64_t B, std::int64_t T, std::int64_t H, std::int64_t J, std::int64_t D) {
  const std::string work = str("grouped f32 B", B, " T", T, " H", H, " J", J, " D", D);
  if (!samples.wants("decoding", work)) return;
  const F q = filled({B, 1, H, D}, 1), k = filled({B, T, J, D}, 2), v = filled({B, T, J, D}, 3);
  samples.measure({.section = "decoding", .work = work, .group = "grouped f32", .flops = static_cast<double>(B * T * H) * 4 * static_cast<double>(D),
                   .bytes = static_cast<double>(B * T * J * D) * 8, .limit = "read_gbs", .contenders = {{"moelle", [&] { bench::keep(attention::attention(q, k, v)); }}}});
}
// One new token of V2-Lite's (16 heads) and V3's (128) latent attention over a cache that all heads share.
void decode_latent(bench::Samples& samples, std::int64_t T, std::int64_t H) {
  constexpr std::int64_t C = 512, R = 64;
  const F q = filled({1, 1, H, C + R}, 1), cache = filled({1, T, 1, C + R}, 2), values = narrow(cache, 3, 0, C), out = F::empty({1, 1, H, C});
  const Tensor<bfloat16> half = cast<bfloat16>(cache);
  const F q_head = filled({1, 1, H, 128 + R}, 1), kv_b = filled({H * 256, C}, 3), rows = filled({1, T, C + R}, 2);
  const attention::Problem<float> p{.B = 1, .Tq = 1, .Tk = T, .H = H, .J = 1, .parts = 1, .q = {attention::detail::heads(q)}, .k = {}, .dk = {C + R}, .v = {}, .dv = C, .scale = 0.05f};
  const double flops = static_cast<double>(T * H) * 2 * static_cast<double>(2 * C + R);
  const std::string shape = str(" T", T, " H", H);
  samples.measure({.section = "decoding", .work = "latent bf16" + shape, .flops = flops, .limit = "bf16_gflops", .contenders = {{"moelle", [&] {
                     attention::run_latent_decode(p, attention::detail::heads(half), attention::detail::writable(out));
                   }}}});
  samples.measure({.section = "decoding", .work = "latent f32" + shape, .flops = flops, .limit = "fp32_gflops",
                   .contenders = {{"moelle", [&] { bench::keep(attention::attention(q, cache, values)); }}}});
  samples.measure({.section = "decoding", .work = "latent f32 with kv_b" + shape, .flops = flops + static_cast<double>(H * C) * 2 * 256, .limit = "fp32_gflops",
                   .contenders = {{"moelle", [&] { bench::keep(attention::mla_absorbed(q_head, rows, kv_b, {128, R, 128})); }}}});
}

}  // namespace

int main(int argc, char** argv) {
  bench::Samples samples(argc, argv);
  const Product product;
  for (bool train : {false, true}) {
    for (const Sizes& s : kPlain) measure(samples, product, "", s, train, plain(s, train));
    for (const Sizes& s : kLatent) measure(samples, product, ", shared rotary key", s, train, latent(s, train));
  }
  decode_grouped(samples, 1, 4096, 32, 8, 128);
  decode_grouped(samples, 1, 4096, 16, 16, 128);
  decode_grouped(samples, 8, 1024, 16, 4, 64);
  for (std::int64_t heads : {16, 128}) decode_latent(samples, 4096, heads);
}
