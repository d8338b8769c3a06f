// moelle/attention/backward_tiles.hpp -- the gradient of attention as products of packed tiles. Scores and probabilities are computed again.
#pragma once
#include <algorithm>
#include <cstdint>
#include <vector>

#include <moelle/attention/packing.hpp>

namespace moelle::attention::detail {

inline constexpr std::int64_t kGradKeyBlock = 128;

enum class Wanted : std::uint8_t { all, queries, keys };  // gradients that a task computes

// One thread's share: one key head, its keys [first, last) and, of them, the gradients of keys and values, and those of whatever queries it is
// given. Each gradient adds up in one order, whichever tasks there are: keys and values over the query heads, then over the query blocks;
// queries over the key blocks.
template <class T, class Unit>
class BackwardTiles {
 public:
  static constexpr std::int64_t kRow = Packing<T, Unit>::kRow;
  static constexpr bool kRounded = Packing<T, Unit>::kRounded;

  // first: a multiple of kGradKeyBlock.
  BackwardTiles(const Problem<T>& p, const Gradients<T>& g, std::int64_t b, std::int64_t j, std::int64_t first, std::int64_t last, Wanted wanted)
      : p_(p), g_(g), b_(b), j_(j), first_(first), last_(last), wanted_(wanted), touched_(static_cast<std::size_t>(blocks()), false) {
    Layout at;
    std::int64_t at_kt[kMaxParts], at_k[kMaxParts], at_q[kMaxParts], at_q_right[kMaxParts];
    for (int i = 0; i < p.parts; ++i) {
      kt_size_[i] = pack_.size_b(p.dk[i], kGradKeyBlock);
      k_size_[i] = pack_.size_b(kGradKeyBlock, p.dk[i]);
      at_kt[i] = at.place(blocks() * kt_size_[i]);
      at_k[i] = wanted != Wanted::keys ? at.place(blocks() * k_size_[i]) : 0;
      at_q[i] = at.place(pack_.size_a(kQueryBlock, p.dk[i]));
      at_q_right[i] = kRounded ? at.place(pack_.size_b(kQueryBlock, p.dk[i])) : at_q[i];
    }
    v_size_ = pack_.size_b(p.dv, kGradKeyBlock);
    const std::int64_t at_v = at.place(blocks() * v_size_), at_d = at.place(pack_.size_a(kQueryBlock, p.dv)), at_d_right = kRounded ? at.place(pack_.size_b(kQueryBlock, p.dv)) : at_d;
    const std::int64_t tile = kQueryBlock * kRow, at_s = at.place(2 * tile), at_ds = kRounded ? at.place(tile) : at_s + tile, at_turned = kRounded ? at.place(2 * tile) : at_s;
    T* base = scratch().template reserve<T>(at.size());
    const auto units = [base](std::int64_t offset) { return reinterpret_cast<Unit*>(base + offset); };
    for (int i = 0; i < p.parts; ++i) kt_[i] = units(at_kt[i]), k_[i] = units(at_k[i]), q_[i] = units(at_q[i]), q_right_[i] = units(at_q_right[i]);
    v_ = units(at_v), d_ = units(at_d), d_right_ = units(at_d_right), ds_ = units(at_ds), p_turned_ = units(at_turned), ds_turned_ = p_turned_ + tile;
    s_ = base + at_s, t_ = s_ + tile;
    for (std::int64_t block = 0; block < blocks(); ++block) pack_keys(block);
  }

  // The part of queries [begin, begin + rows) of head h.
  void run(std::int64_t h, std::int64_t begin, std::int64_t rows) {
    const auto span = p_.visible(b_, begin, rows);
    const std::int64_t from = std::max(span.begin, first_), to = std::min(span.end, last_);
    bool first = true;
    if (from < to) pack_queries(h, begin, rows);
    for (std::int64_t block = (from - first_) / kGradKeyBlock; from < to && first_ + block * kGradKeyBlock < to; ++block) {
      const std::int64_t key = first_ + block * kGradKeyBlock, n = std::min(kGradKeyBlock, last_ - key);
      const Cuts cuts(p_, b_, begin, rows, key, n, pack_);
      for (int i = 0; i < p_.parts; ++i) visible_product(pack_, cuts, rows, n, p_.dk[i], q_[i], kt_[i] + block * kt_size_[i], s_, i > 0);
      visible_product(pack_, cuts, rows, n, p_.dv, d_, v_ + block * v_size_, t_, false);
      softmax(cuts, h, begin, rows, key, n);
      if (wanted_ != Wanted::queries) keys_and_values(cuts, key, n, rows, touched_[static_cast<std::size_t>(block)]);
      touched_[static_cast<std::size_t>(block)] = true;
      if (wanted_ != Wanted::keys) queries(cuts, h, begin, block, n, !first);
      first = false;
    }
    if (!first || wanted_ == Wanted::keys) return;
    for (int i = 0; i < p_.parts; ++i)
      for (std::int64_t r = 0; r < rows; ++r) std::fill_n(g_.dq[i].at(b_, begin + r, h), p_.dk[i], T(0));
  }

