// tests/training/tiny.hpp -- a model, documents and a trainer small enough to run many times.
#pragma once
#include <string>
#include <vector>

#include <moelle/models.hpp>
#include <moelle/training.hpp>

namespace moelle::test {

inline models::Config tiny_config() {
  models::Config c = models::preset("pilot");
  c.num_hidden_layers = 2;
  c.hidden_size = 32;
  c.intermediate_size = 48;
  c.moe_intermediate_size = 16;
  c.n_routed_experts = 8;
  c.aux_loss_alpha = 1e-2;
  return c;
}

inline std::vector<training::Document> tiny_documents() {
  std::string text;
  for (int i = 0; i < 6000; ++i) text += static_cast<char>('a' + i * i % 23);
  return {{"a", text.substr(0, 2000), 1}, {"b", text.substr(2000), 2}};
}

// All weights and buffers, one after the other.
template <class T>
std::vector<T> flat(models::CausalLM<T>& model) {
  std::vector<T> out;
  for (const auto& [name, t] : model.state_dict()) t.each([&](T v) { out.push_back(v); });
  return out;
}

}  // namespace moelle::test
