// moelle/models/causal_lm.hpp -- a decoder-only language model from one configuration.
#pragma once
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <moelle/loss/linear_cross_entropy_op.hpp>
#include <moelle/models/decoder.hpp>
#include <moelle/models/init.hpp>
#include <moelle/models/mtp.hpp>

namespace moelle::models {

// One training example: ids[b, t] is followed by targets[b, t].
struct LossInput {
  Tensor<std::int32_t> ids;       // [B, T]
  Tensor<std::int32_t> targets;   // [B, T]; kIgnore counts nothing
  Tensor<std::int32_t> segments = {};  // [B, T] document numbers; undefined: each row is one document
  double normalizer = 0.0;        // divide summed losses by this; 0: by the number of targets here
  double mtp_weight = 0.0;        // lambda of the multi-token prediction losses; 0: not computed
  double balance_weight = 1.0;    // of the balance losses: this batch's part of the step
};
inline constexpr std::int32_t kIgnore = -100;

template <class T>
struct LossOutput {
  Tensor<T> loss;      // mean next-token cross-entropy, in nats
  Tensor<T> mtp;       // mean over depths; undefined if not computed
  Tensor<T> balance;   // sum of the layers' balance losses; undefined if there are none
  Tensor<T> total;     // what training minimises: loss + mtp_weight * mtp + balance_weight * balance
};

template <class T>
class CausalLM : public nn::Module<T> {
 public:
  // Parameters are functions of (seed, name): N(0, initializer_range), norms 1, biases 0.
  explicit CausalLM(const Config& given, std::uint64_t seed = 0) : CausalLM(given, seed, std::optional<gemm::Format>()) {}

  // For inference: weights of products are taken from `source` and packed one by one, so that the floats of the whole model never exist.
  // Without a source they are what the constructor above makes.
  CausalLM(const Config& given, std::uint64_t seed, std::optional<gemm::Format> format, const nn::WeightSource& source = nullptr) : config(checked(given)) {
    nn::Init init = kNoInit;
    init.format = format;
    this->register_module("model", model, std::make_shared<Decoder<T>>(config));
    const std::int64_t L = config.num_hidden_layers;
    const auto rotary = make_rotary<T>(config);
    for (std::int64_t i = 0; i < L; ++i) model->layers->push_back(std::make_shared<DecoderLayer<T>>(config, i, rotary, init));
    MOELLE_REQUIRE("CausalLM", !format || config.num_nextn_predict_layers == 0,
                   str("packed models have no prediction modules yet; got num_nextn_predict_layers=", config.num_nextn_predict_layers));
    for (std::int64_t i = 0; i < config.num_nextn_predict_layers; ++i) model->layers->push_back(std::make_shared<MtpLayer<T>>(config, L + i, rotary));
    if (!config.tie_word_embeddings)
      this->register_module("lm_head", lm_head, std::make_shared<nn::Linear<T>>(config.hidden_size, config.vocab_size, false, init));
    initialize(*this, config, seed);
    if (!format) return;
    const nn::WeightSource normal = [&](const std::string& name, const Shape& shape, std::int64_t begin, std::int64_t end) {
      const Tensor<float> w = Tensor<float>::empty({end - begin, shape[1]});
      nn::fill_normal(w, config.initializer_range, seed, name, begin * shape[1]);
      return w;
    };
    this->fill_packed(source != nullptr ? source : normal);
  }
  using nn::Module<T>::forward;

  // ids [B, T] -> final hidden states [B, T, D]. With a cache the ids continue what it holds.
  Tensor<T> hidden_states(const Tensor<std::int32_t>& ids, const Tensor<std::int32_t>& segments = {}, DecoderCache* cache = nullptr) {
    return run(ids, segments, cache).hidden;
  }
  // ids [B, T] -> logits [B, T, V].
  Tensor<T> logits(const Tensor<std::int32_t>& ids, DecoderCache* cache = nullptr) { return project(hidden_states(ids, {}, cache)); }
  // hidden [..., D] -> logits [..., V].
  Tensor<T> project(const Tensor<T>& hidden) { return head_is_packed() ? lm_head->forward(hidden) : linear(hidden, head_weight(), {}, head_precision()); }

