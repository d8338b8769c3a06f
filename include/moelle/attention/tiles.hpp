// moelle/attention/tiles.hpp -- attention as products of packed tiles: the queries of a block against one key block after another.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <utility>

#include <moelle/attention/kernels.hpp>
#include <moelle/attention/problem.hpp>
#include <moelle/core/parallel.hpp>
#include <moelle/gemm/kernels.hpp>
#include <moelle/gemm/workspace.hpp>

namespace moelle::attention {

namespace detail {

// gemm's packed operands for sums longer than one K block: chunk after chunk.
template <class T>
class Packing {
 public:
  static std::int64_t size_a(std::int64_t m, std::int64_t k) { return chunks(k) * gemm::packed_a_size<T>(m); }
  std::int64_t size_b(std::int64_t k, std::int64_t n) const {
    std::int64_t size = 0;
    for (std::int64_t at = 0; at < k; at += gemm::kBlockK) size += gemm::packed_b_size(kernels_, std::min(gemm::kBlockK, k - at), n);
    return size;
  }
  void a(const gemm::Matrix<T>& from, std::int64_t m, std::int64_t k, T* to) const {
    for (std::int64_t at = 0; at < k; at += gemm::kBlockK) {
      kernels_.pack_a({from.data + at * from.col_stride, from.row_stride, from.col_stride}, m, std::min(gemm::kBlockK, k - at), to);
      to += gemm::packed_a_size<T>(m);
    }
  }
  void b(const gemm::Matrix<T>& from, std::int64_t k, std::int64_t n, T* to) const {
    for (std::int64_t at = 0; at < k; at += gemm::kBlockK) {
      const std::int64_t depth = std::min(gemm::kBlockK, k - at);
      kernels_.pack_b({from.data + at * from.row_stride, from.row_stride, from.col_stride}, depth, n, to);
      to += gemm::packed_b_size(kernels_, depth, n);
    }
  }
  // C[m, n] = (accumulate ? C : 0) + A B
  void product(std::int64_t m, std::int64_t n, std::int64_t k, const T* a, const T* b, T* c, std::int64_t ldc, bool accumulate) const {
    for (std::int64_t at = 0; at < k; at += gemm::kBlockK) {
      const std::int64_t depth = std::min(gemm::kBlockK, k - at);
      kernels_.block(m, n, depth, a, gemm::kPackedRow<T>, b, c, ldc, accumulate || at > 0);
      a += gemm::packed_a_size<T>(m);
      b += gemm::packed_b_size(kernels_, depth, n);
    }
  }

 private:
  static std::int64_t chunks(std::int64_t k) { return (k + gemm::kBlockK - 1) / gemm::kBlockK; }
  const gemm::Kernels<T>& kernels_ = gemm::kernels<T>();
};

inline gemm::Buffer& scratch() {
  thread_local gemm::Buffer own;
  return own;
}

// One thread's share: all query heads of one key head over a range of query blocks.
template <class T>
class Tiles {
 public:
  static constexpr std::int64_t kRow = gemm::kPackedRow<T>;  // score tiles are laid out as packed operands

