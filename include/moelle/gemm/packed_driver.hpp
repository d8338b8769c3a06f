// moelle/gemm/packed_driver.hpp -- products of rows with packed weights: one matrix, or one per expert on rows sorted by expert.
//
// Y[r, :] = X[r, :] W[g]^T for the rows r of group g, computed in the format of the weights:
//   f32          as gemm.hpp says, to the bit
//   bf16, fp8    X rounded to bfloat16 (nearest even); sums in float, one chain for each PackedFormat::block of K, added in order;
//                fp8 multiplies each chain (128 terms) by its scale first
//   int8, int4   X quantised to int8 with a scale per row (quant/int8.hpp); an exact integer sum over K, then
//                Y = sum * (row scale * column scale), one rounding each
// So an element depends on its row, its column and the instruction set alone.
#pragma once
#include <algorithm>
#include <cstdint>
#include <limits>
#include <vector>

#include <moelle/activation/kernels.hpp>
#include <moelle/activation/swiglu.hpp>  // SwigluArgs
#include <moelle/core/parallel.hpp>
#include <moelle/cpu/caches.hpp>
#include <moelle/gemm/gemm.hpp>
#include <moelle/gemm/packed.hpp>
#include <moelle/gemm/workspace.hpp>
#include <moelle/quant/int8.hpp>

namespace moelle::gemm {

// Rows in the form in which packed weights of one format multiply them. Made once for all weights that see the same rows.
struct PreparedRows {
  const std::uint32_t* units = nullptr;
  std::int64_t stride = 0;         // units from one row to the next
  const float* scales = nullptr;   // of each row; integers only
};

struct PackedArgs {
  PreparedRows rows;
  std::int64_t count = 0;                 // rows of all groups together
  const std::int32_t* offsets = nullptr;  // [G + 1]; null: all rows belong to group 0
  float* y = nullptr;                     // [rows, N]; gated: [rows, F]
  std::int64_t ldy = 0;
  const float* bias = nullptr;            // [N], not with gated or accumulate
  bool accumulate = false;                // add to what y holds: a residual
  double limit = std::numeric_limits<double>::infinity();  // of SwiGLU, if gated
};

namespace detail {

// An odd number of cache lines, so that rows do not share their places in the L1 cache.
inline std::int64_t row_units(const PackedMatrix& w) {
  const std::int64_t units = (padded_k(w.format(), w.shape().k) + w.compute().per - 1) / w.compute().per;
  return (units + 31) / 32 * 32 + 16;
}

// x [m, K] with unit column stride -> units. Few rows of floats are used where they lie.
inline PreparedRows prepare_rows(const PackedMatrix& w, const float* x, std::int64_t ldx, std::int64_t m, Buffer& units, Buffer& scales) {
  const PackedFormat& f = w.compute();
  if (w.format() == Format::f32 && m <= w.kernels().mr) return {reinterpret_cast<const std::uint32_t*>(x), ldx, nullptr};
  const std::int64_t k = w.shape().k, stride = row_units(w);
  auto* to = units.reserve<std::uint32_t>(m * stride);
  float* scale = is_integer(w.format()) ? scales.reserve<float>(m) : nullptr;
  const auto convert = [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) {
      float inverse = 0;
      if (scale != nullptr) {
        const quant::Int8Scale s = quant::int8_scale(w.kernels().max_abs(x + i * ldx, k));
        scale[i] = s.scale, inverse = s.inverse;
      }
      std::uint32_t* row = to + i * stride;
      const std::int64_t tail = k / f.per / 16 * 16;  // what the last vector and the padding of K may leave unwritten
      std::fill(row + tail, row + stride, 0u);
      f.rows(x + i * ldx, k, inverse, row);
    }
  };
  parallel_rows(m, std::max<std::int64_t>(1, 65536 / std::max<std::int64_t>(k, 1)), convert);
  return {to, stride, scale};
}

class PackedDriver {
 public:
  PackedDriver(const PackedMatrix& w, const PackedArgs& args) : w_(w), a_(args), f_(w.compute()), kernels_(w.kernels()), k_(padded_k(w.format(), w.shape().k)) {}

