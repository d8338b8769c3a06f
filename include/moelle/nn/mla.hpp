// moelle/nn/mla.hpp -- multi-head latent attention (DeepSeek-V2, arXiv:2405.04434, section 2.1). Names as in the checkpoints.
#pragma once
#include <cmath>
#include <cstdint>
#include <memory>
#include <optional>
#include <utility>

#include <moelle/attention/cache.hpp>
#include <moelle/attention/mla_op.hpp>
#include <moelle/attention/packed_mla_op.hpp>
#include <moelle/nn/attention.hpp>
#include <moelle/nn/layers.hpp>
#include <moelle/nn/rotary.hpp>
#include <moelle/tensor/ops.hpp>

namespace moelle::nn {

// How a cache stores its rows. bfloat16 halves them; short chunks then attend with rounded queries and probabilities (attention/latent_decode.hpp).
enum class LatentStorage : std::uint8_t { native, bfloat16 };

struct MlaOptions {
  std::int64_t hidden_size = 0, num_attention_heads = 0;
  std::optional<std::int64_t> q_lora_rank = {};  // none: queries straight from the hidden state
  std::int64_t kv_lora_rank = 0, qk_nope_head_dim = 0, qk_rope_head_dim = 0, v_head_dim = 0;
  bool bias = false;
  double latent_norm_eps = 1e-6;      // of q_a_layernorm and kv_a_layernorm, whatever rms_norm_eps says: as in every released implementation
  std::optional<std::int64_t> absorb_up_to = {};  // with a cache, this many new tokens or fewer attend in latent space; none: what is cheaper (attention/mla_op.hpp)
  LatentStorage cache_storage = LatentStorage::native;
  Init init = {};
};

// S: the element type of its rows.
template <class S>
struct MlaCache : LayerCache {
  MlaCache(std::int64_t batch, std::int64_t capacity, std::int64_t latent, std::int64_t rope) : held(batch, capacity, latent, rope) {}
  std::int64_t length() const override { return held.rows.length(); }
  std::int64_t capacity() const override { return held.rows.capacity(); }
  void truncate(std::int64_t n) override { held.rows.truncate(n); }
  std::int64_t bytes() const override { return held.rows.bytes(); }
  attention::LatentCache<S> held;
};

template <class T>
class MLA : public Attention<T> {
 public:
  MLA(const MlaOptions& options_, std::shared_ptr<Rotary<T>> rotary) : options(options_), rotary_(std::move(rotary)) {
    const MlaOptions& o = options;
    const std::int64_t d = o.hidden_size, H = o.num_attention_heads, q = H * (o.qk_nope_head_dim + o.qk_rope_head_dim);
    if (o.q_lora_rank) {
      add("q_a_proj", q_a_proj, d, *o.q_lora_rank, o.bias);
      this->register_module("q_a_layernorm", q_a_layernorm, std::make_shared<RMSNorm<T>>(*o.q_lora_rank, o.latent_norm_eps));
      add("q_b_proj", q_b_proj, *o.q_lora_rank, q, false);
    } else {
      add("q_proj", q_proj, d, q, false);
    }
    add("kv_a_proj_with_mqa", kv_a_proj_with_mqa, d, o.kv_lora_rank + o.qk_rope_head_dim, o.bias);
    this->register_module("kv_a_layernorm", kv_a_layernorm, std::make_shared<RMSNorm<T>>(o.kv_lora_rank, o.latent_norm_eps));
    add("kv_b_proj", kv_b_proj, o.kv_lora_rank, H * (o.qk_nope_head_dim + o.v_head_dim), false);
    add("o_proj", o_proj, H * o.v_head_dim, d, o.bias);
    if (o.init.format) make_packed(*o.init.format);
  }

  // Absorbed attention takes kv_b_proj apart; its halves are few and see one row per head, so they are kept no shorter than bf16, as is the cache.
  void pack_own(gemm::Format format) override {
    if constexpr (std::is_same_v<T, float>) {
      MOELLE_REQUIRE("MLA", !packed_latent.defined(), str("weights must not be packed twice; got format=", gemm::name(format)));
      make_packed(format);
      packed_latent.fill(kv_b_proj->weight.detach());
    }
  }
  void fill_own_packed(const std::string& prefix, const WeightSource& source) override {
    const std::int64_t rows = options.num_attention_heads * (options.qk_nope_head_dim + options.v_head_dim);
    if (packed_latent.defined()) packed_latent.fill(whole(source, prefix + "kv_b_proj.weight", {rows, options.kv_lora_rank}));
  }
  std::int64_t own_packed_bytes() const override { return packed_latent.bytes(); }