  // After the last query: keys that none of them saw.
  void finish() {
    if (wanted_ == Wanted::queries) return;
    for (std::int64_t block = 0; block < blocks(); ++block)
      for (std::int64_t r = 0, key = first_ + block * kGradKeyBlock; r < std::min(kGradKeyBlock, last_ - key) && !touched_[static_cast<std::size_t>(block)]; ++r) {
        for (int i = 0; i < p_.parts; ++i) std::fill_n(g_.dk[i].at(b_, key + r, j_), p_.dk[i], T(0));
        std::fill_n(g_.dv.at(b_, key + r, j_), p_.dv, T(0));
      }
  }

 private:
  std::int64_t blocks() const { return (last_ - first_ + kGradKeyBlock - 1) / kGradKeyBlock; }

  void pack_keys(std::int64_t block) {
    const std::int64_t key = first_ + block * kGradKeyBlock, n = std::min(kGradKeyBlock, last_ - key);
    for (int i = 0; i < p_.parts; ++i) {
      const T* from = p_.k[i].at(b_, key, j_);
      pack_.b(gemm::transposed<T>(from, p_.k[i].token), p_.dk[i], n, kt_[i] + block * kt_size_[i]);
      if (wanted_ != Wanted::keys) pack_.b(gemm::plain<T>(from, p_.k[i].token), n, p_.dk[i], k_[i] + block * k_size_[i]);
    }
    pack_.b(gemm::transposed<T>(p_.v.at(b_, key, j_), p_.v.token), p_.dv, n, v_ + block * v_size_);
  }
  // From the left, as rows, they serve scores; from the right gradients of keys and values, in the same rows unless units hold several terms.
  void pack_queries(std::int64_t h, std::int64_t begin, std::int64_t rows) {
    for (int i = 0; i < p_.parts; ++i) pack_queries(gemm::plain<T>(p_.q[i].at(b_, begin, h), p_.q[i].token), rows, p_.dk[i], q_[i], q_right_[i]);
    pack_queries(gemm::plain<T>(g_.dout.at(b_, begin, h), g_.dout.token), rows, p_.dv, d_, d_right_);
  }
  void pack_queries(const gemm::Matrix<T>& x, std::int64_t rows, std::int64_t n, Unit* left, Unit* right) {
    pack_.a(x, rows, n, left);
    if (kRounded && wanted_ != Wanted::queries) pack_.b(x, rows, n, right);
  }
  // s <- P, t <- dS, zeros where a row sees nothing.
  void softmax(const Cuts& cuts, std::int64_t h, std::int64_t begin, std::int64_t rows, std::int64_t key, std::int64_t n) {
    for (std::int64_t i = 0; i < rows; ++i) {
      const std::int64_t at = (b_ * p_.Tq + begin + i) * p_.H + h;
      kernels_.softmax_grad_row(s_ + i * kRow, t_ + i * kRow, n, cuts.row[i].begin, cuts.row[i].end, p_.scale, p_.mask_row(b_, h, begin + i, key), g_.lse[at], g_.delta[at]);
    }
    if constexpr (kRounded) round(rows, n);
  }
  void round(std::int64_t rows, std::int64_t n) {
    const Bf16Kernels& bf16 = kernels_.bf16;
    if (wanted_ != Wanted::queries) {
      bf16.round_rows(rows, pack_.whole(n), 0, rows, s_, kRow, p_turned_, kRow);
      bf16.round_rows(rows, pack_.whole(n), 0, rows, t_, kRow, ds_turned_, kRow);
    }
    for (std::int64_t i = 0; i < rows && wanted_ != Wanted::keys; ++i) bf16.round_row(t_ + i * kRow, n, 0, ds_ + i * kRow);
  }
  // dv += P^T dO, dk += dS^T Q.
  void keys_and_values(const Cuts& cuts, std::int64_t key, std::int64_t n, std::int64_t rows, bool add) {
    const std::int64_t groups = (n + pack_.mr() - 1) / pack_.mr();
    const auto see = [&](std::int64_t group) { return cuts.rows_that_see(n * group / groups, n * (group + 1) / groups); };
    for (std::int64_t group = 0; group < groups;) {
      const Cuts::Range seen = see(group);
      std::int64_t end = group + 1;
      while (end < groups && see(end) == seen) ++end;
      const std::int64_t k0 = n * group / groups, k1 = n * end / groups;
      group = end;
      if (seen.empty() && add) continue;
      turned_product(k0, k1 - k0, seen, rows, p_.dv, p_turned_, d_right_, g_.dv.at(b_, key + k0, j_), g_.dv.token, add);
      for (int i = 0; i < p_.parts; ++i) turned_product(k0, k1 - k0, seen, rows, p_.dk[i], ds_turned_, q_right_[i], g_.dk[i].at(b_, key + k0, j_), g_.dk[i].token, add);
    }
  }
  // C[m, n] = (add ? C : 0) + A^T B over the rows `seen`, A at column `column`; B packed from the right.
  void turned_product(std::int64_t column, std::int64_t m, const Cuts::Range& seen, std::int64_t rows, std::int64_t n, const Unit* a, const Unit* b, T* c, std::int64_t ldc, bool add) {
    const std::int64_t first = seen.begin / pack_.per(), last = pack_.units(seen.end);
    a += first * kRow + column;
    if constexpr (kRounded) {
      for (std::int64_t at = 0, width; at < n; at += width) {
        width = pack_.width(at, n);
        pack_.product_turned(m, std::min(width, n - at), last - first, a, kRow, b + at * pack_.units(rows) + first * width, width, c + at, ldc, add);
      }
    } else {
      for (std::int64_t at = 0; at < n; at += gemm::kBlockK, b += gemm::packed_a_size<Unit>(rows))
        pack_.product_turned(m, std::min(gemm::kBlockK, n - at), last - first, a, kRow, b + first * kRow, kRow, c + at, ldc, add);
    }
  }
  // dq += dS K.
  void queries(const Cuts& cuts, std::int64_t h, std::int64_t begin, std::int64_t block, std::int64_t n, bool add) {
    for (int i = 0; i < p_.parts; ++i)
      for (std::int64_t c = 0; c < p_.dk[i]; c += pack_.nr())
        cuts.runs([&](std::int64_t g) { return cuts.group[g]; }, [&](const Cuts::Range& keys, std::int64_t g, std::int64_t end) {
          if (keys.empty() && add) return;
          const std::int64_t r = cuts.first[g], width = pack_.width(c, p_.dk[i]), first = pack_.units(keys.begin), last = pack_.units(keys.end);
          pack_.product(cuts.first[end] - r, std::min(width, p_.dk[i] - c), last - first, ds_ + r * kRow + first, kRow,
                        k_[i] + block * k_size_[i] + c * pack_.units(n) + first * width, width, g_.dq[i].at(b_, begin + r, h) + c, g_.dq[i].token, add);
        });
  }

  const Problem<T>& p_;
  const Gradients<T>& g_;
  std::int64_t b_, j_, first_, last_;
  Wanted wanted_;
  std::vector<bool> touched_;  // key blocks whose gradients hold something
  Packing<T, Unit> pack_;
  const Kernels<T>& kernels_ = kernels<T>();
  std::int64_t kt_size_[kMaxParts] = {}, k_size_[kMaxParts] = {}, v_size_ = 0;
  Unit *kt_[kMaxParts] = {}, *k_[kMaxParts] = {}, *q_[kMaxParts] = {}, *q_right_[kMaxParts] = {}, *v_ = nullptr, *d_ = nullptr, *d_right_ = nullptr;
  T *s_ = nullptr, *t_ = nullptr;                                       // P and dS, row by row
  Unit *ds_ = nullptr, *p_turned_ = nullptr, *ds_turned_ = nullptr;  // as the products have them: the same memory, unless rounded
};

}  // namespace moelle::attention::detail
