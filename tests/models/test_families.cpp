// Every family: the names and shapes of its checkpoints, its size, its gradients; prediction modules by hand.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <string>
#include <vector>

#include <moelle/estimate.hpp>
#include <moelle/models.hpp>

#include "support/compare.hpp"
#include "support/random_tensor.hpp"

using namespace moelle;
using models::Config;
using Ids = Tensor<std::int32_t>;
using Shapes = std::map<std::string, std::vector<std::int64_t>>;

namespace {

Config tiny(const std::string& family) {
  Config c = Config::defaults(family);
  c.vocab_size = 50;
  c.hidden_size = 24;
  c.num_hidden_layers = 2;
  c.max_position_embeddings = 64;
  c.num_attention_heads = 4;
  c.num_key_value_heads = 0;
  c.intermediate_size = 20;
  c.n_routed_experts = 8;
  c.num_experts_per_tok = 2;
  c.moe_intermediate_size = 10;
  c.initializer_range = 0.2;
  c.eos_token_id = {1};
  if (!c.is_mla()) {
    c.head_dim = 6;
    if (family != "olmoe") c.num_key_value_heads = 2;
    return c;
  }
  c.q_lora_rank = 9;
  c.kv_lora_rank = 7;
  c.qk_nope_head_dim = 6;
  c.qk_rope_head_dim = 4;
  c.v_head_dim = 5;
  c.n_shared_experts = 2;
  c.first_k_dense_replace = 1;
  if (family == "deepseek_v2") c.q_lora_rank.reset();
  if (family == "deepseek_v3") c.n_group = 4, c.topk_group = 2;
  return c;
}
const std::vector<std::string> kFamilies{"deepseek_v2", "deepseek_v3", "mixtral", "qwen3_moe", "olmoe"};

void expect_mlp(Shapes& s, const std::string& prefix, std::int64_t width) {
  s[prefix + "gate_proj.weight"] = s[prefix + "up_proj.weight"] = {width, 24};
  s[prefix + "down_proj.weight"] = {24, width};
}
void expect_latent_attention(Shapes& s, const std::string& p, bool low_rank_queries) {
  if (low_rank_queries) {
    s[p + "q_a_proj.weight"] = {9, 24};
    s[p + "q_a_layernorm.weight"] = {9};
    s[p + "q_b_proj.weight"] = {40, 9};
  } else {
    s[p + "q_proj.weight"] = {40, 24};
  }
  s[p + "kv_a_proj_with_mqa.weight"] = {11, 24};
  s[p + "kv_a_layernorm.weight"] = {7};
  s[p + "kv_b_proj.weight"] = {44, 7};
  s[p + "o_proj.weight"] = {24, 20};
}
void expect_plain_attention(Shapes& s, const std::string& p, const std::string& family) {
  const std::int64_t kv = family == "olmoe" ? 24 : 12;
  s[p + "q_proj.weight"] = s[p + "o_proj.weight"] = {24, 24};
  s[p + "k_proj.weight"] = s[p + "v_proj.weight"] = {kv, 24};
  if (family == "mixtral") return;
  s[p + "q_norm.weight"] = s[p + "k_norm.weight"] = {family == "olmoe" ? 24 : 6};
}
void expect_experts(Shapes& s, const std::string& layer, const std::string& family) {
  const std::string moe = layer + (family == "mixtral" ? "block_sparse_moe." : "mlp.");
  s[moe + "gate.weight"] = {8, 24};
  if (family == "deepseek_v3") s[moe + "gate.e_score_correction_bias"] = {8};
  for (int e = 0; e < 8; ++e) {
    const std::string expert = moe + "experts." + std::to_string(e) + ".";
    if (family != "mixtral") {
      expect_mlp(s, expert, 10);
      continue;
    }
    s[expert + "w1.weight"] = s[expert + "w3.weight"] = {10, 24};
    s[expert + "w2.weight"] = {24, 10};
  }
  if (family.starts_with("deepseek")) expect_mlp(s, moe + "shared_experts.", 20);
}
Shapes expected(const std::string& family) {
  const bool latent = family.starts_with("deepseek");
  Shapes s{{"model.embed_tokens.weight", {50, 24}}, {"lm_head.weight", {50, 24}}, {"model.norm.weight", {24}}};
  for (int i = 0; i < (family == "deepseek_v3" ? 3 : 2); ++i) {
    const std::string layer = "model.layers." + std::to_string(i) + ".";
    s[layer + "input_layernorm.weight"] = s[layer + "post_attention_layernorm.weight"] = {24};
    if (latent) expect_latent_attention(s, layer + "self_attn.", family == "deepseek_v3");
    else expect_plain_attention(s, layer + "self_attn.", family);
    if (latent && i == 0) expect_mlp(s, layer + "mlp.", 20);
    else expect_experts(s, layer, family);
  }
  if (family == "deepseek_v3") {  // the released files hold copies of embedding and head besides; those are shared here
    s["model.layers.2.enorm.weight"] = s["model.layers.2.hnorm.weight"] = s["model.layers.2.shared_head.norm.weight"] = {24};
    s["model.layers.2.eh_proj.weight"] = {24, 48};
  }
  return s;
}

Ids ids_of(std::int64_t B, std::int64_t T, std::uint64_t seed) { return test::integers<std::int32_t>({B, T}, seed, 0, 49); }

// Mean of -log p(target) over the targets, from the logits, in plain loops.
double mean_loss(const Tensor<double>& logits, const Ids& targets, double normalizer) {
  const std::int64_t V = logits.size(-1);
  const auto x = logits.to_vector();
  const auto y = targets.to_vector();
  double sum = 0, count = 0;
  for (std::size_t i = 0; i < y.size(); ++i) {
    if (y[i] == models::kIgnore) continue;
    double z = 0;
    for (std::int64_t v = 0; v < V; ++v) z += std::exp(x[i * static_cast<std::size_t>(V) + static_cast<std::size_t>(v)]);
    sum += std::log(z) - x[i * static_cast<std::size_t>(V) + static_cast<std::size_t>(y[i])];
    ++count;
  }
  return sum / (normalizer > 0 ? normalizer : count);
}

}  // namespace

