// moelle/models/config_twin.hpp -- the dense models that a mixture of experts is compared with.
#pragma once
#include <algorithm>
#include <cstdint>

#include <moelle/models/config.hpp>

namespace moelle::models {
namespace detail {

// The same model with dense layers only, whose feed-forward weights number `ffn_weights` over all layers.
inline Config dense_with(const Config& c, std::int64_t ffn_weights) {
  if (!c.is_moe()) return c;
  Config twin = c;
  twin.n_routed_experts = twin.n_shared_experts = twin.num_experts_per_tok = twin.moe_intermediate_size = 0;
  // transformers' DeepSeek models look at this, not at the number of experts.
  const bool deepseek = c.model_type.starts_with("deepseek") || c.model_type == "kimi_k2";
  twin.first_k_dense_replace = deepseek ? c.num_hidden_layers : 0;
  twin.mlp_only_layers.clear();
  twin.moe_layer_freq = twin.decoder_sparse_step = 1;
  const std::int64_t unit = 3 * c.hidden_size * c.num_hidden_layers;  // weights per unit of width
  const std::int64_t width = std::max<std::int64_t>(1, (ffn_weights + unit / 2) / unit);
  twin.intermediate_size = width;
  for (const std::int64_t multiple : {16, 8, 4, 2}) {  // a round width if that costs less than 0.5 %
    const std::int64_t round = (width + multiple / 2) / multiple * multiple;
    if (round > 0 && 200 * (round > width ? round - width : width - round) <= width) {
      twin.intermediate_size = round;
      break;
    }
  }
  return twin;
}

inline std::int64_t feed_forward_weights(const Config& c, std::int64_t experts_counted) {
  const std::int64_t moe = c.num_moe_layers(), dense = c.num_hidden_layers - moe;
  const std::int64_t expert_layer = 3 * c.moe_intermediate_size * (experts_counted + c.n_shared_experts) + c.n_routed_experts;
  return c.hidden_size * (dense * 3 * c.intermediate_size + moe * expert_layer);
}

}  // namespace detail

inline Config Config::dense_twin() const {
  Config c = *this;
  c.resolve();
  c.check();
  return detail::dense_with(c, detail::feed_forward_weights(c, c.num_experts_per_tok));
}

inline Config Config::equal_total_twin() const {
  Config c = *this;
  c.resolve();
  c.check();
  return detail::dense_with(c, detail::feed_forward_weights(c, c.n_routed_experts));
}

}  // namespace moelle::models
