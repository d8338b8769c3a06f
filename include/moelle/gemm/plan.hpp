// moelle/gemm/plan.hpp -- how a list of products is cut into tasks.
//
// Dense, batched and grouped products are one list of problems. A problem is cut into tiles of C, each of which is one task.
// B is either packed once by all threads and shared by the tiles ("shared": many rows, so B is used again and again), or each
// task packs the panels it needs just before it multiplies them ("own": few rows, or many problems).
// How work is cut never changes a result (gemm.hpp states the order of summation), so it may depend on the number of threads.
#pragma once
#include <algorithm>
#include <cstdint>

#include <moelle/cpu/caches.hpp>
#include <moelle/gemm/gemm.hpp>  // kPackedRow

namespace moelle::gemm {

template <class T>
struct Problem {
  const T* a;
  const T* b;
  T* c;
  std::int64_t m, n, k;
};

namespace detail {

inline constexpr std::int64_t kTileCols = 480;   // columns of one task that reads shared B: whole panels on every instruction set
inline constexpr std::int64_t kOwnCols = 240;    // columns below which packing A again for each task of columns would show
inline constexpr std::int64_t kFewRows = 27;     // so few rows that packing A does not show; no tile of rows is cut smaller
inline constexpr double kSerialFlops = 4e5;      // a few microseconds: less than waking another thread
inline constexpr double kTaskFlops = 2e6;        // what a task should at least have to do
inline constexpr std::int64_t kTasksPerThread = 8;  // evens out what other programs take from a thread

inline std::int64_t ceil_div(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

// Rows of one task at most: packed A of a K block takes a third of the L2 cache. Whole register tiles of 9 rows.
inline std::int64_t tile_rows() {
  constexpr std::int64_t kRow = kPackedRow<float> * 4, kWhole = 18;
  return std::clamp<std::int64_t>(cpu::caches().l2 / 3 / kRow / kWhole, 3, 18) * kWhole;
}

struct Tiling {
  std::int64_t rows, cols;  // numbers of tiles
  bool shared;
};

// Chooses the tiling of each problem of a list.
class Plan {
 public:
  template <class List>
  Plan(const List& problems, int threads, std::int64_t nr) : nr_(nr) {
    double flops = 0;
    std::int64_t tiles = 0;
    for (const auto& p : problems) {
      ++count_;
      flops += 2.0 * static_cast<double>(p.m) * static_cast<double>(p.n) * static_cast<double>(std::max<std::int64_t>(p.k, 1));
      tiles += ceil_div(p.m, rows_) * ceil_div(p.n, kTileCols);
    }
    threads_ = flops < kSerialFlops ? 1 : threads;
    if (threads_ == 1 || tiles == 0) return;
    const auto per_thread = std::clamp(static_cast<std::int64_t>(flops / (kTaskFlops * threads_)), std::int64_t{1}, kTasksPerThread);
    cut_ = ceil_div(per_thread * threads_, tiles);
  }

  bool serial() const { return threads_ == 1; }

  // `shared` asks for a tiling that reads shared B, for a part of a problem that was found to do so.
  Tiling tiling(std::int64_t m, std::int64_t n, bool shared = false) const {
    const std::int64_t panels = ceil_div(n, nr_);
    if (m <= rows_ && !shared) {
      if (cut_ == 1) return {1, 1, false};
      if (m <= kFewRows) return {1, std::min(even(cut_ * ceil_div(n, kTileCols), 1), panels), false};
      if (n >= cut_ * kOwnCols) return {1, even(cut_ * ceil_div(n, kTileCols), 1), false};
    }
    const std::int64_t cols = ceil_div(n, kTileCols);
    const std::int64_t rows = even(cut_ * ceil_div(m, rows_), cols), most = std::max<std::int64_t>(m / kFewRows, 1);
    return {rows <= most ? rows : most > threads_ ? most / threads_ * threads_ : most, cols, true};
  }

 private:
  // At least `n`, and such that the n * other tasks of a single problem can be dealt out evenly.
  std::int64_t even(std::int64_t n, std::int64_t other) const {
    while (count_ == 1 && n * other % threads_ != 0) ++n;
    return n;
  }

  std::int64_t nr_;
  std::int64_t rows_ = tile_rows();
  std::int64_t count_ = 0;  // problems
  std::int64_t cut_ = 1;  // into how many times more tiles than the caches ask for
  int threads_ = 1;
};

}  // namespace detail
}  // namespace moelle::gemm