  void run() {
    plan();
    if (parts_ * tasks_ == 0) return;
    parallel_for(tasks_, [&](std::int64_t task) {
      const auto after = std::upper_bound(blocks_.begin(), blocks_.end(), task, [](std::int64_t t, const RowBlocks& b) { return t < b.first_task; });
      const RowBlocks& b = *(after - 1);
      const std::int64_t r = (task - b.first_task) % b.count, part = (task - b.first_task) / b.count, rows = b.end - b.begin;
      const std::int64_t unit = w_.shape().gated ? 2 : 1, pairs = w_.panels() / unit;  // gate and up stay together
      multiply(b.group, b.begin + rows * r / b.count, b.begin + rows * (r + 1) / b.count, pairs * part / parts_ * unit, pairs * (part + 1) / parts_ * unit);
    });
  }

 private:
  // Rows [begin, end) of a group, cut into `count` blocks.
  struct RowBlocks {
    std::int64_t group, begin, end, count, first_task;
  };

  // Units of a row that stay in the L2 cache together with a panel, and panels that a task takes.
  static constexpr std::int64_t kMostPanels = 20, kTasksPerThread = 6;
  static constexpr std::int64_t kUnpackAtOnce = 64;  // rows from which on longer pieces pay
  static constexpr double kTaskFlops = 4e5;

  void plan() {
    const std::int64_t units = std::min(kBlockK, k_ / f_.per + 1), l2 = cpu::caches().l2;
    const std::int64_t fit = std::clamp<std::int64_t>(l2 / 3 / (4 * std::max<std::int64_t>(units, 1)) / kernels_.mr, 4, 32) * kernels_.mr;
    std::int64_t all = 0;
    const std::int64_t groups = a_.offsets == nullptr ? 1 : w_.shape().groups;
    for (std::int64_t g = 0; g < groups; ++g) {
      const std::int64_t begin = a_.offsets == nullptr ? 0 : a_.offsets[g], end = a_.offsets == nullptr ? a_.count : a_.offsets[g + 1];
      if (begin == end) continue;
      blocks_.push_back({g, begin, end, (end - begin + fit - 1) / fit, 0});
      all += blocks_.back().count;
    }
    const std::int64_t unit = w_.shape().gated ? 2 : 1, pairs = w_.panels() / unit;
    const double flops = 2.0 * static_cast<double>(a_.count) * static_cast<double>(w_.shape().n) * static_cast<double>(k_);
    const double wanted = std::min(static_cast<double>(kTasksPerThread * num_threads()), flops / kTaskFlops);
    // Sums that wait for the rest of K should stay in the L2 cache, too.
    const bool waits = (is_integer(w_.format()) || w_.shape().gated) && k_ > kBlockK * f_.per;
    const std::int64_t most = waits ? std::clamp<std::int64_t>(l2 / 4 / (4 * fit * kernels_.nr), 2, kMostPanels) : kMostPanels;
    const std::int64_t least = (pairs * unit + most - 1) / most;
    if (all == 0 || pairs == 0) return;
    parts_ = std::clamp<std::int64_t>(static_cast<std::int64_t>(wanted) / all, least, pairs);
    for (RowBlocks& b : blocks_) {
      b.first_task = tasks_;
      tasks_ += b.count * parts_;
    }
  }

