// DeepSeek-V3's gate on one token, step by step: scores, groups, choice, weights; then the bias that balances the experts.
#include <cstdio>
#include <vector>

#include <moelle/moe.hpp>

using namespace moelle;

int main() {
  const auto logits = Tensor<float>::from({2.2f, -2.2f, 0.0f, 0.4f, -1.4f, -0.8f, 1.4f, 0.8f}, {1, 8});
  const moe::GateParams v3{.groups = 4, .top_groups = 2, .top_k = 3, .score = moe::Score::sigmoid, .normalize = true, .scale = 2.5f};
  const auto bias = Tensor<float>::zeros({8});

  const auto routing = moe::gate(logits, bias, v3);
  std::printf("scores :");
  routing.scores.each([](float s) { std::printf(" %.2f", static_cast<double>(s)); });
  std::printf("\ngroups : {0,1} {2,3} {4,5} {6,7}; the two with the largest sum of their two best scores stay\nchosen :");
  for (std::int64_t k = 0; k < 3; ++k)
    std::printf("  expert %d with weight %.3f", routing.experts.at({0, k}), static_cast<double>(routing.weights.at({0, k})));

  // Expert 6 was busy: its bias goes down until another expert is chosen. Weights never see the bias.
  std::printf("\nbias   :");
  for (int step = 0; step < 6; ++step) {
    std::vector<std::int64_t> counts(8, 0);
    moe::gate(logits, bias, v3).experts.each([&](std::int32_t e) { ++counts[static_cast<std::size_t>(e)]; });
    moe::update_bias(bias, counts, 0.05);
  }
  bias.each([](float b) { std::printf(" %+.2f", static_cast<double>(b)); });
  const auto after = moe::gate(logits, bias, v3);
  std::printf("\nthen   :  experts %d, %d, %d\n", after.experts.at({0, 0}), after.experts.at({0, 1}), after.experts.at({0, 2}));
  return routing.experts.at({0, 0}) == 6 && after.experts.at({0, 0}) != 6 ? 0 : 1;
}