  Tiles(const Problem<T>& p, std::int64_t b, std::int64_t j, std::int64_t keys, bool backward) : p_(p), b_(b), j_(j), keys_(keys) {
    const std::int64_t blocks = (keys + kKeyBlock - 1) / kKeyBlock;
    std::int64_t size = 0;
    const auto take = [&](std::int64_t n) { return std::exchange(size, size + (n + 15) / 16 * 16); };
    std::int64_t at_k[kMaxParts], at_kt[kMaxParts], at_q[kMaxParts], at_qb[kMaxParts];
    for (int i = 0; i < p.parts; ++i) {
      kt_size_[i] = pack_.size_b(p.dk[i], kKeyBlock);
      k_size_[i] = pack_.size_b(kKeyBlock, p.dk[i]);
      at_kt[i] = take(blocks * kt_size_[i]);
      at_k[i] = backward ? take(blocks * k_size_[i]) : 0;
      at_q[i] = take(pack_.size_a(kQueryBlock, p.dk[i]));
      at_qb[i] = backward ? take(pack_.size_b(kQueryBlock, p.dk[i])) : 0;
    }
    v_size_ = backward ? pack_.size_b(p.dv, kKeyBlock) : pack_.size_b(kKeyBlock, p.dv);
    const std::int64_t at_v = take(blocks * v_size_), at_s = take(kQueryBlock * kRow), at_t = take(kQueryBlock * std::max(kRow, p.dv));
    const std::int64_t at_o = take(kQueryBlock * p.dv), at_stats = take(2 * kQueryBlock);
    const std::int64_t at_d = backward ? take(pack_.size_a(kQueryBlock, p.dv)) : 0, at_db = backward ? take(pack_.size_b(kQueryBlock, p.dv)) : 0;
    const std::int64_t at_turn = backward ? take(kKeyBlock * kRow) : 0;
    T* base = scratch().template reserve<T>(size);
    for (int i = 0; i < p.parts; ++i) kt_[i] = base + at_kt[i], k_[i] = base + at_k[i], q_[i] = base + at_q[i], qb_[i] = base + at_qb[i];
    v_ = base + at_v, s_ = base + at_s, t_ = base + at_t, o_ = base + at_o, top_ = base + at_stats, sum_ = top_ + kQueryBlock;
    d_ = base + at_d, db_ = base + at_db, turn_ = base + at_turn;
    pack_keys(backward);
  }

  // Queries [begin, begin + rows) of head h: o and lse.
  void forward(std::int64_t h, std::int64_t begin, std::int64_t rows, const Heads<T>& out, T* lse) {
    pack_queries(h, begin, rows);
    std::fill_n(o_, rows * p_.dv, T(0));
    std::fill_n(top_, rows, -std::numeric_limits<T>::infinity());
    std::fill_n(sum_, rows, T(0));
    const auto span = range(begin, rows);
    for (std::int64_t block = span.begin / kKeyBlock; block * kKeyBlock < span.end; ++block) {
      const std::int64_t n = block_keys(block);
      scores(block, rows, n);
      T factor[kQueryBlock];
      bool seen[kQueryBlock];
      for (std::int64_t i = 0; i < rows; ++i) {
        const auto [lo, hi] = clip(begin + i, block, n);
        seen[i] = lo < hi;
        if (!seen[i]) {
          std::fill_n(s_ + i * kRow, kKeyBlock, T(0));
        } else {
          factor[i] = kernels_.softmax_row(s_ + i * kRow, lo, hi, p_.scale, p_.mask_row(b_, h, begin + i, block * kKeyBlock), top_ + i, sum_ + i);
        }
      }
      pack_.product(rows, p_.dv, n, s_, v_ + block * v_size_, t_, p_.dv, false);
      for (std::int64_t i = 0; i < rows; ++i)
        if (seen[i]) kernels_.rescale_add(o_ + i * p_.dv, t_ + i * p_.dv, p_.dv, factor[i]);
    }
    for (std::int64_t i = 0; i < rows; ++i) {
      T* to = out.at(b_, begin + i, h);
      const bool any = sum_[i] > T(0) || sum_[i] != sum_[i];
      for (std::int64_t d = 0; d < p_.dv; ++d) to[d] = any ? o_[i * p_.dv + d] / sum_[i] : T(0);
      if (lse != nullptr) lse[(b_ * p_.Tq + begin + i) * p_.H + h] = any ? top_[i] + std::log(sum_[i]) : -std::numeric_limits<T>::infinity();
    }
  }