  Tensor<T> attend(const Tensor<T>& x, const AttentionContext& context) override {
    MOELLE_REQUIRE("MLA", x.rank() == 3, str("x must be [B, T, D]; got shape=", x.shape()));
    const std::int64_t B = x.size(0), length = x.size(1), C = options.kv_lora_rank, R = options.qk_rope_head_dim;
    const Tensor<T> q = rotary_->rotate(reshape(queries(x), {B, length, options.num_attention_heads, -1}), context.first_position, options.qk_nope_head_dim);
    const Tensor<T> down = kv_a_proj_with_mqa->forward(x);
    const Tensor<T> latent = kv_a_layernorm->forward(narrow(down, 2, 0, C));
    const Tensor<T> k_rope = reshape(rotary_->rotate(unsqueeze(narrow(down, 2, C, R), 2), context.first_position, 0), {B, length, R});
    const Tensor<T> o = context.cache != nullptr ? attend_cached(q, latent, k_rope, *context.cache) : expanded(q, latent, k_rope, context.segments);
    return o_proj->forward(reshape(o, {B, length, options.num_attention_heads * options.v_head_dim}));
  }
  std::shared_ptr<LayerCache> make_cache(std::int64_t batch, std::int64_t capacity) override {
    if (options.cache_storage == LatentStorage::bfloat16) return std::make_shared<MlaCache<bfloat16>>(batch, capacity, options.kv_lora_rank, options.qk_rope_head_dim);
    return std::make_shared<MlaCache<T>>(batch, capacity, options.kv_lora_rank, options.qk_rope_head_dim);
  }

  MlaOptions options;
  std::shared_ptr<Module<T>> q_proj, q_a_proj, q_a_layernorm, q_b_proj, kv_a_proj_with_mqa, kv_a_layernorm, o_proj;
  std::shared_ptr<Linear<T>> kv_b_proj;  // its weight is taken apart when attention is absorbed
  attention::PackedLatent packed_latent;

 private:
  template <class M>
  void add(const char* name, std::shared_ptr<M>& slot, std::int64_t in, std::int64_t out, bool bias) {
    this->register_module(name, slot, std::make_shared<Linear<T>>(in, out, bias, options.init));
  }
  Tensor<T> queries(const Tensor<T>& x) {
    return options.q_lora_rank ? q_b_proj->forward(q_a_layernorm->forward(q_a_proj->forward(x))) : q_proj->forward(x);
  }
  void make_packed(gemm::Format f) {
    const bool exact = f == gemm::Format::f32;
    packed_latent = attention::PackedLatent(options.num_attention_heads, options.kv_lora_rank, dims(), exact ? f : gemm::Format::bf16);
    if (!exact) options.cache_storage = LatentStorage::bfloat16;
  }
  attention::MlaDims dims() const { return {options.qk_nope_head_dim, options.qk_rope_head_dim, options.v_head_dim}; }
  attention::AttentionParams params() const {
    return {.scale = rotary_->softmax_scale() / std::sqrt(static_cast<double>(options.qk_nope_head_dim + options.qk_rope_head_dim)), .precision = this->precision()};
  }
  Tensor<T> expanded(const Tensor<T>& q, const Tensor<T>& latent, const Tensor<T>& k_rope, const Tensor<std::int32_t>& segments) {
    const attention::Visibility<T> visibility{.segments = segments, .mask = {}};
    if (!packed_latent.defined()) return attention::mla_expanded(q, latent, k_rope, kv_b_proj->weight, dims(), params(), visibility);
    const Tensor<T> kv = reshape(kv_b_proj->forward(latent), {latent.size(0), latent.size(1), q.size(2), -1});
    return attention::shared_rope_attention(q, kv, k_rope, dims(), params(), visibility);
  }
  Tensor<T> attend_cached(const Tensor<T>& q, const Tensor<T>& latent, const Tensor<T>& k_rope, LayerCache& cache) {
    const Tensor<T> added = concat<T>({latent, k_rope}, 2);
    if (auto* rounded = dynamic_cast<MlaCache<bfloat16>*>(&cache)) {
      rounded->held.rows.append(cast<bfloat16>(added.detach()));
      const Tensor<bfloat16> rows = rounded->held.rows.view();
      if constexpr (std::is_same_v<T, float>)
        if (absorbs(q.size(1), rows.size(1)) && rows.size(2) % 2 == 0 && !autograd::wants_grad(q, kv_b_proj->weight)) return absorbed(q, rows);
      return over_rows(q, cast<T>(rows));
    }
    auto* own = dynamic_cast<MlaCache<T>*>(&cache);
    MOELLE_REQUIRE("MLA", own != nullptr, "the cache must come from this module's make_cache; got another kind");
    own->held.rows.append(added);
    return over_rows(q, own->held.rows.view());
  }
  bool absorbs(std::int64_t Tq, std::int64_t Tk) const {
    if (options.absorb_up_to) return Tq <= *options.absorb_up_to;
    const bool packed = packed_latent.defined() && packed_latent.key.format() != gemm::Format::f32;
    return attention::absorbing_is_cheaper(Tq, Tk, options.kv_lora_rank, dims(), packed ? kPackedSpeed : 1.0);
  }
  template <class U>
  Tensor<T> absorbed(const Tensor<T>& q, const Tensor<U>& rows) {
    if constexpr (std::is_same_v<T, float>)
      if (packed_latent.defined()) return attention::mla_absorbed(q, rows, packed_latent, dims(), params());
    return attention::mla_absorbed(q, rows, kv_b_proj->weight, dims(), params());
  }
  Tensor<T> over_rows(const Tensor<T>& q, const Tensor<T>& rows) {
    if (absorbs(q.size(1), rows.size(1))) return absorbed(q, rows);
    return expanded(q, narrow(rows, 2, 0, options.kv_lora_rank), narrow(rows, 2, options.kv_lora_rank, options.qk_rope_head_dim), {});
  }

  static constexpr double kPackedSpeed = 3;  // products with packed weights of 16 bits and less against attention's in float

  std::shared_ptr<Rotary<T>> rotary_;
};

}  // namespace moelle::nn
