// moelle/attention/decode_driver.hpp -- how decoding is cut into tasks, and how the parts of key blocks become one.
#pragma once
#include <algorithm>
#include <cstdint>
#include <limits>

#include <moelle/attention/packing.hpp>
#include <moelle/core/parallel.hpp>

namespace moelle::attention::detail {

// What the key blocks of some sequences contribute to their queries: [sequence][block][query][head].
template <class T>
struct Parts {
  std::int64_t blocks = 0, rows = 0, ldo = 0;  // rows: Tq * H
  T *o = nullptr, *top = nullptr, *sum = nullptr;
  std::int64_t at(std::int64_t s, std::int64_t block, std::int64_t row) const { return (s * blocks + block) * rows + row; }
};

// Merges the parts of one query and head in order. Overwrites them.
template <class T>
void merge(const Problem<T>& p, const Parts<T>& parts, std::int64_t s, std::int64_t b, std::int64_t i, std::int64_t h, const Heads<T>& out, T* lse) {
  T top = -std::numeric_limits<T>::infinity(), sum = 0;
  T* o = nullptr;
  for (std::int64_t block = 0; block < parts.blocks; ++block) {
    const std::int64_t at = parts.at(s, block, i * p.H + h);
    if (parts.top[at] == -std::numeric_limits<T>::infinity()) continue;
    T* part = parts.o + at * parts.ldo;
    if (o == nullptr) o = part, top = parts.top[at], sum = parts.sum[at];
    else kernels<T>().merge_row(o, part, parts.ldo, &top, &sum, parts.top[at], parts.sum[at]);
  }
  if (o != nullptr) kernels<T>().finish_row(out.at(b, i, h), o, p.dv, sum);
  else std::fill_n(out.at(b, i, h), p.dv, T(0));
  if (lse != nullptr) lse[(b * p.Tq + i) * p.H + h] = log_of_sum(top, sum);
}

inline gemm::Buffer& shared_scratch() {  // of the calling thread, read and written by its tasks
  thread_local gemm::Buffer own;
  return own;
}

// D: packed_queries() elements for each query and key head (0: none), written by pack_queries(b, i, j, to); run(b, first, last, block, queries, parts, s)
// for the key heads [first, last) of one key block.
template <class T, class D>
void decode_blocks(const Problem<T>& p, const D& decode, const Heads<T>& out, T* lse) {
  const std::int64_t blocks = (p.Tk + kKeyBlock - 1) / kKeyBlock, rows = p.Tq * p.H, ldo = Packing<T>().whole(p.dv), wanted = std::int64_t{4} * num_threads();
  const std::int64_t together = std::min(p.B, wanted / std::max<std::int64_t>(blocks, 1) + 1);  // sequences at a time: bounds the memory of the parts
  const std::int64_t cuts = std::clamp<std::int64_t>(wanted / std::max<std::int64_t>(together * blocks, 1), 1, p.J);
  const std::int64_t cells = together * blocks * rows, packed = decode.packed_queries() * p.Tq * p.J;
  Layout layout;
  const std::int64_t at_o = layout.place(cells * ldo), at_top = layout.place(cells), at_sum = layout.place(cells), at_q = layout.place(together * packed);
  T* base = shared_scratch().template reserve<T>(layout.size());
  const Parts<T> parts{blocks, rows, ldo, base + at_o, base + at_top, base + at_sum};
  T* queries = base + at_q;
  for (std::int64_t first = 0; first < p.B; first += together) {
    const std::int64_t n = std::min(together, p.B - first);
    const auto query = [&](std::int64_t s, std::int64_t j, std::int64_t i) { return queries + ((s * p.J + j) * p.Tq + i) * decode.packed_queries(); };
    if (decode.packed_queries() > 0)
      parallel_for(n * p.Tq * p.J, [&](std::int64_t task) {
        const std::int64_t s = task / (p.Tq * p.J), j = task / p.Tq % p.J, i = task % p.Tq;
        decode.pack_queries(first + s, i, j, query(s, j, i));
      });
    parallel_for(n * blocks * cuts, [&](std::int64_t task) {
      const std::int64_t s = task / (blocks * cuts), block = task / cuts % blocks, cut = task % cuts;
      const std::int64_t j = p.J * cut / cuts;
      decode.run(first + s, j, p.J * (cut + 1) / cuts, block, query(s, j, 0), parts, s);
    });
    parallel_rows(n * rows, 16, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t r = begin; r < end; ++r) merge(p, parts, r / rows, first + r / rows, r % rows / p.H, r % p.H, out, lse);
    });
  }
}

}  // namespace moelle::attention::detail
