// bench/training/bench_train_step.cpp -- a whole training step: forward, backward, clipping, AdamW or Muon.
//
// Sizes are the presets pilot, demo and small, as mixture of experts and as dense twin, on random tokens, another batch every step
// so that expert loads change. The mixture takes turns with its dense twin and with itself under a load whose largest expert gets five times
// the mean. compare.py measures PyTorch in the same rounds. One step of `small` takes half a minute: --filter chooses.
#include <cstdint>
#include <memory>
#include <string>

#include <moelle/estimate.hpp>
#include <moelle/models.hpp>
#include <moelle/training.hpp>

#include <samples.hpp>

using namespace moelle;

namespace {

// Any K experts, the first of them `by` times as often as the mean; the others in turn.
class SkewedGate : public nn::Gate<float> {
 public:
  SkewedGate(std::shared_ptr<nn::Gate<float>> inner, double by, std::int64_t experts) : by_(by), experts_(experts) { this->register_module("inner", inner_, std::move(inner)); }
  moe::Routing<float> route(const Tensor<float>& x) override {
    moe::Routing<float> r = inner_->route(x);
    const std::int64_t N = r.experts.size(0), K = r.experts.size(1);
    const double share = by_ * static_cast<double>(K) / static_cast<double>(experts_);  // of the tokens
    r.experts = Tensor<std::int32_t>::empty({N, K});
    for (std::int64_t i = 0; i < N; ++i)
      for (std::int64_t k = 0; k < K; ++k) {
        const bool first = k == 0 && static_cast<double>(i % 1000) < 1000 * share;
        r.experts.data()[i * K + k] = static_cast<std::int32_t>(first ? 0 : 1 + (i * K + k) % (experts_ - 1));
      }
    return r;
  }

 private:
  std::shared_ptr<nn::Gate<float>> inner_;
  double by_;
  std::int64_t experts_;
};

void skew(models::CausalLM<float>& model, double by) {
  model.visit([by](const std::string&, nn::Module<float>& m) {
    if (auto* layer = dynamic_cast<nn::MoE<float>*>(&m)) layer->set_module("gate", std::make_shared<SkewedGate>(layer->gate, by, layer->experts->down_proj.size(0)));
  });
}

struct Size {
  const char* name;
  std::int64_t batch, length;
};
constexpr Size kSizes[] = {{"pilot", 16, 128}, {"demo", 32, 256}, {"small", 16, 512}};

constexpr double kMuon = 0.81;  // of AdamW's speed: AdamW takes 1 % of its step, so Muon has at most 20 %

enum class Kind { experts, dense, skewed };

// A model in training and the tokens it sees.
class Run {
 public:
  Run(const Size& size, Kind kind, gemm::Precision precision, training::Method method = training::Method::adamw)
      : size_(size), config_(config(size, kind)), model_(config_, 0), trainer_(prepared(model_, kind, precision), options(method)) {}

  void step() {
    training::Batch batch{Tensor<std::int32_t>::empty({size_.batch, size_.length}), Tensor<std::int32_t>::empty({size_.batch, size_.length}), {}};
    const auto token = [&] { return static_cast<std::int32_t>(stream_.below(next_++, static_cast<std::uint64_t>(config_.vocab_size))); };
    for (std::int64_t i = 0; i < size_.batch * size_.length; ++i) {
      batch.ids.data()[i] = token();
      batch.labels.data()[i] = token();
    }
    trainer_.step({batch});
  }
  double flops() const {
    return static_cast<double>(size_.batch * size_.length) * estimate::model(config_, {.context = size_.length}).train_flops_per_token;
  }

 private:
  static models::Config config(const Size& size, Kind kind) {
    models::Config c = models::preset(size.name);
    if (kind != Kind::dense) return c;
    models::Config twin = c.dense_twin();
    twin.intermediate_size = c.intermediate_size;  // the dense layers' own width everywhere: as many operations per token
    return twin;
  }
  static models::CausalLM<float>& prepared(models::CausalLM<float>& model, Kind kind, gemm::Precision precision) {
    model.set_precision(precision);
    if (kind == Kind::skewed) skew(model, 5);
    return model;
  }
  static training::TrainerOptions options(training::Method method) {
    return {.lr = 1e-3, .schedule = {.kind = training::ScheduleKind::constant}, .optimizer = {.method = method}, .bias_update_rate = 0};
  }

  Size size_;
  models::Config config_;
  models::CausalLM<float> model_;
  training::Trainer<float> trainer_;
  random::Stream stream_{0, "bench/tokens"};
  std::uint64_t next_ = 0;
};

void measure(bench::Samples& samples, const Size& size, gemm::Precision precision) {
  const char* limit = precision == gemm::Precision::bf16 ? "bf16_gflops" : "fp32_gflops";
  const auto contender = [](const char* who, const std::shared_ptr<Run>& run) { return bench::Contender{who, [run] { run->step(); }}; };
  const auto work = [&](const char* kind) { return str(size.name, " ", kind, " ", name(precision)); };
  const auto make = [&](Kind kind, training::Method method = training::Method::adamw) { return std::make_shared<Run>(size, kind, precision, method); };
  if (samples.wants("training", work("MoE"))) {
    const auto run = make(Kind::experts);
    samples.measure({.section = "training", .work = work("MoE"), .flops = run->flops(), .limit = limit,
                     .contenders = {contender("moelle", run), contender("dense twin", make(Kind::dense)), contender("skewed load", make(Kind::skewed))}});
  }
  for (const char* section : {"training", "one model"})  // the latter for measuring memory
    for (Kind kind : {Kind::experts, Kind::dense}) {
      const std::string name = work(kind == Kind::dense ? "dense" : "MoE");
      if ((section == std::string("training") && kind != Kind::dense) || !samples.wants(section, name)) continue;
      const auto run = make(kind);
      samples.measure({.section = section, .work = name, .flops = run->flops(), .limit = limit, .contenders = {contender("moelle", run)}});
    }
  if (samples.wants("training with Muon", work("MoE"))) {
    const auto run = make(Kind::experts, training::Method::muon);
    samples.measure({.section = "training with Muon", .work = work("MoE"), .flops = run->flops(), .limit = limit, .target = kMuon, .against = "AdamW",
                     .contenders = {contender("moelle", run), contender("AdamW", make(Kind::experts))}});
  }
}

}  // namespace

int main(int argc, char** argv) {
  bench::Samples samples(argc, argv);
  for (const Size& size : kSizes)
    for (gemm::Precision p : {gemm::Precision::native, gemm::Precision::bf16}) measure(samples, size, p);
}
