// The decoding loop: what is drawn, where it stops, and what it leaves behind.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <stdexcept>
#include <vector>

#include <moelle/generation.hpp>
#include <moelle/models.hpp>

#include "support/compare.hpp"
#include "support/random_tensor.hpp"

using namespace moelle;
using generation::generate;
using generation::GenerateOptions;
using Ids = Tensor<std::int32_t>;

namespace {

models::Config tiny(bool latent) {
  models::Config c = models::Config::defaults(latent ? "deepseek_v3" : "mixtral");
  c.vocab_size = 40;
  c.hidden_size = 16;
  c.num_hidden_layers = 2;
  c.max_position_embeddings = 80;
  c.num_attention_heads = 2;
  c.num_key_value_heads = latent ? 0 : 1;
  c.head_dim = latent ? 0 : 8;
  c.intermediate_size = c.moe_intermediate_size = 12;
  c.n_routed_experts = 4;
  c.num_experts_per_tok = 2;
  c.initializer_range = 0.5;  // far from uniform
  if (!latent) {
    c.sliding_window = 6;
    return c;
  }
  c.q_lora_rank = 9;
  c.kv_lora_rank = 6;
  c.qk_nope_head_dim = c.v_head_dim = 4;
  c.qk_rope_head_dim = 4;
  c.first_k_dense_replace = 1;
  c.n_group = c.topk_group = 1;
  c.num_nextn_predict_layers = 0;
  return c;
}
Ids prompt_of(std::int64_t B, std::int64_t T) { return test::integers<std::int32_t>({B, T}, 3, 0, 39); }
std::vector<std::int32_t> row(const Ids& ids, std::int64_t b) { return contiguous(slice(ids, 0, b, b + 1)).to_vector(); }

}  // namespace

TEST_CASE("greedy generation appends the largest logit of the whole sequence, with the cache or without") {
  for (const bool latent : {true, false}) {
    CAPTURE(latent);
    models::CausalLM<double> model(tiny(latent), 6);
    const GenerateOptions o{.max_new_tokens = 20, .sampling = {.temperature = 0}};
    const Ids got = generate(model, prompt_of(2, 7), o);
    REQUIRE(got.shape() == Shape({2, 27}));
    model.eval();
    const autograd::NoGrad guard;
    const auto logits = contiguous(model.logits(got));
    for (std::int64_t b = 0; b < 2; ++b)
      for (std::int64_t t = 7; t < 27; ++t) CHECK(got.at({b, t}) == generation::argmax(logits.data() + (b * 27 + t - 1) * 40, 40));
    auto slow = o;
    slow.use_cache = false;
    CHECK(test::bitwise_equal(generate(model, prompt_of(2, 7), slow), got));
  }
}

TEST_CASE("sampling with the cache or without, and for any chunk of the prompt, draws the same tokens") {
  for (const bool latent : {true, false}) {
    CAPTURE(latent);
    models::CausalLM<double> model(tiny(latent), 6);
    GenerateOptions o{.max_new_tokens = 20, .sampling = {.temperature = 0.9, .top_k = 20, .top_p = 0.95, .min_p = 0.01}, .seed = 11};
    const Ids want = generate(model, prompt_of(3, 9), o);
    o.use_cache = false;
    CHECK(test::bitwise_equal(generate(model, prompt_of(3, 9), o), want));
    o.use_cache = true;
    for (const std::int64_t chunk : {1, 2, 8, 9, 100}) {
      o.prefill_chunk = chunk;
      CHECK(test::bitwise_equal(generate(model, prompt_of(3, 9), o), want));
    }
  }
}

TEST_CASE("a row that ends is filled with the end token while the others go on as if alone") {
  models::CausalLM<double> model(tiny(true), 6);
  GenerateOptions o{.max_new_tokens = 12, .sampling = {.temperature = 1.0}, .seed = 2};
  const Ids prompt = prompt_of(3, 4), free = generate(model, prompt, o);
  const std::int32_t end = free.at({1, 6});  // row 1's third token, at the latest
  o.eos_token_id = {end, 39};
  const Ids got = generate(model, prompt, o);
  std::int64_t longest = 0;
  for (std::int64_t b = 0; b < 3; ++b) {
    const auto mine = row(got, b), alone = row(free, b);
    const auto stop = std::find_if(alone.begin() + 4, alone.end(), [&](std::int32_t id) { return id == end || id == 39; });
    const auto kept = stop == alone.end() ? stop : stop + 1;
    longest = std::max<std::int64_t>(longest, kept - alone.begin());
    for (std::size_t t = 0; t < mine.size(); ++t) CHECK(mine[t] == (static_cast<std::ptrdiff_t>(t) < kept - alone.begin() ? alone[t] : end));
  }
  CHECK(got.size(1) == longest);
}

