// moelle/gemm/driver.hpp -- runs a list of products: packs, multiplies tile by tile.
#pragma once
#include <algorithm>
#include <cstdint>
#include <type_traits>
#include <vector>

#include <moelle/core/parallel.hpp>
#include <moelle/cpu/caches.hpp>
#include <moelle/gemm/gemm.hpp>
#include <moelle/gemm/kernels.hpp>
#include <moelle/gemm/plan.hpp>
#include <moelle/gemm/workspace.hpp>

namespace moelle::gemm {

// What the problems of a list have in common.
template <class T>
struct Layout {
  std::int64_t a_row_stride, a_col_stride, b_row_stride, b_col_stride, ldc;
  bool accumulate = false;
  const T* bias = nullptr;
  bool serial = false;  // on this thread only
  Precision precision = Precision::native;
};

namespace detail {

inline constexpr std::int64_t kPackPanels = 8;                        // panels of B packed by one task
inline constexpr std::int64_t kRoundBlocks = 32;                      // K blocks of one round
inline constexpr std::int64_t kSerialPack = 1 << 15;                  // elements of B that one thread packs sooner than two

// Bytes of packed B in one round: they stay in the last-level cache.
inline std::int64_t shared_bytes() { return std::clamp<std::int64_t>(cpu::caches().l3 / 2, std::int64_t{1} << 20, std::int64_t{16} << 20); }
// Bytes of packed A of a task, several K blocks if the rows are few: a part of the L2 cache.
inline std::int64_t packed_a_bytes() { return std::clamp<std::int64_t>(cpu::caches().l2 / 4, std::int64_t{64} << 10, std::int64_t{512} << 10); }

// Columns [n0, n1) and terms [k0, k1) of one problem.
struct Chunk {
  std::int64_t problem = 0, n0 = 0, n1 = 0, k0 = 0, k1 = 0;
  Tiling tiles{};
  std::int64_t packed = 0;  // where its B lies in the shared buffer
  std::int64_t first_task = 0, first_pack = 0;
  double task_work = 0;
};

// Unit: what operands are packed as (kernels.hpp).
template <class T, class Unit = T>
class Driver {
  static constexpr bool kPlain = std::is_same_v<T, Unit>;  // operands may be read where they lie

 public:
  Driver(const std::vector<Problem<T>>& problems, const Layout<T>& layout, const Kernels<T, Unit>& table)
      : problems_(problems), layout_(layout), kernels_(table), plan_(problems, layout.serial ? 1 : num_threads(), table.nr) {}

  void run() {
    for (std::size_t i = 0; i < problems_.size(); ++i)
      if (problems_[i].m > 0 && problems_[i].n > 0) add(static_cast<std::int64_t>(i));
    flush();
  }

 private:
  const Problem<T>& problem(const Chunk& c) const { return problems_[static_cast<std::size_t>(c.problem)]; }

  // Shared B is limited to shared_bytes(): what does not fit waits for the next round, and later terms of an element always do.
  void add(std::int64_t index) {
    const Problem<T>& p = problems_[static_cast<std::size_t>(index)];
    const Tiling whole = plan_.tiling(p.m, p.n);
    if (!whole.shared) return push({.problem = index, .n0 = 0, .n1 = p.n, .k0 = 0, .k1 = p.k, .tiles = whole});
    const std::int64_t depth = std::clamp<std::int64_t>(p.k, 1, kRoundBlocks * block_k()), room = shared_bytes() / static_cast<std::int64_t>(sizeof(Unit));
    const std::int64_t width = std::max<std::int64_t>(room / units(depth) / kTileCols, 1) * kTileCols;
    for (std::int64_t n0 = 0; n0 < p.n; n0 += width)
      for (std::int64_t k0 = 0; k0 == 0 || k0 < p.k; k0 += depth) {
        const std::int64_t n1 = std::min(n0 + width, p.n), k1 = std::min(k0 + depth, p.k);
        const std::int64_t size = packed_b_size(kernels_, k1 - k0, n1 - n0);
        if (k0 > 0 || shared_size_ + size > room) flush();
        push({.problem = index, .n0 = n0, .n1 = n1, .k0 = k0, .k1 = k1, .tiles = plan_.tiling(p.m, n1 - n0, true), .packed = shared_size_});
        shared_size_ += size;
      }
  }

  void push(Chunk chunk) {
    chunk.task_work = static_cast<double>(problem(chunk).m * (chunk.n1 - chunk.n0)) * static_cast<double>(chunk.k1 - chunk.k0) /
                      static_cast<double>(chunk.tiles.rows * chunk.tiles.cols);
    chunks_.push_back(chunk);
  }

