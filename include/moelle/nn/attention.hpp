// moelle/nn/attention.hpp -- what every attention module is: a call on hidden states with positions, documents and a cache.
#pragma once
#include <cstdint>
#include <memory>

#include <moelle/nn/module.hpp>

namespace moelle::nn {

// What one layer remembers of the tokens seen so far.
struct LayerCache {
  virtual ~LayerCache() = default;
  virtual std::int64_t length() const = 0;         // tokens held
  virtual std::int64_t capacity() const = 0;       // tokens that fit
  virtual void truncate(std::int64_t length) = 0;  // forget the tokens from `length` on
  virtual std::int64_t bytes() const = 0;          // allocated
};

// Shared by all layers of one forward pass; B sequences of T new tokens.
struct AttentionContext {
  std::int64_t first_position = 0;   // of the first new token: the number of tokens in the caches
  Tensor<std::int32_t> segments = {};  // [B, T] document numbers: a token sees its own document only; undefined: one document
  LayerCache* cache = nullptr;       // of this layer; null: no cache
};

template <class T>
class Attention : public Module<T> {
 public:
  // x [B, T, D] -> [B, T, D]; appends to context.cache if there is one.
  virtual Tensor<T> attend(const Tensor<T>& x, const AttentionContext& context) = 0;
  Tensor<T> forward(const Tensor<T>& x) override { return attend(x, {}); }

  // A cache for `batch` sequences of up to `capacity` tokens; null if this attention cannot decode step by step.
  virtual std::shared_ptr<LayerCache> make_cache(std::int64_t batch, std::int64_t capacity) {
    (void)batch, (void)capacity;
    return nullptr;
  }
};

}  // namespace moelle::nn
