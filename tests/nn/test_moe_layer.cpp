// The mixture of experts as a layer: routing, counts, balance losses, recomputation, and gates of one's own.
#include <doctest/doctest.h>

#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <moelle/autograd/checkpoint.hpp>
#include <moelle/moe/balance_ref.hpp>
#include <moelle/nn.hpp>

#include "support/compare.hpp"
#include "support/random_tensor.hpp"

using namespace moelle;

namespace {

constexpr std::int64_t kWidth = 8, kExperts = 6;

std::shared_ptr<nn::MoE<double>> make_moe(const nn::BalanceLosses& losses = {}, bool bias = true) {
  const moe::GateParams gate{.top_k = 2, .score = moe::Score::softmax};
  return std::make_shared<nn::MoE<double>>(std::make_shared<nn::TopKGate<double>>(kWidth, kExperts, gate, bias),
                                           std::make_shared<nn::Experts<double>>(kExperts, kWidth, 5), std::make_shared<nn::SwiGLU<double>>(kWidth, 7), losses);
}
// One expert out of the layer's two fused tensors.
Tensor<double> expert(nn::MoE<double>& m, std::int64_t e, const Tensor<double>& x) {
  nn::SwiGLU<double> one(kWidth, 5);
  std::map<std::string, Tensor<double>> d;
  for (const auto& [name, t] : m.experts->state_dict())
    if (const std::string prefix = std::to_string(e) + "."; name.starts_with(prefix)) d[name.substr(prefix.size())] = t;
  one.load_state_dict(d);
  return one(x).detach();
}
// A gate of one's own: expert n mod E for token n, with a trained weight, and a memory of what balance() told it.
struct InTurn : nn::Gate<double> {
  InTurn() { register_parameter("strength", strength, Tensor<double>::full({1}, 0.5)); }
  moe::Routing<double> route(const Tensor<double>& x) override {
    const auto experts = Tensor<std::int32_t>::empty({x.size(0), 1});
    for (std::int64_t n = 0; n < x.size(0); ++n) experts.data()[n] = static_cast<std::int32_t>(n % kExperts);
    return {experts, mul(Tensor<double>::ones({x.size(0), 1}), strength), {}};
  }
  void balance(const std::vector<std::int64_t>& counts, double rate, moe::BiasRule) override { told = {counts, rate}; }
  Tensor<double> strength;
  std::pair<std::vector<std::int64_t>, double> told;
};
std::vector<Tensor<double>> gradients(nn::Module<double>& m) {
  std::vector<Tensor<double>> out;
  for (const auto& p : m.parameters()) out.push_back(p.grad().defined() ? clone(p.grad()) : Tensor<double>());
  return out;
}

}  // namespace

TEST_CASE("the layer is the shared expert plus the weighed outputs of the chosen ones") {
  auto m = make_moe();
  const auto x = test::normal<double>({3, kWidth}, 1);
  const auto y = m->forward(x).detach();
  const auto routing = m->gate->route(x);
  const auto shared = m->shared_experts->forward(x).detach();
  for (std::int64_t n = 0; n < 3; ++n) {
    auto want = clone(contiguous(slice(shared, 0, n, n + 1)));
    for (std::int64_t k = 0; k < 2; ++k) {
      const auto part = expert(*m, routing.experts.at({n, k}), contiguous(slice(x, 0, n, n + 1)));
      for (std::int64_t i = 0; i < kWidth; ++i) want.data()[i] += routing.weights.at({n, k}) * part.data()[i];
    }
    CHECK(test::max_relative_error(contiguous(slice(y, 0, n, n + 1)), want) < 1e-12);
  }
}

TEST_CASE("a gate of one's own is used, trained, counted and told the counts") {
  auto m = make_moe({.sequence = 1.0, .z = 1.0});
  const auto gate = std::make_shared<InTurn>();
  m->set_module("gate", gate);
  const auto x = test::normal<double>({1, 9, kWidth}, 1);
  sum(m->forward(x)).backward();
  CHECK_FALSE(m->balance_loss().defined());  // it shows no scores: nothing to balance by
  REQUIRE(gate->strength.grad().defined());
  double want = 0;  // d sum / d strength: the sum of what the experts put out
  for (std::int64_t n = 0; n < 9; ++n) expert(*m, n % kExperts, reshape(slice(x, 1, n, n + 1), {1, kWidth})).each([&](double v) { want += v; });
  CHECK(gate->strength.grad().item() == doctest::Approx(want).epsilon(1e-10));
  CHECK(m->counts() == std::vector<std::int64_t>{2, 2, 2, 1, 1, 1});
  m->update_bias(0.25, moe::BiasRule::sign);
  CHECK(gate->told.first == m->counts());
  CHECK(gate->told.second == 0.25);
  std::vector<std::string> names;
  for (const auto& [name, p] : m->named_parameters()) names.push_back(name);
  CHECK(names.front() == "gate.strength");
}

