// moelle/nn/multi_head_attention.hpp -- multi-head, grouped-query and multi-query attention (Vaswani et al., arXiv:1706.03762;
// Ainslie et al., arXiv:2305.13245), with the normalisations of queries and keys of Qwen3 and OLMoE.
#pragma once
#include <cstdint>
#include <limits>
#include <memory>
#include <utility>

#include <moelle/attention/attention_op.hpp>
#include <moelle/attention/cache.hpp>
#include <moelle/nn/attention.hpp>
#include <moelle/nn/layers.hpp>
#include <moelle/nn/rotary.hpp>
#include <moelle/tensor/ops.hpp>

namespace moelle::nn {

enum class QkNorm : std::uint8_t { none, head, whole };  // not, each head by itself (Qwen3), all heads as one vector (OLMoE)

struct AttentionOptions {
  std::int64_t hidden_size = 0, num_attention_heads = 0, num_key_value_heads = 0, head_dim = 0;
  bool bias = false;
  QkNorm qk_norm = QkNorm::none;
  double norm_eps = 1e-6;
  double clip_qkv = 0.0;            // 0: none; clamps projections to [-clip_qkv, clip_qkv]
  std::int64_t sliding_window = 0;  // 0: none
  Init init = {};
};

template <class T>
struct MhaCache : LayerCache {
  MhaCache(std::int64_t batch, std::int64_t capacity, std::int64_t heads, std::int64_t size) : held(batch, capacity, heads, size, size) {}
  std::int64_t length() const override { return held.keys.length(); }
  std::int64_t capacity() const override { return held.keys.capacity(); }
  void truncate(std::int64_t n) override { held.keys.truncate(n), held.values.truncate(n); }
  std::int64_t bytes() const override { return held.keys.bytes() + held.values.bytes(); }
  attention::KvCache<T> held;
};

template <class T>
class MultiHeadAttention : public Attention<T> {
 public:
  MultiHeadAttention(const AttentionOptions& options_, std::shared_ptr<Rotary<T>> rotary) : options(options_), rotary_(std::move(rotary)) {
    const AttentionOptions& o = options;
    const std::int64_t q = o.num_attention_heads * o.head_dim, kv = o.num_key_value_heads * o.head_dim;
    add("q_proj", q_proj, o.hidden_size, q);
    add("k_proj", k_proj, o.hidden_size, kv);
    add("v_proj", v_proj, o.hidden_size, kv);
    add("o_proj", o_proj, q, o.hidden_size);
    if (o.qk_norm == QkNorm::none) return;
    const bool whole = o.qk_norm == QkNorm::whole;
    this->register_module("q_norm", q_norm, std::make_shared<RMSNorm<T>>(whole ? q : o.head_dim, o.norm_eps));
    this->register_module("k_norm", k_norm, std::make_shared<RMSNorm<T>>(whole ? kv : o.head_dim, o.norm_eps));
  }

  Tensor<T> attend(const Tensor<T>& x, const AttentionContext& context) override {
    MOELLE_REQUIRE("MultiHeadAttention", x.rank() == 3, str("x must be [B, T, D]; got shape=", x.shape()));
    const std::int64_t B = x.size(0), length = x.size(1);
    const Tensor<T> q = rotary_->rotate(project(*q_proj, q_norm.get(), x), context.first_position, 0);
    Tensor<T> k = rotary_->rotate(project(*k_proj, k_norm.get(), x), context.first_position, 0), v = project(*v_proj, nullptr, x);
    if (context.cache != nullptr) {
      auto* own = dynamic_cast<MhaCache<T>*>(context.cache);
      MOELLE_REQUIRE("MultiHeadAttention", own != nullptr, "the cache must come from this module's make_cache; got another kind");
      own->held.keys.append(k);
      own->held.values.append(v);
      k = own->held.keys.view();
      v = own->held.values.view();
    }
    const attention::AttentionParams params{.scale = rotary_->softmax_scale() / std::sqrt(static_cast<double>(options.head_dim)), .window = options.sliding_window, .precision = this->precision()};
    const Tensor<T> o = attention::attention(q, k, v, params, {.segments = context.segments, .mask = {}});
    return o_proj->forward(reshape(o, {B, length, options.num_attention_heads * options.head_dim}));
  }
  std::shared_ptr<LayerCache> make_cache(std::int64_t batch, std::int64_t capacity) override {
    return std::make_shared<MhaCache<T>>(batch, capacity, options.num_key_value_heads, options.head_dim);
  }

  AttentionOptions options;
  std::shared_ptr<Module<T>> q_proj, k_proj, v_proj, o_proj, q_norm, k_norm;

 private:
  void add(const char* name, std::shared_ptr<Module<T>>& slot, std::int64_t in, std::int64_t out) {
    this->register_module(name, slot, std::make_shared<Linear<T>>(in, out, options.bias, options.init));
  }
  // [B, T, D] -> [B, T, heads, head_dim]
  Tensor<T> project(Module<T>& projection, Module<T>* norm, const Tensor<T>& x) {
    Tensor<T> y = projection.forward(x);
    const bool whole = options.qk_norm == QkNorm::whole;
    if (norm != nullptr && whole) y = norm->forward(y);
    if (options.clip_qkv > 0) y = clamp(y, static_cast<T>(-options.clip_qkv), static_cast<T>(options.clip_qkv));
    y = reshape(y, {x.size(0), x.size(1), -1, options.head_dim});
    return norm != nullptr && !whole ? norm->forward(y) : y;
  }

  std::shared_ptr<Rotary<T>> rotary_;
};

}  // namespace moelle::nn
