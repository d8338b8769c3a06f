// moelle/attention/decode.hpp -- attention for few queries over many keys: decoding.
//
// Work is cut by key blocks, whose parts (maximum, sum, weighted values) are merged in order: the same arithmetic as the tiles', so the result
// depends neither on this cut nor on whether tiles or this file computed it. All query heads of a key head read a block while it is in the near
// caches. Up to kFewRows heads are rows of scores; more are columns, [key][head], so that keys are the rows of a product and are read as they
// lie, and the probabilities are the turned operand of the next one. Of a latent cache (DeepSeek-V2, arXiv:2405.04434, section 2.1.2) all heads
// share the keys, and values are the first channels of the same rows.
#pragma once
#include <algorithm>
#include <cstdint>
#include <limits>

#include <moelle/attention/decode_driver.hpp>

namespace moelle::attention {

// Queries per sequence up to which keys are not packed.
inline constexpr std::int64_t kDecodeQueries = 4;

namespace detail {

template <class T>
bool decodes(const Problem<T>& p) {
  return p.Tq <= kDecodeQueries && p.mask == nullptr;
}

template <class T>
class Decode {
 public:
  static constexpr std::int64_t kRow = Packing<T>::kRow;

  explicit Decode(const Problem<T>& p) : p_(p), group_(p.H / p.J), columns_(pack_.whole(group_)) {
    for (int i = 0; i < p.parts; ++i) at_q_[i] = q_size_, q_size_ += pack_.size_b(p.dk[i], group_);
  }
  bool few() const { return group_ <= kFewRows; }
  std::int64_t packed_queries() const { return few() ? 0 : q_size_; }
  std::int64_t ldo() const { return pack_.whole(p_.dv); }

  // Queries of one key head as columns.
  void pack_queries(std::int64_t b, std::int64_t i, std::int64_t j, T* to) const {
    for (int part = 0; part < p_.parts; ++part)
      pack_.b(gemm::transposed<T>(p_.q[part].at(b, i, j * group_), p_.q[part].head), p_.dk[part], group_, to + at_q_[part]);
  }

  // One key block and the key heads [first, last). q: packed queries of the first, if not few().
  void run(std::int64_t b, std::int64_t first, std::int64_t last, std::int64_t block, const T* q, const Parts<T>& parts, std::int64_t s) const {
    if (few()) return in_rows(b, first, last, block, parts, s);
    for (std::int64_t j = first; j < last; ++j)
      for (std::int64_t i = 0; i < p_.Tq; ++i, q += q_size_) in_columns(b, i, j, block, q, parts, s);
  }

 private:
  static constexpr std::int64_t kKeyTile = 64;   // keys whose rows stay near while all columns of queries meet them
  static constexpr std::int64_t kKeyStrip = 32;  // keys that all heads read before the next: one stretch of memory after the other

  Cuts::Range visible(std::int64_t b, std::int64_t i, std::int64_t block) const {
    const std::int64_t key = block * kKeyBlock, n = std::min(kKeyBlock, p_.Tk - key);
    const auto r = p_.visible(b, i);
    return {std::clamp<std::int64_t>(r.begin - key, 0, n), std::clamp<std::int64_t>(r.end - key, 0, n)};
  }
  void none(const Parts<T>& parts, std::int64_t at) const { std::fill_n(parts.top + at, group_, -std::numeric_limits<T>::infinity()); }

