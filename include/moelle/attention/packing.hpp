// moelle/attention/packing.hpp -- operands of attention's products in scratch memory, and which rows of a tile need which keys.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <type_traits>
#include <utility>

#include <moelle/attention/kernels.hpp>
#include <moelle/attention/problem.hpp>
#include <moelle/gemm/kernels.hpp>
#include <moelle/gemm/workspace.hpp>

namespace moelle::attention::detail {

template <class T>
T log_of_sum(T top, T sum) {
  return sum == T(0) ? -std::numeric_limits<T>::infinity() : top + std::log(sum);
}

inline gemm::Buffer& scratch() {
  thread_local gemm::Buffer own;
  return own;
}

// Adds up sizes, whole cache lines each; place() gives the offset.
class Layout {
 public:
  std::int64_t place(std::int64_t elements) { return std::exchange(size_, size_ + (elements + 15) / 16 * 16); }
  std::int64_t size() const { return size_; }

 private:
  std::int64_t size_ = 0;
};

// gemm's packed operands for sums longer than one K block: chunk after chunk. Unit = T, or 4 bytes that hold bfloat16 (gemm/kernels.hpp).
template <class T, class Unit = T>
class Packing {
 public:
  static_assert(sizeof(Unit) == sizeof(T));
  static constexpr bool kRounded = !std::is_same_v<T, Unit>;
  static constexpr std::int64_t kRow = gemm::kPackedRow<T>;  // from one row of a packed A, or of a score tile, to the next

  std::int64_t per() const { return gemm_.per; }
  std::int64_t units(std::int64_t terms) const { return (terms + gemm_.per - 1) / gemm_.per; }
  std::int64_t nr() const { return gemm_.nr; }
  std::int64_t mr() const { return gemm_.mr; }
  std::int64_t whole(std::int64_t n) const { return (n + gemm_.lanes - 1) / gemm_.lanes * gemm_.lanes; }  // in whole vectors
  // Width of the panel at column c of n.
  std::int64_t width(std::int64_t c, std::int64_t n) const { return std::min(gemm_.nr, whole(n - c)); }

  std::int64_t size_a(std::int64_t m, std::int64_t k) const { return (k + block() - 1) / block() * gemm::packed_a_size<Unit>(m); }
  std::int64_t size_b(std::int64_t k, std::int64_t n) const { return units(k) * whole(n); }
  // A[m, k] -> chunks of [m][kRow].
  void a(const gemm::Matrix<T>& from, std::int64_t m, std::int64_t k, Unit* to) const {
    for (std::int64_t at = 0; at < k; at += block(), to += gemm::packed_a_size<Unit>(m))
      gemm_.pack_a({from.data + at * from.col_stride, from.row_stride, from.col_stride}, m, std::min(block(), k - at), to);
  }
  // B[k, n] -> chunks of [panel][units of k][width].
  void b(const gemm::Matrix<T>& from, std::int64_t k, std::int64_t n, Unit* to) const {
    for (std::int64_t at = 0; at < k; at += block()) {
      const std::int64_t depth = std::min(block(), k - at);
      gemm_.pack_b({from.data + at * from.row_stride, from.row_stride, from.col_stride}, depth, n, to);
      to += units(depth) * whole(n);
    }
  }
  // attention/kernels.hpp, k in units.
  void product(std::int64_t m, std::int64_t n, std::int64_t k, const Unit* a, std::int64_t lda, const Unit* b, std::int64_t ldb, T* c, std::int64_t ldc, bool accumulate) const {
    if constexpr (kRounded) kernels_.bf16.product(m, n, k, a, lda, b, ldb, c, ldc, accumulate);
    else kernels_.product(m, n, k, a, lda, b, ldb, c, ldc, accumulate);
  }
  void product_turned(std::int64_t m, std::int64_t n, std::int64_t k, const Unit* a, std::int64_t lda, const Unit* b, std::int64_t ldb, T* c, std::int64_t ldc,
                      bool accumulate) const {
    if constexpr (kRounded) kernels_.bf16.product_turned(m, n, k, a, lda, b, ldb, c, ldc, accumulate);
    else kernels_.product_turned(m, n, k, a, lda, b, ldb, c, ldc, accumulate);
  }
  // Rows [r, r + m), columns [c, c + cols) of C = (accumulate ? C : 0) + A B, c the first of a panel; A[rows, k] and B[k, n] packed.
  struct Part {
    std::int64_t r, m, c, cols;
  };
  void part(const Part& p, std::int64_t rows, std::int64_t n, std::int64_t k, const Unit* a, const Unit* b, T* c, std::int64_t ldc, bool accumulate) const {
    for (std::int64_t at = 0; at < k; at += block()) {
      const std::int64_t depth = units(std::min(block(), k - at));
      product(p.m, p.cols, depth, a + p.r * kRow, kRow, b + p.c * depth, width(p.c, n), c + p.r * ldc + p.c, ldc, accumulate || at > 0);
      a += gemm::packed_a_size<Unit>(rows);
      b += depth * whole(n);
    }
  }

