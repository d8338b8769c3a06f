// moelle/nn/moe.hpp -- gate, experts and the layer made of them.
#pragma once
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <moelle/moe/balance.hpp>
#include <moelle/moe/balance_op.hpp>
#include <moelle/moe/experts_op.hpp>
#include <moelle/moe/gate_op.hpp>
#include <moelle/moe/packed_experts_op.hpp>
#include <moelle/nn/layers.hpp>
#include <moelle/tensor/ops.hpp>

namespace moelle::nn {

// Any router: x [N, D] -> which experts, with which weights. Derive from it, in C++ or Python, to try another.
template <class T>
class Gate : public Module<T> {
 public:
  virtual moe::Routing<T> route(const Tensor<T>& x) = 0;
  // Called once per step with the tokens of each expert; the router may move its biases.
  virtual void balance(const std::vector<std::int64_t>& counts, double rate, moe::BiasRule rule) { (void)counts, (void)rate, (void)rule; }
};

// The routers of the DeepSeek family, Mixtral, Qwen3 and OLMoE; see moe/gate.hpp for the parameters.
template <class T>
class TopKGate : public Gate<T> {
 public:
  TopKGate(std::int64_t hidden_size, std::int64_t num_experts, const moe::GateParams& params_, bool selection_bias, const Init& init = {})
      : params(params_) {
    moe::check(params, num_experts);
    this->register_parameter("weight", weight, make_weight<T>({num_experts, hidden_size}, hidden_size, init, "weight"));
    if (selection_bias) this->register_buffer("e_score_correction_bias", e_score_correction_bias, Tensor<T>::zeros({num_experts}));
  }
  moe::Routing<T> route(const Tensor<T>& x) override {
    logits = linear(x, weight);
    return moe::gate(logits, e_score_correction_bias, params);
  }
  void balance(const std::vector<std::int64_t>& counts, double rate, moe::BiasRule rule) override {
    if (e_score_correction_bias.defined()) moe::update_bias(e_score_correction_bias, counts, rate, rule);
  }

  Tensor<T> weight;                   // [E, D]
  Tensor<T> e_score_correction_bias;  // [E]; undefined without selection bias
  Tensor<T> logits;                   // [N, E] of the last call, for the z-loss
  moe::GateParams params;
};

// E SwiGLU experts in two tensors; each appears in the state dict under its own Hugging Face names.
template <class T>
class Experts : public Module<T> {
 public:
  struct Names {
    std::string gate = "gate_proj", up = "up_proj", down = "down_proj";  // Mixtral: w1, w3, w2
  };
  Experts(std::int64_t num_experts, std::int64_t hidden_size, std::int64_t intermediate_size, const Init& init = {}, const Names& names = {},
          const moelle::activation::SwigluParams& activation_ = {})
      : activation(activation_), names_(names), size_(num_experts) {
    MOELLE_REQUIRE("Experts", num_experts > 0 && hidden_size > 0 && intermediate_size > 0,
                   str("sizes must be positive; got num_experts=", num_experts, " hidden_size=", hidden_size, " intermediate_size=", intermediate_size));
    this->register_parameter("gate_up_proj", gate_up_proj,
                             weight_or_packed<T>({num_experts, 2 * intermediate_size, hidden_size}, hidden_size, init, "gate_up_proj", packed_gate_up, true));
    this->register_parameter("down_proj", down_proj, weight_or_packed<T>({num_experts, hidden_size, intermediate_size}, intermediate_size, init, "down_proj", packed_down));
  }
  // x [N, D] -> [N, D].
  Tensor<T> apply(const Tensor<T>& x, const moe::Routing<T>& routing) {
    if constexpr (std::is_same_v<T, float>)
      if (packed_down.defined()) return moe::packed_experts(x, routing, packed_gate_up, packed_down, activation);
    return moe::experts(x, routing.experts, routing.weights, gate_up_proj, down_proj, activation, this->precision());
  }
  std::int64_t size() const { return size_; }

  void pack_own(gemm::Format format) override {
    pack_away("Experts", gate_up_proj, packed_gate_up, format, true);
    pack_away("Experts", down_proj, packed_down, format);
  }
  void fill_own_packed(const std::string& prefix, const WeightSource& source) override {
    if (!packed_down.defined()) return;
    const std::int64_t D = packed_down.shape().n, F = packed_down.shape().k;
    for (std::int64_t e = 0; e < size_; ++e) {
      const std::string expert = prefix + std::to_string(e) + ".";
      fill_gated(packed_gate_up, e, whole(source, expert + names_.gate + ".weight", {F, D}), whole(source, expert + names_.up + ".weight", {F, D}));
      fill_group(packed_down, e, source, expert + names_.down + ".weight");
    }
  }
  std::int64_t own_packed_bytes() const override { return packed_down.defined() ? packed_gate_up.bytes() + packed_down.bytes() : 0; }

