// moelle/models/init.hpp -- initial weights of a whole model.
//
// Every matrix and table N(0, initializer_range) (DeepSeek-V2, V3: 0.006), norms 1, biases 0, selection biases 0.
#pragma once
#include <cstdint>

#include <moelle/models/config.hpp>
#include <moelle/nn/init.hpp>
#include <moelle/nn/module.hpp>

namespace moelle::models {

template <class T>
void initialize(nn::Module<T>& model, const Config& config, std::uint64_t seed) {
  for (const auto& e : model.state_entries()) {
    if (!e.source.requires_grad()) continue;  // buffers start as their modules made them
    if (e.shape.rank() >= 2) nn::fill_normal(e.value(), config.initializer_range, seed, e.name);
  }
}

}  // namespace moelle::models