  // Heads as rows: scores[key head][query][group][kKeyBlock].
  void in_rows(std::int64_t b, std::int64_t first, std::int64_t last, std::int64_t block, const Parts<T>& parts, std::int64_t s) const {
    const std::int64_t key = block * kKeyBlock, n = std::min(kKeyBlock, p_.Tk - key), rows = (last - first) * p_.Tq * group_;
    Layout layout;
    const std::int64_t at_s = layout.place(rows * kKeyBlock), at_v = layout.place(pack_.size_b(kKeyBlock, p_.dv));
    T *scores = scratch().template reserve<T>(layout.size()) + at_s, *copy = scores - at_s + at_v;
    const auto each = [&](auto f) {
      for (std::int64_t j = first, r = 0; j < last; ++j)
        for (std::int64_t i = 0; i < p_.Tq; ++i, r += group_) f(j, i, scores + r * kKeyBlock, visible(b, i, block), parts.at(s, block, i * p_.H + j * group_));
    };
    for (std::int64_t t = 0; t < n; t += kKeyStrip)
      each([&](std::int64_t j, std::int64_t i, T* to, Cuts::Range seen, std::int64_t) {
        if (seen.begin < t + kKeyStrip && seen.end > t) strip_scores(b, i, j, key + t, std::min(kKeyStrip, n - t), t + kKeyStrip < n ? 0 : key, to + t);
      });
    each([&](std::int64_t, std::int64_t, T* row, Cuts::Range seen, std::int64_t at) {
      if (seen.empty()) return none(parts, at);
      for (std::int64_t g = 0; g < group_; ++g)
        kernels_.softmax_row(row + g * kKeyBlock, seen.begin, seen.end, seen.begin, seen.end, p_.scale, nullptr, parts.top + at + g, parts.sum + at + g);
    });
    for (std::int64_t t = 0; t < n; t += kKeyStrip)
      each([&](std::int64_t j, std::int64_t, const T* row, Cuts::Range seen, std::int64_t at) {
        T* to = parts.o + at * parts.ldo;
        if (p_.dv != parts.ldo) return t == 0 && !seen.empty() ? weigh_copy(b, j, key, seen, row, copy, to) : void();
        const std::int64_t from = std::max(t, seen.begin), end = std::min(t + kKeyStrip, seen.end);
        if (from >= end) return;
        const bool here = t + kKeyStrip < n;  // afterwards the keys of the next block
        const Share share = share_of(here ? p_.v : p_.k[0], b, here ? key + t + kKeyStrip : key + kKeyBlock, j, here ? p_.dv : p_.dk[0]);
        kernels_.few_weighted(group_, end - from, p_.dv, row + from, kKeyBlock, p_.v.at(b, key + from, j), p_.v.token, share.rows, share.ld, to, parts.ldo, from == seen.begin);
      });
  }
  // What head j fetches of the rows from `row` on while it computes: where the heads of a row lie side by side, its share of a strip of memory,
  // which is read faster in one stretch; otherwise its own rows.
  struct Share {
    const T* rows;
    std::int64_t ld;
  };
  Share share_of(const Heads<const T>& x, std::int64_t b, std::int64_t row, std::int64_t j, std::int64_t size) const {
    if (x.head == size && x.token == p_.J * size) return {x.at(b, row, 0) + j * kKeyStrip * size, size};
    return {x.at(b, row, j), x.token};
  }
  // to[group][kKeyBlock] for the keys [key, key + n); the next to be read are kKeyStrip further on, or the values from `values` on.
  void strip_scores(std::int64_t b, std::int64_t i, std::int64_t j, std::int64_t key, std::int64_t n, std::int64_t values, T* to) const {
    for (int part = 0; part < p_.parts; ++part)
      for (std::int64_t at = 0; at < p_.dk[part]; at += gemm::kBlockK) {
        const Heads<const T>& k = p_.k[part];
        const Heads<const T>& then = values == 0 ? k : p_.v;
        const Share share = share_of(then, b, values == 0 ? key + kKeyStrip : values, j, values == 0 ? p_.dk[part] : p_.dv);
        kernels_.few_scores(group_, n, std::min(gemm::kBlockK, p_.dk[part] - at), p_.q[part].at(b, i, j * group_) + at, p_.q[part].head, k.at(b, key, j) + at, k.token,
                            share.rows + at, share.ld, to, kKeyBlock, part + at > 0);
      }
  }
  // Values whose rows are no whole number of vectors cannot be read in place.
  void weigh_copy(std::int64_t b, std::int64_t j, std::int64_t key, Cuts::Range seen, const T* row, T* copy, T* to) const {
    const std::int64_t n = seen.end - seen.begin;
    pack_.b(gemm::plain<T>(p_.v.at(b, key + seen.begin, j), p_.v.token), n, p_.dv, copy);
    for (std::int64_t c = 0; c < p_.dv; c += pack_.nr()) {
      const std::int64_t width = pack_.width(c, p_.dv);
      if (few()) kernels_.product(group_, width, n, row + seen.begin, kKeyBlock, copy + c * n, width, to + c, ldo(), false);
      else kernels_.product_turned(group_, width, n, row + seen.begin * columns_, columns_, copy + c * n, width, to + c, ldo(), false);
    }
  }

