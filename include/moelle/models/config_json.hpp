// moelle/models/config_json.hpp -- Config from and to the text of a Hugging Face config.json.
//
// Both spellings of RoPE are read: official "rope_theta" + "rope_scaling", and transformers 5's "rope_parameters".
// The official one is written; transformers 4 and 5 read it.
#pragma once
#include <algorithm>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <moelle/core/error.hpp>
#include <moelle/io/json.hpp>
#include <moelle/models/config.hpp>

namespace moelle::models {
namespace detail {

using io::Json;

// Other names of the same member.
inline std::vector<std::string> spellings(const std::string& key) {
  if (key == "n_routed_experts") return {"n_routed_experts", "num_local_experts", "num_experts"};
  if (key == "num_nextn_predict_layers") return {"num_nextn_predict_layers", "num_mtp_layers"};
  return {key};
}

// Written by training and serving tools; without influence on what the model computes here.
inline const std::vector<std::string>& metadata_keys() {
  static const std::vector<std::string> kKeys{
      "architectures", "auto_map", "torch_dtype", "dtype", "transformers_version", "use_cache", "attention_dropout", "pretraining_tp",
      "ep_size", "quantization_config", "_name_or_path", "name_or_path", "return_dict", "output_hidden_states", "output_attentions",
      "chunk_size_feed_forward", "is_encoder_decoder", "id2label", "label2id", "problem_type", "tokenizer_class", "max_window_layers",
      "use_sliding_window", "router_jitter_noise", "mlp_bias", "partial_rotary_factor", "_attn_implementation", "attn_implementation",
      "qk_head_dim", "unsloth_version", "rope_parameters", "layer_types"};
  return kKeys;
}

inline const char* name(QkNorm n) { return n == QkNorm::none ? "none" : n == QkNorm::head ? "head" : "whole"; }

// --- one member from one value ---
inline void read(const Json& v, const std::string& key, std::int64_t& out) { out = io::as_int(v, key); }
inline void read(const Json& v, const std::string& key, double& out) { out = io::as_double(v, key); }
inline void read(const Json& v, const std::string& key, bool& out) { out = io::as_bool(v, key); }
inline void read(const Json& v, const std::string& key, std::string& out) { out = io::as_string(v, key); }
template <class T>
void read(const Json& v, const std::string& key, std::optional<T>& out) {
  if (v.is_null()) return out.reset(), void();
  T value{};
  read(v, key, value);
  out = value;
}
inline void read(const Json& v, const std::string& key, std::vector<std::int64_t>& out) {
  out.clear();
  if (v.is_null()) return;
  if (!v.is_array()) return out.push_back(io::as_int(v, key));  // "eos_token_id": 2
  for (const Json& x : v) out.push_back(io::as_int(x, key));
}
inline void read(const Json& v, const std::string& key, QkNorm& out) {
  const std::string s = io::as_string(v, key);
  for (const QkNorm n : {QkNorm::none, QkNorm::head, QkNorm::whole})
    if (s == name(n)) return out = n, void();
  moelle::detail::fail("config", "qk_norm must be one of none, head, whole; got qk_norm=" + io::in_quotes(s));
}

inline const std::vector<std::string>& rope_keys() {
  static const std::vector<std::string> kKeys{"type", "rope_type", "rope_theta", "factor", "original_max_position_embeddings", "beta_fast",
                                              "beta_slow", "mscale", "mscale_all_dim", "attention_factor", "truncate", "low_freq_factor",
                                              "high_freq_factor", "partial_rotary_factor"};
  return kKeys;
}

inline void refuse_unknown(const Json& object, const std::vector<std::string>& known, const std::string& prefix) {
  for (const auto& [key, value] : object.items())
    MOELLE_REQUIRE("config", std::find(known.begin(), known.end(), key) != known.end(),
                   "every key must be known; got " + prefix + io::in_quotes(key) + io::did_you_mean(key, known));
}

// The scaling part of `v`; nothing for type "default". `c` already has max_position_embeddings.
inline std::optional<RopeScaling> read_rope_scaling(const Json& v, const std::string& where, const Config& c, UnknownKeys unknown) {
  io::as_object(v, where);
  if (unknown == UnknownKeys::refuse) refuse_unknown(v, rope_keys(), where + ".");
  const auto get = [&](const char* key, auto& out) {
    if (const auto it = v.find(key); it != v.end() && !it->is_null()) read(*it, where + "." + key, out);
  };
  RopeScaling r;
  get("type", r.type);
  get("rope_type", r.type);
  if (r.type == "ntk") r.type = "dynamic";
  double partial = 1;
  get("partial_rotary_factor", partial);
  MOELLE_REQUIRE("config", partial == 1, str(where, ".partial_rotary_factor must be 1; got partial_rotary_factor=", partial));
  if (r.type == "default") return std::nullopt;
  r.original_max_position_embeddings = c.max_position_embeddings;
  get("original_max_position_embeddings", r.original_max_position_embeddings);
  if (r.original_max_position_embeddings > 0)  // transformers' rule for a missing factor
    r.factor = std::max(1.0, static_cast<double>(c.max_position_embeddings) / static_cast<double>(r.original_max_position_embeddings));
  get("factor", r.factor);
  get("beta_fast", r.beta_fast);
  get("beta_slow", r.beta_slow);
  get("mscale", r.mscale);
  get("mscale_all_dim", r.mscale_all_dim);
  get("attention_factor", r.attention_factor);
  get("truncate", r.truncate);
  get("low_freq_factor", r.low_freq_factor);
  get("high_freq_factor", r.high_freq_factor);
  return r;
}

inline void read_rope(const Json& j, Config& c, UnknownKeys unknown) {
  const auto theta = j.find("rope_theta"), scaling = j.find("rope_scaling"), parameters = j.find("rope_parameters");
  if (theta != j.end() && !theta->is_null()) read(*theta, "rope_theta", c.rope_theta);
  if (scaling != j.end() && !scaling->is_null()) c.rope_scaling = read_rope_scaling(*scaling, "rope_scaling", c, unknown);
  if (parameters == j.end() || parameters->is_null()) return;
  MOELLE_REQUIRE("config", scaling == j.end() || scaling->is_null(), "rope_scaling and rope_parameters must not both be given; got both");
  c.rope_scaling = read_rope_scaling(*parameters, "rope_parameters", c, unknown);
  const auto inner = parameters->find("rope_theta");
  if (inner == parameters->end() || inner->is_null()) return;
  const double before = c.rope_theta;
  read(*inner, "rope_parameters.rope_theta", c.rope_theta);
  MOELLE_REQUIRE("config", theta == j.end() || theta->is_null() || before == c.rope_theta,
                 str("rope_theta must be the same in both places; got rope_theta=", before, " rope_parameters.rope_theta=", c.rope_theta));
}

// Keys of features that a model here does not have, where leaving them out would change what it computes.
inline void refuse_unsupported(const Json& j, UnknownKeys unknown) {
  const auto must_be = [&](const char* key, double value) {
    const auto it = j.find(key);
    if (it == j.end() || it->is_null()) return;
    const double got = it->is_boolean() ? (it->get<bool>() ? 1 : 0) : io::as_double(*it, key);
    MOELLE_REQUIRE("config", got == value, str(key, " must be ", value, ", other values are not supported; got ", key, "=", got));
  };
  must_be("mlp_bias", 0);
  must_be("partial_rotary_factor", 1);
  if (unknown == UnknownKeys::ignore) return;  // these two matter in training only
  must_be("attention_dropout", 0);
  must_be("router_jitter_noise", 0);
}

inline bool null_means_zero(const std::string& key) {
  return key == "n_routed_experts" || key == "n_shared_experts" || key == "first_k_dense_replace" || key == "num_key_value_heads" || key == "head_dim";
}

// One member: found under one of its spellings, all of which must agree.
template <class T>
void read_member(const Json& j, const std::string& key, T& out) {
  bool seen = false;
  for (const std::string& spelling : spellings(key)) {
    const auto it = j.find(spelling);
    if (it == j.end()) continue;
    T value = out;
    if (!it->is_null()) read(*it, spelling, value);
    if constexpr (requires { out.reset(); }) if (it->is_null()) value.reset();
    if constexpr (std::is_same_v<T, std::vector<std::int64_t>>) if (it->is_null()) value.clear();
    if constexpr (std::is_same_v<T, std::int64_t>) {
      if (it->is_null() && null_means_zero(key)) value = 0;
      if (it->is_null() && (key == "n_group" || key == "topk_group")) value = 1;
    }
    MOELLE_REQUIRE("config", !seen || value == out, "spellings of " + key + " must agree; got another value under " + io::in_quotes(spelling));
    out = value;
    seen = true;
  }
}

}  // namespace detail

// A configuration from parsed JSON. Missing keys take the defaults of the family; the result has passed check().
inline Config config_from_json(const io::Json& j, UnknownKeys unknown = UnknownKeys::ignore) {
  io::as_object(j, "config");
  Config c = Config::defaults(io::as_string(io::member(j, "model_type", "config"), "model_type"));
  std::vector<std::string> known = detail::metadata_keys();
  Config::visit(c, [&]<class T>(const char* key, T& out) {
    for (const std::string& s : detail::spellings(key)) known.push_back(s);
    if constexpr (!std::is_same_v<T, std::optional<RopeScaling>>)
      if (std::string_view(key) != "rope_theta") detail::read_member(j, key, out);
  });
  if (unknown == UnknownKeys::refuse) detail::refuse_unknown(j, known, "");
  detail::refuse_unsupported(j, unknown);
  detail::read_rope(j, c, unknown);
  if (c.model_type == "qwen3_moe") {  // its sliding window counts only if switched on
    const auto on = j.find("use_sliding_window");
    if (on == j.end() || !io::as_bool(*on, "use_sliding_window")) c.sliding_window.reset();
  }
  c.resolve();
  c.check();
  return c;
}

namespace detail {

inline Json write(std::int64_t v) { return v; }
inline Json write(double v) { return v; }
inline Json write(bool v) { return v; }
inline Json write(const std::string& v) { return v; }
inline Json write(QkNorm v) { return name(v); }
inline Json write(const std::vector<std::int64_t>& v) { return Json(v); }
inline Json write(const RopeScaling& r) {
  Json j{{"type", r.type}, {"rope_type", r.type}, {"factor", r.factor}};
  if (r.type == "yarn" || r.type == "llama3") j["original_max_position_embeddings"] = r.original_max_position_embeddings;
  if (r.type == "yarn") {
    j["beta_fast"] = r.beta_fast;
    j["beta_slow"] = r.beta_slow;
    if (r.mscale) j["mscale"] = *r.mscale;
    if (r.mscale_all_dim) j["mscale_all_dim"] = *r.mscale_all_dim;
    if (r.attention_factor) j["attention_factor"] = *r.attention_factor;
    if (!r.truncate) j["truncate"] = false;
  }
  if (r.type == "llama3") {
    j["low_freq_factor"] = r.low_freq_factor;
    j["high_freq_factor"] = r.high_freq_factor;
  }
  return j;
}
template <class T>
Json write(const std::optional<T>& v) {
  return v ? write(*v) : Json();
}

// Keys written even where they equal the family's default, so that the file can be read by eye and by other programs.
inline bool always_written(const Config& c, const std::string& key) {
  static const std::vector<std::string> kCommon{"vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size",
      "hidden_act", "max_position_embeddings", "rms_norm_eps", "rope_theta", "initializer_range", "tie_word_embeddings", "attention_bias",
      "bos_token_id", "eos_token_id"};
  static const std::vector<std::string> kMla{"q_lora_rank", "kv_lora_rank", "qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim"};
  static const std::vector<std::string> kGqa{"num_key_value_heads", "head_dim"};
  static const std::vector<std::string> kMoe{"n_routed_experts", "num_experts_per_tok", "norm_topk_prob"};
  static const std::vector<std::string> kDeepSeek{"moe_intermediate_size", "n_shared_experts", "first_k_dense_replace", "moe_layer_freq",
      "n_group", "topk_group", "topk_method", "scoring_func", "routed_scaling_factor", "num_nextn_predict_layers"};
  const auto in = [&](const std::vector<std::string>& keys) { return std::find(keys.begin(), keys.end(), key) != keys.end(); };
  const bool deepseek = c.model_type.starts_with("deepseek") || c.model_type == "kimi_k2";
  return in(kCommon) || in(c.is_mla() ? kMla : kGqa) || (c.is_moe() && (in(kMoe) || (deepseek && in(kDeepSeek)))) ||
         (c.is_moe() && c.model_type == "qwen3_moe" && key == "moe_intermediate_size");
}

// The key under which transformers looks for a member.
inline std::string written_key(const Config& c, const std::string& key) {
  if (key != "n_routed_experts") return key;
  if (c.model_type == "mixtral") return "num_local_experts";
  return c.model_type == "qwen3_moe" || c.model_type == "olmoe" ? "num_experts" : key;
}

}  // namespace detail

// A config.json that config_from_json(), transformers and the official programs read back as the same model.
inline io::Json config_to_json(const Config& config) {
  Config c = config;
  c.resolve();
  c.check();
  Config base = Config::defaults(c.model_type);
  if (detail::one_intermediate_size(c.model_type)) {
    if (c.is_moe() && c.num_moe_layers() == c.num_hidden_layers) c.intermediate_size = c.moe_intermediate_size;
    base.moe_intermediate_size = c.intermediate_size;
  }
  static const char* const kArchitectures[][2] = {{"deepseek_v2", "DeepseekV2ForCausalLM"}, {"deepseek_v3", "DeepseekV3ForCausalLM"},
      {"kimi_k2", "DeepseekV3ForCausalLM"}, {"mixtral", "MixtralForCausalLM"}, {"qwen3_moe", "Qwen3MoeForCausalLM"},
      {"olmoe", "OlmoeForCausalLM"}, {"llama", "LlamaForCausalLM"}};
  io::Json j;
  for (const auto& [type, architecture] : kArchitectures)
    if (c.model_type == type) j["architectures"] = io::Json::array({architecture});
  j["model_type"] = c.model_type;
  std::vector<io::Json> defaults;
  Config::visit(base, [&](const char*, const auto& v) { defaults.push_back(detail::write(v)); });
  std::size_t i = 0;
  Config::visit(c, [&](const char* key, const auto& v) {
    const io::Json value = detail::write(v);
    const bool derived = c.is_mla() && (std::string_view(key) == "head_dim" || std::string_view(key) == "num_key_value_heads");
    if (const io::Json& d = defaults[i++]; !derived && (value != d || detail::always_written(c, key))) j[detail::written_key(c, key)] = value;
  });
  if (c.model_type == "qwen3_moe" && c.sliding_window) j["use_sliding_window"] = true;
  if (c.is_mla()) j["num_key_value_heads"] = c.num_attention_heads;
  if (c.eos_token_id.size() == 1) j["eos_token_id"] = c.eos_token_id[0];
  if (c.eos_token_id.empty()) j["eos_token_id"] = nullptr;
  return j;
}

inline Config Config::from_json(const std::string& text, UnknownKeys unknown) {
  return config_from_json(io::parse_json(text, "config"), unknown);
}
inline std::string Config::to_json() const { return config_to_json(*this).dump(2) + "\n"; }

}  // namespace moelle::models
