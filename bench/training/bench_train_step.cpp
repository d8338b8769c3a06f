// bench/training/bench_train_step.cpp -- tokens per second of a whole training step: forward, backward, clipping, AdamW.
//
// Sizes are the presets pilot, demo and small, as mixture of experts and as dense twin, on random tokens, another batch every step
// so that expert loads change. Prints one JSON object: {"size", "model", "threads", "tok_s", "lo", "hi", "gflops", "params",
// "state_bytes": weights, moments and gradients, "activation_bytes": what the peak has beyond them}.
//   train_step pilot|demo|small moe|dense THREADS [STEPS [f32|bf16|fp8 [SKEW [adamw|muon]]]]     SKEW: the first expert of each layer gets that many times the mean
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include <moelle/core/memory.hpp>
#include <moelle/estimate.hpp>
#include <moelle/models.hpp>
#include <moelle/training.hpp>

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

}  // namespace

int main(int argc, char** argv) {
  if (argc < 4) return std::fprintf(stderr, "usage: train_step pilot|demo|small moe|dense THREADS [STEPS [f32|bf16|fp8 [SKEW [adamw|muon]]]]\n"), 2;
  const std::string size = argv[1], kind = argv[2];
  set_num_threads(std::atoi(argv[3]));
  models::Config config = models::preset(size);
  if (kind == "dense") {
    // the same twin as the yardstick's: the dense layers' own width everywhere
    const auto width = config.intermediate_size;
    config = config.dense_twin();
    config.intermediate_size = width;
  }
  const std::int64_t T = size == "pilot" ? 128 : size == "demo" ? 256 : 512, B = size == "demo" ? 32 : 16;
  const int steps = argc > 4 ? std::atoi(argv[4]) : size == "pilot" ? 12 : size == "demo" ? 5 : 3, warm = size == "pilot" ? 5 : 3;

  const auto before = memory_stats().live_bytes;
  models::CausalLM<float> model(config, 0);
  const std::string precision = argc > 5 ? argv[5] : "f32";
  model.set_precision(gemm::precision_of(precision));
  if (argc > 6 && std::atof(argv[6]) > 0) skew(model, std::atof(argv[6]));
  const auto method = argc > 7 && std::string(argv[7]) == "muon" ? training::Method::muon : training::Method::adamw;
  const auto params = model.num_parameters();
  training::Trainer<float> trainer(model, {.lr = 1e-3, .schedule = {.kind = training::ScheduleKind::constant}, .optimizer = {.method = method}, .bias_update_rate = 0});
  const auto state = memory_stats().live_bytes - before + 4 * params;  // and the gradients to come
  const random::Stream stream(0, "bench/tokens");
  std::uint64_t next = 0;
  std::vector<double> rates;
  reset_peak_memory();
  for (int step = 0; step < warm + steps; ++step) {
    training::Batch batch{Tensor<std::int32_t>::empty({B, T}), Tensor<std::int32_t>::empty({B, T}), {}};
    for (std::int64_t i = 0; i < B * T; ++i) {
      batch.ids.data()[i] = static_cast<std::int32_t>(stream.below(next++, static_cast<std::uint64_t>(config.vocab_size)));
      batch.labels.data()[i] = static_cast<std::int32_t>(stream.below(next++, static_cast<std::uint64_t>(config.vocab_size)));
    }
    const auto report = trainer.step({batch});
    if (step >= warm) rates.push_back(static_cast<double>(report.tokens) / report.seconds);
  }
  std::sort(rates.begin(), rates.end());
  const double median = rates[rates.size() / 2], flops = estimate::model(config, {.context = T}).train_flops_per_token;
  const auto peak = memory_stats().peak_bytes - before;
  std::printf("{\"size\": \"%s\", \"model\": \"%s\", \"precision\": \"%s\", \"threads\": %d, \"tok_s\": %.0f, \"lo\": %.0f, \"hi\": %.0f, \"gflops\": %.1f, \"params\": %lld, "
              "\"state_bytes\": %lld, \"activation_bytes\": %lld}\n",
              size.c_str(), kind.c_str(), precision.c_str(), num_threads(), median, rates.front(), rates.back(), median * flops / 1e9, static_cast<long long>(params),
              static_cast<long long>(state), static_cast<long long>(peak - state));
}