  LossOutput<T> loss(const LossInput& in) {
    const auto [hidden, balance] = run(in.ids, in.segments, nullptr);
    LossOutput<T> out;
    out.loss = cross_entropy_of(hidden, in.targets, in.normalizer);
    out.balance = balance;
    out.total = out.loss;
    if (in.mtp_weight > 0 && config.num_nextn_predict_layers > 0) {
      out.mtp = mtp_loss(hidden, in);
      out.total = add(out.total, mul(out.mtp, static_cast<T>(in.mtp_weight)));
    }
    if (balance.defined()) out.total = add(out.total, mul(balance, static_cast<T>(in.balance_weight)));
    return out;
  }

  DecoderCache make_cache(std::int64_t batch, std::int64_t capacity) {
    MOELLE_REQUIRE("make_cache", batch > 0 && capacity > 0, str("sizes must be positive; got batch=", batch, " capacity=", capacity));
    DecoderCache cache;
    for (std::int64_t i = 0; i < config.num_hidden_layers; ++i) {
      cache.layers.push_back(layer(i).self_attn->make_cache(batch, capacity));
      MOELLE_REQUIRE("make_cache", cache.layers.back() != nullptr, str("every attention must offer a cache; got none from layer ", i));
    }
    return cache;
  }

  // Files of transformers announce prediction modules and hold none; official ones hold some that a model may not want, with
  // copies of embedding and head. Tables of rotary frequencies appear in old files, and a tied head in some.
  bool is_optional(const std::string& name) const override {
    const std::string prefix = "model.layers.";
    if (name.size() > 20 && name.compare(name.size() - 19, 19, "rotary_emb.inv_freq") == 0) return true;
    if (lm_head == nullptr && name == "lm_head.weight") return true;
    if (name.compare(0, prefix.size(), prefix) != 0) return false;
    return std::strtoll(name.c_str() + prefix.size(), nullptr, 10) >= config.num_hidden_layers;
  }

  DecoderLayer<T>& layer(std::int64_t i) {
    auto* l = dynamic_cast<DecoderLayer<T>*>((*model->layers)[static_cast<std::size_t>(i)].get());
    MOELLE_REQUIRE("CausalLM", l != nullptr, str("layers must be decoder layers; got another module at layer ", i));
    return *l;
  }
  // The mixtures of experts with their layer numbers, in order.
  std::vector<std::pair<std::int64_t, std::shared_ptr<nn::MoE<T>>>> moe_layers() {
    std::vector<std::pair<std::int64_t, std::shared_ptr<nn::MoE<T>>>> out;
    for (std::int64_t i = 0; i < static_cast<std::int64_t>(model->layers->size()); ++i)
      if (auto m = layer(i).moe()) out.emplace_back(i, std::move(m));
    return out;
  }
  bool head_is_packed() const { return lm_head != nullptr && lm_head->packed.defined(); }
  Tensor<T> head_weight() const {
    if (lm_head == nullptr) return model->embed_tokens->weight;
    return lm_head->weight;
  }

  const Config config;
  std::shared_ptr<Decoder<T>> model;
  std::shared_ptr<nn::Linear<T>> lm_head;  // null if tied to the embedding
  bool recompute = false;                  // keep only each layer's input; compute the rest again during backward