TEST_CASE("each step is handed over as it is drawn, and false ends generation there") {
  models::CausalLM<double> model(tiny(true), 6);
  const GenerateOptions o{.max_new_tokens = 10, .sampling = {.temperature = 0}};
  std::vector<std::vector<std::int32_t>> seen;
  const Ids got = generate<double>(model, prompt_of(2, 3), o, [&](std::int64_t step, const std::vector<std::int32_t>& tokens) {
    CHECK(step == static_cast<std::int64_t>(seen.size()));
    seen.push_back(tokens);
    return step < 3;
  });
  REQUIRE(got.shape() == Shape({2, 7}));
  REQUIRE(seen.size() == 4);
  for (std::size_t s = 0; s < 4; ++s)
    for (std::size_t b = 0; b < 2; ++b) CHECK(seen[s][b] == got.at({static_cast<std::int64_t>(b), static_cast<std::int64_t>(3 + s)}));
}

TEST_CASE("no new tokens gives back the prompt") {
  models::CausalLM<double> model(tiny(false), 6);
  CHECK(test::bitwise_equal(generate(model, prompt_of(2, 3), {.max_new_tokens = 0}), prompt_of(2, 3)));
}

TEST_CASE("whatever ends generation, the model is back in the mode that it was in, and gradients are recorded again") {
  models::CausalLM<double> model(tiny(true), 6);
  const auto usual = [&](bool training) {
    CHECK(model.training() == training);
    CHECK(model.layer(1).moe()->training() == training);
    CHECK(autograd::is_enabled());
  };
  for (const bool training : {true, false}) {
    model.train(training);
    generate(model, prompt_of(1, 3), {.max_new_tokens = 2});
    usual(training);
    const auto fail = [](std::int64_t, const std::vector<std::int32_t>&) -> bool { throw std::runtime_error("stop"); };
    CHECK_THROWS_AS(generate<double>(model, prompt_of(1, 3), {.max_new_tokens = 2}, fail), std::runtime_error);
    usual(training);
  }
  model.train();
  auto& head = model.lm_head->weight;
  const double kept = head.data()[5 * 16];
  head.data()[5 * 16] = std::numeric_limits<double>::quiet_NaN();
  CHECK_THROWS_WITH_AS(generate(model, prompt_of(1, 3), {.max_new_tokens = 2}), doctest::Contains("logits must not be NaN; got NaN at token 5"), Error);
  head.data()[5 * 16] = kept;
  usual(true);
  for (const auto c : model.layer(1).moe()->counts()) CHECK(c == 0);  // generating counts nothing for the balance
}

TEST_CASE("impossible requests are refused with their values") {
  models::CausalLM<double> model(tiny(true), 6);
  CHECK_THROWS_WITH_AS(generate(model, prompt_of(1, 60), {.max_new_tokens = 21}), doctest::Contains("prompt=60 max_new_tokens=21 max_position_embeddings=80"), Error);
  CHECK_NOTHROW(generate(model, prompt_of(1, 78), {.max_new_tokens = 2}));
  CHECK_THROWS_WITH_AS(generate(model, prompt_of(1, 3), {.sampling = {.temperature = -0.5}}), doctest::Contains("temperature=-0.5"), Error);
  CHECK_THROWS_AS(generate(model, prompt_of(1, 3), {.max_new_tokens = -1}), Error);
  CHECK_THROWS_AS(generate(model, prompt_of(1, 3), {.prefill_chunk = 0}), Error);
  CHECK_THROWS_AS(generate(model, Ids::zeros({1, 0}), {}), Error);
  CHECK_THROWS_AS(generate(model, Ids::zeros({3}), {}), Error);
  CHECK_THROWS_AS(generate(model, Ids::full({1, 2}, 40), {}), Error);
}
