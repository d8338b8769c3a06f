// A mixture of experts in the style of DeepSeek-V3 learns to continue a sentence.
#include <cstdio>
#include <string>

#include <moelle/generation.hpp>
#include <moelle/models.hpp>
#include <moelle/training.hpp>

using namespace moelle;

int main() {
  models::Config config = models::preset("pilot");
  config.num_hidden_layers = 2;
  config.hidden_size = 64;
  config.n_routed_experts = 8;
  models::CausalLM<float> model(config, /*seed=*/0);
  std::printf("%lld parameters, %zu of two layers with experts\n", static_cast<long long>(model.num_parameters()), model.moe_layers().size());

  const std::string text = "The marrow of a mixture of experts is its gate: it sends every token to the few experts that know it best. ";
  std::vector<training::Document> documents{{"sentence", text + text + text + text + text + text + text + text, 0}};
  training::ByteLoader loader(documents, {.batch_size = 4, .seq_len = 64, .seed = 0});
  training::Trainer<float> trainer(model, {.lr = 1e-2, .schedule = {.total_steps = 60, .warmup_steps = 5}, .bias_update_rate = 0.02});
  double last = 0;
  for (int step = 0; step < 60; ++step) {
    const auto report = trainer.step(trainer.next_batches(loader));
    last = report.loss;
    if (step % 10 == 0 || step == 59) std::printf("step %2d  loss %.3f  MaxVio %.2f\n", step, report.loss, report.max_violation);
  }
  const std::string prompt = "The marrow of a mixture";
  auto ids = Tensor<std::int32_t>::empty({1, static_cast<std::int64_t>(prompt.size())});
  for (std::size_t i = 0; i < prompt.size(); ++i) ids.data()[i] = static_cast<unsigned char>(prompt[i]);
  generation::generate(model, ids, {.max_new_tokens = 40, .sampling = {.temperature = 0.0}}).each([](std::int32_t id) { std::putchar(id); });
  std::putchar('\n');
  return last < 0.5 ? 0 : 1;
}