 private:
  static Config checked(Config c) {
    c.resolve();
    c.check();
    return c;
  }
  LayerOutput<T> run(const Tensor<std::int32_t>& ids, const Tensor<std::int32_t>& segments, DecoderCache* cache) {
    MOELLE_REQUIRE("CausalLM", ids.rank() == 2, str("ids must be [B, T]; got shape=", ids.shape()));
    MOELLE_REQUIRE("CausalLM", !segments.defined() || segments.shape() == ids.shape(),
                   str("segments must have the shape of ids; got segments=", segments.shape(), " ids=", ids.shape()));
    MOELLE_REQUIRE("CausalLM", !segments.defined() || cache == nullptr, "segments must not be given with a cache, which holds one document per row; got both");
    nn::AttentionContext context{.first_position = cache != nullptr ? cache->length() : 0, .segments = segments};
    Tensor<T> x = model->embed_tokens->lookup(ids), balance;
    for (std::int64_t i = 0; i < config.num_hidden_layers; ++i) {
      context.cache = cache != nullptr ? cache->layers[static_cast<std::size_t>(i)].get() : nullptr;
      const auto out = run_layer(layer(i), x, context, recompute);
      x = out.hidden;
      if (out.balance_loss.defined()) balance = balance.defined() ? add(balance, out.balance_loss) : out.balance_loss;
    }
    return {model->norm->forward(x), balance};
  }

  // The head is too sensitive for fp8 (DeepSeek-V3, section 3.3.1).
  gemm::Precision head_precision() const { return this->precision() == gemm::Precision::fp8 ? gemm::Precision::bf16 : this->precision(); }

  Tensor<T> cross_entropy_of(const Tensor<T>& hidden, const Tensor<std::int32_t>& targets, double normalizer) {
    MOELLE_REQUIRE("CausalLM", targets.rank() == 2 && targets.size(0) == hidden.size(0) && targets.size(1) == hidden.size(1),
                   str("targets must be [B, T]; got targets=", targets.shape(), " hidden=", hidden.shape()));
    const std::int64_t N = hidden.size(0) * hidden.size(1);
    if (head_is_packed())
      return loss::cross_entropy(reshape(project(hidden), {N, -1}), reshape(targets, {N}), {.ignore_index = kIgnore, .normalizer = normalizer});
    return loss::linear_cross_entropy(reshape(hidden, {N, hidden.size(2)}), head_weight(), reshape(targets, {N}),
                                {.ignore_index = kIgnore, .normalizer = normalizer}, {}, head_precision());
  }

  // Mean over depths; depth k pairs the hidden state at i with token i + k to predict token i + k + 1.
  Tensor<T> mtp_loss(const Tensor<T>& main, const LossInput& in) {
    const std::int64_t depths = config.num_nextn_predict_layers;
    Tensor<T> hidden = main, sum;
    for (std::int64_t k = 1; k <= depths; ++k) {
      const std::int64_t length = hidden.size(1) - 1;
      MOELLE_REQUIRE("mtp", length > 0, str("sequences must be longer than the number of depths; got T=", in.ids.size(1), " depths=", depths));
      auto& module = dynamic_cast<MtpLayer<T>&>(layer(config.num_hidden_layers + k - 1));
      const auto ahead = [&](const Tensor<std::int32_t>& t) { return contiguous(slice(t, 1, k, k + length)); };
      Tensor<std::int32_t> targets = ahead(in.targets), segments;
      if (in.segments.defined()) {
        segments = contiguous(slice(in.segments, 1, 0, length));
        targets = within_document(targets, segments, ahead(in.segments));
      }
      const Tensor<T> x = module.combine(slice(hidden, 1, 0, length), model->embed_tokens->lookup(ahead(in.ids)));
      hidden = module.forward(x, {.segments = segments});
      const Tensor<T> loss = cross_entropy_of(module.head_norm(hidden), targets, in.normalizer);
      sum = sum.defined() ? add(sum, loss) : loss;
    }
    return mul(sum, static_cast<T>(1.0 / static_cast<double>(depths)));
  }
  static Tensor<std::int32_t> within_document(const Tensor<std::int32_t>& targets, const Tensor<std::int32_t>& here, const Tensor<std::int32_t>& there) {
    const Tensor<std::int32_t> out = Tensor<std::int32_t>::empty(targets.shape());
    for (std::int64_t i = 0; i < out.numel(); ++i) out.data()[i] = here.data()[i] == there.data()[i] ? targets.data()[i] : kIgnore;
    return out;
  }
};

}  // namespace moelle::models
