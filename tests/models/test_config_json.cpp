// tests/models/test_config_json.cpp -- config.json: every family's defaults, both spellings of RoPE, hostile values, round trips.
#include <doctest/doctest.h>

#include <string>
#include <vector>

#include <moelle/models/config_json.hpp>
#include <moelle/models/presets.hpp>

using namespace moelle;
using models::Config;
using models::UnknownKeys;

namespace {
// A small valid configuration with `more` keys after it.
std::string tiny(const std::string& more, const std::string& type = "deepseek_v3") {
  return R"({"model_type": ")" + type + R"(", "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4)" + (more.empty() ? "" : ", " + more) + "}";
}
Config read(const std::string& more, const std::string& type = "deepseek_v3") { return Config::from_json(tiny(more, type)); }
void refuse(const std::string& more, const std::string& says, UnknownKeys unknown = UnknownKeys::ignore, const std::string& type = "deepseek_v3") {
  CAPTURE(more);
  CHECK_THROWS_WITH_AS(Config::from_json(tiny(more, type), unknown), doctest::Contains(says.c_str()), Error);
}
}  // namespace

TEST_CASE("keys that a DeepSeek-V3 file leaves out take the defaults of transformers' class") {
  const Config c = Config::from_json(R"({"model_type": "deepseek_v3"})");
  CHECK(c.vocab_size == 129280);
  CHECK(c.num_hidden_layers == 61);
  CHECK(c.q_lora_rank == 1536);
  CHECK(c.n_group == 8);
  CHECK(c.topk_group == 4);
  CHECK(c.topk_method == "noaux_tc");
  CHECK(c.scoring_func == "sigmoid");
  CHECK(c.routed_scaling_factor == 2.5);
  CHECK(c.first_k_dense_replace == 3);
  CHECK(c.num_nextn_predict_layers == 1);
  CHECK(c.rope_theta == 10000.0);
  CHECK(c.eos_token_id == std::vector<std::int64_t>{1});
}

TEST_CASE("the other families have their own defaults") {
  const Config v2 = Config::from_json(R"({"model_type": "deepseek_v2", "num_experts_per_tok": 6})");
  CHECK(v2.topk_method == "greedy");
  CHECK(v2.scoring_func == "softmax");
  CHECK(v2.moe_intermediate_size == 1407);
  CHECK_FALSE(v2.norm_topk_prob);
  CHECK(v2.n_shared_experts == 2);
  CHECK(v2.first_k_dense_replace == 0);
  const Config mixtral = Config::from_json(R"({"model_type": "mixtral"})");
  CHECK(mixtral.rope_theta == 1e6);
  CHECK(mixtral.moe_intermediate_size == 14336);
  CHECK(mixtral.norm_topk_prob);
  CHECK(mixtral.rms_norm_eps == 1e-5);
  CHECK_FALSE(mixtral.rope_interleave);
  const Config qwen = Config::from_json(R"({"model_type": "qwen3_moe", "head_dim": 128, "sliding_window": 4096})");
  CHECK(qwen.qk_norm == models::QkNorm::head);
  CHECK(qwen.head_dim == 128);
  CHECK_FALSE(qwen.norm_topk_prob);
  CHECK_FALSE(qwen.sliding_window);  // counts only with use_sliding_window
  const Config olmoe = Config::from_json(R"({"model_type": "olmoe", "clip_qkv": 8.0})");
  CHECK(olmoe.qk_norm == models::QkNorm::whole);
  CHECK(olmoe.clip_qkv == 8.0);
  CHECK(olmoe.num_key_value_heads == 16);
  CHECK(olmoe.head_dim == 128);
  CHECK(Config::from_json(R"({"model_type": "llama", "num_key_value_heads": null})").num_key_value_heads == 32);
}

TEST_CASE("official rope_scaling and transformers' rope_parameters mean the same") {
  const std::string yarn = R"("factor": 40, "original_max_position_embeddings": 4096, "beta_fast": 32, "beta_slow": 1, "mscale": 0.707, "mscale_all_dim": 0.707)";
  const Config a = read(R"("rope_theta": 50000, "rope_scaling": {"type": "yarn", )" + yarn + "}");
  const Config b = read(R"("rope_parameters": {"rope_type": "yarn", "rope_theta": 50000.0, )" + yarn + "}");
  CHECK(a == b);
  CHECK(a.rope_theta == 50000);
  CHECK(a.rope_scaling->mscale_all_dim == 0.707);
  CHECK(a.rope_scaling->truncate);
  const Config plain = read(R"("rope_parameters": {"rope_type": "default", "rope_theta": 7.0}, "rope_scaling": null)");
  CHECK_FALSE(plain.rope_scaling);
  CHECK(plain.rope_theta == 7.0);
  const Config derived = read(R"("max_position_embeddings": 8192, "rope_scaling": {"rope_type": "yarn", "factor": null, "original_max_position_embeddings": 2048})");
  CHECK(derived.rope_scaling->factor == 4.0);
  refuse(R"("rope_theta": 1e4, "rope_parameters": {"rope_theta": 2e4})", "the same in both places");
  refuse(R"("rope_scaling": {"type": "linear", "factor": 2}, "rope_parameters": {"rope_type": "default"})", "not both");
  refuse(R"("rope_scaling": {"type": "longrope"})", "rope_scaling.type must be one of");
  refuse(R"("rope_scaling": {"type": "linear", "factor": "2"})", "rope_scaling.factor must be a finite number");
  refuse(R"("rope_scaling": {"type": "linear", "faktor": 2})", "did you mean \"factor\"?", UnknownKeys::refuse);
}

