// moelle/training/trainer.hpp -- the training step and the loop around it.
//
// One step: gradients of all micro-batches, divided by the step's number of targets; norm, guard, clipping; optimiser;
// then the balance biases, from the counts of all micro-batches (DeepSeek-V3, arXiv:2412.19437, sections 2.1.2 and 4.2).
#pragma once
#include <chrono>
#include <cmath>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include <moelle/core/interrupt.hpp>
#include <moelle/models/causal_lm.hpp>
#include <moelle/training/guard.hpp>
#include <moelle/training/loader.hpp>
#include <moelle/training/optimizer.hpp>
#include <moelle/training/schedule.hpp>

namespace moelle::training {

struct TrainerOptions {
  double lr = 6e-3;  // peak
  Schedule schedule = {};
  OptimizerOptions optimizer = {};
  double clip = 1.0;              // largest global norm of the gradients; 0: none
  std::int64_t accumulation = 1;  // micro-batches per step
  double bias_update_rate = 1e-3;  // gamma of the balance biases; 0: off
  moe::BiasRule bias_rule = moe::BiasRule::sign;
  double mtp_weight = 0.3;        // lambda of the multi-token prediction losses
  GuardOptions guard = {};
};

inline void check(const TrainerOptions& o) {
  MOELLE_REQUIRE("trainer", o.lr > 0 && std::isfinite(o.lr), str("lr must be positive and finite; got lr=", o.lr));
  MOELLE_REQUIRE("trainer", o.clip >= 0, str("clip must not be negative; got clip=", o.clip));
  MOELLE_REQUIRE("trainer", o.accumulation >= 1, str("accumulation must be at least 1; got accumulation=", o.accumulation));
  MOELLE_REQUIRE("trainer", o.bias_update_rate >= 0 && std::isfinite(o.bias_update_rate),
                 str("bias_update_rate must be finite and not negative; got bias_update_rate=", o.bias_update_rate));
  MOELLE_REQUIRE("trainer", o.mtp_weight >= 0 && std::isfinite(o.mtp_weight), str("mtp_weight must be finite and not negative; got mtp_weight=", o.mtp_weight));
  check(o.schedule);
}

struct StepReport {
  std::int64_t step = 0;      // number of this step; the first is 0
  double loss = 0.0;          // next-token cross-entropy in nats
  double mtp_loss = 0.0, balance_loss = 0.0;
  double grad_norm = 0.0;     // before clipping
  double lr = 0.0;
  std::int64_t tokens = 0;    // targets of the step
  double seconds = 0.0;
  double max_violation = 0.0; // mean over layers of (largest - mean) / mean load
  std::int64_t dead_experts = 0;
  std::string skipped;        // why no update was applied; "" if it was
  std::vector<std::vector<std::int64_t>> load;  // [layer][expert] tokens
};

template <class T>
class Trainer {
 public:
  Trainer(models::CausalLM<T>& model, const TrainerOptions& options)
      : options_((check(options), options)), model_(model), optimizer_(make_groups<T>(model, options.optimizer), options.optimizer), guard_(options.guard) {}

  // One optimiser step on `batches` micro-batches.
  StepReport step(const std::vector<Batch>& batches) {
    MOELLE_REQUIRE("trainer", !batches.empty(), "a step needs at least one batch; got none");
    const auto start = std::chrono::steady_clock::now();
    StepReport report;
    report.step = step_;
    report.lr = options_.lr * rate_at(options_.schedule, std::min(step_, options_.schedule.total_steps));
    for (const Batch& b : batches) report.tokens += targets(b);
    MOELLE_REQUIRE("trainer", report.tokens > 0, str("a step needs at least one target; got none in ", batches.size(), " batches"));
    model_.train(true);
    optimizer_.zero_grad();
    reset_counts();
    for (const Batch& b : batches) {
      accumulate(b, static_cast<double>(report.tokens), report);
      check_interrupt();
    }
    const double norm = grad_norm(optimizer_.parameters());
    report.grad_norm = norm;
    report.skipped = guard_.refuse(report.loss, norm);
    if (report.skipped.empty()) {
      optimizer_.step(report.lr, options_.clip > 0 && norm > options_.clip ? options_.clip / norm : 1.0);
    }
    balance(report);
    optimizer_.zero_grad();
    ++step_;
    tokens_ += report.tokens;
    report.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    return report;
  }