  // Rows times panels. A K block of the rows stays in the L2 cache while the panels pass.
  void multiply(std::int64_t group, std::int64_t row0, std::int64_t row1, std::int64_t panel0, std::int64_t panel1) const {
    const std::int64_t rows = row1 - row0, unit = w_.shape().gated ? 2 : 1;
    const bool integer = is_integer(w_.format()), scratch = integer || w_.shape().gated;
    if (rows == 0 || panel0 == panel1) return;
    const std::int64_t depth = rows <= kernels_.mr ? std::max<std::int64_t>(k_, 1) : std::max(f_.block, kBlockK * f_.per);
    // What is summed before it is finished: all panels of the task, or one (a pair) after the other if K is done at once.
    const std::int64_t wide = (depth >= k_ ? unit : panel1 - panel0) * kernels_.nr;
    std::int32_t* strip = scratch ? workspace().left.reserve<std::int32_t>(rows * wide + 2 * rows * kernels_.nr) : nullptr;
    for (std::int64_t first = 0; first < k_ || first == 0; first += depth)
      for (std::int64_t i = panel0; i < panel1; ++i) {
        const Panel p = w_.panel(i);
        const std::int64_t end = std::min(first + depth, k_);
        std::int32_t* sums = scratch ? strip + (depth >= k_ ? i % unit : i - panel0) * kernels_.nr : nullptr;
        if (integer) sum_integers(group, row0, rows, p, first, end, sums, wide);
        else if (scratch) sum_floats(group, row0, rows, p, first, end, reinterpret_cast<float*>(sums), wide, p.width, first > 0);
        else sum_plain(group, row0, rows, p, first, end);
        if (end < k_ || (i - panel0) % unit != unit - 1) continue;
        if (w_.shape().gated) gate(group, row0, rows, w_.panel(i - 1), p, sums - kernels_.nr, wide, strip + rows * wide);
        else if (integer) finish(group, row0, rows, p, sums, wide, a_.y + row0 * a_.ldy + p.first, a_.ldy);
      }
  }

  const std::uint32_t* units(std::int64_t row, std::int64_t k) const { return a_.rows.units + row * a_.rows.stride + k / f_.per; }

  std::uint32_t small(std::int64_t group, const Panel& p, std::int64_t k) const { return w_.format() == Format::fp8 ? *w_.small(group, p, k) : 0; }

  // f(first term, number of terms, units of B, what follows in memory, its bytes) for each piece of the panel between two terms.
  template <class F>
  void pieces(std::int64_t group, const Panel& p, std::int64_t first, std::int64_t end, std::int64_t step, F f) const {
    for (std::int64_t k = first; k < end; k += step) {
      const std::int64_t terms = std::min(step, end - k);
      const std::uint8_t* stored = w_.stored(group, p, k);
      const std::int64_t bytes = p.width * column_bytes(w_.format(), terms);
      if (f_.unpack == nullptr) {
        f(k, terms, reinterpret_cast<const std::uint32_t*>(stored), stored + bytes, bytes);
      } else {
        auto* room = workspace().right.reserve<std::uint32_t>(step / f_.per * kernels_.nr);
        f_.unpack(stored, terms, p.width, small(group, p, k), room);
        f(k, terms, room, stored + bytes, bytes);
      }
    }
  }

  void sum_plain(std::int64_t group, std::int64_t row0, std::int64_t rows, const Panel& p, std::int64_t first, std::int64_t end) const {
    float* y = a_.y + row0 * a_.ldy + p.first;
    if (first == 0 && (a_.bias != nullptr || k_ == 0) && !a_.accumulate)
      for (std::int64_t i = 0; i < rows; ++i)
        for (std::int64_t j = 0; j < p.cols; ++j) y[i * a_.ldy + j] = a_.bias != nullptr ? a_.bias[p.first + j] : 0.0f;
    sum_floats(group, row0, rows, p, first, end, y, a_.ldy, p.cols, a_.accumulate || a_.bias != nullptr || first > 0);
  }

  void sum_floats(std::int64_t group, std::int64_t row0, std::int64_t rows, const Panel& p, std::int64_t first, std::int64_t end, float* c, std::int64_t ldc,
                  std::int64_t cols, bool accumulate) const {
    if (f_.few_rows != nullptr && rows <= kFewPackedRows && cols == p.width && k_ > 0)
      return f_.few_rows(rows, w_.stored(group, p, 0), k_, p.width, w_.small(group, p, 0), units(row0, 0), a_.rows.stride, c, ldc, accumulate, w_.scales(group, p));
    pieces(group, p, first, end, f_.block, [&](std::int64_t k, std::int64_t terms, const std::uint32_t* b, const std::uint8_t* ahead, std::int64_t bytes) {
      const float* scale = w_.format() == Format::fp8 ? w_.scales(group, p, k) : nullptr;
      f_.panel(rows, cols, (terms + f_.per - 1) / f_.per, units(row0, k), a_.rows.stride, b, c, ldc, accumulate || k > 0, scale, ahead, bytes);
    });
    if (k_ == 0 && !accumulate)
      for (std::int64_t i = 0; i < rows; ++i) std::fill_n(c + i * ldc, cols, 0.0f);
  }

