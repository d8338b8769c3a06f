// moelle/attention/cache.hpp -- keys and values of the tokens seen so far.
//
// Rows are [B, capacity, width], token after token; what a row holds is the attention's affair:
//   KvCache      keys [B, capacity, J, Dk] and values [B, capacity, J, Dv], keys after rotation
//   LatentCache  [B, capacity, C + R]: the normalised latent, then the rotated shared key (DeepSeek-V2, arXiv:2405.04434, section 2.1.2)
// Memory is taken in steps, doubling up to the capacity. A full cache refuses to grow; nothing is overwritten.
#pragma once
#include <algorithm>
#include <cstdint>

#include <moelle/core/tensor.hpp>
#include <moelle/tensor/view_op.hpp>

namespace moelle::attention {

// A growing [B, length, ...] tensor.
template <class T>
class TokenBuffer {
 public:
  TokenBuffer(std::int64_t batch, std::int64_t capacity, const Shape& item) : batch_(batch), capacity_(capacity), item_(item) {
    MOELLE_REQUIRE("cache", batch > 0 && capacity > 0, str("batch and capacity must be positive; got batch=", batch, " capacity=", capacity));
  }
  std::int64_t length() const { return length_; }
  std::int64_t capacity() const { return capacity_; }
  std::int64_t bytes() const { return rows_.defined() ? rows_.numel() * static_cast<std::int64_t>(sizeof(T)) : 0; }

  // x [B, T, item...].
  void append(const Tensor<T>& x) {
    const Shape wanted = shape(x.rank() > 1 ? x.size(1) : 0);
    MOELLE_REQUIRE("cache", x.shape() == wanted, str("rows must be [B, T, ...]; got x=", x.shape(), " wanted=", wanted));
    const std::int64_t need = length_ + x.size(1);
    MOELLE_REQUIRE("cache", need <= capacity_, str("capacity must hold all tokens; got length=", length_, " new=", x.size(1), " capacity=", capacity_));
    if (!rows_.defined() || need > rows_.size(1)) grow(need);
    if (x.numel() > 0) moelle::detail::copy_elements(x.detach(), rows_.alias(x.shape(), rows_.strides(), length_ * rows_.strides()[1]));
    length_ = need;
  }
  // [B, length, item...], a view.
  Tensor<T> view() const {
    if (!rows_.defined()) return Tensor<T>::empty(shape(0));
    return rows_.alias(shape(length_), rows_.strides());
  }
  void truncate(std::int64_t length) {
    MOELLE_REQUIRE("cache", length >= 0 && length <= length_, str("length must be in [0, ", length_, "]; got length=", length));
    length_ = length;
  }

 private:
  Shape shape(std::int64_t tokens) const {
    Shape s{batch_, tokens};
    for (const std::int64_t d : item_) s.push_back(d);
    return s;
  }
  void grow(std::int64_t need) {
    const std::int64_t room = std::min(capacity_, std::max(need, rows_.defined() ? 2 * rows_.size(1) : std::int64_t{64}));
    const Tensor<T> larger = Tensor<T>::empty(shape(room));
    if (length_ > 0) moelle::detail::copy_elements(view(), larger.alias(shape(length_), larger.strides()));
    rows_ = larger;
  }

  std::int64_t batch_, capacity_, length_ = 0;
  Shape item_;
  Tensor<T> rows_;
};

template <class T>
struct KvCache {
  KvCache(std::int64_t batch, std::int64_t capacity, std::int64_t heads, std::int64_t key_size, std::int64_t value_size)
      : keys(batch, capacity, {heads, key_size}), values(batch, capacity, {heads, value_size}) {}
  TokenBuffer<T> keys, values;
};

template <class T>
struct LatentCache {
  LatentCache(std::int64_t batch, std::int64_t capacity, std::int64_t latent, std::int64_t rope) : rows(batch, capacity, {latent + rope}) {}
  TokenBuffer<T> rows;
};

}  // namespace moelle::attention
