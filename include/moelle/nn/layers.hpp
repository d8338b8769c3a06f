// moelle/nn/layers.hpp -- Linear, Embedding, RMSNorm, SwiGLU.
#pragma once
#include <memory>
#include <string>

#include <moelle/activation/swiglu_op.hpp>
#include <moelle/embedding/embedding_op.hpp>
#include <moelle/gemm/linear_op.hpp>
#include <moelle/nn/init.hpp>
#include <moelle/nn/module.hpp>
#include <moelle/nn/packed_weight.hpp>
#include <moelle/norm/rms_norm_op.hpp>

namespace moelle::nn {

// y = x W^T + b; x [..., in] -> [..., out]; weight [out, in].
template <class T>
class Linear : public Module<T> {
 public:
  Linear(std::int64_t in_features, std::int64_t out_features, bool with_bias = false, const Init& init = {}) {
    MOELLE_REQUIRE("Linear", in_features > 0 && out_features > 0,
                   str("sizes must be positive; got in_features=", in_features, " out_features=", out_features));
    this->register_parameter("weight", weight, weight_or_packed<T>({out_features, in_features}, in_features, init, "weight", packed));
    if (with_bias) this->register_parameter("bias", bias, Tensor<T>::zeros({out_features}));
  }
  Tensor<T> forward(const Tensor<T>& x) override {
    if constexpr (std::is_same_v<T, float>)
      if (packed.defined()) return gemm::linear(x, packed, bias);
    return linear(x, weight, bias, this->precision());
  }

  void pack_own(gemm::Format format) override { pack_away("Linear", weight, packed, format); }
  void fill_own_packed(const std::string& prefix, const WeightSource& source) override {
    if (packed.defined()) fill_group(packed, 0, source, prefix + "weight");
  }
  std::int64_t own_packed_bytes() const override { return packed.defined() ? packed.bytes() : 0; }

  Tensor<T> weight, bias;     // weight is undefined when it is packed
  gemm::PackedMatrix packed;
};

// ids [...] -> [..., D]; weight [V, D].
template <class T>
class Embedding : public Module<T> {
 public:
  Embedding(std::int64_t num_embeddings, std::int64_t embedding_dim, const Init& init = Init{.kind = Init::Kind::normal, .std = 1.0}) {
    MOELLE_REQUIRE("Embedding", num_embeddings > 0 && embedding_dim > 0,
                   str("sizes must be positive; got num_embeddings=", num_embeddings, " embedding_dim=", embedding_dim));
    this->register_parameter("weight", weight, make_weight<T>({num_embeddings, embedding_dim}, embedding_dim, init, "weight"));
  }
  template <class I>
  Tensor<T> lookup(const Tensor<I>& ids) const {
    return embedding::embedding(ids, weight);
  }

  Tensor<T> weight;
};

// y = w x / sqrt(mean(x^2) + eps) over the last axis (Zhang and Sennrich, arXiv:1910.07467).
template <class T>
class RMSNorm : public Module<T> {
 public:
  explicit RMSNorm(std::int64_t dim, double epsilon = 1e-6) : eps(epsilon) {
    MOELLE_REQUIRE("RMSNorm", dim > 0, str("dim must be positive; got dim=", dim));
    this->register_parameter("weight", weight, Tensor<T>::ones({dim}));
  }
  Tensor<T> forward(const Tensor<T>& x) override { return norm::rms_norm(x, weight, eps); }

  Tensor<T> weight;
  double eps;
};

// down(silu(gate(x)) * up(x)) (Shazeer, arXiv:2002.05202). Three weights under their Hugging Face names; gate and up lie
// in one tensor [2F, D], gate first, so that one product serves both.
template <class T>
class SwiGLU : public Module<T> {
 public:
  SwiGLU(std::int64_t hidden_size, std::int64_t intermediate_size, const Init& init = {}, const moelle::activation::SwigluParams& activation_ = {})
      : activation(activation_) {
    MOELLE_REQUIRE("SwiGLU", hidden_size > 0 && intermediate_size > 0,
                   str("sizes must be positive; got hidden_size=", hidden_size, " intermediate_size=", intermediate_size));
    this->register_parameter("gate_up_proj", gate_up_proj, weight_or_packed<T>({2 * intermediate_size, hidden_size}, hidden_size, init, "gate_up_proj", packed_gate_up, true));
    this->register_parameter("down_proj", down_proj, weight_or_packed<T>({hidden_size, intermediate_size}, intermediate_size, init, "down_proj", packed_down));
  }
  Tensor<T> forward(const Tensor<T>& x) override {
    if constexpr (std::is_same_v<T, float>)
      if (packed_down.defined()) return gemm::linear(gemm::linear(x, packed_gate_up, {}, {}, activation), packed_down);
    const Tensor<T> hidden = moelle::activation::swiglu_packed(linear(x, gate_up_proj, {}, this->precision()), activation);
    return linear(hidden, down_proj, {}, this->precision());
  }

  void pack_own(gemm::Format format) override {
    pack_away("SwiGLU", gate_up_proj, packed_gate_up, format, true);
    pack_away("SwiGLU", down_proj, packed_down, format);
  }
  void fill_own_packed(const std::string& prefix, const WeightSource& source) override {
    if (!packed_down.defined()) return;
    const std::int64_t D = packed_down.shape().n, F = packed_down.shape().k;
    fill_gated(packed_gate_up, 0, whole(source, prefix + "gate_proj.weight", {F, D}), whole(source, prefix + "up_proj.weight", {F, D}));
    fill_group(packed_down, 0, source, prefix + "down_proj.weight");
  }
  std::int64_t own_packed_bytes() const override { return packed_down.defined() ? packed_gate_up.bytes() + packed_down.bytes() : 0; }

  void own_state(const std::string& prefix, std::vector<StateEntry<T>>& out) override {
    if (!down_proj.defined()) return;
    const std::int64_t D = down_proj.size(0), F = down_proj.size(1);
    out.push_back({prefix + "gate_proj.weight", gate_up_proj, {F, D}, 0});
    out.push_back({prefix + "up_proj.weight", gate_up_proj, {F, D}, F * D});
    out.push_back({prefix + "down_proj.weight", down_proj, {D, F}, 0});
  }

  Tensor<T> gate_up_proj, down_proj;  // [2F, D], [D, F]; undefined when they are packed
  gemm::PackedMatrix packed_gate_up, packed_down;
  moelle::activation::SwigluParams activation;
};

}  // namespace moelle::nn