  // Runs what has been collected: one loop that packs, one that multiplies.
  void flush() {
    if (chunks_.empty()) return;
    // Large tasks first, so that no thread begins one when the others have finished.
    std::stable_sort(chunks_.begin(), chunks_.end(), [](const Chunk& x, const Chunk& y) { return x.task_work > y.task_work; });
    std::int64_t tasks = 0, packs = 0;
    for (Chunk& c : chunks_) {
      c.first_task = tasks;
      c.first_pack = packs;
      tasks += c.tiles.rows * c.tiles.cols;
      if (c.tiles.shared) packs += ceil_div(c.n1 - c.n0, kPackPanels * kernels_.nr) * ceil_div(c.k1 - c.k0, block_k());
    }
    Unit* shared = workspace().shared.reserve<Unit>(shared_size_);
    each(packs, shared_size_ < kSerialPack, [&](std::int64_t t) { pack(find(t, &Chunk::first_pack), t, shared); });
    each(tasks, false, [&](std::int64_t t) { multiply(find(t, &Chunk::first_task), t, shared); });
    chunks_.clear();
    shared_size_ = 0;
  }

  template <class F>
  void each(std::int64_t tasks, bool small, F&& f) const {
    if (small || plan_.serial())
      for (std::int64_t t = 0; t < tasks; ++t) f(t);
    else
      parallel_for(tasks, f);
  }

  // The last chunk that begins at or before the task. Chunks without tasks of this kind begin where the next one does.
  const Chunk& find(std::int64_t task, std::int64_t Chunk::*first) const {
    const auto after = std::upper_bound(chunks_.begin(), chunks_.end(), task, [first](std::int64_t t, const Chunk& c) { return t < c.*first; });
    return *(after - 1);
  }

  // Terms from k, columns from n, relative to the chunk.
  Matrix<T> b_at(const Chunk& c, std::int64_t k, std::int64_t n) const {
    return {problem(c).b + (c.k0 + k) * layout_.b_row_stride + (c.n0 + n) * layout_.b_col_stride, layout_.b_row_stride, layout_.b_col_stride};
  }
  Matrix<T> a_at(const Chunk& c, std::int64_t row, std::int64_t k) const {
    return {problem(c).a + row * layout_.a_row_stride + (c.k0 + k) * layout_.a_col_stride, layout_.a_row_stride, layout_.a_col_stride};
  }
  std::int64_t block_k() const { return kBlockK * kernels_.per; }
  std::int64_t units(std::int64_t terms) const { return ceil_div(terms, kernels_.per); }
  std::int64_t depth_at(const Chunk& c, std::int64_t k) const { return std::min(block_k(), c.k1 - c.k0 - k); }

  // Shared panels of the K block that begins at k, from column n (a multiple of nr) on.
  Unit* panel(const Chunk& c, std::int64_t k, std::int64_t n, Unit* shared) const {
    return shared + c.packed + packed_b_size(kernels_, k, c.n1 - c.n0) + n * units(depth_at(c, k));
  }

  void pack(const Chunk& c, std::int64_t task, Unit* shared) const {
    const std::int64_t width = kPackPanels * kernels_.nr, groups = ceil_div(c.n1 - c.n0, width);
    const std::int64_t k = (task - c.first_pack) / groups * block_k(), n = (task - c.first_pack) % groups * width;
    kernels_.pack_b(b_at(c, k, n), depth_at(c, k), std::min(width, c.n1 - c.n0 - n), panel(c, k, n, shared));
  }

  // Columns are cut at whole panels; rows evenly, since register tiles have every height. Tiles that read the same columns of B follow one another.
  void multiply(const Chunk& c, std::int64_t task, Unit* shared) const {
    const auto part = [](std::int64_t size, std::int64_t unit, std::int64_t parts, std::int64_t i) {
      return std::min(ceil_div(size, unit) * i / parts * unit, size);
    };
    const std::int64_t m = problem(c).m, n = c.n1 - c.n0, r = (task - c.first_task) % c.tiles.rows, q = (task - c.first_task) / c.tiles.rows;
    const std::int64_t row0 = part(m, 1, c.tiles.rows, r), row1 = part(m, 1, c.tiles.rows, r + 1);
    const std::int64_t col0 = part(n, kernels_.nr, c.tiles.cols, q), col1 = part(n, kernels_.nr, c.tiles.cols, q + 1);
    if (row0 == row1 || col0 == col1) return;
    const bool preset = c.k0 == 0 && (layout_.bias != nullptr || c.k1 == c.k0);
    if (preset) start(row1 - row0, col1 - col0, c.n0 + col0, c_at(c, row0, col0));
    const bool adds = layout_.accumulate || preset || c.k0 > 0;
    std::int64_t done = col0;
    if constexpr (kPlain)
      if (row1 - row0 == 1 && !c.tiles.shared) done = multiply_row(c, row0, col0, col1, adds);
    if (done < col1) multiply_tile(c, row0, row1, done, col1, adds, shared);
  }