  void own_state(const std::string& prefix, std::vector<StateEntry<T>>& out) override {
    if (!down_proj.defined()) return;
    const std::int64_t E = down_proj.size(0), D = down_proj.size(1), F = down_proj.size(2);
    for (std::int64_t e = 0; e < E; ++e) {
      const std::string expert = prefix + std::to_string(e) + ".";
      out.push_back({expert + names_.gate + ".weight", gate_up_proj, {F, D}, 2 * e * F * D});
      out.push_back({expert + names_.up + ".weight", gate_up_proj, {F, D}, (2 * e + 1) * F * D});
      out.push_back({expert + names_.down + ".weight", down_proj, {D, F}, e * D * F});
    }
  }

  Tensor<T> gate_up_proj, down_proj;  // [E, 2F, D], [E, D, F]; undefined when they are packed
  gemm::PackedMatrix packed_gate_up, packed_down;
  moelle::activation::SwigluParams activation;

 private:
  Names names_;
  std::int64_t size_;
};

// Coefficients of the balance losses; 0: not computed.
struct BalanceLosses {
  double sequence = 0.0;  // DeepSeek-V3's, V2's with seq_aux
  double batch = 0.0;     // DeepSeekMoE's and V2's expert-level loss over the whole batch
  double switch_ = 0.0;   // Switch, Mixtral, Qwen3, OLMoE
  double z = 0.0;         // router z-loss
  bool any() const { return sequence != 0 || batch != 0 || switch_ != 0 || z != 0; }
};

// y = shared(x) + sum of the chosen experts' outputs, weighed.
template <class T>
class MoE : public Module<T> {
 public:
  MoE(std::shared_ptr<Gate<T>> gate_, std::shared_ptr<Experts<T>> experts_, std::shared_ptr<Module<T>> shared_experts_ = nullptr,
      const BalanceLosses& losses_ = {})
      : losses(losses_), num_experts_(experts_->size()) {
    this->register_module("gate", gate, std::move(gate_));
    this->register_module("experts", experts, std::move(experts_));
    if (shared_experts_ != nullptr) this->register_module("shared_experts", shared_experts, std::move(shared_experts_));
    reset_counts();
  }

  // x [..., D].
  Tensor<T> forward(const Tensor<T>& x) override {
    const std::int64_t D = x.size(-1);
    const Tensor<T> rows = reshape(x, {-1, D});
    const moe::Routing<T> routing = gate->route(rows);
    last_experts_ = routing.experts;
    if (this->training() && !autograd::recomputing()) count(routing.experts);
    balance_loss_ = this->training() && losses.any() ? losses_of(routing, x.rank() == 3 ? x.size(0) : 1) : Tensor<T>();
    const Tensor<T> y = reshape(experts->apply(rows, routing), x.shape());
    return shared_experts != nullptr ? add(y, shared_experts->forward(x)) : y;
  }

  // Of the last forward pass: [N, K], and the weighed sum of the balance losses (undefined outside training).
  const Tensor<std::int32_t>& last_experts() const { return last_experts_; }
  const Tensor<T>& balance_loss() const { return balance_loss_; }

  // Tokens of each expert since reset_counts(), over all micro-batches; recomputation does not count.
  const std::vector<std::int64_t>& counts() const { return counts_; }
  void reset_counts() { counts_.assign(static_cast<std::size_t>(num_experts_), 0); }
  void update_bias(double rate, moe::BiasRule rule) { gate->balance(counts_, rate, rule); }

  std::shared_ptr<Gate<T>> gate;
  std::shared_ptr<Experts<T>> experts;
  std::shared_ptr<Module<T>> shared_experts;
  BalanceLosses losses;

 private:
  void count(const Tensor<std::int32_t>& choice) {
    choice.each([&](std::int32_t e) {
      MOELLE_REQUIRE("MoE", e >= 0 && e < num_experts_, str("experts must be in [0, ", num_experts_, "); got expert=", e));
      ++counts_[static_cast<std::size_t>(e)];
    });
  }
  Tensor<T> losses_of(const moe::Routing<T>& routing, std::int64_t sequences) {
    Tensor<T> sum;
    const auto plus = [&](double by, const Tensor<T>& loss) {
      const Tensor<T> term = mul(loss, static_cast<T>(by));
      sum = sum.defined() ? add(sum, term) : term;
    };
    if (routing.scores.defined()) {
      if (losses.sequence != 0) plus(losses.sequence, moe::sequence_balance_loss(routing.scores, routing.experts, sequences));
      if (losses.batch != 0) plus(losses.batch, moe::sequence_balance_loss(routing.scores, routing.experts, 1));
      if (losses.switch_ != 0) plus(losses.switch_, moe::switch_balance_loss(routing.scores, routing.experts));
    }
    const auto top_k = std::dynamic_pointer_cast<TopKGate<T>>(gate);
    if (losses.z != 0 && top_k != nullptr) plus(losses.z, moe::router_z_loss(top_k->logits));
    return sum;
  }

  std::int64_t num_experts_;
  std::vector<std::int64_t> counts_;
  Tensor<std::int32_t> last_experts_;
  Tensor<T> balance_loss_;
};

}  // namespace moelle::nn
