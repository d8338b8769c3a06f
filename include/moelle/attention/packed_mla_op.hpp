// moelle/attention/packed_mla_op.hpp -- absorbed latent attention with packed up-projections (mla_op.hpp has the formulas): inference.
#pragma once
#include <cstdint>

#include <moelle/attention/mla_op.hpp>
#include <moelle/gemm/packed_op.hpp>

namespace moelle::attention {

// The two halves of kv_b [H (N + V), C], one group per head: q' = q_n W_UK [H, C, N as in], o = mixed W_UV^T [H, V, C as in].
struct PackedLatent {
  gemm::PackedMatrix key, value;

  PackedLatent() = default;
  PackedLatent(std::int64_t heads, std::int64_t latent, const MlaDims& d, gemm::Format format)
      : key({.groups = heads, .n = latent, .k = d.nope, .format = format}), value({.groups = heads, .n = d.value, .k = latent, .format = format}) {}
  bool defined() const { return key.defined(); }
  std::int64_t bytes() const { return defined() ? key.bytes() + value.bytes() : 0; }

  void fill(const Tensor<float>& kv_b) const {
    const std::int64_t N = key.shape().k, V = value.shape().n, row = kv_b.strides()[0], col = kv_b.strides()[1];
    for (std::int64_t h = 0; h < key.shape().groups; ++h) {
      const float* head = kv_b.data() + h * (N + V) * row;
      gemm::pack_group(key, h, {head, col, row});  // [C, N]: the transpose of the head's first N rows
      gemm::pack_group(value, h, {head + N * row, row, col});
    }
  }
};

namespace detail {

// x [B, Tq, H, n] times each head's matrix -> [B, Tq, H, m].
inline Tensor<float> by_packed_head(const Tensor<float>& x, const gemm::PackedMatrix& w) {
  const std::int64_t B = x.size(0), Tq = x.size(1), H = x.size(2);
  const Tensor<float> rows = reshape(permute(x, {2, 0, 1, 3}), {H * B * Tq, x.size(3)});
  const Tensor<std::int32_t> offsets = Tensor<std::int32_t>::empty({H + 1});
  for (std::int64_t h = 0; h <= H; ++h) offsets.data()[h] = static_cast<std::int32_t>(h * B * Tq);
  return permute(reshape(gemm::grouped_linear(rows, w, offsets), {H, B, Tq, w.shape().n}), {1, 2, 0, 3});
}

}  // namespace detail

// As mla_absorbed; `cache` [B, Tk, C + R] in float or bfloat16.
template <class U>
Tensor<float> mla_absorbed(const Tensor<float>& q, const Tensor<U>& cache, const PackedLatent& weights, const MlaDims& dims, const AttentionParams& params = {}) {
  MOELLE_REQUIRE("mla", q.rank() == 4 && cache.rank() == 3 && q.size(2) == weights.key.shape().groups && q.size(3) == dims.nope + dims.rope &&
                            cache.size(2) == weights.key.shape().n + dims.rope && cache.size(0) == q.size(0),
                 str("q must be [B, Tq, H, N + R] and cache [B, Tk, C + R]; got q=", q.shape(), " cache=", cache.shape(), " heads=", weights.key.shape().groups,
                     " latent=", weights.key.shape().n, " nope=", dims.nope, " rope=", dims.rope));
  const Tensor<float> absorbed = concat<float>({detail::by_packed_head(narrow(q, 3, 0, dims.nope), weights.key), narrow(q, 3, dims.nope, dims.rope)}, 3);
  return detail::by_packed_head(detail::mix_latents(absorbed, cache, dims, params), weights.value);
}

}  // namespace moelle::attention