  // Adds the part of these queries to dk, dv, and writes their dq.
  void backward(std::int64_t h, std::int64_t begin, std::int64_t rows, const Gradients<T>& g) {
    pack_queries(h, begin, rows);
    const gemm::Matrix<T> dout = gemm::plain<T>(g.dout.at(b_, begin, h), g.dout.token);
    pack_.a(dout, rows, p_.dv, d_);
    pack_.b(dout, rows, p_.dv, db_);
    for (int i = 0; i < p_.parts; ++i) pack_.b(gemm::plain<T>(p_.q[i].at(b_, begin, h), p_.q[i].token), rows, p_.dk[i], qb_[i]);
    const auto span = range(begin, rows);
    bool first = true;
    for (std::int64_t block = span.begin / kKeyBlock; block * kKeyBlock < span.end; ++block) {
      const std::int64_t n = block_keys(block), key = block * kKeyBlock;
      scores(block, rows, n);
      pack_.product(rows, n, p_.dv, d_, v_ + block * v_size_, t_, kRow, false);
      for (std::int64_t i = 0; i < rows; ++i) {
        const auto [lo, hi] = clip(begin + i, block, n);
        const std::int64_t at = (b_ * p_.Tq + begin + i) * p_.H + h;
        const T none = -std::numeric_limits<T>::infinity();
        for (std::int64_t c = n; c < kKeyBlock; ++c) t_[i * kRow + c] = T(0);
        kernels_.softmax_grad_row(s_ + i * kRow, t_ + i * kRow, lo, std::max(lo, hi), p_.scale, p_.mask_row(b_, h, begin + i, key), lo < hi ? g.lse[at] : none, g.delta[at]);
      }
      pack_.a(gemm::transposed<T>(s_, kRow), n, rows, turn_);
      pack_.product(n, p_.dv, rows, turn_, db_, g.dv.at(b_, key, j_), g.dv.token, true);
      pack_.a(gemm::transposed<T>(t_, kRow), n, rows, turn_);
      for (int i = 0; i < p_.parts; ++i) {
        pack_.product(n, p_.dk[i], rows, turn_, qb_[i], g.dk[i].at(b_, key, j_), g.dk[i].token, true);
        pack_.product(rows, p_.dk[i], n, t_, k_[i] + block * k_size_[i], g.dq[i].at(b_, begin, h), g.dq[i].token, !first);
      }
      first = false;
    }
    for (int i = 0; i < p_.parts && first; ++i)
      for (std::int64_t r = 0; r < rows; ++r) std::fill_n(g.dq[i].at(b_, begin + r, h), p_.dk[i], T(0));
  }

 private:
  std::int64_t block_keys(std::int64_t block) const { return std::min(kKeyBlock, keys_ - block * kKeyBlock); }

  void pack_keys(bool backward) {
    for (std::int64_t block = 0; block * kKeyBlock < keys_; ++block) {
      const std::int64_t n = block_keys(block), key = block * kKeyBlock;
      for (int i = 0; i < p_.parts; ++i) {
        const T* from = p_.k[i].at(b_, key, j_);
        pack_.b(gemm::transposed<T>(from, p_.k[i].token), p_.dk[i], n, kt_[i] + block * kt_size_[i]);
        if (backward) pack_.b(gemm::plain<T>(from, p_.k[i].token), n, p_.dk[i], k_[i] + block * k_size_[i]);
      }
      const T* value = p_.v.at(b_, key, j_);
      if (backward) pack_.b(gemm::transposed<T>(value, p_.v.token), p_.dv, n, v_ + block * v_size_);
      else pack_.b(gemm::plain<T>(value, p_.v.token), n, p_.dv, v_ + block * v_size_);
    }
  }
  void pack_queries(std::int64_t h, std::int64_t begin, std::int64_t rows) {
    for (int i = 0; i < p_.parts; ++i) pack_.a(gemm::plain<T>(p_.q[i].at(b_, begin, h), p_.q[i].token), rows, p_.dk[i], q_[i]);
  }
  void scores(std::int64_t block, std::int64_t rows, std::int64_t n) {
    for (int i = 0; i < p_.parts; ++i) pack_.product(rows, n, p_.dk[i], q_[i], kt_[i] + block * kt_size_[i], s_, kRow, i > 0);
    // columns of keys that do not exist: any finite number will do, they become probability 0
    if (n < kKeyBlock)
      for (std::int64_t i = 0; i < rows; ++i) std::fill(s_ + i * kRow + n, s_ + i * kRow + kKeyBlock, T(0));
  }
  // Keys seen by any of the queries.
  typename Problem<T>::Range range(std::int64_t begin, std::int64_t rows) const {
    typename Problem<T>::Range all{p_.Tk, 0};
    for (std::int64_t i = begin; i < begin + rows; ++i) {
      const auto r = p_.visible(b_, i);
      if (r.begin < r.end) all = {std::min(all.begin, r.begin), std::max(all.end, r.end)};
    }
    return all.begin < all.end ? all : typename Problem<T>::Range{0, 0};
  }
  // The same for one query, inside a block.
  typename Problem<T>::Range clip(std::int64_t i, std::int64_t block, std::int64_t n) const {
    const auto r = p_.visible(b_, i);
    const std::int64_t key = block * kKeyBlock;
    const std::int64_t lo = std::clamp<std::int64_t>(r.begin - key, 0, n);
    return {lo, std::max(lo, std::clamp<std::int64_t>(r.end - key, 0, n))};
  }

