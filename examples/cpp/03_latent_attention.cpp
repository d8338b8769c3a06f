// Multi-head latent attention in its two forms: expanded for training, absorbed for decoding from a small cache.
#include <algorithm>
#include <cmath>
#include <cstdio>

#include <moelle/attention.hpp>
#include <moelle/nn/init.hpp>

using namespace moelle;

int main() {
  const std::int64_t T = 32, H = 8, C = 64;  // tokens, heads, rank of the latent
  const attention::MlaDims dims{.nope = 32, .rope = 16, .value = 32};
  const auto q = Tensor<float>::empty({1, T, H, dims.nope + dims.rope}), cache = Tensor<float>::empty({1, T, C + dims.rope});
  const auto kv_b = Tensor<float>::empty({H * (dims.nope + dims.value), C});
  nn::fill_normal(q, 1.0, 0, "q");
  nn::fill_normal(cache, 1.0, 0, "cache");
  nn::fill_normal(kv_b, 0.125, 0, "kv_b");

  const auto latent = narrow(cache, 2, 0, C), k_rope = narrow(cache, 2, C, dims.rope);
  const auto expanded = attention::mla_expanded(q, latent, k_rope, kv_b, dims);
  const auto absorbed = contiguous(attention::mla_absorbed(q, cache, kv_b, dims));
  double worst = 0, largest = 0;
  for (std::int64_t i = 0; i < expanded.numel(); ++i) {
    worst = std::max(worst, std::abs(static_cast<double>(expanded.data()[i] - absorbed.data()[i])));
    largest = std::max(largest, std::abs(static_cast<double>(expanded.data()[i])));
  }
  const std::int64_t mha = H * (dims.nope + dims.rope + dims.value);
  std::printf("largest difference %.1e of values up to %.2f\n", worst, largest);
  std::printf("cache per token and layer: %lld numbers; the keys and values it stands for: %lld (%.1f times as many)\n",
              static_cast<long long>(C + dims.rope), static_cast<long long>(mha), static_cast<double>(mha) / static_cast<double>(C + dims.rope));
  return worst < 1e-5 * largest ? 0 : 1;
}
