// moelle/models/config.hpp -- one checked configuration for the whole family: DeepSeek V2/V3 (Kimi K2, Moonlight), Mixtral,
// Qwen3-MoE, OLMoE, and dense Llama-like models. Members carry the keys of Hugging Face's config.json.
//
// JSON lives in models/config_json.hpp, named models in models/presets.hpp.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace moelle::models {

// Where query and key vectors are normalised before RoPE: not at all, per head (Qwen3), or over all heads at once (OLMoE).
enum class QkNorm : std::uint8_t { none, head, whole };

// What a reader does with a key that it does not know: a configuration somebody wrote by hand should not contain any.
enum class UnknownKeys : std::uint8_t { ignore, refuse };

// config.json's "rope_scaling" (official) or the scaling part of "rope_parameters" (transformers 5).
struct RopeScaling {
  std::string type = "default";  // default, linear, dynamic (NTK), yarn, llama3
  double factor = 1.0;
  std::int64_t original_max_position_embeddings = 0;
  double beta_fast = 32.0, beta_slow = 1.0;  // yarn
  std::optional<double> mscale = {}, mscale_all_dim = {}, attention_factor = {};  // yarn
  bool truncate = true;  // yarn: round the ramp's ends to whole dimensions
  double low_freq_factor = 1.0, high_freq_factor = 4.0;  // llama3

  bool operator==(const RopeScaling&) const = default;
};

struct Config {
  std::string model_type = "deepseek_v3";
  std::int64_t vocab_size = 0;
  std::int64_t hidden_size = 0;
  std::int64_t num_hidden_layers = 0;
  std::int64_t max_position_embeddings = 4096;

  // --- attention: latent (MLA) if kv_lora_rank is set, else multi-head or grouped-query ---
  std::int64_t num_attention_heads = 0;
  std::int64_t num_key_value_heads = 0;  // 0: as many as num_attention_heads; meaningless for MLA
  std::int64_t head_dim = 0;             // 0: hidden_size / num_attention_heads; meaningless for MLA
  std::optional<std::int64_t> q_lora_rank = {};
  std::optional<std::int64_t> kv_lora_rank = {};
  std::int64_t qk_nope_head_dim = 0;
  std::int64_t qk_rope_head_dim = 0;
  std::int64_t v_head_dim = 0;
  bool attention_bias = false;
  QkNorm qk_norm = QkNorm::none;
  std::optional<double> clip_qkv = {};              // OLMoE: clamp projected q, k, v to [-clip_qkv, clip_qkv]
  std::optional<std::int64_t> sliding_window = {};  // attend to this many latest positions only

  // --- rotary positions ---
  double rope_theta = 10000.0;
  std::optional<RopeScaling> rope_scaling = {};
  bool rope_interleave = true;  // pairs (2i, 2i + 1), as DeepSeek; false: (i, i + dim / 2)

  // --- feed-forward ---
  std::int64_t intermediate_size = 0;  // of dense layers
  std::string hidden_act = "silu";
  std::optional<double> swiglu_limit = {};

  // --- mixture of experts; n_routed_experts = 0 makes every layer dense ---
  std::int64_t n_routed_experts = 0;  // also num_local_experts (Mixtral), num_experts (Qwen3, OLMoE)
  std::int64_t n_shared_experts = 0;
  std::int64_t num_experts_per_tok = 0;
  std::int64_t moe_intermediate_size = 0;  // of one expert
  std::int64_t first_k_dense_replace = 0;  // layers [0, k) are dense
  std::int64_t moe_layer_freq = 1;         // of the others, those with index % freq == 0 have experts (DeepSeek)
  std::int64_t decoder_sparse_step = 1;    // ... and (index + 1) % step == 0 (Qwen3)
  std::vector<std::int64_t> mlp_only_layers = {};  // ... and that are not named here (Qwen3)
  std::int64_t n_group = 1;
  std::int64_t topk_group = 1;
  std::string topk_method = "noaux_tc";  // greedy, group_limited_greedy (V2), noaux_tc (V3: selection bias)
  std::string scoring_func = "sigmoid";  // sigmoid, softmax
  bool norm_topk_prob = true;
  double routed_scaling_factor = 1.0;
  double aux_loss_alpha = 0.0;        // DeepSeek's balance loss; 0: none
  bool seq_aux = true;                // per sequence (V3) instead of per batch
  double router_aux_loss_coef = 0.0;  // Switch-style loss of Mixtral, Qwen3, OLMoE; used if output_router_logits
  bool output_router_logits = false;
  double router_z_loss_coef = 0.0;
  std::int64_t num_nextn_predict_layers = 0;  // multi-token prediction modules

  // --- the rest ---
  double rms_norm_eps = 1e-6;
  double initializer_range = 0.02;
  bool tie_word_embeddings = false;
  std::optional<std::int64_t> bos_token_id = {}, pad_token_id = {};
  std::vector<std::int64_t> eos_token_id = {};

