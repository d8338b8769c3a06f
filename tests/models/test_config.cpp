// tests/models/test_config.cpp -- what a configuration accepts, what it refuses and how, presets and dense twins.
#include <doctest/doctest.h>

#include <cmath>
#include <functional>
#include <limits>
#include <string>
#include <vector>

#include <moelle/models/presets.hpp>

using namespace moelle;
using models::Config;

namespace {
struct Wrong {
  std::string says;
  std::function<void(Config&)> change;
};
void refuse_all(const Config& good, const std::vector<Wrong>& cases) {
  for (const Wrong& w : cases) {
    CAPTURE(w.says);
    Config c = good;
    w.change(c);
    CHECK_THROWS_WITH_AS(c.check(), doctest::Contains(w.says.c_str()), Error);
  }
}
constexpr double kNan = std::numeric_limits<double>::quiet_NaN(), kInf = std::numeric_limits<double>::infinity();
}  // namespace

TEST_CASE("every preset passes its own check and is found by name; a wrong name is answered with the nearest") {
  for (const std::string& name : models::preset_names()) CHECK_NOTHROW(models::preset(name).check());
  CHECK_THROWS_WITH_AS(models::preset("deepseek-v2-lit"), doctest::Contains("did you mean \"deepseek-v2-lite\"?"), Error);
  CHECK(models::preset("kimi-k2").model_type == "kimi_k2");
}

TEST_CASE("impossible sizes are refused with the name of the key and the value") {
  const Config good = models::preset("pilot");
  refuse_all(good, {{"model_type=\"deepsek_v3\"; did you mean \"deepseek_v3\"?", [](Config& c) { c.model_type = "deepsek_v3"; }},
                    {"got vocab_size=0", [](Config& c) { c.vocab_size = 0; }},
                    {"got hidden_size=-1", [](Config& c) { c.hidden_size = -1; }},
                    {"got hidden_size=9223372036854775807", [](Config& c) { c.hidden_size = std::numeric_limits<std::int64_t>::max(); }},
                    {"got num_hidden_layers=0", [](Config& c) { c.num_hidden_layers = 0; }},
                    {"got num_hidden_layers=1000000", [](Config& c) { c.num_hidden_layers = 1000000; }},
                    {"got max_position_embeddings=0", [](Config& c) { c.max_position_embeddings = 0; }},
                    {"got num_attention_heads=0", [](Config& c) { c.num_attention_heads = 0; }},
                    {"got kv_lora_rank=0", [](Config& c) { c.kv_lora_rank = 0; }},
                    {"got q_lora_rank=0", [](Config& c) { c.q_lora_rank = 0; }},
                    {"must be even", [](Config& c) { c.qk_rope_head_dim = 15; }},
                    {"got qk_nope_head_dim=0", [](Config& c) { c.qk_nope_head_dim = 0; }},
                    {"got v_head_dim=0", [](Config& c) { c.v_head_dim = 0; }},
                    {"got intermediate_size=0", [](Config& c) { c.intermediate_size = 0; }},
                    {"got moe_intermediate_size=0", [](Config& c) { c.moe_intermediate_size = 0; }},
                    {"got n_routed_experts=-1", [](Config& c) { c.n_routed_experts = -1; }},
                    {"got n_shared_experts=-1", [](Config& c) { c.n_shared_experts = -1; }},
                    {"got moe_layer_freq=0", [](Config& c) { c.moe_layer_freq = 0; }},
                    {"got decoder_sparse_step=0", [](Config& c) { c.decoder_sparse_step = 0; }},
                    {"mlp_only_layers must lie in", [](Config& c) { c.mlp_only_layers = {4}; }},
                    {"got num_nextn_predict_layers=-1", [](Config& c) { c.num_nextn_predict_layers = -1; }},
                    {"got sliding_window=0", [](Config& c) { c.sliding_window = 0; }},
                    {"at most 1e15 parameters", [](Config& c) { c.hidden_size = c.intermediate_size = 1 << 28; }}});
}

TEST_CASE("a gate that cannot pick its experts is refused") {
  Config v3 = models::preset("deepseek-v3");
  refuse_all(v3, {{"n_group must divide n_routed_experts; got n_group=7", [](Config& c) { c.n_group = 7; }},
                  {"got n_group=0", [](Config& c) { c.n_group = 0; }},
                  {"topk_group must be in [1, n_group]; got topk_group=9", [](Config& c) { c.topk_group = 9; }},
                  {"got topk_group=0", [](Config& c) { c.topk_group = 0; }},
                  {"got num_experts_per_tok=33", [](Config& c) { c.topk_group = 1, c.num_experts_per_tok = 33; }},
                  {"got num_experts_per_tok=0", [](Config& c) { c.num_experts_per_tok = 0; }},
                  {"two best experts", [](Config& c) { c.n_group = 256, c.topk_group = 8; }},
                  {"did you mean \"noaux_tc\"?", [](Config& c) { c.topk_method = "noaux_ct"; }},
                  {"scoring_func must be one of sigmoid, softmax", [](Config& c) { c.scoring_func = "sqrtsoftplus"; }}});
  v3.topk_group = 1;
  v3.num_experts_per_tok = 32;  // all of one group
  CHECK_NOTHROW(v3.check());
  Config greedy = models::preset("deepseek-v2-lite");
  greedy.num_experts_per_tok = 65;
  CHECK_THROWS_WITH_AS(greedy.check(), doctest::Contains("num_experts_per_tok"), Error);
}

