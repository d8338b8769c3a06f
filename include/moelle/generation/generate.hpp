// moelle/generation/generate.hpp -- token by token on the cache.
#pragma once
#include <algorithm>
#include <cstdint>
#include <functional>
#include <vector>

#include <moelle/autograd/mode.hpp>
#include <moelle/core/interrupt.hpp>
#include <moelle/core/random.hpp>
#include <moelle/generation/sampling.hpp>
#include <moelle/models/causal_lm.hpp>

namespace moelle::generation {

struct GenerateOptions {
  std::int64_t max_new_tokens = 64;
  SamplingOptions sampling = {};
  std::uint64_t seed = 0;
  std::vector<std::int64_t> eos_token_id = {};  // a row that draws one of these ends there
  std::int64_t prefill_chunk = 512;        // tokens of the prompt per pass; the result does not depend on it
  bool use_cache = true;                   // false: run the whole sequence for every token (to check the cache)
};

// prompt [B, T] -> [B, T + n], n <= max_new_tokens: stops when every row has ended; ended rows are filled with the first
// eos id. Row b draws from its own stream (seed, "sampling/<b>"), so it does not depend on the other rows.
// on_token(step, tokens[B]) sees each step and may end generation by returning false.
template <class T>
Tensor<std::int32_t> generate(models::CausalLM<T>& model, const Tensor<std::int32_t>& prompt, const GenerateOptions& options,
                              const std::function<bool(std::int64_t, const std::vector<std::int32_t>&)>& on_token = nullptr) {
  MOELLE_REQUIRE("generate", prompt.rank() == 2 && prompt.size(0) > 0 && prompt.size(1) > 0,
                 str("prompt must be [B, T] with at least one token; got shape=", prompt.shape()));
  MOELLE_REQUIRE("generate", options.max_new_tokens >= 0 && options.prefill_chunk > 0,
                 str("max_new_tokens must not be negative and prefill_chunk positive; got max_new_tokens=", options.max_new_tokens,
                     " prefill_chunk=", options.prefill_chunk));
  check(options.sampling);
  const std::int64_t B = prompt.size(0), P = prompt.size(1), V = model.config.vocab_size, most = checked_add(P, options.max_new_tokens);
  MOELLE_REQUIRE("generate", most <= model.config.max_position_embeddings,
                 str("prompt and new tokens must fit max_position_embeddings; got prompt=", P, " max_new_tokens=", options.max_new_tokens,
                     " max_position_embeddings=", model.config.max_position_embeddings));
  const autograd::NoGrad guard;
  const nn::EvalMode<T> eval(model);
  std::vector<std::vector<std::int32_t>> rows(static_cast<std::size_t>(B));
  for (std::int64_t b = 0; b < B; ++b)
    for (std::int64_t t = 0; t < P; ++t) rows[static_cast<std::size_t>(b)].push_back(prompt.at({b, t}));

  models::DecoderCache cache;
  if (options.use_cache) cache = model.make_cache(B, most);
  const auto pack = [&](std::int64_t from, std::int64_t to) {
    auto ids = Tensor<std::int32_t>::empty({B, to - from});
    for (std::int64_t b = 0; b < B; ++b)
      for (std::int64_t t = from; t < to; ++t) ids.data()[b * (to - from) + t - from] = rows[static_cast<std::size_t>(b)][static_cast<std::size_t>(t)];
    return ids;
  };
  // Logits [B, V] after the last token of the rows.
  const auto last_logits = [&] {
    const auto length = static_cast<std::int64_t>(rows[0].size());
    Tensor<T> hidden;
    if (!options.use_cache) hidden = model.hidden_states(pack(0, length));
    while (options.use_cache && cache.length() < length) {
      hidden = model.hidden_states(pack(cache.length(), std::min(cache.length() + options.prefill_chunk, length)), {}, &cache);
      check_interrupt();
    }
    const std::int64_t n = hidden.size(1);
    return contiguous(model.project(contiguous(reshape(slice(hidden, 1, n - 1, n), {B, hidden.size(2)}))));
  };

  std::vector<bool> ended(static_cast<std::size_t>(B), false);
  const auto is_eos = [&](std::int64_t id) { return std::find(options.eos_token_id.begin(), options.eos_token_id.end(), id) != options.eos_token_id.end(); };
  for (std::int64_t step = 0; step < options.max_new_tokens; ++step) {
    const Tensor<T> logits = last_logits();
    std::vector<std::int32_t> drawn;
    for (std::int64_t b = 0; b < B; ++b) {
      const auto row = static_cast<std::size_t>(b);
      std::int64_t id = 0;
      if (ended[row]) {
        id = options.eos_token_id.front();
      } else {
        const random::Stream stream(options.seed, str("sampling/", b));
        id = sample(logits.data() + b * V, V, options.sampling, stream.uniform(static_cast<std::uint64_t>(step)));
        ended[row] = is_eos(id);
      }
      rows[row].push_back(static_cast<std::int32_t>(id));
      drawn.push_back(static_cast<std::int32_t>(id));
    }
    check_interrupt();
    if (on_token != nullptr && !on_token(step, drawn)) break;
    if (std::all_of(ended.begin(), ended.end(), [](bool e) { return e; })) break;
  }
  return pack(0, static_cast<std::int64_t>(rows[0].size()));
}

}  // namespace moelle::generation
