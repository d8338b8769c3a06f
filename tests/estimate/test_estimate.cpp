// tests/estimate/test_estimate.cpp -- the calculator reproduces what was published about real models and runs.
#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include <moelle/estimate.hpp>
#include <moelle/models/presets.hpp>

using namespace moelle;
using estimate::Estimate;
using models::Config;

namespace {
Estimate of(const std::string& preset, const estimate::Options& o = {}) { return estimate::model(models::preset(preset), o); }
// Rounded to the three decimals of a published figure, in units of `unit`.
std::int64_t milli(double v, double unit) { return std::llround(v / unit * 1000); }
std::int64_t milli(std::int64_t v, double unit) { return milli(static_cast<double>(v), unit); }
std::int64_t tenths(double v, double unit) { return std::llround(v / unit * 10); }
}  // namespace

TEST_CASE("DeepSeek-V3: 671.026 B parameters, 37.552 B active, 250.5 GFLOP per training token, 70,272 B of cache per token") {
  const Estimate e = of("deepseek-v3");  // arXiv:2412.19437, 2505.09343 tables 1 and 2
  CHECK(milli(e.total_params, 1e9) == 671026);
  CHECK(milli(e.active_params, 1e9) == 37552);
  CHECK(milli(e.active_params_without_embedding, 1e9) == 36626);
  CHECK(tenths(e.train_flops_per_token, 1e9) == 2505);
  CHECK(tenths(e.train_flops_per_token_noncausal, 1e9) == 2812);
  CHECK(e.cache_bytes_per_token == 70272);
  CHECK(std::llround(static_cast<double>(e.mtp_params) / 1e7) == 1161);
}

TEST_CASE("DeepSeek-V2: 235.741 B and 21.376 B, 155.3 GFLOP; V2-Lite: 15.706 B, of which 2.242 B active beside embedding and head") {
  const Estimate v2 = of("deepseek-v2");
  CHECK(milli(v2.total_params, 1e9) == 235741);
  CHECK(milli(v2.active_params, 1e9) == 21376);
  CHECK(tenths(v2.train_flops_per_token, 1e9) == 1553);
  CHECK(v2.cache_elements_per_token == 34560);
  const Estimate lite = of("deepseek-v2-lite");
  CHECK(milli(lite.total_params, 1e9) == 15706);
  CHECK(milli(lite.active_params, 1e9) == 2661);
  CHECK(milli(lite.active_params - 2 * 102400 * 2048, 1e9) == 2242);
  CHECK(lite.cache_bytes_per_token == 31104);
}

TEST_CASE("the cache of dense models and other families is as published") {
  CHECK(of("qwen2.5-72b").cache_bytes_per_token == 327680);
  CHECK(of("llama-3.1-405b").cache_bytes_per_token == 516096);
  CHECK(of("deepseek-67b").cache_elements_per_token == 194560);
  CHECK(of("mixtral-8x7b").cache_bytes_per_token == 131072);
  CHECK(of("kimi-k2").cache_bytes_per_token == 70272);
  // V2 keeps 17.8 % of the 67B's cache elements, and 6.7 % of its bytes once stored in 6 bits.
  const double share = 34560.0 / 194560;
  CHECK(std::llround(1000 * (1 - share)) == 822);
  CHECK(std::llround(1000 * (1 - share * 6 / 16)) == 933);
}

TEST_CASE("the parameters of released models are counted to the last one that matters") {
  CHECK(milli(of("mixtral-8x7b").total_params, 1e9) == 46703);
  CHECK(milli(of("qwen3-30b-a3b").total_params, 1e9) == 30532);
  CHECK(milli(of("olmoe-1b-7b").total_params, 1e9) == 6919);
  CHECK(milli(of("llama-3.1-405b").total_params, 1e9) == 405853);
  CHECK(milli(of("moonlight-16b").total_params, 1e9) == 15960);
  // 6 * N and half of the causal attention: 2,448 GFLOP for 405B (arXiv:2505.09343, table 2).
  const Estimate llama = of("llama-3.1-405b");
  CHECK(std::llround((6.0 * static_cast<double>(llama.active_params_without_embedding) + 1.5 * llama.attention_flops_per_token) / 1e9) == 2448);
}

TEST_CASE("parts add up, and dense models have all parameters active") {
  for (const std::string& name : models::preset_names()) {
    const Estimate e = of(name);
    std::int64_t total = 0, active = 0;
    for (const auto& p : e.parts) {
      total += p.params;
      active += p.active_params;
    }
    CAPTURE(name);
    CHECK(total == e.total_params);
    CHECK(active == e.active_params);
    CHECK((e.total_params == e.active_params) == !models::preset(name).is_moe());
    CHECK(e.train_flops_per_token == 3 * e.forward_flops_per_token);
  }
}

