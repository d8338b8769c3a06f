// Modules: names, slots, replacement, state.
#include <doctest/doctest.h>

#include <map>
#include <memory>
#include <string>

#include <moelle/nn.hpp>

#include "support/compare.hpp"
#include "support/random_tensor.hpp"

using namespace moelle;

namespace {
std::shared_ptr<nn::MoE<float>> make_moe() {
  return std::make_shared<nn::MoE<float>>(std::make_shared<nn::TopKGate<float>>(8, 4, moe::GateParams{.top_k = 2}, true),
                                          std::make_shared<nn::Experts<float>>(4, 8, 6), std::make_shared<nn::SwiGLU<float>>(8, 5));
}
template <class T>
std::map<std::string, Tensor<T>> dict_of(nn::Module<T>& m) {
  std::map<std::string, Tensor<T>> d;
  for (const auto& [name, t] : m.state_dict()) d[name] = clone(t.detach());
  return d;
}
// A gate of one's own: tokens go to experts in turn.
struct RoundRobin : nn::Gate<float> {
  moe::Routing<float> route(const Tensor<float>& x) override {
    auto experts = Tensor<std::int32_t>::empty({x.size(0), 1});
    for (std::int64_t n = 0; n < x.size(0); ++n) experts.data()[n] = static_cast<std::int32_t>(n % 4);
    return {experts, Tensor<float>::ones({x.size(0), 1}), {}};
  }
};
}  // namespace

TEST_CASE("fused experts appear one by one under their Hugging Face names, sharing memory with the module") {
  auto moe = make_moe();
  const auto state = moe->state_dict();
  std::map<std::string, Tensor<float>> d(state.begin(), state.end());
  CHECK(d.size() == 4 * 3 + 3 + 2);
  CHECK(d.at("experts.3.gate_proj.weight").shape() == Shape({6, 8}));
  CHECK(d.at("experts.3.down_proj.weight").shape() == Shape({8, 6}));
  CHECK(d.at("shared_experts.up_proj.weight").shape() == Shape({5, 8}));
  CHECK(d.count("gate.e_score_correction_bias") == 1);
  d.at("experts.1.up_proj.weight").at({2, 3}) = 42.0f;
  CHECK(moe->experts->gate_up_proj.at({1, 6 + 2, 3}) == 42.0f);
  CHECK(moe->named_parameters().size() == 5);  // gate, two of the experts, two of the shared expert
}

TEST_CASE("a part can be replaced by another of its kind, C++ code uses it at once, other kinds are refused") {
  auto moe = make_moe();
  const auto x = test::normal<float>({2, 6, 8}, 1);
  const auto before = moe->forward(x);
  moe->set_module("gate", std::make_shared<RoundRobin>());
  const auto after = moe->forward(x);
  CHECK_FALSE(test::bitwise_equal(before.detach(), after.detach()));
  CHECK(moe->last_experts().at({5, 0}) == 1);
  std::int64_t counted = 0;
  for (const auto c : moe->counts()) counted += c;
  CHECK(counted == 12 * 2 + 12);  // two experts per token before, one after
  CHECK_THROWS_WITH_AS(moe->set_module("gate", std::make_shared<nn::Linear<float>>(8, 8)),
                       "set_module: a module must be of the kind that it replaces; got another kind for gate", Error);
  CHECK_THROWS_AS(moe->set_module("gait", std::make_shared<RoundRobin>()), Error);
}

TEST_CASE("loading checks every name and shape before it changes anything") {
  nn::SwiGLU<float> mlp(4, 3);
  const auto before = clone(mlp.gate_up_proj.detach());
  auto d = dict_of(mlp);
  d["gate_proj.weight"] = test::normal<float>({3, 4}, 5);
  auto wrong = d;
  wrong["down_proj.weight"] = Tensor<float>::zeros({4, 4});
  CHECK_THROWS_WITH_AS(mlp.load_state_dict(wrong), "load_state_dict: shapes must agree; got down_proj.weight of shape [4, 4] for a parameter of shape [4, 3]", Error);
  wrong = d;
  wrong.erase("up_proj.weight");
  wrong["extra"] = Tensor<float>::zeros({1});
  CHECK_THROWS_WITH_AS(mlp.load_state_dict(wrong), "load_state_dict: names must agree; got missing=[up_proj.weight] unexpected=[extra]", Error);
  CHECK(test::bitwise_equal(mlp.gate_up_proj.detach(), before));
  const auto result = mlp.load_state_dict(wrong, false);
  CHECK(result.missing == std::vector<std::string>{"up_proj.weight"});
  CHECK(result.unexpected == std::vector<std::string>{"extra"});
  CHECK(mlp.gate_up_proj.at({0, 0}) == d["gate_proj.weight"].at({0, 0}));
}

TEST_CASE("names must be new and without dots; a shared weight is listed once") {
  struct Tied : nn::Module<float> {
    Tensor<float> a, b;
    Tied() {
      register_parameter("a", a, Tensor<float>::ones({2}));
      register_parameter("b", b, a);
    }
  } tied;
  CHECK(tied.named_parameters().size() == 1);
  CHECK(tied.state_dict().size() == 2);
  CHECK_THROWS_AS(tied.add_parameter("a", Tensor<float>::ones({1})), Error);
  CHECK_THROWS_AS(tied.add_parameter("a.b", Tensor<float>::ones({1})), Error);
  CHECK_THROWS_AS(tied.add_parameter("", Tensor<float>::ones({1})), Error);
  tied.eval();
  CHECK_FALSE(tied.training());
}

TEST_CASE("initial values depend on seed and name alone") {
  const auto a = Tensor<float>::empty({40, 50}), b = Tensor<float>::empty({40, 50}), c = Tensor<float>::empty({40, 50});
  nn::fill_normal(a, 0.5, 1, "w");
  nn::fill_normal(b, 0.5, 1, "w");
  nn::fill_normal(c, 0.5, 1, "v");
  CHECK(test::bitwise_equal(a, b));
  CHECK_FALSE(test::bitwise_equal(a, c));
  double square = 0;
  a.each([&](float v) { square += static_cast<double>(v) * static_cast<double>(v); });
  CHECK(std::sqrt(square / 2000) == doctest::Approx(0.5).epsilon(0.05));
}
