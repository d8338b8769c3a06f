// Whole models: structure, gradients, caches, documents, prediction modules.
#include <doctest/doctest.h>

#include <cmath>
#include <map>
#include <string>
#include <vector>

#include <moelle/estimate.hpp>
#include <moelle/generation.hpp>
#include <moelle/models.hpp>

#include "support/compare.hpp"
#include "support/random_tensor.hpp"
#include "training/tiny.hpp"

using namespace moelle;
using Ids = Tensor<std::int32_t>;

namespace {
Ids ids_of(std::int64_t B, std::int64_t T, std::uint64_t seed = 1) { return test::integers<std::int32_t>({B, T}, seed, 0, 255); }

// Weights large enough for every part to matter.
template <class T>
void enlarge(models::CausalLM<T>& m) {
  std::uint64_t i = 100;
  for (auto& [name, p] : m.named_parameters()) {
    const auto noise = test::normal<T>(p.shape(), i++);
    const double by = p.rank() > 1 ? 0.7 / std::sqrt(static_cast<double>(p.size(-1))) : 0.3;
    for (std::int64_t k = 0; k < p.numel(); ++k) p.data()[k] += static_cast<T>(by) * noise.data()[k];
  }
}
}  // namespace

TEST_CASE("a model has the parameters that the estimate counts, for every preset that fits in memory") {
  for (const char* name : {"pilot", "demo"}) {
    for (const bool dense : {false, true}) {
      const auto config = dense ? models::preset(name).dense_twin() : models::preset(name);
      models::CausalLM<float> model(config, 0);
      std::int64_t biases = 0;  // counted as parameters by the reports, kept as buffers here
      for (const auto& [n, b] : model.named_buffers()) biases += b.numel();
      CAPTURE(name);
      CHECK(model.num_parameters() + biases == estimate::model(config).total_params);
    }
  }
}

TEST_CASE("the directional derivative of a whole model matches differences, in double, choices of experts unchanged") {
  models::Config config = test::tiny_config();
  config.num_nextn_predict_layers = 1;
  config.q_lora_rank = 12;
  models::CausalLM<double> model(config, 3);
  enlarge(model);
  const Ids ids = ids_of(2, 9), targets = ids_of(2, 9, 2);
  const auto value = [&] { return model.loss({.ids = ids, .targets = targets, .mtp_weight = 0.3}).total; };
  const auto routes = [&] {
    std::vector<std::int32_t> all;
    for (const auto& [layer, m] : model.moe_layers()) m->last_experts().each([&](std::int32_t e) { all.push_back(e); });
    return all;
  };
  value().backward();
  const auto chosen = routes();
  int compared = 0;
  std::uint64_t seed = 500;
  const autograd::NoGrad guard;
  for (const auto& named : model.named_parameters()) {
    const std::string& name = named.first;
    const Tensor<double>& p = named.second;
    REQUIRE(p.grad().defined());
    const auto direction = test::normal<double>(p.shape(), seed++), start = clone(p.detach());
    double analytic = 0;
    const auto g = contiguous(p.grad());
    for (std::int64_t i = 0; i < p.numel(); ++i) analytic += g.data()[i] * direction.data()[i];
    const double h = 2e-4;
    bool flipped = false;
    const auto at = [&](double t) {
      for (std::int64_t i = 0; i < p.numel(); ++i) p.data()[i] = start.data()[i] + t * direction.data()[i];
      const double v = value().item();
      flipped |= routes() != chosen;
      return v;
    };
    const double numeric = (at(-2 * h) - 8 * at(-h) + 8 * at(h) - at(2 * h)) / (12 * h);
    at(0);
    if (flipped) continue;
    ++compared;
    CAPTURE(name);
    CHECK(std::abs(analytic - numeric) < 1e-7 * std::max(1.0, std::abs(numeric)));
  }
  CHECK(compared >= static_cast<int>(model.named_parameters().size()) * 3 / 4);
}

TEST_CASE("decoding with a cache, in chunks of any size, gives the logits of one pass") {
  for (const bool latent : {true, false}) {
    models::Config config = test::tiny_config();
    if (!latent) config = models::preset("mixtral-8x7b"), config.num_hidden_layers = 2, config.hidden_size = 32, config.num_attention_heads = 4,
        config.num_key_value_heads = 2, config.head_dim = 8, config.moe_intermediate_size = config.intermediate_size = 16, config.vocab_size = 256;
    models::CausalLM<float> model(config, 4);
    enlarge(model);
    model.eval();
    const autograd::NoGrad guard;
    const Ids ids = ids_of(2, 70);
    const auto whole = model.logits(ids);
    for (const std::vector<std::int64_t>& cuts : {std::vector<std::int64_t>{70}, {1, 1, 1, 67}, {30, 40}, {64, 1, 1, 1, 1, 1, 1}}) {
      auto cache = model.make_cache(2, 70);
      std::int64_t at = 0;
      for (const std::int64_t n : cuts) {
        const auto part = model.logits(contiguous(slice(ids, 1, at, at + n)), &cache);
        CHECK(test::max_relative_error(part, contiguous(slice(whole, 1, at, at + n))) < 1e-5);
        at += n;
      }
      CHECK(cache.length() == 70);
    }
  }
}

