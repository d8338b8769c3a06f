// moelle/gemm/driver.hpp -- cuts a list of products into tasks and runs them.
//
// Dense, batched and grouped products are one list of problems. A problem with few rows is cut into tiles of columns, and each
// task packs the part of B that it needs. A problem with many rows has B packed once, by all threads, and is cut into tiles of
// rows and columns that read it. Packed B is limited to kSharedBytes: larger work is done in rounds. How work is cut never changes
// a result (gemm.hpp states the order of summation), so it may depend on the number of threads.
#pragma once
#include <algorithm>
#include <cstdint>
#include <vector>

#include <moelle/core/parallel.hpp>
#include <moelle/gemm/gemm.hpp>
#include <moelle/gemm/kernels.hpp>
#include <moelle/gemm/workspace.hpp>

namespace moelle::gemm {

template <class T>
struct Problem {
  const T* a;
  const T* b;
  T* c;
  std::int64_t m, n, k;
};

// What the problems of a list have in common.
template <class T>
struct Layout {
  std::int64_t a_row_stride, a_col_stride, b_row_stride, b_col_stride, ldc;
  bool accumulate = false;
  const T* bias = nullptr;
  bool serial = false;  // on this thread only
};

namespace detail {

inline constexpr std::int64_t kTileRows = 168;     // packed A of a task: at most 183 KB, half of a small L2 cache
inline constexpr std::int64_t kTileCols = 512;     // columns of a task that reads shared B
inline constexpr std::int64_t kOwnCols = 256;      // columns of a task that packs B itself: 256 KB
inline constexpr std::int64_t kPackPanels = 8;     // panels of B packed by one task
inline constexpr std::int64_t kBlockAll = 32 * kBlockK;               // K of one round
inline constexpr std::int64_t kSharedBytes = std::int64_t{16} << 20;  // packed B of one round: stays in a last-level cache
inline constexpr double kSerialFlops = 4e5;        // a few microseconds: less than waking another thread

inline std::int64_t ceil_div(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

// Columns [n0, n1) and terms [k0, k1) of one problem, cut into row_tiles x col_tiles tasks.
struct Chunk {
  std::int64_t problem, n0, n1, k0, k1;
  std::int64_t row_tiles, col_tiles;
  std::int64_t packed;      // where its B lies in the shared buffer; -1: each task packs its own
  std::int64_t first_task, first_pack;
  double work;              // of one task
};

template <class T>
class Driver {
 public:
  Driver(const std::vector<Problem<T>>& problems, const Layout<T>& layout, const Kernels<T>& table = kernels<T>())
      : problems_(problems), layout_(layout), kernels_(table) {}

  void run() {
    double flops = 0;
    std::int64_t tiles = 0;
    for (const auto& p : problems_) {
      flops += 2.0 * static_cast<double>(p.m) * static_cast<double>(p.n) * static_cast<double>(std::max<std::int64_t>(p.k, 1));
      tiles += p.m * p.n == 0 ? 0 : ceil_div(p.m, kTileRows) * ceil_div(p.n, p.m <= kTileRows ? kOwnCols : kTileCols);
    }
    if (tiles == 0) return;
    const int threads = layout_.serial || flops < kSerialFlops ? 1 : num_threads();
    serial_ = threads == 1;
    // Several tasks for each thread even the load out, but none should shrink to where its packing shows.
    cut_ = threads == 1 ? 1 : std::clamp<std::int64_t>(ceil_div(std::int64_t{6} * threads, tiles), 1, static_cast<std::int64_t>(flops / kSerialFlops) + 1);
    for (std::int64_t i = 0; i < static_cast<std::int64_t>(problems_.size()); ++i) add(i);
    flush();
  }

 private:
  void add(std::int64_t index) {
    const Problem<T>& p = problems_[static_cast<std::size_t>(index)];
    if (p.m == 0 || p.n == 0) return;
    const std::int64_t nr = kernels_.nr;
    if (p.m <= kTileRows) {
      const std::int64_t cols = std::min(ceil_div(p.n, kOwnCols) * cut_, ceil_div(p.n, nr));
      push({.problem = index, .n0 = 0, .n1 = p.n, .k0 = 0, .k1 = p.k, .row_tiles = 1, .col_tiles = cols, .packed = -1, .first_task = 0, .first_pack = 0, .work = 0});
      return;
    }
    const std::int64_t kb = std::min(std::max<std::int64_t>(p.k, 1), kBlockAll);
    const std::int64_t most = kSharedBytes / static_cast<std::int64_t>(sizeof(T));
    const std::int64_t width = std::max(most / kb / kTileCols, std::int64_t{1}) * kTileCols;
    for (std::int64_t n0 = 0; n0 < p.n; n0 += width) {
      const std::int64_t n1 = std::min(n0 + width, p.n);
      const std::int64_t rows = std::min(ceil_div(p.m, kTileRows) * cut_, ceil_div(p.m, 2 * kernels_.mr));
      for (std::int64_t k0 = 0; k0 < std::max<std::int64_t>(p.k, 1); k0 += kb) {
        const std::int64_t k1 = std::min(k0 + kb, p.k);
        const std::int64_t size = packed_b_size(kernels_, k1 - k0, n1 - n0);
        if (k0 > 0 || shared_ + size > most) flush();
        push({.problem = index, .n0 = n0, .n1 = n1, .k0 = k0, .k1 = k1, .row_tiles = rows, .col_tiles = ceil_div(n1 - n0, kTileCols), .packed = shared_, .first_task = 0, .first_pack = 0, .work = 0});
        shared_ += size;
      }
    }
  }

  void push(Chunk chunk) {
    const Problem<T>& p = problems_[static_cast<std::size_t>(chunk.problem)];
    chunk.work = static_cast<double>(p.m) * static_cast<double>(chunk.n1 - chunk.n0) * static_cast<double>(chunk.k1 - chunk.k0) /
                 static_cast<double>(chunk.row_tiles * chunk.col_tiles);
    chunks_.push_back(chunk);
  }

  // Runs what has been collected: one parallel loop that packs, one that multiplies.
  void flush() {
    if (chunks_.empty()) return;
    // Large tasks first, so that no thread begins one when the others have finished.
    std::stable_sort(chunks_.begin(), chunks_.end(), [](const Chunk& x, const Chunk& y) { return x.work > y.work; });
    std::int64_t tasks = 0, packs = 0;
    for (Chunk& c : chunks_) {
      c.first_task = tasks;
      c.first_pack = packs;
      tasks += c.row_tiles * c.col_tiles;
      if (c.packed >= 0) packs += pack_tasks(c);
    }
    T* shared = workspace().shared.reserve<T>(shared_);
    each(packs, [&](std::int64_t t) { pack(find(t, &Chunk::first_pack), t, shared); });
    each(tasks, [&](std::int64_t t) { multiply(find(t, &Chunk::first_task), t, shared); });
    chunks_.clear();
    shared_ = 0;
  }

  template <class F>
  void each(std::int64_t tasks, F&& f) {
    if (serial_)
      for (std::int64_t t = 0; t < tasks; ++t) f(t);
    else
      parallel_for(tasks, f);
  }

  // The last chunk that begins at or before the task. Chunks without tasks of this kind begin where the next one does.
  const Chunk& find(std::int64_t task, std::int64_t Chunk::*first) const {
    const auto after = std::upper_bound(chunks_.begin(), chunks_.end(), task, [first](std::int64_t t, const Chunk& c) { return t < c.*first; });
    return *(after - 1);
  }

  std::int64_t pack_tasks(const Chunk& c) const {
    return ceil_div(c.n1 - c.n0, kPackPanels * kernels_.nr) * ceil_div(c.k1 - c.k0, kBlockK);
  }

  Matrix<T> b_at(const Problem<T>& p, std::int64_t k, std::int64_t n) const {
    return {p.b + k * layout_.b_row_stride + n * layout_.b_col_stride, layout_.b_row_stride, layout_.b_col_stride};
  }

  // The packed panels of chunk columns from `n` on (a multiple of nr), in the K block that begins at `k` (relative to the chunk).
  T* panel(const Chunk& c, std::int64_t k, std::int64_t n, T* shared) const {
    const std::int64_t depth = std::min(kBlockK, c.k1 - c.k0 - k);
    const std::int64_t padded = ceil_div(c.n1 - c.n0, kernels_.nr) * kernels_.nr;
    return shared + c.packed + k * padded + n * depth;
  }

  void pack(const Chunk& c, std::int64_t task, T* shared) const {
    const Problem<T>& p = problems_[static_cast<std::size_t>(c.problem)];
    const std::int64_t group = kPackPanels * kernels_.nr, groups = ceil_div(c.n1 - c.n0, group);
    const std::int64_t k = (task - c.first_pack) / groups * kBlockK, n = (task - c.first_pack) % groups * group;
    kernels_.pack_b(b_at(p, c.k0 + k, c.n0 + n), std::min(kBlockK, c.k1 - c.k0 - k), std::min(group, c.n1 - c.n0 - n), panel(c, k, n, shared));
  }

  void multiply(const Chunk& c, std::int64_t task, T* shared) const {
    const Problem<T>& p = problems_[static_cast<std::size_t>(c.problem)];
    const std::int64_t row_tile = (task - c.first_task) % c.row_tiles, col_tile = (task - c.first_task) / c.row_tiles;
    const std::int64_t i0 = p.m * row_tile / c.row_tiles, rows = p.m * (row_tile + 1) / c.row_tiles - i0;
    const std::int64_t panels = ceil_div(c.n1 - c.n0, kernels_.nr);
    const std::int64_t j0 = panels * col_tile / c.col_tiles * kernels_.nr;
    const std::int64_t cols = std::min(panels * (col_tile + 1) / c.col_tiles * kernels_.nr, c.n1 - c.n0) - j0;
    T* to = p.c + i0 * layout_.ldc + c.n0 + j0;
    bool accumulate = layout_.accumulate || c.k0 > 0;
    if (c.k0 == 0 && (layout_.bias != nullptr || p.k == 0)) {
      start(rows, cols, c.n0 + j0, to);
      accumulate = true;
    }
    T* left = workspace().left.reserve<T>(packed_a_size<T>(rows));
    T* right = c.packed < 0 ? workspace().right.reserve<T>(packed_b_size(kernels_, kBlockK, cols)) : nullptr;
    for (std::int64_t k = 0; k < c.k1 - c.k0; k += kBlockK) {
      const std::int64_t depth = std::min(kBlockK, c.k1 - c.k0 - k);
      const Matrix<T> a{p.a + i0 * layout_.a_row_stride + (c.k0 + k) * layout_.a_col_stride, layout_.a_row_stride, layout_.a_col_stride};
      kernels_.pack_a(a, rows, depth, left);
      const T* b = right;
      if (c.packed < 0)
        kernels_.pack_b(b_at(p, c.k0 + k, c.n0 + j0), depth, cols, right);
      else
        b = panel(c, k, j0, shared);
      kernels_.block(rows, cols, depth, left, b, to, layout_.ldc, accumulate);
      accumulate = true;
    }
  }

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
  const Kernels<T>& kernels_;
  std::vector<Chunk> chunks_;
  std::int64_t shared_ = 0;  // elements of packed B in this round
  std::int64_t cut_ = 1;     // into how many more tiles than necessary
  bool serial_ = false;
};

}  // namespace detail
}  // namespace moelle::gemm
