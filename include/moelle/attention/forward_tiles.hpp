// moelle/attention/forward_tiles.hpp -- o and lse as products of packed tiles: the queries of a block against one key block after another.
#pragma once
#include <algorithm>
#include <cstdint>
#include <limits>

#include <moelle/attention/packing.hpp>

namespace moelle::attention::detail {

// One thread's share: all query heads of one key head over a range of query blocks. Unit: what the products multiply (packing.hpp).
template <class T, class Unit>
class ForwardTiles {
 public:
  static constexpr std::int64_t kRow = Packing<T, Unit>::kRow;
  static constexpr bool kRounded = Packing<T, Unit>::kRounded;

  // Packs the keys [0, keys) of key head j of sequence b, `first` and those after it, whole blocks.
  ForwardTiles(const Problem<T>& p, std::int64_t b, std::int64_t j, std::int64_t first, std::int64_t keys)
      : p_(p), b_(b), j_(j), origin_(first / kKeyBlock), keys_(keys), ldo_(pack_.whole(p.dv)) {
    const std::int64_t blocks = std::max<std::int64_t>(0, (keys + kKeyBlock - 1) / kKeyBlock - origin_);
    Layout at;
    std::int64_t at_k[kMaxParts], at_q[kMaxParts];
    for (int i = 0; i < p.parts; ++i) {
      k_size_[i] = pack_.size_b(p.dk[i], kKeyBlock);
      at_k[i] = at.place(blocks * k_size_[i]);
      at_q[i] = at.place(pack_.size_a(kQueryBlock, p.dk[i]));
    }
    v_size_ = pack_.size_b(kKeyBlock, p.dv);
    const std::int64_t at_v = at.place(blocks * v_size_), at_s = at.place(kQueryBlock * kRow), at_o = at.place(2 * kQueryBlock * ldo_);
    const std::int64_t at_weights = kRounded ? at.place(kQueryBlock * kRow) : at_s;
    T* base = scratch().template reserve<T>(at.size());
    const auto units = [base](std::int64_t offset) { return reinterpret_cast<Unit*>(base + offset); };
    for (int i = 0; i < p.parts; ++i) k_[i] = units(at_k[i]), q_[i] = units(at_q[i]);
    v_ = units(at_v), weights_ = units(at_weights), s_ = base + at_s, o_ = base + at_o, part_ = o_ + kQueryBlock * ldo_;
    for (std::int64_t block = 0; block < blocks; ++block) pack_keys(block);
  }

  // Queries [begin, begin + rows) of head h.
  void run(std::int64_t h, std::int64_t begin, std::int64_t rows, const Heads<T>& out, T* lse) {
    T top[kQueryBlock], sum[kQueryBlock];
    std::fill_n(top, rows, -std::numeric_limits<T>::infinity());
    std::fill_n(sum, rows, T(0));
    for (int i = 0; i < p_.parts; ++i) pack_.a(gemm::plain<T>(p_.q[i].at(b_, begin, h), p_.q[i].token), rows, p_.dk[i], q_[i]);
    const auto span = p_.visible(b_, begin, rows);
    bool first = true;
    for (std::int64_t block = span.begin / kKeyBlock; block * kKeyBlock < span.end; ++block, first = false) {
      const std::int64_t key = block * kKeyBlock, n = std::min(kKeyBlock, keys_ - key);
      const Cuts cuts(p_, b_, begin, rows, key, n, pack_);
      for (int i = 0; i < p_.parts; ++i) visible_product(pack_, cuts, rows, n, p_.dk[i], q_[i], k_[i] + (block - origin_) * k_size_[i], s_, i > 0);
      T part_top[kQueryBlock], part_sum[kQueryBlock];
      softmax(cuts, h, begin, key, first ? top : part_top, first ? sum : part_sum);
      weigh(cuts, n, v_ + (block - origin_) * v_size_, first ? o_ : part_);
      for (std::int64_t i = 0; i < rows && !first; ++i)
        kernels_.merge_row(o_ + i * ldo_, part_ + i * ldo_, ldo_, top + i, sum + i, part_top[i], part_sum[i]);
    }
    if (first) std::fill_n(o_, rows * ldo_, T(0));
    for (std::int64_t i = 0; i < rows; ++i) {
      kernels_.finish_row(out.at(b_, begin + i, h), o_ + i * ldo_, p_.dv, sum[i]);
      if (lse != nullptr) lse[(b_ * p_.Tq + begin + i) * p_.H + h] = log_of_sum(top[i], sum[i]);
    }
  }

 private:
  void pack_keys(std::int64_t block) {
    const std::int64_t key = (origin_ + block) * kKeyBlock, n = std::min(kKeyBlock, keys_ - key);
    for (int i = 0; i < p_.parts; ++i) pack_.b(gemm::transposed<T>(p_.k[i].at(b_, key, j_), p_.k[i].token), p_.dk[i], n, k_[i] + block * k_size_[i]);
    pack_.b(gemm::plain<T>(p_.v.at(b_, key, j_), p_.v.token), n, p_.dv, v_ + block * v_size_);
  }
  // Scores -> probabilities up to the block's own maximum; a row's keys that it does not see, but its group does, get 0.
  void softmax(const Cuts& cuts, std::int64_t h, std::int64_t begin, std::int64_t key, T* top, T* sum) {
    for (std::int64_t g = 0; g < cuts.groups; ++g)
      for (std::int64_t i = cuts.first[g]; i < cuts.first[g + 1]; ++i) {
        const Cuts::Range row = cuts.row[i], group = cuts.group[g];
        if (row.empty()) {
          std::fill(s_ + i * kRow + group.begin, s_ + i * kRow + group.end, T(0));
          top[i] = -std::numeric_limits<T>::infinity(), sum[i] = T(0);
        } else {
          kernels_.softmax_row(s_ + i * kRow, group.begin, group.end, row.begin, row.end, p_.scale, p_.mask_row(b_, h, begin + i, key), top + i, sum + i);
        }
        if constexpr (kRounded)
          kernels_.bf16.round_row(s_ + i * kRow + group.begin, group.end - group.begin, 0, weights_ + i * kRow + group.begin / pack_.per());
      }
  }
  // to[rows][ldo] = P V.
  void weigh(const Cuts& cuts, std::int64_t n, const Unit* v, T* to) {
    for (std::int64_t c = 0; c < p_.dv; c += pack_.nr())
      cuts.runs([&](std::int64_t g) { return cuts.group[g]; }, [&](const Cuts::Range& keys, std::int64_t g, std::int64_t end) {
        const std::int64_t r = cuts.first[g], width = pack_.width(c, p_.dv), first = pack_.units(keys.begin), last = pack_.units(keys.end);
        pack_.product(cuts.first[end] - r, width, last - first, weights_ + r * kRow + first, kRow, v + c * pack_.units(n) + first * width, width, to + r * ldo_ + c, ldo_, false);
      });
  }

  const Problem<T>& p_;
  std::int64_t b_, j_, origin_, keys_;
  Packing<T, Unit> pack_;
  const Kernels<T>& kernels_ = kernels<T>();
  std::int64_t ldo_, k_size_[kMaxParts] = {}, v_size_ = 0;
  Unit *k_[kMaxParts] = {}, *q_[kMaxParts] = {}, *v_ = nullptr;
  Unit* weights_ = nullptr;  // P as the product has it: the scores' own memory, unless rounded
  T *s_ = nullptr, *o_ = nullptr, *part_ = nullptr;
};

}  // namespace moelle::attention::detail