TEST_CASE("small models agree with counts made by hand") {
  // 32 x 96 experts, top 3 of 32 and one shared, in three of four layers; attention rank 48, RoPE 16.
  const Estimate e = of("pilot", {.context = 128});
  const std::int64_t attention = 128 * 4 * 48 + 128 * (48 + 16) + 48 * 4 * 64 + 4 * 32 * 128, expert = 3 * 128 * 96;
  const std::int64_t rest = 2 * 256 * 128 + 4 * attention + 3 * 128 * 384 + 4 * (2 * 128 + 48) + 128 + 3 * (32 * 128 + 32 + expert);
  CHECK(e.total_params == rest + 3 * 32 * expert);
  CHECK(e.active_params == rest + 3 * 3 * expert);
  CHECK(e.train_flops_per_token == 6.0 * static_cast<double>(e.active_params - 256 * 128) + 3.0 * 4 * 2 * 4 * 80 * 64);
  Config tied = models::preset("pilot");
  tied.tie_word_embeddings = true;
  const Estimate t = estimate::model(tied, {.context = 128});
  CHECK(t.total_params == e.total_params - 256 * 128);
  CHECK(t.train_flops_per_token == e.train_flops_per_token);
  Config biased = models::preset("deepseek-67b");
  biased.attention_bias = true;
  CHECK(estimate::model(biased).total_params - of("deepseek-67b").total_params == 95 * (8192 + 2 * 1024 + 8192));
}

TEST_CASE("a dense twin costs the same FLOPs per token within 1 %, an equal-total twin has the same parameters within 1 %") {
  for (const std::string& name : models::preset_names()) {
    const Config c = models::preset(name);
    const Estimate moe = estimate::model(c), twin = estimate::model(c.dense_twin()), total = estimate::model(c.equal_total_twin());
    CAPTURE(name);
    CHECK(std::abs(twin.train_flops_per_token / moe.train_flops_per_token - 1) < 0.01);
    CHECK(std::abs(static_cast<double>(total.total_params) / static_cast<double>(moe.total_params) - 1) < 0.01);
  }
}

TEST_CASE("a sliding window bounds what attention costs and what is cached") {
  Config c = models::preset("mixtral-8x7b");
  c.sliding_window = 1024;
  const Estimate e = estimate::model(c), full = of("mixtral-8x7b");
  CHECK(e.attention_flops_per_token == full.attention_flops_per_token / 2048 * (1024.0 - 128.0));  // mean of min(i, 1024) for i < 4096
  CHECK(e.cache_bytes == full.cache_bytes / 4);
  CHECK(estimate::model(c, {.context = 512}).train_flops_per_token == of("mixtral-8x7b", {.context = 512}).train_flops_per_token);
}

TEST_CASE("training in float with AdamW takes 16 bytes per parameter beside activations, MTP modules come on top") {
  const Estimate e = of("demo", {.context = 256, .tokens_in_flight = 8192});
  CHECK(e.weights_memory + e.gradients_memory + e.moments_memory == 16.0 * static_cast<double>(e.total_params));
  CHECK(e.training_memory == 16.0 * static_cast<double>(e.total_params) + e.activations_memory);
  CHECK(e.activations_memory == 2 * of("demo", {.context = 256, .tokens_in_flight = 4096}).activations_memory);
  CHECK(of("deepseek-v3", {.mtp_modules = 1}).train_flops_per_token > 1.02 * of("deepseek-v3").train_flops_per_token);
}

TEST_CASE("V3's training cost 2,788 thousand H800 hours, 5.576 million dollars and 54 days, at 39 % of the machines' peak") {
  estimate::TrainingRun run = estimate::published_run("deepseek-v3");
  run.train_flops_per_token = of("deepseek-v3").train_flops_per_token;
  const auto c = estimate::training_cost(run);
  CHECK(c.hours == 2788e3);
  CHECK(c.dollars == 5.576e6);
  CHECK(tenths(c.days, 1) == 542);
  CHECK(tenths(c.flops_per_second, 1e12) == 3865);
  CHECK(std::llround(1000 * c.utilisation) == 391);
  run.hours_per_trillion_tokens = 0;  // the same from arithmetic
  run.utilisation = c.utilisation;
  CHECK(estimate::training_cost(run).hours == doctest::Approx(2788e3).epsilon(1e-9));
}

TEST_CASE("V2 saves 42.51 % of the 67B's machine hours") {
  CHECK(std::llround(1e4 * estimate::saving(estimate::published_run("deepseek-v2"), estimate::published_run("deepseek-67b"))) == 4251);
  CHECK_THROWS_WITH_AS(estimate::published_run("deepseek-v4"), doctest::Contains("did you mean"), Error);
}

TEST_CASE("impossible requests are refused before anything is computed") {
  Config broken = models::preset("pilot");
  broken.n_group = 5;
  CHECK_THROWS_AS(estimate::model(broken), Error);
  CHECK_THROWS_WITH_AS(of("pilot", {.context = 0}), doctest::Contains("context=0"), Error);
  CHECK_THROWS_AS(of("pilot", {.weight_bytes = std::numeric_limits<double>::quiet_NaN()}), Error);
  CHECK_THROWS_AS(estimate::training_cost({.tokens = 0, .train_flops_per_token = 1}), Error);
  CHECK_THROWS_WITH_AS(estimate::training_cost({.tokens = 1}), doctest::Contains("neither"), Error);
  CHECK_THROWS_AS(estimate::training_cost({.tokens = 1, .train_flops_per_token = 1, .utilisation = 1.5}), Error);
}

TEST_CASE("the largest configurations that pass the check are estimated without overflow") {
  Config c = models::preset("pilot");
  c.vocab_size = std::int64_t{1} << 28;
  c.hidden_size = std::int64_t{1} << 20;
  c.num_attention_heads = 65536;
  const Estimate e = estimate::model(c, {.context = std::int64_t{1} << 40});
  CHECK(e.total_params > 0);
  CHECK(std::isfinite(e.train_flops_per_token));
}