TEST_CASE("a row of a batch gives the bits of the row alone") {
  models::CausalLM<float> model(test::tiny_config(), 4);
  enlarge(model);
  model.eval();
  const autograd::NoGrad guard;
  const Ids ids = ids_of(5, 33);
  const auto whole = model.logits(ids);
  for (std::int64_t b = 0; b < 5; ++b) CHECK(test::bitwise_equal(model.logits(contiguous(slice(ids, 0, b, b + 1))), contiguous(slice(whole, 0, b, b + 1))));
}

TEST_CASE("documents packed into one sequence do not see each other") {
  models::CausalLM<double> model(test::tiny_config(), 4);
  enlarge(model);
  model.eval();
  const autograd::NoGrad guard;
  const Ids ids = ids_of(1, 20);
  Ids segments = Ids::zeros({1, 20});
  for (std::int64_t t = 8; t < 20; ++t) segments.data()[t] = 1;
  const auto packed = model.hidden_states(ids, segments);
  const auto first = model.hidden_states(contiguous(slice(ids, 1, 0, 8)));
  CHECK(test::max_relative_error(contiguous(slice(packed, 1, 0, 8)), first) < 1e-12);
  // the second document stands at later positions, but rotary scores depend on distances only
  const auto second = model.hidden_states(contiguous(slice(ids, 1, 8, 20)));
  CHECK(test::max_relative_error(contiguous(slice(packed, 1, 8, 20)), second) < 1e-10);
}

TEST_CASE("prediction modules of any depth give a loss, share embedding and head, and may be absent from a file") {
  models::Config config = test::tiny_config();
  config.num_nextn_predict_layers = 2;
  models::CausalLM<float> model(config, 4);
  const auto out = model.loss({.ids = ids_of(2, 12), .targets = ids_of(2, 12, 2), .mtp_weight = 0.3});
  REQUIRE(out.mtp.defined());
  CHECK(static_cast<double>(out.mtp.item()) == doctest::Approx(std::log(256.0)).epsilon(0.05));
  out.total.backward();
  std::map<std::string, Tensor<float>> without;
  int modules = 0;
  for (const auto& e : model.state_entries()) {
    if (e.name.find("model.layers.2.") == 0 || e.name.find("model.layers.3.") == 0) {
      ++modules;
      if (e.source.requires_grad()) CHECK(e.grad().defined());
    } else {
      without[e.name] = e.value();
    }
  }
  CHECK(modules > 20);
  CHECK(without.count("model.layers.2.eh_proj.weight") == 0);
  CHECK_NOTHROW(model.load_state_dict(without));
  config.num_nextn_predict_layers = 0;
  models::CausalLM<float> plain(config, 9);
  std::map<std::string, Tensor<float>> all;
  for (const auto& [name, t] : model.state_dict()) all[name] = t;
  CHECK_NOTHROW(plain.load_state_dict(all));
  without.erase("model.norm.weight");
  CHECK_THROWS_AS(plain.load_state_dict(without), Error);
}

TEST_CASE("generation is a function of the seed, row by row, stops where it should and leaves the model as it was") {
  models::CausalLM<float> model(test::tiny_config(), 4);
  enlarge(model);
  const Ids prompt = ids_of(3, 5);
  const generation::GenerateOptions o{.max_new_tokens = 20, .sampling = {.temperature = 0.8, .top_p = 0.9}, .seed = 7};
  const auto a = generation::generate(model, prompt, o);
  CHECK(a.shape() == Shape({3, 25}));
  CHECK(test::bitwise_equal(a, generation::generate(model, prompt, o)));
  CHECK(test::bitwise_equal(generation::generate(model, contiguous(slice(prompt, 0, 0, 1)), o), contiguous(slice(a, 0, 0, 1))));
  auto other = o;
  other.seed = 8;
  CHECK_FALSE(test::bitwise_equal(a, generation::generate(model, prompt, other)));
  auto chunked = o;
  chunked.prefill_chunk = 2;
  CHECK(test::bitwise_equal(a, generation::generate(model, prompt, chunked)));
  int calls = 0;
  CHECK(generation::generate<float>(model, prompt, o, [&](std::int64_t, const auto&) { return ++calls < 3; }).size(1) == 8);
  auto eos = o;
  eos.eos_token_id = {a.at({0, 6})};
  CHECK(generation::generate(model, contiguous(slice(prompt, 0, 0, 1)), eos).size(1) <= 7);
  CHECK(model.training());
  CHECK_THROWS_AS(generation::generate<float>(model, prompt, o, [](std::int64_t, const auto&) -> bool { throw std::runtime_error("stop"); }), std::runtime_error);
  CHECK(model.training());
  CHECK_THROWS_WITH_AS(generation::generate(model, prompt, {.max_new_tokens = 5000}), doctest::Contains("max_position_embeddings=1024"), Error);
  CHECK_THROWS_AS(model.logits(Ids::full({1, 2}, 256)), Error);
  CHECK_THROWS_AS(model.logits(Ids::zeros({4})), Error);
}
