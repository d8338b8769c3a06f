// The training step: what it computes, when it refuses, and how experts are balanced.
#include <doctest/doctest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include <moelle/core/memory.hpp>

#include "support/compare.hpp"
#include "training/tiny.hpp"

using namespace moelle;
using namespace moelle::training;

namespace {
Batch batch_of(std::int64_t index, std::int64_t rows = 2) {
  static const auto documents = test::tiny_documents();
  ByteLoader loader(documents, {.batch_size = rows, .seq_len = 24, .seed = 3});
  return loader.batch(index);
}
}  // namespace

TEST_CASE("a tiny mixture of experts learns, and its experts become balanced") {
  models::CausalLM<float> model(test::tiny_config(), 1);
  Trainer<float> trainer(model, {.lr = 1e-2, .schedule = {.total_steps = 60, .warmup_steps = 5}, .bias_update_rate = 0.02});
  const auto documents = test::tiny_documents();
  ByteLoader loader(documents, {.batch_size = 4, .seq_len = 24, .seed = 3});
  StepReport first, last;
  for (int i = 0; i < 60; ++i) {
    last = trainer.step(trainer.next_batches(loader));
    if (i == 0) first = last;
  }
  CHECK(last.loss < 0.75 * first.loss);
  CHECK(last.max_violation < first.max_violation);
  CHECK(last.tokens == 4 * 24);
  CHECK(trainer.tokens_seen() == 60 * 4 * 24);
  REQUIRE(last.load.size() == 1);
  std::int64_t routed = 0;
  for (const auto c : last.load[0]) routed += c;
  CHECK(routed == 4 * 24 * 3);
}

TEST_CASE("an overloaded expert loses bias in a real step") {
  models::CausalLM<float> model(test::tiny_config(), 1);
  Trainer<float> trainer(model, {.schedule = {.total_steps = 10}, .bias_update_rate = 0.5});
  const auto report = trainer.step({batch_of(0, 4)});
  const auto bias = std::dynamic_pointer_cast<nn::TopKGate<float>>(model.moe_layers()[0].second->gate)->e_score_correction_bias;
  const double mean = moe::mean_load(report.load[0]);
  for (std::size_t e = 0; e < 8; ++e) {
    const double gap = mean - static_cast<double>(report.load[0][e]);
    CHECK(static_cast<double>(bias.data()[e]) == doctest::Approx(gap > 0 ? 0.5 : gap < 0 ? -0.5 : 0.0));
  }
}

TEST_CASE("accumulating micro-batches equals one batch, to rounding, also when some targets are ignored") {
  Batch both = batch_of(0, 4);
  for (std::int64_t t = 0; t < 10; ++t) both.labels.at({0, t}) = models::kIgnore;
  const auto part = [&](std::int64_t from) {
    return Batch{contiguous(slice(both.ids, 0, from, from + 2)), contiguous(slice(both.labels, 0, from, from + 2)), {}};
  };
  models::Config config = test::tiny_config();
  config.aux_loss_alpha = 0;  // per sequence, but averaged over the micro-batch: equal only for equal parts
  models::CausalLM<double> one(config, 1), two(config, 1);
  const TrainerOptions o{.schedule = {.total_steps = 10}, .optimizer = {.method = Method::adamw}};
  Trainer<double> a(one, o), b(two, o);
  const auto ra = a.step({both}), rb = b.step({part(0), part(2)});
  CHECK(ra.tokens == 4 * 24 - 10);
  CHECK(rb.tokens == ra.tokens);
  CHECK(rb.loss == doctest::Approx(ra.loss).epsilon(1e-12));
  CHECK(rb.grad_norm == doctest::Approx(ra.grad_norm).epsilon(1e-10));
  const auto wa = test::flat(one), wb = test::flat(two);
  double worst = 0;
  for (std::size_t i = 0; i < wa.size(); ++i) worst = std::max(worst, std::abs(wa[i] - wb[i]));
  CHECK(worst < 1e-7);  // AdamW's first step divides by |g|: rounding of tiny gradients shows
}

TEST_CASE("a training step has the same bits for 1, 2, 3 and 7 threads, and with recomputation") {
  std::vector<float> want;
  const int before = num_threads();
  for (const int threads : {1, 2, 3, 7, 2}) {
    set_num_threads(threads);
    models::CausalLM<float> model(test::tiny_config(), 1);
    model.recompute = !want.empty() && threads == 2;
    Trainer<float> trainer(model, {.schedule = {.total_steps = 10}, .bias_update_rate = 0.01});
    for (int i = 0; i < 3; ++i) {
      const auto report = trainer.step({batch_of(i, 3)});
      std::int64_t routed = 0;
      for (const auto c : report.load[0]) routed += c;
      CHECK(routed == 3 * 24 * 3);  // recomputation counts no token twice
    }
    const auto weights = test::flat(model);
    if (want.empty()) want = weights;
    CAPTURE(threads);
    CHECK(std::memcmp(weights.data(), want.data(), 4 * want.size()) == 0);
  }
  set_num_threads(before);
}

