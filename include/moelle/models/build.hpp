// moelle/models/build.hpp -- from a configuration to its parts.
#pragma once
#include <cstdint>
#include <limits>
#include <memory>
#include <string>

#include <moelle/models/config.hpp>
#include <moelle/nn/mla.hpp>
#include <moelle/nn/moe.hpp>
#include <moelle/nn/multi_head_attention.hpp>

namespace moelle::models {

inline const nn::Init kNoInit{.kind = nn::Init::Kind::none};  // the model fills its weights itself, by full name

inline rope::RopeParams rope_params(const Config& c) {
  rope::RopeParams p{.dim = c.rope_dim(), .theta = c.rope_theta};
  if (!c.rope_scaling) return p;
  const RopeScaling& s = *c.rope_scaling;
  if (s.type == "default") return p;
  MOELLE_REQUIRE("config", s.type == "linear" || s.type == "yarn" || s.type == "ntk",
                 str("rope_scaling.type must be default, linear, ntk or yarn to build a model; got rope_scaling.type=", s.type));
  p.scaling = s.type == "linear" ? rope::Scaling::linear : s.type == "yarn" ? rope::Scaling::yarn : rope::Scaling::ntk;
  p.factor = s.factor;
  p.original_max_position = s.original_max_position_embeddings > 0 ? s.original_max_position_embeddings : c.max_position_embeddings;
  p.beta_fast = s.beta_fast;
  p.beta_slow = s.beta_slow;
  p.mscale = s.mscale.value_or(0.0);
  p.mscale_all_dim = s.mscale_all_dim.value_or(0.0);
  p.attention_factor = s.attention_factor;
  p.truncate = s.truncate;
  return p;
}

template <class T>
std::shared_ptr<nn::Rotary<T>> make_rotary(const Config& c) {
  return std::make_shared<nn::Rotary<T>>(rope_params(c), c.rope_interleave ? rope::Layout::interleaved : rope::Layout::half_split, c.max_position_embeddings);
}

template <class T>
std::shared_ptr<nn::Attention<T>> make_attention(const Config& c, const std::shared_ptr<nn::Rotary<T>>& rotary, const nn::Init& init = kNoInit) {
  if (c.is_mla())
    return std::make_shared<nn::MLA<T>>(nn::MlaOptions{.hidden_size = c.hidden_size, .num_attention_heads = c.num_attention_heads, .q_lora_rank = c.q_lora_rank,
                                                       .kv_lora_rank = *c.kv_lora_rank, .qk_nope_head_dim = c.qk_nope_head_dim,
                                                       .qk_rope_head_dim = c.qk_rope_head_dim, .v_head_dim = c.v_head_dim, .bias = c.attention_bias, .init = init},
                                        rotary);
  return std::make_shared<nn::MultiHeadAttention<T>>(
      nn::AttentionOptions{.hidden_size = c.hidden_size, .num_attention_heads = c.num_attention_heads, .num_key_value_heads = c.num_key_value_heads,
                           .head_dim = c.head_dim, .bias = c.attention_bias, .qk_norm = static_cast<nn::QkNorm>(c.qk_norm), .norm_eps = c.rms_norm_eps,
                           .clip_qkv = c.clip_qkv.value_or(0.0), .sliding_window = c.sliding_window.value_or(0), .init = init},
      rotary);
}

inline activation::SwigluParams swiglu_params(const Config& c) {
  MOELLE_REQUIRE("config", c.hidden_act == "silu", str("hidden_act must be silu to build a model; got hidden_act=", c.hidden_act));
  return {.limit = c.swiglu_limit.value_or(std::numeric_limits<double>::infinity())};
}

inline moe::GateParams gate_params(const Config& c) {
  moe::GateParams p{.groups = 1, .top_groups = 1, .top_k = static_cast<int>(c.num_experts_per_tok)};
  p.score = c.scoring_func == "softmax" ? moe::Score::softmax : moe::Score::sigmoid;
  p.group_score = c.topk_method == "noaux_tc" ? moe::GroupScore::top2_sum : moe::GroupScore::max;
  p.normalize = c.norm_topk_prob;
  p.scale = static_cast<float>(c.routed_scaling_factor);
  if (c.topk_method != "greedy") p.groups = static_cast<int>(c.n_group), p.top_groups = static_cast<int>(c.topk_group);
  if (c.model_type == "deepseek_v2") p.normalize = false;  // transformers and all released V2 models: scale, never renormalise
  return p;
}

inline nn::BalanceLosses balance_losses(const Config& c) {
  nn::BalanceLosses l;
  (c.seq_aux ? l.sequence : l.batch) = c.aux_loss_alpha;
  if (c.output_router_logits) l.switch_ = c.router_aux_loss_coef;
  l.z = c.router_z_loss_coef;
  return l;
}

inline std::string feed_forward_name(const Config& c, std::int64_t layer) {
  return c.model_type == "mixtral" && c.is_moe_layer(layer) ? "block_sparse_moe" : "mlp";
}

template <class T>
std::shared_ptr<nn::Module<T>> make_feed_forward(const Config& c, std::int64_t layer, const nn::Init& init = kNoInit) {
  const auto act = swiglu_params(c);
  if (!c.is_moe_layer(layer)) return std::make_shared<nn::SwiGLU<T>>(c.hidden_size, c.intermediate_size, init, act);
  const auto names = c.model_type == "mixtral" ? typename nn::Experts<T>::Names{"w1", "w3", "w2"} : typename nn::Experts<T>::Names{};
  auto gate = std::make_shared<nn::TopKGate<T>>(c.hidden_size, c.n_routed_experts, gate_params(c), c.has_selection_bias(), kNoInit);
  auto experts = std::make_shared<nn::Experts<T>>(c.n_routed_experts, c.hidden_size, c.moe_intermediate_size, init, names, act);
  std::shared_ptr<nn::Module<T>> shared;
  if (c.n_shared_experts > 0) shared = std::make_shared<nn::SwiGLU<T>>(c.hidden_size, c.n_shared_experts * c.moe_intermediate_size, init, act);
  return std::make_shared<nn::MoE<T>>(gate, experts, shared, balance_losses(c));
}

}  // namespace moelle::models
