// moelle/models/presets.hpp -- configurations by name: released models, and the small ones that this project trains.
//
// Sources: the models' config.json files; DeepSeek-V2 (arXiv:2405.04434) and V3 (arXiv:2412.19437) section 4; the table of
// arXiv:2505.09343 for the dense models. Dense ones are there to be compared with.
#pragma once
#include <string>
#include <string_view>
#include <vector>

#include <moelle/core/error.hpp>
#include <moelle/io/suggest.hpp>
#include <moelle/models/config.hpp>

namespace moelle::models {
namespace detail {

inline RopeScaling yarn(double factor, double mscale) {
  return {.type = "yarn", .factor = factor, .original_max_position_embeddings = 4096, .mscale = mscale, .mscale_all_dim = mscale};
}

inline Config deepseek_v3_preset() {
  Config c = Config::defaults("deepseek_v3");
  c.max_position_embeddings = 163840;
  c.rope_scaling = yarn(40, 1.0);
  return c;
}

inline Config deepseek_v2_preset() {
  Config c = Config::defaults("deepseek_v2");
  c.hidden_size = 5120;
  c.num_hidden_layers = 60;
  c.num_attention_heads = 128;
  c.intermediate_size = 12288;
  c.moe_intermediate_size = 1536;
  c.n_routed_experts = 160;
  c.num_experts_per_tok = 6;
  c.first_k_dense_replace = 1;
  c.n_group = 8;
  c.topk_group = 3;
  c.topk_method = "group_limited_greedy";
  c.routed_scaling_factor = 16.0;
  c.max_position_embeddings = 163840;
  c.rope_scaling = yarn(40, 0.707);
  c.bos_token_id = 100000;
  c.eos_token_id = {100001};
  return c;
}

inline Config deepseek_v2_lite_preset() {
  Config c = deepseek_v2_preset();
  c.hidden_size = 2048;
  c.num_hidden_layers = 27;
  c.num_attention_heads = 16;
  c.q_lora_rank.reset();
  c.intermediate_size = 10944;
  c.moe_intermediate_size = 1408;
  c.n_routed_experts = 64;
  c.n_group = c.topk_group = 1;
  c.topk_method = "greedy";
  c.routed_scaling_factor = 1.0;
  c.aux_loss_alpha = 0.001;
  return c;
}

inline Config moonlight_preset() {
  Config c = Config::defaults("deepseek_v3");
  c.vocab_size = 163840;
  c.hidden_size = 2048;
  c.num_hidden_layers = 27;
  c.num_attention_heads = 16;
  c.q_lora_rank.reset();
  c.intermediate_size = 11264;
  c.moe_intermediate_size = 1408;
  c.n_routed_experts = 64;
  c.n_shared_experts = 2;
  c.num_experts_per_tok = 6;
  c.first_k_dense_replace = 1;
  c.n_group = c.topk_group = 1;
  c.routed_scaling_factor = 2.446;
  c.num_nextn_predict_layers = 0;
  c.rope_theta = 50000;
  c.max_position_embeddings = 8192;
  c.rms_norm_eps = 1e-5;
  return c;
}

inline Config kimi_k2_preset() {
  Config c = Config::defaults("kimi_k2");
  c.vocab_size = 163840;
  c.num_attention_heads = 64;
  c.n_routed_experts = 384;
  c.first_k_dense_replace = 1;
  c.n_group = c.topk_group = 1;
  c.routed_scaling_factor = 2.827;
  c.num_nextn_predict_layers = 0;
  c.rope_theta = 50000;
  c.max_position_embeddings = 131072;
  c.rope_scaling = yarn(32, 1.0);
  return c;
}

inline Config qwen3_30b_a3b_preset() {
  Config c = Config::defaults("qwen3_moe");
  c.num_hidden_layers = 48;
  c.head_dim = 128;
  c.norm_topk_prob = true;
  c.rope_theta = 1e6;
  c.max_position_embeddings = 40960;
  return c;
}

// Grouped-query attention and dense layers.
inline Config dense(std::int64_t vocab, std::int64_t width, std::int64_t layers, std::int64_t heads, std::int64_t kv_heads, std::int64_t ffn) {
  Config c = Config::defaults("llama");
  c.vocab_size = vocab;
  c.hidden_size = width;
  c.num_hidden_layers = layers;
  c.num_attention_heads = heads;
  c.num_key_value_heads = kv_heads;
  c.intermediate_size = ffn;
  c.max_position_embeddings = 4096;
  return c;
}

inline Config llama_405b_preset() {
  Config c = dense(128256, 16384, 126, 128, 8, 53248);
  c.rope_theta = 500000;
  c.max_position_embeddings = 131072;
  c.rope_scaling = RopeScaling{.type = "llama3", .factor = 8.0, .original_max_position_embeddings = 8192};
  return c;
}

// Byte-level models of this project's demo and benchmarks: 1 shared and 32 routed experts, the first layer dense.
inline Config small_moe(std::int64_t vocab, std::int64_t width, std::int64_t layers, std::int64_t heads, std::int64_t head, std::int64_t rope,
                        std::int64_t rank, std::int64_t ffn, std::int64_t expert, std::int64_t top_k, std::int64_t length) {
  return {.model_type = "deepseek_v3", .vocab_size = vocab, .hidden_size = width, .num_hidden_layers = layers,
          .max_position_embeddings = length, .num_attention_heads = heads, .kv_lora_rank = rank, .qk_nope_head_dim = head,
          .qk_rope_head_dim = rope, .v_head_dim = head, .intermediate_size = ffn, .n_routed_experts = 32, .n_shared_experts = 1,
          .num_experts_per_tok = top_k, .moe_intermediate_size = expert, .first_k_dense_replace = 1, .aux_loss_alpha = 1e-4};
}

struct Preset {
  const char* name;
  Config (*make)();
};

inline const std::vector<Preset>& presets() {
  static const std::vector<Preset> kPresets{
      {"deepseek-v3", deepseek_v3_preset},
      {"deepseek-v2", deepseek_v2_preset},
      {"deepseek-v2-lite", deepseek_v2_lite_preset},
      {"moonlight-16b", moonlight_preset},
      {"kimi-k2", kimi_k2_preset},
      {"mixtral-8x7b", [] { Config c = Config::defaults("mixtral"); c.max_position_embeddings = 32768; return c; }},
      {"qwen3-30b-a3b", qwen3_30b_a3b_preset},
      {"olmoe-1b-7b", [] { Config c = Config::defaults("olmoe"); c.intermediate_size = 1024; return c; }},
      {"deepseek-67b", [] { return dense(102400, 8192, 95, 64, 8, 22016); }},
      {"llama-3.1-405b", llama_405b_preset},
      // Without the biases of q, k and v (0.8 M of 72.7 B parameters), which no family here has alone.
      {"qwen2.5-72b", [] { Config c = dense(152064, 8192, 80, 64, 8, 29568); c.rope_theta = 1e6; return c; }},
      {"pilot", [] { return small_moe(256, 128, 4, 4, 32, 16, 48, 384, 96, 3, 1024); }},
      {"demo", [] { return small_moe(256, 256, 6, 8, 32, 16, 96, 640, 128, 4, 1024); }},
      {"small", [] { return small_moe(4096, 512, 8, 8, 64, 32, 128, 1280, 256, 4, 2048); }},
  };
  return kPresets;
}

}  // namespace detail

inline std::vector<std::string> preset_names() {
  std::vector<std::string> names;
  for (const auto& p : detail::presets()) names.emplace_back(p.name);
  return names;
}

// A checked configuration by name; Error with the nearest name for one that does not exist.
inline Config preset(std::string_view name) {
  for (const auto& p : detail::presets()) {
    if (name != p.name) continue;
    Config c = p.make();
    c.resolve();
    c.check();
    return c;
  }
  std::string all;
  for (const auto& n : preset_names()) all += (all.empty() ? "" : ", ") + n;
  moelle::detail::fail("preset", "name must be one of " + all + "; got name=" + io::in_quotes(name) + io::did_you_mean(name, preset_names()));
}

}  // namespace moelle::models