  // What a family's config.json means where a key is missing; Error for a family that is not known.
  static Config defaults(const std::string& model_type);
  static const std::vector<std::string>& model_types();

  // Reads and writes the text of a config.json; defined in models/config_json.hpp.
  inline static Config from_json(const std::string& text, UnknownKeys unknown = UnknownKeys::ignore);
  inline std::string to_json() const;

  // Fills in what other members imply (num_key_value_heads, head_dim, ...). Called by every reader.
  void resolve();
  // Throws Error, naming member and value, unless a model can be built from this. Everything that takes a Config calls it.
  void check() const;

  bool is_mla() const { return kv_lora_rank.has_value(); }
  bool is_moe() const { return n_routed_experts > 0; }
  // Whether `layer` has experts; multi-token prediction modules count on from num_hidden_layers.
  bool is_moe_layer(std::int64_t layer) const;
  std::int64_t num_moe_layers() const;
  // Whether the gate has the selection bias "e_score_correction_bias".
  bool has_selection_bias() const { return is_moe() && topk_method == "noaux_tc"; }
  std::int64_t qk_head_dim() const { return is_mla() ? qk_nope_head_dim + qk_rope_head_dim : head_dim; }
  std::int64_t value_head_dim() const { return is_mla() ? v_head_dim : head_dim; }
  std::int64_t rope_dim() const { return is_mla() ? qk_rope_head_dim : head_dim; }

  // The dense model to compare with: same attention, every layer dense, and a width that gives the same weights in products
  // per token (router included), so the same FLOPs per token, to within 1 %.
  Config dense_twin() const;
  // The same with as many weights in total as this model. Both return a dense model as it is.
  Config equal_total_twin() const;

  bool operator==(const Config&) const = default;

  // f("key", member) for every member, in the order of declaration; C is Config or const Config.
  template <class C, class F>
  static void visit(C& c, F&& f);
};

template <class C, class F>
void Config::visit(C& c, F&& f) {
  f("model_type", c.model_type);
  f("vocab_size", c.vocab_size);
  f("hidden_size", c.hidden_size);
  f("num_hidden_layers", c.num_hidden_layers);
  f("max_position_embeddings", c.max_position_embeddings);
  f("num_attention_heads", c.num_attention_heads);
  f("num_key_value_heads", c.num_key_value_heads);
  f("head_dim", c.head_dim);
  f("q_lora_rank", c.q_lora_rank);
  f("kv_lora_rank", c.kv_lora_rank);
  f("qk_nope_head_dim", c.qk_nope_head_dim);
  f("qk_rope_head_dim", c.qk_rope_head_dim);
  f("v_head_dim", c.v_head_dim);
  f("attention_bias", c.attention_bias);
  f("qk_norm", c.qk_norm);
  f("clip_qkv", c.clip_qkv);
  f("sliding_window", c.sliding_window);
  f("rope_theta", c.rope_theta);
  f("rope_scaling", c.rope_scaling);
  f("rope_interleave", c.rope_interleave);
  f("intermediate_size", c.intermediate_size);
  f("hidden_act", c.hidden_act);
  f("swiglu_limit", c.swiglu_limit);
  f("n_routed_experts", c.n_routed_experts);
  f("n_shared_experts", c.n_shared_experts);
  f("num_experts_per_tok", c.num_experts_per_tok);
  f("moe_intermediate_size", c.moe_intermediate_size);
  f("first_k_dense_replace", c.first_k_dense_replace);
  f("moe_layer_freq", c.moe_layer_freq);
  f("decoder_sparse_step", c.decoder_sparse_step);
  f("mlp_only_layers", c.mlp_only_layers);
  f("n_group", c.n_group);
  f("topk_group", c.topk_group);
  f("topk_method", c.topk_method);
  f("scoring_func", c.scoring_func);
  f("norm_topk_prob", c.norm_topk_prob);
  f("routed_scaling_factor", c.routed_scaling_factor);
  f("aux_loss_alpha", c.aux_loss_alpha);
  f("seq_aux", c.seq_aux);
  f("router_aux_loss_coef", c.router_aux_loss_coef);
  f("output_router_logits", c.output_router_logits);
  f("router_z_loss_coef", c.router_z_loss_coef);
  f("num_nextn_predict_layers", c.num_nextn_predict_layers);
  f("rms_norm_eps", c.rms_norm_eps);
  f("initializer_range", c.initializer_range);
  f("tie_word_embeddings", c.tie_word_embeddings);
  f("bos_token_id", c.bos_token_id);
  f("pad_token_id", c.pad_token_id);
  f("eos_token_id", c.eos_token_id);
}

}  // namespace moelle::models

#include <moelle/models/config_check.hpp>     // Config::check
#include <moelle/models/config_defaults.hpp>  // Config::defaults, resolve
#include <moelle/models/config_twin.hpp>      // Config::dense_twin, equal_total_twin