TEST_CASE("a gate that names an expert that does not exist is refused") {
  struct Wrong : nn::Gate<double> {
    moe::Routing<double> route(const Tensor<double>& x) override {
      return {Tensor<std::int32_t>::full({x.size(0), 1}, static_cast<std::int32_t>(kExperts)), Tensor<double>::ones({x.size(0), 1}), {}};
    }
  };
  auto m = make_moe();
  m->set_module("gate", std::make_shared<Wrong>());
  CHECK_THROWS_WITH_AS(m->forward(Tensor<double>::ones({2, kWidth})), doctest::Contains("6"), Error);
}

TEST_CASE("tokens are counted in training mode, over calls, until reset") {
  auto m = make_moe();
  const auto x = test::normal<double>({2, 5, kWidth}, 1);
  const auto total = [&] {
    std::int64_t n = 0;
    for (const auto c : m->counts()) n += c;
    return n;
  };
  m->forward(x);
  m->forward(x);
  CHECK(total() == 2 * 2 * 5 * 2);
  m->eval();
  m->forward(x);
  CHECK(total() == 40);
  CHECK_FALSE(m->balance_loss().defined());
  m->reset_counts();
  CHECK(total() == 0);
}

TEST_CASE("the balance losses are those of the definitions, each with its weight") {
  const auto x = test::normal<double>({3, 7, kWidth}, 1);
  const auto run = [&](const nn::BalanceLosses& losses) {
    auto m = make_moe(losses);
    m->forward(x);
    return m;
  };
  auto m = run({.sequence = 0.5});
  const auto& gate = dynamic_cast<nn::TopKGate<double>&>(*m->gate);
  const auto routing = m->gate->route(reshape(x, {21, kWidth}));
  const auto s = routing.scores.to_vector();
  const auto choice = routing.experts.to_vector();
  CHECK(m->balance_loss().item() == doctest::Approx(0.5 * moe::ref::sequence_balance_loss(s, choice, kExperts, 2, 3)).epsilon(1e-10));
  CHECK(run({.batch = 0.5})->balance_loss().item() == doctest::Approx(0.5 * moe::ref::sequence_balance_loss(s, choice, kExperts, 2, 1)).epsilon(1e-10));
  CHECK(run({.switch_ = 2.0})->balance_loss().item() == doctest::Approx(2.0 * moe::ref::switch_balance_loss(s, choice, kExperts, 2)).epsilon(1e-10));
  const double z = moe::ref::router_z_loss(gate.logits.to_vector(), kExperts);
  CHECK(run({.z = 3.0})->balance_loss().item() == doctest::Approx(3.0 * z).epsilon(1e-10));
  CHECK(run({.switch_ = 2.0, .z = 3.0})->balance_loss().item() ==
        doctest::Approx(2.0 * moe::ref::switch_balance_loss(s, choice, kExperts, 2) + 3.0 * z).epsilon(1e-10));
}

TEST_CASE("recomputation changes no bit of output, balance loss or gradient, and counts no token twice") {
  const auto x = test::normal<double>({2, 9, kWidth}, 1);
  std::vector<Tensor<double>> want;
  for (const bool recompute : {false, true}) {
    auto m = make_moe({.sequence = 0.5, .z = 0.1});
    const auto input = clone(x);
    input.set_requires_grad(true);
    const auto run = [&](const std::vector<Tensor<double>>& in) {
      const auto y = m->forward(in[0]);
      return std::vector<Tensor<double>>{y, m->balance_loss()};
    };
    const auto out = recompute ? autograd::checkpoint_all<double>(run, {input}) : run({input});
    add(sum(mul(out[0], out[0])), out[1]).backward();
    auto got = gradients(*m);
    got.insert(got.end(), {out[0].detach(), out[1].detach(), input.grad()});
    std::int64_t counted = 0;
    for (const auto c : m->counts()) counted += c;
    CHECK(counted == 2 * 9 * 2);
    if (want.empty()) want = got;
    REQUIRE(got.size() == want.size());
    for (std::size_t i = 0; i < got.size(); ++i) CHECK(test::bitwise_equal(got[i], want[i]));
  }
}