TEST_CASE("grouped-query attention and softmax routing train with the same bits for any number of threads, too") {
  models::Config c = models::Config::defaults("mixtral");
  c.vocab_size = 256;
  c.hidden_size = 32;
  c.num_hidden_layers = 2;
  c.num_attention_heads = 4;
  c.num_key_value_heads = 2;
  c.intermediate_size = c.moe_intermediate_size = 16;
  c.output_router_logits = true;
  std::vector<float> want;
  const int before = num_threads();
  for (const int threads : {1, 2, 3, 7}) {
    set_num_threads(threads);
    models::CausalLM<float> model(c, 1);
    Trainer<float> trainer(model, {.schedule = {.total_steps = 10}, .accumulation = 2});
    for (int i = 0; i < 2; ++i) CHECK(trainer.step({batch_of(2 * i, 3), batch_of(2 * i + 1, 3)}).balance_loss > 0);
    const auto weights = test::flat(model);
    if (want.empty()) want = weights;
    CAPTURE(threads);
    CHECK(std::memcmp(weights.data(), want.data(), 4 * want.size()) == 0);
  }
  set_num_threads(before);
}

TEST_CASE("after the first steps nothing more is asked of the system, whatever the experts' loads") {
  const int threads = num_threads();
  set_num_threads(1);  // with more, scratch memory comes when a thread first takes a task of a kind
  for (const auto precision : {gemm::Precision::native, gemm::Precision::bf16}) {
    trim_memory();
    models::CausalLM<float> model(test::tiny_config(), 1);
    model.set_precision(precision);
    Trainer<float> trainer(model, {.lr = 1e-2, .schedule = {.total_steps = 10}});
    for (std::int64_t i = 0; i < 3; ++i) trainer.step({batch_of(i, 4)});
    const auto before = memory_stats().fresh_bytes;
    for (std::int64_t i = 3; i < 10; ++i) trainer.step({batch_of(i, 4)});
    CHECK(memory_stats().fresh_bytes == before);
  }
  set_num_threads(threads);
}

TEST_CASE("a batch without any target is refused and nothing changes") {
  models::CausalLM<float> model(test::tiny_config(), 1);
  Trainer<float> trainer(model, {.schedule = {.total_steps = 10}});
  Batch b = batch_of(0);
  b.labels = Tensor<std::int32_t>::full(b.labels.shape(), models::kIgnore);
  const auto weights = test::flat(model);
  CHECK_THROWS_WITH_AS(trainer.step({b}), "trainer: a step needs at least one target; got none in 1 batches", Error);
  CHECK(trainer.steps_done() == 0);
  CHECK(test::flat(model) == weights);
  CHECK(trainer.step({b, batch_of(1)}).tokens == 2 * 24);  // beside another one it adds nothing
}

TEST_CASE("a refused step moves no selection bias and leaves no gradient; the next one is as if it had not been") {
  models::CausalLM<float> one(test::tiny_config(), 1), two(test::tiny_config(), 1);
  const TrainerOptions o{.schedule = {.kind = ScheduleKind::constant, .total_steps = 10}, .bias_update_rate = 0.1, .guard = {.limit = 3, .window = 2, .patience = 100}};
  Trainer<float> a(one, o), b(two, o);
  for (int i = 0; i < 2; ++i) a.step({batch_of(i)}), b.step({batch_of(i)});
  a.guard().losses = {1.0, 1.0};  // the next loss is a spike beside these
  CHECK(a.step({batch_of(5)}).skipped.find("deviations") != std::string::npos);
  for (const auto& p : one.parameters()) CHECK_FALSE(p.grad().defined());
  CHECK(test::flat(one) == test::flat(two));
  a.guard().losses = b.guard().losses;
  a.step({batch_of(2)});
  b.step({batch_of(2)});
  CHECK(test::flat(one) == test::flat(two));
}

TEST_CASE("evaluation is the mean loss of the windows in order, the same each time, and leaves the model as it was") {
  models::CausalLM<float> model(test::tiny_config(), 1);
  const auto documents = test::tiny_documents();
  const double loss = evaluate(model, documents, 4, 24);
  ByteLoader loader(documents, {.batch_size = 1, .seq_len = 24, .shuffle = false});
  double sum = 0;
  const std::int64_t windows = loader.batches_per_epoch() / 4 * 4;
  {
    const autograd::NoGrad guard;
    for (std::int64_t i = 0; i < windows; ++i) {
      const Batch b = loader.batch(i);
      sum += static_cast<double>(model.loss({.ids = b.ids, .targets = b.labels}).loss.item());
    }
  }
  CHECK(loss == doctest::Approx(sum / static_cast<double>(windows)).epsilon(1e-6));
  CHECK(evaluate(model, documents, 4, 24) == loss);
  CHECK(evaluate(model, documents, 4, 24, 8) == doctest::Approx(loss).epsilon(0.05));
  CHECK(model.training());
  auto& weight = model.model->embed_tokens->weight;
  const auto kept = weight;
  weight = Tensor<float>::zeros({9, 32});  // ids beyond it: evaluation fails half-way
  CHECK_THROWS_AS(evaluate(model, documents, 4, 24), Error);
  CHECK(model.training());
  weight = kept;
  CHECK_THROWS_AS(evaluate(model, documents, 4, 100000), Error);
}