TEST_CASE("the state of every family has the names and shapes of its checkpoints, and no others") {
  for (const std::string& family : kFamilies) {
    CAPTURE(family);
    models::CausalLM<float> model(tiny(family));
    Shapes got;
    for (const auto& [name, t] : model.state_dict()) {
      CHECK(got.count(name) == 0);
      got[name] = std::vector<std::int64_t>(t.shape().begin(), t.shape().end());
    }
    for (const auto& entry : expected(family)) {
      CAPTURE(entry.first);
      CHECK(got.count(entry.first) == 1);
      CHECK(got[entry.first] == entry.second);
    }
    CHECK(got.size() == expected(family).size());
  }
}

TEST_CASE("every family has as many parameters as the estimate counts, and so has its dense twin") {
  for (const std::string& family : kFamilies)
    for (const bool dense : {false, true}) {
      CAPTURE(family);
      CAPTURE(dense);
      const Config c = dense ? tiny(family).dense_twin() : tiny(family);
      models::CausalLM<float> model(c);
      std::int64_t n = model.num_parameters();
      for (const auto& [name, b] : model.named_buffers()) n += b.numel();
      const auto e = estimate::model(c);
      CHECK(n == e.total_params + e.mtp_params);
    }
}

TEST_CASE("in every family every parameter gets a gradient, and the loss starts near that of a uniform guess") {
  for (const std::string& family : kFamilies) {
    CAPTURE(family);
    Config c = tiny(family);
    c.initializer_range = 0.02;
    models::CausalLM<double> model(c, 5);
    const auto out = model.loss({.ids = ids_of(4, 32, 1), .targets = ids_of(4, 32, 2), .mtp_weight = 0.3});
    CHECK(out.loss.item() == doctest::Approx(std::log(50.0)).epsilon(0.02));
    out.total.backward();
    for (const auto& e : model.state_entries()) {
      if (!e.source.requires_grad()) continue;
      CAPTURE(e.name);
      REQUIRE(e.grad().defined());
      double largest = 0;
      e.grad().each([&](double g) { largest = std::max(largest, std::abs(g)); });
      CHECK(largest > 0);
    }
  }
}

TEST_CASE("initial weights depend on seed and name: a model with more layers starts with the same first layers") {
  Config deep = tiny("mixtral");
  deep.num_hidden_layers = 3;
  models::CausalLM<float> small(tiny("mixtral"), 7), large(deep, 7), other(tiny("mixtral"), 8);
  std::map<std::string, Tensor<float>> in_large;
  for (const auto& [name, t] : large.state_dict()) in_large[name] = t;
  for (const auto& [name, t] : small.state_dict()) CHECK(test::bitwise_equal(t, in_large.at(name)));
  CHECK_FALSE(test::bitwise_equal(small.lm_head->weight.detach(), other.lm_head->weight.detach()));
}

TEST_CASE("a tied head is the embedding, listed once, and both its uses reach the gradient") {
  Config c = tiny("qwen3_moe");
  c.tie_word_embeddings = true;
  models::CausalLM<double> model(c, 5);
  for (const auto& [name, p] : model.named_parameters()) CHECK(name.find("lm_head") == std::string::npos);
  const Ids ids = Ids::full({1, 4}, 3);
  model.loss({.ids = ids, .targets = Ids::full({1, 4}, 9)}).total.backward();
  const auto g = model.model->embed_tokens->weight.grad();
  CHECK(g.at({9, 0}) != 0);   // the head's row of the target
  CHECK(g.at({20, 0}) != 0);  // the softmax reaches every row
}