  // Heads as columns: scores[key][columns].
  void in_columns(std::int64_t b, std::int64_t i, std::int64_t j, std::int64_t block, const T* q, const Parts<T>& parts, std::int64_t s) const {
    const std::int64_t key = block * kKeyBlock, at = parts.at(s, block, i * p_.H + j * group_);
    const Cuts::Range seen = visible(b, i, block);
    if (seen.empty()) return none(parts, at);
    Layout layout;
    const std::int64_t at_s = layout.place(kKeyBlock * columns_), at_stats = layout.place(2 * columns_);
    const std::int64_t at_k = layout.place(kKeyTile * kRow), at_v = layout.place(pack_.size_b(kKeyBlock, p_.dv));
    T* base = scratch().template reserve<T>(layout.size());
    T *scores = base + at_s, *stats = base + at_stats, *to = parts.o + at * parts.ldo;
    for (std::int64_t t = seen.begin; t < seen.end; t += kKeyTile) columns(b, j, key + t, std::min(kKeyTile, seen.end - t), q, base + at_k, scores + t * columns_);
    kernels_.softmax_columns(scores, columns_, columns_, seen.begin, seen.end, p_.scale, stats, stats + columns_);
    std::copy_n(stats, group_, parts.top + at);
    std::copy_n(stats + columns_, group_, parts.sum + at);
    if (p_.dv != parts.ldo) return weigh_copy(b, j, key, seen, scores, base + at_v, to);
    kernels_.product_turned(group_, p_.dv, seen.end - seen.begin, scores + seen.begin * columns_, columns_, p_.v.at(b, key + seen.begin, j), p_.v.token, to, parts.ldo, false);
  }
  // scores[key][columns] of keys [key, key + n).
  void columns(std::int64_t b, std::int64_t j, std::int64_t key, std::int64_t n, const T* q, T* copy, T* scores) const {
    for (int part = 0; part < p_.parts; ++part) {
      const T* right = q + at_q_[part];
      for (std::int64_t at = 0; at < p_.dk[part]; at += gemm::kBlockK) {
        const std::int64_t depth = std::min(gemm::kBlockK, p_.dk[part] - at);
        const T* left = p_.k[part].at(b, key, j) + at;
        std::int64_t lda = p_.k[part].token;
        if (lda * static_cast<std::int64_t>(sizeof(T)) % 4096 == 0) {  // such rows share the same few places of the L1 cache
          gemm_.pack_a(gemm::plain<T>(left, lda), n, depth, copy);
          left = copy, lda = kRow;
        }
        for (std::int64_t c = 0; c < columns_; c += pack_.nr())
          kernels_.product(n, pack_.width(c, group_), depth, left, lda, right + c * depth, pack_.width(c, group_), scores + c, columns_, part + at > 0);
        right += depth * columns_;
      }
    }
  }
  const Problem<T>& p_;
  Packing<T> pack_;
  const gemm::Kernels<T>& gemm_ = gemm::kernels<T>();
  const Kernels<T>& kernels_ = kernels<T>();
  std::int64_t group_, columns_, at_q_[kMaxParts] = {}, q_size_ = 0;
};

}  // namespace detail

template <class T>
void run_decode(const Problem<T>& p, const Heads<T>& out, T* lse) {
  detail::decode_blocks(p, detail::Decode<T>(p), out, lse);
}

}  // namespace moelle::attention
