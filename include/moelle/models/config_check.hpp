// moelle/models/config_check.hpp -- every precondition on a configuration, in one place.
//
// Configurations come from files and strangers: the limits also keep every later product of sizes inside 64 bits.
#pragma once
#include <algorithm>
#include <array>
#include <cmath>
#include <string>
#include <string_view>

#include <moelle/core/error.hpp>
#include <moelle/io/suggest.hpp>
#include <moelle/models/config.hpp>

namespace moelle::models {
namespace detail {

inline constexpr std::int64_t kMaxSize = std::int64_t{1} << 28;      // a width, a vocabulary, a length
inline constexpr std::int64_t kMaxLayers = 4096;
inline constexpr std::int64_t kMaxHeads = 65536;
inline constexpr std::int64_t kMaxExperts = 65536;
inline constexpr double kMaxParams = 1e15;

inline void in_range(const char* key, std::int64_t v, std::int64_t low, std::int64_t high) {
  MOELLE_REQUIRE("config", v >= low && v <= high, str(key, " must be in [", low, ", ", high, "]; got ", key, "=", v));
}
inline void positive(const char* key, double v) {
  MOELLE_REQUIRE("config", std::isfinite(v) && v > 0, str(key, " must be finite and above 0; got ", key, "=", v));
}
inline void not_negative(const char* key, double v) {
  MOELLE_REQUIRE("config", std::isfinite(v) && v >= 0, str(key, " must be finite and not negative; got ", key, "=", v));
}
template <std::size_t N>
void one_of(const char* key, const std::string& v, const std::array<std::string_view, N>& names) {
  if (std::find(names.begin(), names.end(), v) != names.end()) return;
  std::string list;
  for (const auto n : names) list += (list.empty() ? "" : ", ") + std::string(n);
  moelle::detail::fail("config", str(key, " must be one of ", list, "; got ", key, "=", io::in_quotes(v), io::did_you_mean(v, names)));
}

inline void check_attention(const Config& c) {
  in_range("num_attention_heads", c.num_attention_heads, 1, kMaxHeads);
  if (c.is_mla()) {
    if (c.q_lora_rank) in_range("q_lora_rank", *c.q_lora_rank, 1, kMaxSize);
    in_range("kv_lora_rank", *c.kv_lora_rank, 1, kMaxSize);
    in_range("qk_nope_head_dim", c.qk_nope_head_dim, 1, kMaxHeads);
    in_range("qk_rope_head_dim", c.qk_rope_head_dim, 2, kMaxHeads);
    in_range("v_head_dim", c.v_head_dim, 1, kMaxHeads);
    MOELLE_REQUIRE("config", c.qk_norm == QkNorm::none, "qk_norm must be none with kv_lora_rank: latents have norms of their own; got qk_norm set");
    MOELLE_REQUIRE("config", !c.clip_qkv, str("clip_qkv must be absent with kv_lora_rank; got clip_qkv=", *c.clip_qkv));
  } else {
    in_range("head_dim", c.head_dim, 2, kMaxHeads);
    in_range("num_key_value_heads", c.num_key_value_heads, 1, c.num_attention_heads);
    MOELLE_REQUIRE("config", c.num_attention_heads % c.num_key_value_heads == 0,
                   str("num_key_value_heads must divide num_attention_heads; got num_key_value_heads=", c.num_key_value_heads,
                       " num_attention_heads=", c.num_attention_heads));
    MOELLE_REQUIRE("config", !c.q_lora_rank, str("q_lora_rank needs kv_lora_rank; got q_lora_rank=", *c.q_lora_rank));
    if (c.clip_qkv) positive("clip_qkv", *c.clip_qkv);
  }
  const char* rope = c.is_mla() ? "qk_rope_head_dim" : "head_dim";
  MOELLE_REQUIRE("config", c.rope_dim() % 2 == 0, str(rope, " must be even: RoPE turns pairs; got ", rope, "=", c.rope_dim()));
  if (c.sliding_window) in_range("sliding_window", *c.sliding_window, 1, kMaxSize);
}

inline void check_rope(const Config& c) {
  MOELLE_REQUIRE("config", std::isfinite(c.rope_theta) && c.rope_theta >= 1, str("rope_theta must be finite and at least 1; got rope_theta=", c.rope_theta));
  if (!c.rope_scaling) return;
  const RopeScaling& r = *c.rope_scaling;
  one_of("rope_scaling.type", r.type, std::array<std::string_view, 5>{"default", "linear", "dynamic", "yarn", "llama3"});
  MOELLE_REQUIRE("config", std::isfinite(r.factor) && r.factor >= 1, str("rope_scaling.factor must be finite and at least 1; got factor=", r.factor));
  if (r.type != "yarn" && r.type != "llama3") return;
  in_range("rope_scaling.original_max_position_embeddings", r.original_max_position_embeddings, 1, kMaxSize);
  positive("rope_scaling.beta_fast", r.beta_fast);
  positive("rope_scaling.beta_slow", r.beta_slow);
  MOELLE_REQUIRE("config", r.beta_fast >= r.beta_slow,
                 str("rope_scaling.beta_fast must not be below beta_slow; got beta_fast=", r.beta_fast, " beta_slow=", r.beta_slow));
  if (r.mscale) not_negative("rope_scaling.mscale", *r.mscale);
  if (r.mscale_all_dim) not_negative("rope_scaling.mscale_all_dim", *r.mscale_all_dim);
  if (r.attention_factor) positive("rope_scaling.attention_factor", *r.attention_factor);
  positive("rope_scaling.low_freq_factor", r.low_freq_factor);
  MOELLE_REQUIRE("config", std::isfinite(r.high_freq_factor) && r.high_freq_factor > r.low_freq_factor,
                 str("rope_scaling.high_freq_factor must be above low_freq_factor; got high_freq_factor=", r.high_freq_factor,
                     " low_freq_factor=", r.low_freq_factor));
}

inline void check_gate(const Config& c) {
  one_of("topk_method", c.topk_method, std::array<std::string_view, 3>{"greedy", "group_limited_greedy", "noaux_tc"});
  one_of("scoring_func", c.scoring_func, std::array<std::string_view, 2>{"sigmoid", "softmax"});
  std::int64_t allowed = c.n_routed_experts;
  if (c.topk_method != "greedy") {
    MOELLE_REQUIRE("config", c.n_group >= 1 && c.n_routed_experts % c.n_group == 0,
                   str("n_group must divide n_routed_experts; got n_group=", c.n_group, " n_routed_experts=", c.n_routed_experts));
    MOELLE_REQUIRE("config", c.topk_group >= 1 && c.topk_group <= c.n_group,
                   str("topk_group must be in [1, n_group]; got topk_group=", c.topk_group, " n_group=", c.n_group));
    MOELLE_REQUIRE("config", c.topk_method != "noaux_tc" || c.n_group == 1 || c.n_routed_experts / c.n_group >= 2,
                   str("noaux_tc ranks groups by their two best experts and needs two in each; got n_group=", c.n_group,
                       " n_routed_experts=", c.n_routed_experts));
    allowed = c.topk_group * (c.n_routed_experts / c.n_group);
  }
  MOELLE_REQUIRE("config", c.num_experts_per_tok >= 1 && c.num_experts_per_tok <= allowed,
                 str("num_experts_per_tok must be in [1, experts of the kept groups]; got num_experts_per_tok=", c.num_experts_per_tok,
                     " n_routed_experts=", c.n_routed_experts, " n_group=", c.n_group, " topk_group=", c.topk_group));
  positive("routed_scaling_factor", c.routed_scaling_factor);
  not_negative("aux_loss_alpha", c.aux_loss_alpha);
  not_negative("router_aux_loss_coef", c.router_aux_loss_coef);
  not_negative("router_z_loss_coef", c.router_z_loss_coef);
}

inline void check_feed_forward(const Config& c) {
  one_of("hidden_act", c.hidden_act, std::array<std::string_view, 1>{"silu"});
  if (c.swiglu_limit) positive("swiglu_limit", *c.swiglu_limit);
  in_range("n_routed_experts", c.n_routed_experts, 0, kMaxExperts);
  if (c.num_moe_layers() < c.num_hidden_layers) in_range("intermediate_size", c.intermediate_size, 1, kMaxSize);
  if (!c.is_moe()) return;
  in_range("n_shared_experts", c.n_shared_experts, 0, kMaxExperts);
  in_range("moe_intermediate_size", c.moe_intermediate_size, 1, kMaxSize);
  check_gate(c);
}

inline void check_layers(const Config& c) {
  in_range("num_hidden_layers", c.num_hidden_layers, 1, kMaxLayers);
  in_range("first_k_dense_replace", c.first_k_dense_replace, 0, kMaxLayers);
  in_range("moe_layer_freq", c.moe_layer_freq, 1, kMaxLayers);
  in_range("decoder_sparse_step", c.decoder_sparse_step, 1, kMaxLayers);
  in_range("num_nextn_predict_layers", c.num_nextn_predict_layers, 0, 64);
  MOELLE_REQUIRE("config", static_cast<std::int64_t>(c.mlp_only_layers.size()) <= c.num_hidden_layers,
                 str("mlp_only_layers must name each layer at most once; got ", c.mlp_only_layers.size(), " entries for num_hidden_layers=", c.num_hidden_layers));
  for (const std::int64_t i : c.mlp_only_layers)
    MOELLE_REQUIRE("config", i >= 0 && i < c.num_hidden_layers,
                   str("mlp_only_layers must lie in [0, num_hidden_layers); got ", i, " num_hidden_layers=", c.num_hidden_layers));
}

// An upper bound in floating point: enough to keep integers and memory sizes far from overflow.
inline double params_bound(const Config& c) {
  const auto d = static_cast<double>(c.hidden_size), h = static_cast<double>(c.num_attention_heads);
  const auto layers = static_cast<double>(c.num_hidden_layers + c.num_nextn_predict_layers);
  const auto dq = static_cast<double>(c.qk_head_dim()), dv = static_cast<double>(c.value_head_dim());
  const auto rq = static_cast<double>(c.q_lora_rank.value_or(0)), r = static_cast<double>(c.kv_lora_rank.value_or(0));
  const double attention = d * h * (2 * dq + 2 * dv) + (rq + r) * (d + h * (dq + dv));
  const auto experts = static_cast<double>(c.is_moe() ? c.n_routed_experts + c.n_shared_experts : 0);
  const double ffn = 3 * d * (static_cast<double>(c.intermediate_size) + experts * static_cast<double>(c.moe_intermediate_size) + experts);
  return 2 * d * static_cast<double>(c.vocab_size) + layers * (attention + ffn + 2 * d * d);
}

}  // namespace detail

inline bool Config::is_moe_layer(std::int64_t layer) const {
  if (!is_moe() || layer < first_k_dense_replace || layer % moe_layer_freq != 0 || (layer + 1) % decoder_sparse_step != 0) return false;
  return std::find(mlp_only_layers.begin(), mlp_only_layers.end(), layer) == mlp_only_layers.end();
}

inline std::int64_t Config::num_moe_layers() const {
  std::int64_t n = 0;
  for (std::int64_t i = 0; i < num_hidden_layers; ++i) n += is_moe_layer(i) ? 1 : 0;
  return n;
}

inline void Config::check() const {
  const auto& types = model_types();
  MOELLE_REQUIRE("config", std::find(types.begin(), types.end(), model_type) != types.end(),
                 "model_type must be a family that is known; got model_type=" + io::in_quotes(model_type) + io::did_you_mean(model_type, types));
  detail::in_range("vocab_size", vocab_size, 1, detail::kMaxSize);
  detail::in_range("hidden_size", hidden_size, 1, detail::kMaxSize);
  detail::in_range("max_position_embeddings", max_position_embeddings, 1, detail::kMaxSize);
  detail::check_layers(*this);
  detail::check_attention(*this);
  detail::check_rope(*this);
  detail::check_feed_forward(*this);
  detail::positive("rms_norm_eps", rms_norm_eps);
  detail::not_negative("initializer_range", initializer_range);
  if (bos_token_id) detail::in_range("bos_token_id", *bos_token_id, 0, detail::kMaxSize);
  if (pad_token_id) detail::in_range("pad_token_id", *pad_token_id, -1, detail::kMaxSize);
  for (const std::int64_t id : eos_token_id) detail::in_range("eos_token_id", id, 0, detail::kMaxSize);
  const double bound = detail::params_bound(*this);
  MOELLE_REQUIRE("config", bound <= detail::kMaxParams, str("the model must have at most 1e15 parameters; got about ", bound));
}

}  // namespace moelle::models
