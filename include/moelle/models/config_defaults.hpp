// moelle/models/config_defaults.hpp -- what a missing key means, family by family.
//
// The values are those of transformers' configuration classes (5.x). Keys that only DeepSeek's own files have (topk_method,
// scoring_func, aux_loss_alpha, moe_layer_freq) default to what transformers' models of that family do: no balance loss.
#pragma once
#include <algorithm>
#include <string>
#include <vector>

#include <moelle/core/error.hpp>
#include <moelle/io/suggest.hpp>
#include <moelle/models/config.hpp>

namespace moelle::models {
namespace detail {

inline Config deepseek_v2_defaults() {
  return {.model_type = "deepseek_v2", .vocab_size = 102400, .hidden_size = 4096, .num_hidden_layers = 32, .max_position_embeddings = 2048,
          .num_attention_heads = 32, .q_lora_rank = 1536, .kv_lora_rank = 512, .qk_nope_head_dim = 128, .qk_rope_head_dim = 64,
          .v_head_dim = 128, .intermediate_size = 11008, .n_routed_experts = 64, .n_shared_experts = 2, .moe_intermediate_size = 1407,
          .topk_method = "greedy", .scoring_func = "softmax", .norm_topk_prob = false, .bos_token_id = 1, .eos_token_id = {2}};
}

inline Config deepseek_v3_defaults(const std::string& type) {
  return {.model_type = type, .vocab_size = 129280, .hidden_size = 7168, .num_hidden_layers = 61, .max_position_embeddings = 4096,
          .num_attention_heads = 128, .q_lora_rank = 1536, .kv_lora_rank = 512, .qk_nope_head_dim = 128, .qk_rope_head_dim = 64,
          .v_head_dim = 128, .intermediate_size = 18432, .n_routed_experts = 256, .n_shared_experts = 1, .num_experts_per_tok = 8,
          .moe_intermediate_size = 2048, .first_k_dense_replace = 3, .n_group = 8, .topk_group = 4, .topk_method = "noaux_tc",
          .scoring_func = "sigmoid", .norm_topk_prob = true, .routed_scaling_factor = 2.5, .num_nextn_predict_layers = 1,
          .bos_token_id = 0, .eos_token_id = {1}};
}

// Mixtral and OLMoE have one "intermediate_size", that of the experts: moe_intermediate_size 0 means "the same", see resolve().
inline Config mixtral_defaults() {
  return {.model_type = "mixtral", .vocab_size = 32000, .hidden_size = 4096, .num_hidden_layers = 32, .max_position_embeddings = 131072,
          .num_attention_heads = 32, .num_key_value_heads = 8, .rope_theta = 1e6, .rope_interleave = false, .intermediate_size = 14336,
          .n_routed_experts = 8, .num_experts_per_tok = 2, .topk_method = "greedy", .scoring_func = "softmax", .norm_topk_prob = true,
          .router_aux_loss_coef = 0.001, .rms_norm_eps = 1e-5, .bos_token_id = 1, .eos_token_id = {2}};
}

inline Config qwen3_moe_defaults() {
  return {.model_type = "qwen3_moe", .vocab_size = 151936, .hidden_size = 2048, .num_hidden_layers = 24, .max_position_embeddings = 32768,
          .num_attention_heads = 32, .num_key_value_heads = 4, .qk_norm = QkNorm::head, .rope_interleave = false, .intermediate_size = 6144,
          .n_routed_experts = 128, .num_experts_per_tok = 8, .moe_intermediate_size = 768, .topk_method = "greedy",
          .scoring_func = "softmax", .norm_topk_prob = false, .router_aux_loss_coef = 0.001};
}

inline Config olmoe_defaults() {
  return {.model_type = "olmoe", .vocab_size = 50304, .hidden_size = 2048, .num_hidden_layers = 16, .max_position_embeddings = 4096,
          .num_attention_heads = 16, .qk_norm = QkNorm::whole, .rope_interleave = false, .intermediate_size = 2048, .n_routed_experts = 64,
          .num_experts_per_tok = 8, .topk_method = "greedy", .scoring_func = "softmax", .norm_topk_prob = false,
          .router_aux_loss_coef = 0.01, .rms_norm_eps = 1e-5, .pad_token_id = 1, .eos_token_id = {50279}};
}

inline Config llama_defaults() {
  return {.model_type = "llama", .vocab_size = 32000, .hidden_size = 4096, .num_hidden_layers = 32, .max_position_embeddings = 2048,
          .num_attention_heads = 32, .rope_interleave = false, .intermediate_size = 11008, .bos_token_id = 1, .eos_token_id = {2}};
}

// Families whose "intermediate_size" is the width of an expert.
inline bool one_intermediate_size(const std::string& model_type) { return model_type == "mixtral" || model_type == "olmoe"; }

}  // namespace detail

inline const std::vector<std::string>& Config::model_types() {
  static const std::vector<std::string> kTypes{"deepseek_v2", "deepseek_v3", "kimi_k2", "mixtral", "qwen3_moe", "olmoe", "llama"};
  return kTypes;
}

inline Config Config::defaults(const std::string& model_type) {
  if (model_type == "deepseek_v2") return detail::deepseek_v2_defaults();
  if (model_type == "deepseek_v3" || model_type == "kimi_k2") return detail::deepseek_v3_defaults(model_type);
  if (model_type == "mixtral") return detail::mixtral_defaults();
  if (model_type == "qwen3_moe") return detail::qwen3_moe_defaults();
  if (model_type == "olmoe") return detail::olmoe_defaults();
  if (model_type == "llama") return detail::llama_defaults();
  std::string known;
  for (const auto& t : model_types()) known += (known.empty() ? "" : ", ") + t;
  moelle::detail::fail("config", "model_type must be one of " + known + "; got model_type=" + io::in_quotes(model_type) +
                                     io::did_you_mean(model_type, model_types()));
}

inline void Config::resolve() {
  if (num_key_value_heads == 0 || is_mla()) num_key_value_heads = num_attention_heads;
  if (is_mla()) head_dim = 0;
  else if (head_dim == 0 && num_attention_heads > 0) head_dim = hidden_size / num_attention_heads;
  if (is_moe() && moe_intermediate_size == 0 && detail::one_intermediate_size(model_type)) moe_intermediate_size = intermediate_size;
}

}  // namespace moelle::models