  // One row, without packing, up to the last whole vector; returns the column at which it stops.
  std::int64_t multiply_row(const Chunk& c, std::int64_t row, std::int64_t col0, std::int64_t col1, bool adds) const {
    if (layout_.a_col_stride != 1 || (layout_.b_row_stride != 1 && layout_.b_col_stride != 1)) return col0;
    const std::int64_t cols = (col1 - col0) / kernels_.lanes * kernels_.lanes;
    for (std::int64_t k = 0; k < c.k1 - c.k0; k += block_k())
      kernels_.row(cols, depth_at(c, k), a_at(c, row, k).data, b_at(c, k, col0), c_at(c, row, col0), adds || k > 0);
    return col0 + cols;
  }

  // Whether the kernel reads A in place. Not if it is to be used for very many columns: packed, it needs fewer pages. Not if more rows
  // than the L1 cache has ways lie a multiple of 4 KiB apart.
  bool reads_in_place(std::int64_t rows, std::int64_t cols) const {
    const std::int64_t bytes = layout_.a_row_stride * static_cast<std::int64_t>(sizeof(T));
    return kPlain && layout_.a_col_stride == 1 && (rows <= 8 || (bytes % 4096 != 0 && cols <= kTileCols));
  }

  // As many K blocks of A as fit stay packed while the columns pass, a panel at a time: C and B are then in the L1 cache. Where a
  // task packs B from plain rows, it takes more columns at once, since it reads memory in pieces of that length.
  void multiply_tile(const Chunk& c, std::int64_t row0, std::int64_t row1, std::int64_t col0, std::int64_t col1, bool adds, Unit* shared) const {
    const std::int64_t rows = row1 - row0, K = c.k1 - c.k0, a_size = packed_a_size<Unit>(rows);
    const bool in_place = reads_in_place(rows, col1 - col0);
    const std::int64_t room = in_place ? K : packed_a_bytes() / static_cast<std::int64_t>(sizeof(Unit)) / a_size * block_k();
    const std::int64_t depth = std::max(std::min(ceil_div(K, block_k()) * block_k(), room), block_k());
    const std::int64_t step = c.tiles.shared || layout_.b_col_stride != 1 ? kernels_.nr : kPackPanels * kernels_.nr;
    Unit* left = in_place ? nullptr : workspace().left.reserve<Unit>(depth / block_k() * a_size);
    Unit* right = c.tiles.shared ? nullptr : workspace().right.reserve<Unit>(kBlockK * step);
    for (std::int64_t first = 0; first < K; first += depth) {
      const std::int64_t last = std::min(first + depth, K);
      for (std::int64_t k = first; k < last && !in_place; k += block_k())
        kernels_.pack_a(a_at(c, row0, k), rows, depth_at(c, k), left + (k - first) / block_k() * a_size);
      for (std::int64_t col = col0; col < col1; col += step)
        for (std::int64_t k = first; k < last; k += block_k()) {
          const std::int64_t cols = std::min(step, col1 - col);
          if (!c.tiles.shared) kernels_.pack_b(b_at(c, k, col), depth_at(c, k), cols, right);
          const Unit* a = in_place ? nullptr : left + (k - first) / block_k() * a_size;
          if constexpr (kPlain)
            if (in_place) a = a_at(c, row0, k).data;
          kernels_.block(rows, cols, units(depth_at(c, k)), a, in_place ? layout_.a_row_stride : kPackedRow<Unit>, c.tiles.shared ? panel(c, k, col, shared) : right,
                         c_at(c, row0, col), layout_.ldc, adds || k > 0);
        }
    }
  }

  T* c_at(const Chunk& c, std::int64_t row, std::int64_t col) const { return problem(c).c + row * layout_.ldc + c.n0 + col; }

  // What C holds before the first block: (accumulate ? C : 0) + bias.
  void start(std::int64_t rows, std::int64_t cols, std::int64_t first_col, T* c) const {
    for (std::int64_t i = 0; i < rows; ++i, c += layout_.ldc)
      for (std::int64_t j = 0; j < cols; ++j) {
        const T bias = layout_.bias != nullptr ? layout_.bias[first_col + j] : T(0);
        c[j] = layout_.accumulate ? c[j] + bias : bias;
      }
  }

  const std::vector<Problem<T>>& problems_;
  const Layout<T>& layout_;
  const Kernels<T, Unit>& kernels_;
  const Plan plan_;
  std::vector<Chunk> chunks_;
  std::int64_t shared_size_ = 0;  // elements of packed B in this round
};

}  // namespace detail
}  // namespace moelle::gemm