TEST_CASE("a step with a NaN is skipped and reported; weights, moments and biases stay") {
  models::CausalLM<float> model(test::tiny_config(), 1);
  Trainer<float> trainer(model, {.schedule = {.total_steps = 10}, .bias_update_rate = 0.1});
  trainer.step({batch_of(0)});
  auto& weight = model.model->embed_tokens->weight;
  const float kept = weight.data()[0];
  const auto ids = batch_of(1);
  const std::int64_t row = ids.ids.data()[3];
  const float before = weight.data()[row * 32];
  weight.data()[row * 32] = std::numeric_limits<float>::quiet_NaN();
  const auto moments = trainer.optimizer().state()[0].second.to_vector();
  const auto report = trainer.step({ids});
  CHECK(report.skipped.find("nan") != std::string::npos);
  weight.data()[row * 32] = before;
  CHECK(weight.data()[0] == kept);
  CHECK(trainer.optimizer().state()[0].second.to_vector() == moments);
  CHECK(trainer.step({batch_of(2)}).skipped.empty());
}

TEST_CASE("the guard refuses spikes once it knows the level, and accepts a new level in the end") {
  Guard guard({.limit = 6, .window = 8, .patience = 3});
  for (int i = 0; i < 8; ++i) CHECK(guard.refuse(2.0 + 0.01 * (i % 2), 1.0).empty());
  for (int i = 0; i < 3; ++i) CHECK(guard.refuse(20.0, 1.0).find("loss 20") != std::string::npos);
  CHECK(guard.refuse(20.0, 1.0).empty());
  CHECK_FALSE(guard.refuse(std::numeric_limits<double>::infinity(), 1.0).empty());
  CHECK_FALSE(guard.refuse(2.0, std::numeric_limits<double>::quiet_NaN()).empty());
  Guard norms({.limit = 6, .window = 8, .patience = 3});
  for (int i = 0; i < 8; ++i) CHECK(norms.refuse(2.0, 1.0).empty());
  CHECK(norms.refuse(2.0, 3.9).empty());  // below 1 + 6 * 0.5: clipping is enough
  CHECK(norms.refuse(2.0, 40.0).find("gradient norm 40") != std::string::npos);
}

TEST_CASE("the gradient norm is the root of the sum of all squares") {
  models::CausalLM<float> model(test::tiny_config(), 1);
  model.loss({.ids = batch_of(0).ids, .targets = batch_of(0).labels}).loss.backward();
  double square = 0;
  for (const auto& p : model.parameters())
    if (p.grad().defined()) p.grad().each([&](float g) { square += static_cast<double>(g) * static_cast<double>(g); });
  CHECK(grad_norm(model.parameters()) == doctest::Approx(std::sqrt(square)).epsilon(1e-9));
}

TEST_CASE("clipping bounds the norm of the applied gradient") {
  models::CausalLM<float> model(test::tiny_config(), 1);
  Trainer<float> trainer(model, {.schedule = {.kind = ScheduleKind::constant}, .optimizer = {.method = Method::adamw}, .clip = 0.01});
  const auto report = trainer.step({batch_of(0)});
  REQUIRE(report.grad_norm > 0.01);
  double square = 0;  // of the first moments, which after one step are 1 - beta1 times what was applied
  for (const auto& [name, moment] : trainer.optimizer().state())
    if (name.ends_with(".exp_avg")) moment.each([&](float m) { square += static_cast<double>(m) * static_cast<double>(m); });
  CHECK(std::sqrt(square) / (1 - trainer.options().optimizer.beta1) == doctest::Approx(0.01).epsilon(1e-5));
}

TEST_CASE("impossible options are refused with their values") {
  models::CausalLM<float> model(test::tiny_config(), 1);
  CHECK_THROWS_WITH_AS((Trainer<float>(model, {.lr = -1})), "trainer: lr must be positive and finite; got lr=-1", Error);
  CHECK_THROWS_AS((Trainer<float>(model, {.accumulation = 0})), Error);
  CHECK_THROWS_AS((Trainer<float>(model, {.schedule = {.total_steps = 3, .warmup_steps = 4}})), Error);
  CHECK_THROWS_AS((Trainer<float>(model, {.optimizer = {.beta2 = 1.0}})), Error);
  Trainer<float> trainer(model, {.schedule = {.total_steps = 3}});
  CHECK_THROWS_AS(trainer.step({}), Error);
}
