// bench/training/bench_train_step.cpp -- tokens per second of a whole training step: forward, backward, clipping, AdamW.
//
// Sizes are the presets pilot, demo and small, as mixture of experts and as dense twin, on random tokens, another batch every step
// so that expert loads change. Prints one JSON object: {"size", "model", "threads", "tok_s", "lo", "hi", "gflops", "params",
// "state_bytes": weights, moments and gradients, "activation_bytes": what the peak has beyond them}.   train_step SIZE moe|dense THREADS [STEPS]
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

int main(int argc, char** argv) {
  if (argc < 4) return std::fprintf(stderr, "usage: train_step pilot|demo|small moe|dense THREADS [STEPS]\n"), 2;
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
  const auto params = model.num_parameters();
  training::Trainer<float> trainer(model, {.lr = 1e-3, .schedule = {.kind = training::ScheduleKind::constant}, .optimizer = {.method = training::Method::adamw}, .bias_update_rate = 0});
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
  std::printf("{\"size\": \"%s\", \"model\": \"%s\", \"threads\": %d, \"tok_s\": %.0f, \"lo\": %.0f, \"hi\": %.0f, \"gflops\": %.1f, \"params\": %lld, "
              "\"state_bytes\": %lld, \"activation_bytes\": %lld}\n",
              size.c_str(), kind.c_str(), num_threads(), median, rates.front(), rates.back(), median * flops / 1e9, static_cast<long long>(params),
              static_cast<long long>(state), static_cast<long long>(peak - state));
}
