// moelle/moe/packed_experts_op.hpp -- the routed experts of a layer with packed weights: inference.
//
// Rows are brought into the weights' form once per token and then copied into the order of their experts; gate, up and SwiGLU are one
// product, the sum over a token's experts is as in experts_op.hpp.
#pragma once
#include <algorithm>
#include <cstdint>
#include <cstring>

#include <moelle/activation/swiglu.hpp>  // SwigluParams
#include <moelle/core/parallel.hpp>
#include <moelle/core/tensor.hpp>
#include <moelle/gemm/packed_op.hpp>
#include <moelle/moe/gate_op.hpp>  // Routing
#include <moelle/moe/permute_op.hpp>

namespace moelle::moe {

namespace detail {

// Scratch of the calling thread.
struct PackedExpertBuffers {
  gemm::Buffer units, scales, sorted, sorted_scales, hidden, hidden_scales;
};
inline PackedExpertBuffers& packed_expert_buffers() {
  thread_local PackedExpertBuffers own;
  return own;
}

// Row r becomes the row of the token in slot r.
inline gemm::PreparedRows in_order(const gemm::PreparedRows& tokens, std::int64_t units, const Permutation& p, PackedExpertBuffers& b) {
  const std::int64_t R = p.rows();
  float* scales = tokens.scales != nullptr ? b.sorted_scales.reserve<float>(R) : nullptr;
  const auto token = [&p](std::int64_t r) { return p.slot.data()[r] / p.per_token; };
  for (std::int64_t r = 0; r < R && scales != nullptr; ++r) scales[r] = tokens.scales[token(r)];
  if (p.tokens == 1) return {tokens.units, 0, scales};  // one row serves all experts
  auto* to = b.sorted.reserve<std::uint32_t>(R * tokens.stride);
  const std::int64_t stride = tokens.stride;
  parallel_rows(R, std::max<std::int64_t>(1, 65536 / std::max<std::int64_t>(units, 1)), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t r = begin; r < end; ++r)
      std::memcpy(to + r * stride, tokens.units + token(r) * stride, static_cast<std::size_t>(units) * sizeof(std::uint32_t));
  });
  return {to, stride, scales};
}

}  // namespace detail

// x [N, D], routing over E experts, gate_up [E, 2F, D] gated, down [E, D, F] -> [N, D].
inline Tensor<float> packed_experts(const Tensor<float>& x, const Routing<float>& routing, const gemm::PackedMatrix& gate_up, const gemm::PackedMatrix& down,
                                    const activation::SwigluParams& params = {}) {
  gemm::detail::check_packed("experts", x, gate_up);
  MOELLE_REQUIRE("experts", x.rank() == 2 && routing.experts.shape() == routing.weights.shape() && routing.experts.size(0) == x.size(0),
                 str("x must be [N, D], experts and weights [N, K]; got x=", x.shape(), " experts=", routing.experts.shape(), " weights=", routing.weights.shape()));
  MOELLE_REQUIRE("experts", gate_up.shape().gated && down.shape().groups == gate_up.shape().groups && down.shape().k * 2 == gate_up.shape().n && down.shape().n == gate_up.shape().k,
                 str("gate_up must be [E, 2F, D], gated, and down [E, D, F]; got gate_up=[", gate_up.shape().groups, ", ", gate_up.shape().n, ", ", gate_up.shape().k,
                     "] down=[", down.shape().groups, ", ", down.shape().n, ", ", down.shape().k, "]"));
  const std::int64_t N = x.size(0), D = x.size(1), F = down.shape().k;
  const Permutation p = make_permutation(routing.experts, gate_up.shape().groups);
  auto& b = detail::packed_expert_buffers();
  const auto rows = gemm::detail::plain_rows(x);
  const auto tokens = gemm::detail::prepare_rows(gate_up, rows.matrix.data, rows.matrix.row_stride, N, b.units, b.scales);
  const std::int64_t units = (gemm::padded_k(gate_up.format(), D) + gate_up.compute().per - 1) / gate_up.compute().per;
  const Tensor<float> hidden = Tensor<float>::empty({p.rows(), F}), out = Tensor<float>::empty({p.rows(), D}), y = Tensor<float>::empty({N, D});
  gemm::packed_product(gate_up, {.rows = detail::in_order(tokens, units, p, b), .count = p.rows(), .offsets = p.offsets.data(), .y = hidden.data(), .ldy = F,
                                 .limit = params.limit});
  gemm::packed_product(down, {.rows = gemm::detail::prepare_rows(down, hidden.data(), F, p.rows(), b.hidden, b.hidden_scales), .count = p.rows(),
                              .offsets = p.offsets.data(), .y = out.data(), .ldy = D});
  detail::combine_into(out, static_cast<const float*>(contiguous(routing.weights.detach()).data()), p, y, false);
  return y;
}

}  // namespace moelle::moe