  const Problem<T>& p_;
  std::int64_t b_, j_, keys_;
  Packing<T> pack_;
  const Kernels<T>& kernels_ = kernels<T>();
  std::int64_t kt_size_[kMaxParts] = {}, k_size_[kMaxParts] = {}, v_size_ = 0;
  T *kt_[kMaxParts] = {}, *k_[kMaxParts] = {}, *q_[kMaxParts] = {}, *qb_[kMaxParts] = {};
  T *v_ = nullptr, *s_ = nullptr, *t_ = nullptr, *o_ = nullptr, *top_ = nullptr, *sum_ = nullptr, *d_ = nullptr, *db_ = nullptr, *turn_ = nullptr;
};

}  // namespace detail

// lse [B, Tq, H] or null.
template <class T>
void run_forward(const Problem<T>& p, const Heads<T>& out, T* lse) {
  if (p.B * p.Tq * p.H == 0) return;
  const std::int64_t blocks = (p.Tq + kQueryBlock - 1) / kQueryBlock, group = p.H / p.J;
  // Packed keys are shared by all queries of a task; few tasks are cut by query blocks instead.
  const std::int64_t cuts = p.B * p.J >= 8 ? 1 : blocks;
  parallel_for(p.B * p.J * cuts, [&](std::int64_t task) {
    const std::int64_t cut = cuts - 1 - task % cuts, b = task / cuts / p.J, j = task / cuts % p.J;  // the longest first
    const std::int64_t first = cut * blocks / cuts, last = (cut + 1) * blocks / cuts;
    const std::int64_t keys = p.causal ? std::min(p.Tk, p.Tk - p.Tq + last * kQueryBlock) : p.Tk;
    detail::Tiles<T> tiles(p, b, j, keys, false);
    for (std::int64_t h = j * group; h < (j + 1) * group; ++h)
      for (std::int64_t block = first; block < last; ++block)
        tiles.forward(h, block * kQueryBlock, std::min(kQueryBlock, p.Tq - block * kQueryBlock), out, lse);
  });
}

template <class T>
void run_backward(const Problem<T>& p, const Gradients<T>& g) {
  const std::int64_t blocks = (p.Tq + kQueryBlock - 1) / kQueryBlock, group = p.H / p.J;
  parallel_for(p.B * p.J, [&](std::int64_t task) {
    const std::int64_t b = task / p.J, j = task % p.J;
    detail::Tiles<T> tiles(p, b, j, p.Tk, true);
    for (std::int64_t h = j * group; h < (j + 1) * group; ++h)
      for (std::int64_t block = 0; block < blocks; ++block)
        tiles.backward(h, block * kQueryBlock, std::min(kQueryBlock, p.Tq - block * kQueryBlock), g);
  });
}

}  // namespace moelle::attention