TEST_CASE("prediction modules of depth 2 pair states and tokens as the paper says") {
  Config c = tiny("deepseek_v3");
  c.num_nextn_predict_layers = 2;
  models::CausalLM<double> model(c, 5);
  const std::int64_t B = 2, T = 9;
  const Ids ids = ids_of(B, T, 1), targets = ids_of(B, T, 2);
  targets.at({1, 5}) = models::kIgnore;
  const autograd::NoGrad guard;
  Tensor<double> hidden = model.hidden_states(ids);
  double sum[2] = {0, 0};
  for (std::int64_t k = 1; k <= 2; ++k) {  // state i with token i + k predicts token i + k + 1, which is target i + k
    auto& module = dynamic_cast<models::MtpLayer<double>&>(model.layer(1 + k));
    const auto tokens = contiguous(slice(ids, 1, k, T)), want = contiguous(slice(targets, 1, k, T));
    hidden = module.forward(module.combine(slice(hidden, 1, 0, T - k), model.model->embed_tokens->lookup(tokens)));
    const auto logits = model.project(module.head_norm(hidden));
    CHECK(logits.shape() == Shape({B, T - k, 50}));
    sum[0] += mean_loss(logits, want, 0) / 2;
    sum[1] += mean_loss(logits, want, 30) / 2;
  }
  const auto out = model.loss({.ids = ids, .targets = targets, .mtp_weight = 0.3});
  CHECK(out.mtp.item() == doctest::Approx(sum[0]).epsilon(1e-12));
  CHECK(out.loss.item() == doctest::Approx(mean_loss(model.logits(ids), targets, 0)).epsilon(1e-12));
  CHECK(out.total.item() == doctest::Approx(out.loss.item() + 0.3 * sum[0]).epsilon(1e-12));
  CHECK(model.loss({.ids = ids, .targets = targets, .normalizer = 30, .mtp_weight = 1}).mtp.item() == doctest::Approx(sum[1]).epsilon(1e-12));
  CHECK_FALSE(model.loss({.ids = ids, .targets = targets}).mtp.defined());
  CHECK_THROWS_WITH_AS(model.loss({.ids = ids_of(1, 2, 1), .targets = ids_of(1, 2, 2), .mtp_weight = 1}), doctest::Contains("got T=2 depths=2"), Error);
}

TEST_CASE("prediction modules do not predict across documents") {
  Config c = tiny("deepseek_v3");
  models::CausalLM<double> model(c, 5);
  const Ids ids = ids_of(1, 12, 1), targets = ids_of(1, 12, 2);
  Ids segments = Ids::zeros({1, 12});
  for (std::int64_t t = 7; t < 12; ++t) segments.data()[t] = 1;
  const autograd::NoGrad guard;
  const auto part = [&](std::int64_t from, std::int64_t to) {
    return model.loss({.ids = contiguous(slice(ids, 1, from, to)), .targets = contiguous(slice(targets, 1, from, to)), .normalizer = 10, .mtp_weight = 1}).mtp.item();
  };
  const auto packed = model.loss({.ids = ids, .targets = targets, .segments = segments, .normalizer = 10, .mtp_weight = 1});
  CHECK(packed.mtp.item() == doctest::Approx(part(0, 7) + part(7, 12)).epsilon(1e-10));
}

TEST_CASE("recomputing activations changes no bit of loss, balance loss or gradient") {
  Config c = tiny("deepseek_v3");
  c.aux_loss_alpha = 0.1;
  std::vector<Tensor<float>> want;
  for (const bool recompute : {false, true}) {
    models::CausalLM<float> model(c, 5);
    model.recompute = recompute;
    const auto out = model.loss({.ids = ids_of(2, 12, 1), .targets = ids_of(2, 12, 2), .mtp_weight = 0.3});
    REQUIRE(out.balance.defined());
    out.total.backward();
    std::vector<Tensor<float>> got{out.loss.detach(), out.mtp.detach(), out.balance.detach()};
    for (const auto& p : model.parameters()) got.push_back(p.grad());
    if (want.empty()) want = got;
    REQUIRE(got.size() == want.size());
    for (std::size_t i = 0; i < got.size(); ++i) CHECK(test::bitwise_equal(got[i], want[i]));
    for (const auto& [layer, m] : model.moe_layers()) {
      std::int64_t counted = 0;
      for (const auto n : m->counts()) counted += n;
      CHECK(counted == 2 * (layer == 2 ? 11 : 12) * 2);  // the prediction module sees one token less
    }
  }
}

TEST_CASE("shapes that do not belong together are refused") {
  models::CausalLM<float> model(tiny("mixtral"), 5);
  const Ids ids = ids_of(2, 6, 1);
  CHECK_THROWS_WITH_AS(model.loss({.ids = ids, .targets = ids_of(2, 5, 1)}), doctest::Contains("targets=[2, 5]"), Error);
  CHECK_THROWS_WITH_AS(model.hidden_states(ids, Ids::zeros({2, 5})), doctest::Contains("segments=[2, 5] ids=[2, 6]"), Error);
  auto cache = model.make_cache(2, 6);
  CHECK_THROWS_WITH_AS(model.hidden_states(ids, Ids::zeros({2, 6}), &cache), doctest::Contains("segments must not be given with a cache"), Error);
  CHECK_THROWS_AS(model.make_cache(0, 4), Error);
  CHECK_THROWS_AS(model.hidden_states(ids_of(1, 65, 1)), Error);
  auto other = model.make_cache(1, 6);
  CHECK_THROWS_AS(model.hidden_states(ids, {}, &other), Error);
}