TEST_CASE("numbers that are not finite, not positive or not known are refused") {
  const Config good = models::preset("deepseek-v3");
  refuse_all(good, {{"got rms_norm_eps=0", [](Config& c) { c.rms_norm_eps = 0; }},
                    {"got rms_norm_eps=nan", [](Config& c) { c.rms_norm_eps = kNan; }},
                    {"got rms_norm_eps=-1e-06", [](Config& c) { c.rms_norm_eps = -1e-6; }},
                    {"got rope_theta=inf", [](Config& c) { c.rope_theta = kInf; }},
                    {"got rope_theta=0", [](Config& c) { c.rope_theta = 0; }},
                    {"got routed_scaling_factor=0", [](Config& c) { c.routed_scaling_factor = 0; }},
                    {"got aux_loss_alpha=-1", [](Config& c) { c.aux_loss_alpha = -1; }},
                    {"got initializer_range=nan", [](Config& c) { c.initializer_range = kNan; }},
                    {"hidden_act must be one of silu", [](Config& c) { c.hidden_act = "gelu"; }},
                    {"got swiglu_limit=0", [](Config& c) { c.swiglu_limit = 0; }},
                    {"did you mean \"yarn\"?", [](Config& c) { c.rope_scaling->type = "yarm"; }},
                    {"got factor=0.5", [](Config& c) { c.rope_scaling->factor = 0.5; }},
                    {"original_max_position_embeddings=0", [](Config& c) { c.rope_scaling->original_max_position_embeddings = 0; }},
                    {"beta_fast must not be below", [](Config& c) { c.rope_scaling->beta_fast = 0.5; }},
                    {"mscale=nan", [](Config& c) { c.rope_scaling->mscale = kNan; }},
                    {"qk_norm must be none", [](Config& c) { c.qk_norm = models::QkNorm::head; }},
                    {"clip_qkv must be absent", [](Config& c) { c.clip_qkv = 1; }}});
}

TEST_CASE("grouped-query attention needs heads that divide and an even head size") {
  const Config good = models::preset("mixtral-8x7b");
  refuse_all(good, {{"num_key_value_heads must divide", [](Config& c) { c.num_key_value_heads = 5; }},
                    {"got num_key_value_heads=33", [](Config& c) { c.num_key_value_heads = 33; }},
                    {"got head_dim=127", [](Config& c) { c.head_dim = 127; }},
                    {"got head_dim=0", [](Config& c) { c.head_dim = 0; }},
                    {"q_lora_rank needs kv_lora_rank", [](Config& c) { c.q_lora_rank = 8; }},
                    {"got clip_qkv=-1", [](Config& c) { c.clip_qkv = -1; }}});
}

TEST_CASE("layers have experts where their family says so") {
  Config c = models::preset("deepseek-v3");
  CHECK(c.num_moe_layers() == 58);
  CHECK_FALSE(c.is_moe_layer(2));
  CHECK(c.is_moe_layer(3));
  CHECK(c.is_moe_layer(61));  // the MTP module
  c.moe_layer_freq = 2;
  CHECK_FALSE(c.is_moe_layer(5));
  CHECK(c.is_moe_layer(4));
  Config q = models::preset("qwen3-30b-a3b");
  CHECK(q.num_moe_layers() == 48);
  q.decoder_sparse_step = 2;
  q.mlp_only_layers = {3};
  CHECK_FALSE(q.is_moe_layer(0));
  CHECK(q.is_moe_layer(1));
  CHECK_FALSE(q.is_moe_layer(3));
  CHECK(models::preset("deepseek-67b").num_moe_layers() == 0);
}

TEST_CASE("missing sizes follow from others") {
  Config c = Config::defaults("olmoe");
  c.resolve();
  CHECK(c.num_key_value_heads == 16);
  CHECK(c.head_dim == 128);
  CHECK(c.moe_intermediate_size == 2048);
}

TEST_CASE("the dense twin keeps everything but the experts") {
  const Config moe = models::preset("pilot"), twin = moe.dense_twin();
  CHECK_NOTHROW(twin.check());
  CHECK_FALSE(twin.is_moe());
  CHECK(twin.num_moe_layers() == 0);
  CHECK(twin.intermediate_size == 392);  // (3 + 1) experts of 96, and the router's 32 rows
  CHECK(twin.kv_lora_rank == moe.kv_lora_rank);
  CHECK(twin.num_hidden_layers == moe.num_hidden_layers);
  CHECK(twin.vocab_size == moe.vocab_size);
  CHECK(twin.dense_twin() == twin);
  CHECK(models::preset("mixtral-8x7b").dense_twin().num_key_value_heads == 8);
}