  void sum_integers(std::int64_t group, std::int64_t row0, std::int64_t rows, const Panel& p, std::int64_t first, std::int64_t end, std::int32_t* c,
                    std::int64_t ldc) const {
    if (f_.few_integer_rows != nullptr && rows <= kFewPackedRows && k_ > 0)
      return f_.few_integer_rows(rows, w_.stored(group, p, 0), k_, p.width, units(row0, 0), a_.rows.stride, c, ldc);
    // What is unpacked for few rows should not leave the L1 cache.
    const std::int64_t step = f_.unpack == nullptr || rows > kUnpackAtOnce ? f_.block : kScaleBlock * (rows <= kernels_.mr ? 1 : 4);
    pieces(group, p, first, end, step, [&](std::int64_t k, std::int64_t terms, const std::uint32_t* b, const std::uint8_t* ahead, std::int64_t bytes) {
      f_.integer_panel(rows, p.width, (terms + f_.per - 1) / f_.per, units(row0, k), a_.rows.stride, b, c, ldc, k > 0, nullptr, ahead, bytes);
    });
    if (k_ == 0)
      for (std::int64_t i = 0; i < rows; ++i) std::fill_n(c + i * ldc, p.width, 0);
  }

  void finish(std::int64_t group, std::int64_t row0, std::int64_t rows, const Panel& p, const std::int32_t* sums, std::int64_t ld, float* y, std::int64_t ldy) const {
    const bool plain = w_.shape().gated;
    kernels_.finish_integers(rows, p.cols, sums, ld, w_.corrections(group, p), a_.rows.scales + row0, w_.scales(group, p),
                             a_.bias != nullptr && !plain ? a_.bias + p.first : nullptr, a_.accumulate && !plain, y, ldy);
  }

  // SwiGLU of a pair of panels.
  void gate(std::int64_t group, std::int64_t row0, std::int64_t rows, const Panel& g, const Panel& u, const std::int32_t* sums, std::int64_t ld,
            std::int32_t* room) const {
    const auto* gates = reinterpret_cast<const float*>(sums);
    const float* ups = gates + kernels_.nr;
    std::int64_t step = ld;
    if (is_integer(w_.format())) {
      auto* to = reinterpret_cast<float*>(room);
      step = 2 * kernels_.nr;
      finish(group, row0, rows, g, sums, ld, to, step);
      finish(group, row0, rows, u, sums + kernels_.nr, ld, to + kernels_.nr, step);
      gates = to, ups = to + kernels_.nr;
    }
    for (std::int64_t i = 0; i < rows; ++i) {
      const activation::SwigluArgs<float> args{gates + i * step, 0, ups + i * step, 0, g.cols, static_cast<float>(a_.limit)};
      activation::kernels<float>().swiglu(args, a_.y + (row0 + i) * a_.ldy + g.first, 0, 1);
    }
  }

  const PackedMatrix& w_;
  const PackedArgs& a_;
  const PackedFormat& f_;
  const PackedKernels& kernels_;
  const std::int64_t k_;
  std::vector<RowBlocks> blocks_;
  std::int64_t parts_ = 0, tasks_ = 0;
};

}  // namespace detail

// Y = X W^T (gated: SwiGLU of its halves) on prepared rows.
inline void packed_product(const PackedMatrix& w, const PackedArgs& args) { detail::PackedDriver(w, args).run(); }

}  // namespace moelle::gemm