  // The batches of the next step. The cursor is the step number: nothing else need be saved.
  std::vector<Batch> next_batches(ByteLoader& loader) const {
    std::vector<Batch> out;
    for (std::int64_t i = 0; i < options_.accumulation; ++i) out.push_back(loader.batch(step_ * options_.accumulation + i));
    return out;
  }

  const TrainerOptions& options() const { return options_; }
  Optimizer<T>& optimizer() { return optimizer_; }
  models::CausalLM<T>& model() { return model_; }
  Guard& guard() { return guard_; }
  std::int64_t steps_done() const { return step_; }
  std::int64_t tokens_seen() const { return tokens_; }
  void set_progress(std::int64_t steps, std::int64_t tokens) { step_ = steps, tokens_ = tokens; }

 private:
  static std::int64_t targets(const Batch& b) {
    std::int64_t n = 0;
    b.labels.each([&](std::int32_t l) { n += l != models::kIgnore; });
    return n;
  }
  void accumulate(const Batch& b, double normalizer, StepReport& report) {
    const double part = static_cast<double>(targets(b)) / normalizer;
    const auto out = model_.loss({.ids = b.ids, .targets = b.labels, .segments = b.segments, .normalizer = normalizer, .mtp_weight = options_.mtp_weight, .balance_weight = part});
    report.loss += static_cast<double>(out.loss.item());
    if (out.mtp.defined()) report.mtp_loss += static_cast<double>(out.mtp.item());
    if (out.balance.defined()) report.balance_loss += part * static_cast<double>(out.balance.item());
    out.total.backward();
  }
  void reset_counts() {
    for (auto& [layer, m] : model_.moe_layers()) m->reset_counts();
  }
  void balance(StepReport& report) {
    const auto layers = model_.moe_layers();
    for (auto& [layer, m] : layers) {
      const auto& counts = m->counts();
      report.max_violation += moe::max_violation(counts) / static_cast<double>(layers.size());
      report.dead_experts += moe::dead_experts(counts);
      report.load.push_back(counts);
      if (options_.bias_update_rate > 0 && report.skipped.empty()) m->update_bias(options_.bias_update_rate, options_.bias_rule);
    }
  }

  TrainerOptions options_;
  models::CausalLM<T>& model_;
  Optimizer<T> optimizer_;
  Guard guard_;
  std::int64_t step_ = 0, tokens_ = 0;
};

// Mean next-token cross-entropy in nats over the first `max_windows` windows of the documents (0: all), in order.
template <class T>
double evaluate(models::CausalLM<T>& model, const std::vector<Document>& documents, std::int64_t batch_size, std::int64_t seq_len, std::int64_t max_windows = 0) {
  const autograd::NoGrad guard;
  ByteLoader loader(documents, {.batch_size = batch_size, .seq_len = seq_len, .shuffle = false});
  std::int64_t batches = loader.batches_per_epoch();
  if (max_windows > 0) batches = std::min(batches, std::max<std::int64_t>(1, max_windows / batch_size));
  const nn::EvalMode<T> eval(model);
  double sum = 0.0;
  for (std::int64_t i = 0; i < batches; ++i) {
    const Batch b = loader.batch(i);
    sum += static_cast<double>(model.loss({.ids = b.ids, .targets = b.labels}).loss.item());
    check_interrupt();
  }
  return sum / static_cast<double>(batches);
}

}  // namespace moelle::training
