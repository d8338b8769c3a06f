// moelle/models/decoder.hpp -- one decoder layer and the stack of them. Modules and names as in Hugging Face's checkpoints.
#pragma once
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <moelle/autograd/checkpoint.hpp>
#include <moelle/models/build.hpp>
#include <moelle/models/config.hpp>
#include <moelle/nn/attention.hpp>
#include <moelle/nn/layers.hpp>
#include <moelle/nn/moe.hpp>
#include <moelle/tensor/ops.hpp>

namespace moelle::models {

// The caches of all layers for one group of sequences.
struct DecoderCache {
  std::vector<std::shared_ptr<nn::LayerCache>> layers;
  std::int64_t length() const { return layers.empty() ? 0 : layers.front()->length(); }
  void truncate(std::int64_t n) {
    for (auto& l : layers) l->truncate(n);
  }
  std::int64_t bytes() const {
    std::int64_t sum = 0;
    for (const auto& l : layers) sum += l->bytes();
    return sum;
  }
};

template <class T>
std::shared_ptr<nn::Module<T>> norm_of(const Config& config) {
  return std::make_shared<nn::RMSNorm<T>>(config.hidden_size, config.rms_norm_eps);
}

// x -> x + attention(norm(x)) -> + mlp(norm(.)).
template <class T>
class DecoderLayer : public nn::Module<T> {
 public:
  DecoderLayer(const Config& config, std::int64_t layer, const std::shared_ptr<nn::Rotary<T>>& rotary, const nn::Init& init = kNoInit) {
    this->register_module("input_layernorm", input_layernorm, norm_of<T>(config));
    this->register_module("self_attn", self_attn, make_attention<T>(config, rotary, init));
    this->register_module("post_attention_layernorm", post_attention_layernorm, norm_of<T>(config));
    this->register_module(feed_forward_name(config, layer), mlp, make_feed_forward<T>(config, layer, init));
  }
  // x [B, T, D].
  Tensor<T> forward(const Tensor<T>& x, const nn::AttentionContext& context) {
    const Tensor<T> h = add(x, self_attn->attend(input_layernorm->forward(x), context));
    return add(h, mlp->forward(post_attention_layernorm->forward(h)));
  }
  Tensor<T> forward(const Tensor<T>& x) override { return forward(x, {}); }

  // The layer's mixture of experts; null if the layer is dense or its feed-forward was replaced by something else.
  std::shared_ptr<nn::MoE<T>> moe() const { return std::dynamic_pointer_cast<nn::MoE<T>>(mlp); }

  std::shared_ptr<nn::Module<T>> input_layernorm, post_attention_layernorm;
  std::shared_ptr<nn::Attention<T>> self_attn;
  std::shared_ptr<nn::Module<T>> mlp;
};

// Output of a layer and, in training, the balance losses of its experts.
template <class T>
struct LayerOutput {
  Tensor<T> hidden;
  Tensor<T> balance_loss;  // undefined if there is none
};

// Runs a layer; with `recompute` its activations are not kept but computed again during backward.
template <class T>
LayerOutput<T> run_layer(DecoderLayer<T>& layer, const Tensor<T>& x, const nn::AttentionContext& context, bool recompute) {
  const auto run = [&layer, context](const std::vector<Tensor<T>>& in) {
    std::vector<Tensor<T>> out{layer.forward(in[0], context)};
    if (const auto moe = layer.moe(); moe != nullptr && moe->balance_loss().defined()) out.push_back(moe->balance_loss());
    return out;
  };
  const auto out = recompute && autograd::is_enabled() ? autograd::checkpoint_all<T>(run, {x}) : run({x});
  return {out[0], out.size() > 1 ? out[1] : Tensor<T>()};
}

// Everything under "model.": embedding, layers, final norm.
template <class T>
class Decoder : public nn::Module<T> {
 public:
  explicit Decoder(const Config& config) {
    this->register_module("embed_tokens", embed_tokens, std::make_shared<nn::Embedding<T>>(config.vocab_size, config.hidden_size, kNoInit));
    this->register_module("layers", layers, std::make_shared<nn::ModuleList<T>>());
    this->register_module("norm", norm, norm_of<T>(config));
  }

  std::shared_ptr<nn::Embedding<T>> embed_tokens;
  std::shared_ptr<nn::ModuleList<T>> layers;  // decoder layers, then multi-token prediction modules
  std::shared_ptr<nn::Module<T>> norm;
};

}  // namespace moelle::models