TEST_CASE("experts may be counted under three names, which must agree") {
  CHECK(read(R"("num_local_experts": 16)").n_routed_experts == 16);
  CHECK(read(R"("num_experts": 16, "n_routed_experts": 16)").n_routed_experts == 16);
  CHECK(read(R"("num_mtp_layers": 2)").num_nextn_predict_layers == 2);
  refuse(R"("num_experts": 16, "n_routed_experts": 32)", "must agree");
}

TEST_CASE("null means what the family's program makes of it") {
  const Config c = read(R"("q_lora_rank": null, "n_group": null, "topk_group": null, "n_shared_experts": null, "eos_token_id": null)");
  CHECK_FALSE(c.q_lora_rank);
  CHECK(c.n_group == 1);
  CHECK(c.n_shared_experts == 0);
  CHECK(c.eos_token_id.empty());
  CHECK_FALSE(read(R"("n_routed_experts": null)").is_moe());
  CHECK(read(R"("eos_token_id": [5, 6])").eos_token_id == std::vector<std::int64_t>{5, 6});
}

TEST_CASE("values of the wrong kind are refused, not converted") {
  for (const char* value : {"\"8\"", "8.0", "true", "[8]", "9223372036854775808", "-9223372036854775809", "{}"})
    refuse(std::string(R"("num_experts_per_tok": )") + value, "num_experts_per_tok");
  for (const char* value : {"\"1e-6\"", "true", "null1"}) CHECK_THROWS_AS(read(std::string(R"("rms_norm_eps": )") + value), Error);
  refuse(R"("rms_norm_eps": 1e999)", "valid JSON");
  refuse(R"("norm_topk_prob": 1)", "norm_topk_prob must be true or false");
  refuse(R"("hidden_act": 3)", "hidden_act must be a string");
  refuse(R"("vocab_size": 1, "vocab_size": 2)", "each key once");
  refuse(R"("num_experts_per_tok": 300)", "num_experts_per_tok");
  CHECK_THROWS_WITH_AS(Config::from_json("{}"), doctest::Contains("\"model_type\""), Error);
  CHECK_THROWS_WITH_AS(Config::from_json("[]"), doctest::Contains("object"), Error);
  CHECK_THROWS_WITH_AS(Config::from_json(R"({"model_type": "mixtrall"})"), doctest::Contains("did you mean \"mixtral\"?"), Error);
}

TEST_CASE("a key that is not known is ignored in a downloaded file and refused with the nearest name in one's own") {
  const std::string metadata = R"("architectures": ["X"], "torch_dtype": "bfloat16", "quantization_config": {"fmt": "e4m3"}, "transformers_version": "5.23.0", "use_cache": true)";
  CHECK(Config::from_json(tiny(metadata), UnknownKeys::refuse) == read(""));
  CHECK(read(R"("num_expert_per_tok": 2)") == read(""));
  refuse(R"("num_expert_per_tok": 2)", "did you mean \"num_experts_per_tok\"?", UnknownKeys::refuse);
  refuse(R"("attention_dropout": 0.1)", "attention_dropout must be 0", UnknownKeys::refuse);
  refuse(R"("mlp_bias": true)", "mlp_bias must be 0");
  refuse(R"("partial_rotary_factor": 0.5)", "partial_rotary_factor must be 1");
}

TEST_CASE("every preset, its twins and unusual settings survive being written and read, with no key unknown") {
  std::vector<Config> all;
  for (const std::string& name : models::preset_names()) {
    all.push_back(models::preset(name));
    all.push_back(models::preset(name).dense_twin());
    all.push_back(models::preset(name).equal_total_twin());
  }
  Config odd = models::preset("olmoe-1b-7b");
  odd.first_k_dense_replace = 1;  // OLMoE itself has no dense layers
  odd.intermediate_size = 4096;
  odd.qk_norm = models::QkNorm::none;
  odd.clip_qkv = 0.1;
  odd.swiglu_limit = 7.0;
  odd.mlp_only_layers = {3};
  odd.eos_token_id = {1, 2};
  odd.output_router_logits = odd.attention_bias = odd.tie_word_embeddings = true;
  odd.router_z_loss_coef = 1e-3;
  odd.rope_scaling = models::RopeScaling{.type = "yarn", .factor = 1.0 / 3 + 1, .original_max_position_embeddings = 10, .attention_factor = 1.1, .truncate = false};
  all.push_back(odd);
  Config window = models::preset("qwen3-30b-a3b");
  window.sliding_window = 128;
  all.push_back(window);
  for (const Config& c : all) {
    const std::string text = c.to_json();
    CAPTURE(text);
    CHECK(Config::from_json(text, UnknownKeys::refuse) == c);
  }
}

TEST_CASE("files are written under the keys that each family's program looks for") {
  const auto has = [](const char* preset, const char* key) { return models::preset(preset).to_json().find(std::string("\"") + key + "\":") != std::string::npos; };
  CHECK(has("mixtral-8x7b", "num_local_experts"));
  CHECK(has("qwen3-30b-a3b", "num_experts"));
  CHECK(has("olmoe-1b-7b", "num_experts"));
  CHECK(has("deepseek-v3", "n_routed_experts"));
  CHECK(has("deepseek-v3", "topk_method"));
  CHECK_FALSE(has("olmoe-1b-7b", "moe_intermediate_size"));
  CHECK_FALSE(has("deepseek-67b", "n_routed_experts"));
}
