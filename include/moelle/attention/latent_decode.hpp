// moelle/attention/latent_decode.hpp -- decoding over a latent cache in bfloat16: half the bytes, and twice the rate where there are products of pairs.
//
// Queries and probabilities are rounded to bfloat16 too; sums, maxima and the merging of key blocks are in float, as in decode.hpp. The order of
// sums depends on positions alone, so a query's bits depend neither on the other queries nor on batch or threads; between instruction sets with
// and without products of pairs they differ.
#pragma once
#include <algorithm>
#include <cstdint>
#include <limits>
#include <utility>

#include <moelle/attention/decode_driver.hpp>
#include <moelle/core/dtype.hpp>

namespace moelle::attention {

namespace detail {

// p: one key head; its keys and values are null, rows [B, Tk, 1, D] hold them. D and the strides of the rows are even.
class LatentDecode {
 public:
  LatentDecode(const Problem<float>& p, const Heads<const bfloat16>& rows)
      : p_(p), rows_(rows), units_(p.dk[0] / bf16_.per), columns_(pack_.whole(p.H)), ldv_(pack_.whole(p.dv)), row_(pack_.whole(p.dk[0])) {}

  std::int64_t packed_queries() const { return units_ * columns_; }
  // Queries as columns, in units along the channels.
  void pack_queries(std::int64_t b, std::int64_t i, std::int64_t, float* to) const {
    auto* units = scratch().reserve<std::uint32_t>(p_.H * row_);
    for (std::int64_t h = 0; h < p_.H; ++h) bf16_.round_row(p_.q[0].at(b, i, h), p_.dk[0], 0.0f, units + h * row_);
    pack_.b(gemm::transposed<float>(reinterpret_cast<const float*>(units), row_), units_, p_.H, to);
  }

  void run(std::int64_t b, std::int64_t, std::int64_t, std::int64_t block, const float* q, const Parts<float>& parts, std::int64_t s) const {
    const std::int64_t key = block * kKeyBlock, n = std::min(kKeyBlock, p_.Tk - key);
    Layout layout;
    const std::int64_t at_s = layout.place(kKeyBlock * columns_), at_p = layout.place(kKeyBlock * columns_), at_stats = layout.place(2 * columns_);
    const std::int64_t at_k = layout.place(kKeyTile * row_), at_v = layout.place(kKeyBlock * ldv_);
    float* base = scratch().reserve<float>(layout.size());
    auto *weights = reinterpret_cast<std::uint32_t*>(base + at_p), *values = reinterpret_cast<std::uint32_t*>(base + at_v);
    bool turned = false;  // values, once for all queries
    for (std::int64_t i = 0; i < p_.Tq; ++i, q += packed_queries()) {
      const std::int64_t at = parts.at(s, block, i * p_.H);
      const auto seen = p_.visible(b, i);
      const std::int64_t lo = std::clamp<std::int64_t>(seen.begin - key, 0, n), hi = std::clamp<std::int64_t>(seen.end - key, 0, n);
      if (lo >= hi) {
        std::fill_n(parts.top + at, p_.H, -std::numeric_limits<float>::infinity());
        continue;
      }
      float *scores = base + at_s, *stats = base + at_stats;
      for (std::int64_t t = lo; t < hi; t += kKeyTile)
        multiply_keys(b, key + t, std::min(kKeyTile, hi - t), reinterpret_cast<const std::uint32_t*>(q), base + at_k, scores + t * columns_);
      kernels_.softmax_columns(scores, columns_, columns_, lo, hi, p_.scale, stats, stats + columns_);
      std::copy_n(stats, p_.H, parts.top + at);
      std::copy_n(stats + columns_, p_.H, parts.sum + at);
      if (!std::exchange(turned, true)) bf16_.values(n, p_.dv, bits(b, key), rows_.token, values, ldv_);
      const std::int64_t from = lo / bf16_.per, end = (hi + bf16_.per - 1) / bf16_.per;  // a key below lo has weight 0
      bf16_.round_rows(end * bf16_.per, columns_, lo, hi, scores, columns_, weights, columns_);
      bf16_.product_turned(p_.H, ldv_, end - from, weights + from * columns_, columns_, values + from * ldv_, ldv_, parts.o + at * parts.ldo, parts.ldo, false);
    }
  }

 private:
  static constexpr std::int64_t kKeyTile = 64;

  const std::uint16_t* bits(std::int64_t b, std::int64_t key) const { return &rows_.at(b, key, 0)->bits; }
  // scores[key][columns] of keys [key, key + n).
  void multiply_keys(std::int64_t b, std::int64_t key, std::int64_t n, const std::uint32_t* q, float* copy, float* scores) const {
    const auto* left = reinterpret_cast<const std::uint32_t*>(bf16_.keys != nullptr ? static_cast<const void*>(copy) : bits(b, key));
    const std::int64_t lda = bf16_.keys != nullptr ? row_ : rows_.token / 2;
    if (bf16_.keys != nullptr) bf16_.keys(n, p_.dk[0], bits(b, key), rows_.token, reinterpret_cast<std::uint32_t*>(copy), row_);
    for (std::int64_t at = 0; at < units_; at += gemm::kBlockK) {
      const std::int64_t depth = std::min(gemm::kBlockK, units_ - at);
      for (std::int64_t c = 0; c < columns_; c += pack_.nr())
        bf16_.product(n, pack_.width(c, p_.H), depth, left + at, lda, q + c * depth, pack_.width(c, p_.H), scores + c, columns_, at > 0);
      q += depth * columns_;
    }
  }

  const Problem<float>& p_;
  const Heads<const bfloat16>& rows_;
  Packing<float> pack_;
  const Kernels<float>& kernels_ = kernels<float>();
  const Bf16Kernels& bf16_ = kernels_.bf16;
  std::int64_t units_, columns_, ldv_, row_;
};

}  // namespace detail

inline void run_latent_decode(const Problem<float>& p, const Heads<const bfloat16>& rows, const Heads<float>& out) {
  if (p.B * p.Tq * p.H == 0) return;
  detail::decode_blocks<float>(p, detail::LatentDecode(p, rows), out, nullptr);
}

}  // namespace moelle::attention