 private:
  std::int64_t block() const { return gemm::kBlockK * gemm_.per; }  // terms
  static const gemm::Kernels<T, Unit>& table() {
    if constexpr (kRounded) return gemm::rounded_kernels();
    else return gemm::kernels<T>();
  }

  const gemm::Kernels<T, Unit>& gemm_ = table();
  const Kernels<T>& kernels_ = kernels<T>();
};

// Which keys of a block the rows of a query block see, row by row and by groups of rows that make one register tile: what lies above the
// diagonal, outside a window or in another document is not computed.
class Cuts {
 public:
  struct Range {
    std::int64_t begin = 0, end = 0;
    bool empty() const { return begin >= end; }
    bool operator==(const Range&) const = default;
  };
  std::int64_t groups = 0;
  Range row[kQueryBlock], group[kQueryBlock];
  std::int64_t first[kQueryBlock + 1];  // row of each group, and one past the last

  // Rows [begin, begin + rows) of sequence b against keys [key, key + n). A group's keys are whole units.
  template <class T, class Unit>
  Cuts(const Problem<T>& p, std::int64_t b, std::int64_t begin, std::int64_t rows, std::int64_t key, std::int64_t n, const Packing<T, Unit>& pack) {
    const std::int64_t mr = pack.mr(), per = pack.per();
    groups = (rows + mr - 1) / mr;
    for (std::int64_t g = 0; g < groups; ++g) {
      first[g] = rows * g / groups, first[g + 1] = rows * (g + 1) / groups;
      group[g] = {};
      for (std::int64_t i = first[g]; i < first[g + 1]; ++i) {
        const auto r = p.visible(b, begin + i);
        row[i].begin = std::clamp<std::int64_t>(r.begin - key, 0, n);
        row[i].end = std::max(row[i].begin, std::clamp<std::int64_t>(r.end - key, 0, n));
        if (row[i].empty()) continue;
        group[g] = group[g].empty() ? row[i] : Range{std::min(group[g].begin, row[i].begin), std::max(group[g].end, row[i].end)};
      }
      group[g] = {group[g].begin / per * per, pack.units(group[g].end) * per};
    }
  }
  // f(value, first group, one past the last) for each run of groups with the same value(g).
  template <class Value, class F>
  void runs(Value value, F f) const {
    for (std::int64_t g = 0; g < groups;) {
      const auto v = value(g);
      std::int64_t end = g + 1;
      while (end < groups && value(end) == v) ++end;
      f(v, g, end);
      g = end;
    }
  }
  // Rows that see any of the keys [begin, end) of the block.
  Range rows_that_see(std::int64_t begin, std::int64_t end) const {
    Range rows;
    for (std::int64_t g = 0; g < groups; ++g)
      if (!group[g].empty() && group[g].begin < end && group[g].end > begin) rows = {rows.empty() ? first[g] : rows.begin, first[g + 1]};
    return rows;
  }
};

// Scores of a query block against a key block, as far as anybody sees them: s[rows][kRow] = (accumulate ? s : 0) + A B.
template <class T, class Unit>
void visible_product(const Packing<T, Unit>& pack, const Cuts& cuts, std::int64_t rows, std::int64_t n, std::int64_t k, const Unit* a, const Unit* b, T* s, bool accumulate) {
  for (std::int64_t c = 0; c < n; c += pack.nr()) {
    const auto columns = [&](std::int64_t g) {  // of this panel, in whole vectors
      const Cuts::Range& r = cuts.group[g];
      return r.empty() || r.end <= c || r.begin >= c + pack.nr() ? std::int64_t{0} : std::min(pack.width(c, n), pack.whole(r.end - c));
    };
    cuts.runs(columns, [&](std::int64_t cols, std::int64_t g, std::int64_t end) {
      if (cols > 0) pack.part({cuts.first[g], cuts.first[end] - cuts.first[g], c, cols}, rows, n, k, a, b, s, Packing<T>::kRow, accumulate);
    });
  }
}

}  // namespace moelle::attention::detail
