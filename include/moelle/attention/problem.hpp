// moelle/attention/problem.hpp -- what the tiles of attention see: pointers, strides, and which keys a query may see.
#pragma once
#include <algorithm>
#include <cstdint>

#include <moelle/attention/attention.hpp>

namespace moelle::attention {

// [B, T, heads, D] with unit stride along D; a head stride of 0 shares one vector among all heads.
template <class T>
struct Heads {
  T* data = nullptr;
  std::int64_t batch = 0, token = 0, head = 0;  // strides in elements
  T* at(std::int64_t b, std::int64_t t, std::int64_t h) const { return data + b * batch + t * token + h * head; }
};

// Queries and keys may come in two parts whose scores add up: MLA's own part of each head, and the rotary part whose key all
// heads share.
inline constexpr int kMaxParts = 2;

template <class T>
struct Problem {
  std::int64_t B = 0, Tq = 0, Tk = 0, H = 0, J = 0;
  int parts = 1;
  Heads<const T> q[kMaxParts], k[kMaxParts];
  std::int64_t dk[kMaxParts] = {0, 0};
  Heads<const T> v;
  std::int64_t dv = 0;
  T scale = T(1);
  bool causal = true;
  bool rounded = false;  // operands of the products in bfloat16 (of float only)
  std::int64_t window = 0;
  const std::int32_t* document_begin = nullptr;  // [B, Tq] first and one past the last key of the query's document
  const std::int32_t* document_end = nullptr;
  const T* mask = nullptr;                       // added to the scores; key stride 1
  std::int64_t mask_batch = 0, mask_head = 0, mask_query = 0;

  struct Range {
    std::int64_t begin, end;
  };
  // Keys that query i of sequence b sees.
  Range visible(std::int64_t b, std::int64_t i) const {
    const std::int64_t position = i + Tk - Tq;
    Range r{0, causal ? position + 1 : Tk};
    if (window > 0) r.begin = std::max<std::int64_t>(0, position - window + 1);
    if (document_begin != nullptr) {
      r.begin = std::max<std::int64_t>(r.begin, document_begin[b * Tq + i]);
      r.end = std::min<std::int64_t>(r.end, document_end[b * Tq + i]);
    }
    return r;
  }
  // Keys that any of the queries [begin, begin + rows) sees, and those between.
  Range visible(std::int64_t b, std::int64_t begin, std::int64_t rows) const {
    Range all{0, 0};
    for (std::int64_t i = begin; i < begin + rows; ++i) {
      const Range r = visible(b, i);
      if (r.begin < r.end) all = all.begin < all.end ? Range{std::min(all.begin, r.begin), std::max(all.end, r.end)} : r;
    }
    return all;
  }
  const T* mask_row(std::int64_t b, std::int64_t h, std::int64_t i, std::int64_t key) const {
    return mask == nullptr ? nullptr : mask + b * mask_batch + h * mask_head + i * mask_query + key;
  }
};

template <class T>
struct Gradients {
  const T* delta = nullptr;  // [B, Tq, H] sum_d do o
  const T* lse = nullptr;    // [B, Tq, H]
  Heads<const T> dout;       // [B, Tq, H, Dv]
  Heads<T> dq[kMaxParts];    // [B, Tq, H, dk]
  Heads<T> dk[kMaxParts];    // [B, Tk, J, dk]; of a shared part one per key head, to be added up by the caller
  Heads<T> dv;               // [B, Tk, J, Dv]
};

}  // namespace moelle::attention
