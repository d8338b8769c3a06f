// moelle/estimate/model.hpp -- parameters, arithmetic and memory of a configuration, before anything is allocated.
//
// Conventions, because three are in use: a product of a vector with a weight matrix costs 2 FLOPs per weight; training costs
// three times the forward pass; weights count where they take part in products, so the input embedding does not, the head
// does; attention is causal, so a token sees (context / 2) positions on average. Hence
//   train_flops_per_token = 6 * active_params_without_embedding + 3 * layers * 2 * H * (d_qk + d_v) * context / 2.
// That reproduces 250 GFLOPs for DeepSeek-V3 at 4,096 positions (arXiv:2505.09343, table 2) and 155 GFLOPs for V2.
#pragma once
#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include <moelle/core/error.hpp>
#include <moelle/models/config.hpp>

namespace moelle::estimate {

struct Options {
  std::int64_t context = 4096;       // positions in a sequence; in decoding, positions in the cache
  std::int64_t tokens_in_flight = 0;  // of one forward and backward pass, for activations; 0: context
  double cache_bytes_per_element = 2;  // bfloat16
  double weight_bytes = 4;             // per parameter, master copy included: training on a CPU
  double gradient_bytes = 4;
  double moment_bytes = 8;  // AdamW in float; 4 for Muon or for bfloat16 moments
  double activation_bytes = 4;
  std::int64_t mtp_modules = 0;  // multi-token prediction modules that are trained along
};

// A part of the model: all its parameters, and those that one token passes through.
struct Part {
  std::string name;
  std::int64_t params = 0;
  std::int64_t active_params = 0;
};

struct Estimate {
  std::int64_t total_params = 0;
  std::int64_t active_params = 0;                    // of one token, embedding and head included
  std::int64_t active_params_without_embedding = 0;  // those in products
  std::int64_t mtp_params = 0;                       // of all MTP modules, without their copies of embedding and head; not in total_params
  double train_flops_per_token = 0;                  // causal
  double train_flops_per_token_noncausal = 0;        // every token sees `context` positions
  double forward_flops_per_token = 0;                // causal
  double attention_flops_per_token = 0;              // part of forward_flops_per_token: scores and weighted values
  double decode_flops_per_token = 0;                 // one token at the end of `context` positions, MLA absorbed
  std::int64_t cache_elements_per_token = 0;
  double cache_bytes_per_token = 0;
  double cache_bytes = 0;  // of one sequence of `context` positions
  double weights_memory = 0, gradients_memory = 0, moments_memory = 0, activations_memory = 0, training_memory = 0;  // bytes
  std::vector<Part> parts;
};

namespace detail {

using models::Config;

inline std::int64_t attention_params(const Config& c) {
  const std::int64_t d = c.hidden_size, h = c.num_attention_heads, bias = c.attention_bias ? 1 : 0;
  if (!c.is_mla()) {
    const std::int64_t q = h * c.head_dim, kv = c.num_key_value_heads * c.head_dim;
    return d * (q + 2 * kv) + q * d + bias * (q + 2 * kv + d);
  }
  const std::int64_t dq = c.qk_head_dim(), r = *c.kv_lora_rank;
  const std::int64_t query = c.q_lora_rank ? *c.q_lora_rank * (d + h * dq) + bias * *c.q_lora_rank : d * h * dq;
  const std::int64_t down = (d + bias) * (r + c.qk_rope_head_dim);
  return query + down + r * h * (c.qk_nope_head_dim + c.v_head_dim) + h * c.v_head_dim * d + bias * d;
}

// The weights of all normalisations in a layer.
inline std::int64_t norm_params(const Config& c) {
  std::int64_t n = 2 * c.hidden_size;
  if (c.is_mla()) n += *c.kv_lora_rank + c.q_lora_rank.value_or(0);
  if (c.qk_norm == models::QkNorm::head) n += 2 * c.head_dim;
  if (c.qk_norm == models::QkNorm::whole) n += (c.num_attention_heads + c.num_key_value_heads) * c.head_dim;
  return n;
}

inline std::int64_t expert_params(const Config& c) { return 3 * c.hidden_size * c.moe_intermediate_size; }
inline std::int64_t router_params(const Config& c) {
  return c.n_routed_experts * (c.hidden_size + (c.has_selection_bias() ? 1 : 0));
}

inline std::vector<Part> parts(const Config& c) {
  const std::int64_t layers = c.num_hidden_layers, moe = c.num_moe_layers(), table = c.vocab_size * c.hidden_size;
  const auto all = [](const char* name, std::int64_t n) { return Part{name, n, n}; };
  std::vector<Part> p{all("embedding", table), all("attention", layers * attention_params(c)),
                      all("dense_ffn", (layers - moe) * 3 * c.hidden_size * c.intermediate_size)};
  if (moe > 0) {
    p.push_back({"routed_experts", moe * c.n_routed_experts * expert_params(c), moe * c.num_experts_per_tok * expert_params(c)});
    p.push_back(all("shared_experts", moe * c.n_shared_experts * expert_params(c)));
    p.push_back(all("router", moe * router_params(c)));
  }
  p.push_back(all("norms", layers * norm_params(c) + c.hidden_size));
  p.push_back(all("head", c.tie_word_embeddings ? 0 : table));
  return p;
}

// One MTP module (arXiv:2412.19437, section 2.2): two norms, a projection from 2d to d, a decoder layer, a norm before the head.
inline Part mtp_module(const Config& c) {
  const std::int64_t d = c.hidden_size;
  Part p{"mtp", 2 * d * d + 3 * d + attention_params(c) + norm_params(c), 0};
  p.active_params = p.params;
  const bool experts = c.is_moe_layer(c.num_hidden_layers);
  const std::int64_t fixed = experts ? c.n_shared_experts * expert_params(c) + router_params(c) : 3 * d * c.intermediate_size;
  p.params += fixed + (experts ? c.n_routed_experts * expert_params(c) : 0);
  p.active_params += fixed + (experts ? c.num_experts_per_tok * expert_params(c) : 0);
  return p;
}

// Elements kept for the backward pass per token and layer, nothing recomputed: inputs of products and norms, q, k, v, the
// attention's result with its log-sum-exp, and for experts the gathered rows, gate, up and activation, and their results.
inline double activation_elements(const Config& c, bool experts) {
  const std::int64_t d = c.hidden_size, h = c.num_attention_heads;
  const std::int64_t kv = c.is_mla() ? h : c.num_key_value_heads;
  std::int64_t n = 4 * d + (h + kv) * c.qk_head_dim() + (h + kv) * c.value_head_dim() + h;
  if (c.is_mla()) n += 2 * (*c.kv_lora_rank + c.q_lora_rank.value_or(0)) + c.qk_rope_head_dim;
  if (!experts) return static_cast<double>(n + 3 * c.intermediate_size);
  const std::int64_t k = c.num_experts_per_tok;
  return static_cast<double>(n + c.n_routed_experts + 3 * c.moe_intermediate_size * (k + c.n_shared_experts) + 2 * k * d);
}

inline void check(const Options& o) {
  MOELLE_REQUIRE("estimate", o.context >= 1 && o.context <= (std::int64_t{1} << 40), str("context must be in [1, 2^40]; got context=", o.context));
  MOELLE_REQUIRE("estimate", o.tokens_in_flight >= 0 && o.tokens_in_flight <= (std::int64_t{1} << 40),
                 str("tokens_in_flight must be in [0, 2^40]; got tokens_in_flight=", o.tokens_in_flight));
  MOELLE_REQUIRE("estimate", o.mtp_modules >= 0 && o.mtp_modules <= 64, str("mtp_modules must be in [0, 64]; got mtp_modules=", o.mtp_modules));
  for (const double b : {o.cache_bytes_per_element, o.weight_bytes, o.gradient_bytes, o.moment_bytes, o.activation_bytes})
    MOELLE_REQUIRE("estimate", b >= 0 && b <= 64, str("bytes per element must be in [0, 64]; got ", b));
}

}  // namespace detail

inline Estimate model(const models::Config& config, const Options& o = {}) {
  models::Config c = config;
  c.resolve();
  c.check();
  detail::check(o);
  Estimate e;
  e.parts = detail::parts(c);
  for (const Part& p : e.parts) {
    e.total_params += p.params;
    e.active_params += p.active_params;
  }
  const std::int64_t table = c.vocab_size * c.hidden_size;
  e.active_params_without_embedding = e.active_params - (c.tie_word_embeddings ? 0 : table);
  const Part mtp = detail::mtp_module(c);
  e.mtp_params = c.num_nextn_predict_layers * mtp.params;

  const auto layers = static_cast<double>(c.num_hidden_layers), h = static_cast<double>(c.num_attention_heads);
  const auto mtps = static_cast<double>(o.mtp_modules);
  const auto weights = static_cast<double>(e.active_params_without_embedding) + mtps * static_cast<double>(mtp.active_params + table);
  // Flops of scores and weighted values for one token that sees `length` positions, over all layers.
  const auto attention = [&](double length, double per_position) { return (layers + mtps) * 2 * h * per_position * length; };
  const auto context = static_cast<double>(o.context);
  const double seen = c.sliding_window ? std::min(context, static_cast<double>(*c.sliding_window)) : context;
  const double mean = seen - seen * seen / (2 * context);  // context / 2 without a window
  const auto sizes = static_cast<double>(c.qk_head_dim() + c.value_head_dim());
  e.attention_flops_per_token = attention(mean, sizes);
  e.forward_flops_per_token = 2 * weights + e.attention_flops_per_token;
  e.train_flops_per_token = 3 * e.forward_flops_per_token;
  e.train_flops_per_token_noncausal = 3 * (2 * weights + attention(seen, sizes));
  const double absorbed = c.is_mla() ? static_cast<double>(2 * *c.kv_lora_rank + c.qk_rope_head_dim) : sizes;
  e.decode_flops_per_token = 2 * static_cast<double>(e.active_params_without_embedding) + layers * 2 * h * absorbed * seen;

  e.cache_elements_per_token = c.num_hidden_layers * (c.is_mla() ? *c.kv_lora_rank + c.qk_rope_head_dim : 2 * c.num_key_value_heads * c.head_dim);
  e.cache_bytes_per_token = static_cast<double>(e.cache_elements_per_token) * o.cache_bytes_per_element;
  e.cache_bytes = e.cache_bytes_per_token * seen;

  const auto stored = static_cast<double>(e.total_params) + mtps * static_cast<double>(mtp.params);
  e.weights_memory = stored * o.weight_bytes;
  e.gradients_memory = stored * o.gradient_bytes;
  e.moments_memory = stored * o.moment_bytes;
  const auto moe = static_cast<double>(c.num_moe_layers());
  const double per_token = (layers - moe) * detail::activation_elements(c, false) + moe * detail::activation_elements(c, true) +
                           2 * static_cast<double>(c.hidden_size);
  e.activations_memory = per_token * static_cast<double>(o.tokens_in_flight > 0 ? o.tokens_in_flight : o.context) * o.activation_bytes;
  e.training_memory = e.weights_memory + e.gradients_memory + e.moments_memory + e.activations_memory;
  return e;
}

}  // namespace moelle::estimate
