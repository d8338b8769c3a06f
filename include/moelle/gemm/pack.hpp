// moelle/gemm/pack.hpp -- floats -> packed weights.
#pragma once
#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <vector>

#include <moelle/core/dtype.hpp>
#include <moelle/core/parallel.hpp>
#include <moelle/gemm/gemm.hpp>
#include <moelle/gemm/packed.hpp>
#include <moelle/quant/fp8.hpp>
#include <moelle/quant/int4.hpp>
#include <moelle/quant/int8.hpp>

namespace moelle::gemm {

namespace detail {

// The bits of max |x|: those of NaN and infinity are the largest. Integers, so that compilers take whole vectors of them.
inline float largest_magnitude(const float* x, std::int64_t n) {
  std::uint32_t most = 0;
  for (std::int64_t i = 0; i < n; ++i) most = std::max(most, std::bit_cast<std::uint32_t>(x[i]) & 0x7fffffffu);
  return std::bit_cast<float>(most);
}

// One row of w [N, K] with unit stride, copied if it has none.
class RowReader {
 public:
  RowReader(const Matrix<float>& w, std::int64_t k) : w_(w), k_(k), copy_(w.col_stride == 1 ? 0 : static_cast<std::size_t>(k)) {}
  const float* operator()(std::int64_t n) {
    const float* row = w_.data + n * w_.row_stride;
    if (w_.col_stride == 1) return row;
    for (std::int64_t k = 0; k < k_; ++k) copy_[static_cast<std::size_t>(k)] = row[k * w_.col_stride];
    return copy_.data();
  }

 private:
  Matrix<float> w_;
  std::int64_t k_;
  std::vector<float> copy_;
};

// One panel of one group. Columns beyond the matrix and terms beyond K are zero.
class PanelPacker {
 public:
  // w: rows of the matrix [N, K] from first_row on; element (n, k) is w.data[(n - first_row) * row_stride + k * col_stride].
  PanelPacker(const PackedMatrix& to, std::int64_t group, const Matrix<float>& w, const Panel& p, std::int64_t first_row)
      : to_(to), group_(group), k_(to.shape().k), first_row_(first_row), panel_(p), read_(w, k_), base_(to.stored(group, p, 0)) {}

  void run() {
    std::memset(base_, 0, static_cast<std::size_t>(panel_.width * column_bytes(to_.format(), padded_k(to_.format(), k_))));
    for (std::int64_t j = 0; j < panel_.width; ++j) {
      const float* row = j < panel_.cols ? read_(panel_.first + j - first_row_) : nullptr;
      switch (to_.format()) {
        case Format::f32: f32(j, row); break;
        case Format::bf16: bf16(j, row); break;
        case Format::fp8: fp8(j, row); break;
        case Format::int8: int8(j, row); break;
        case Format::int4: int4(j, row); break;
      }
    }
  }

 private:
  template <class V>
  void store(std::int64_t at, V v) const {
    std::memcpy(base_ + at, &v, sizeof v);
  }

  void f32(std::int64_t j, const float* row) const {
    for (std::int64_t k = 0; k < k_ && row != nullptr; ++k) store(4 * (k * panel_.width + j), row[k]);
  }
  void bf16(std::int64_t j, const float* row) const {
    for (std::int64_t k = 0; k < k_ && row != nullptr; ++k) store(2 * (k / 2 * 2 * panel_.width + 2 * j + k % 2), bfloat16(row[k]));
  }

  // One scale for each column and 128 terms, so that the largest is 448.
  void fp8(std::int64_t j, const float* row) const {
    for (std::int64_t k0 = 0; k0 < k_; k0 += kScaleBlock) {
      const std::int64_t k1 = std::min(k0 + kScaleBlock, k_);
      const float most = row != nullptr ? largest_magnitude(row + k0, k1 - k0) : 0.0f, scale = most < 0x1p-100f ? 0.0f : most / quant::kE4m3Largest;
      to_.scales(group_, panel_, k0)[j] = scale;
      std::uint32_t& small = *to_.small(group_, panel_, k0);
      if (j == 0) small = 0;
      if (scale == 0) small = ~std::uint32_t{0};
      for (std::int64_t k = k0; k < k1 && scale != 0; ++k) {
        const std::uint8_t q = quant::to_e4m3(row[k] / scale);
        store(k / 4 * 4 * panel_.width + j / 4 * 16 + k % 4 / 2 * 8 + j % 4 * 2 + k % 2, q);
        if ((q & 0x78) == 0) small |= std::uint32_t{1} << (k - k0) / 4;
      }
    }
  }

  void int8(std::int64_t j, const float* row) const {
    const quant::Int8Scale s = quant::int8_scale(row != nullptr ? largest_magnitude(row, k_) : 0.0f);
    std::int32_t sum = 0;
    constexpr std::int64_t kPiece = 256;
    for (std::int64_t k0 = 0; k0 < k_ && s.inverse != 0; k0 += kPiece) {
      const std::int64_t n = std::min(kPiece, k_ - k0);
      std::int8_t q[kPiece] = {};
      for (std::int64_t i = 0; i < n; ++i) q[i] = quant::to_int8(row[k0 + i], s.inverse);
      for (std::int64_t i = 0; i < n; ++i) sum += q[i];
      for (std::int64_t i = 0; i < n; i += 4) std::memcpy(base_ + ((k0 + i) * panel_.width + 4 * j), q + i, 4);
    }
    finish(j, s.scale, sum);
  }

  void int4(std::int64_t j, const float* row) const {
    float step = 0;
    for (std::int64_t k = 0; k < k_ && row != nullptr; k += kInt4Group) step = std::max(step, quant::int4_step(row + k, std::min(kInt4Group, k_ - k)));
    const float scale = quant::int4_scale(step);
    std::int32_t sum = 0;
    for (std::int64_t k = 0; k < padded_k(Format::int4, k_); k += kInt4Group) sum += int4_group(j, row, k, scale);
    finish(j, scale, sum);
  }

  // Returns the sum of the group's integers.
  std::int32_t int4_group(std::int64_t j, const float* row, std::int64_t k, float scale) const {
    const bool real = row != nullptr && k < k_;
    const quant::Int4Group g = quant::int4_group(real ? row + k : nullptr, real ? std::min(kInt4Group, k_ - k) : 0, real ? scale : 0.0f);
    std::uint8_t* piece = base_ + panel_.width * column_bytes(Format::int4, k / kScaleBlock * kScaleBlock);
    const std::int64_t in = k % kScaleBlock / kInt4Group;
    piece[4 * j + in] = g.s;
    std::uint8_t* rows = piece + (kScaleBlock / kInt4Group + in * (kInt4Group / 8) * 4) * panel_.width;
    std::int32_t sum = 0;
    for (std::int64_t r = 0; r < kInt4Group / 8; ++r)
      for (std::int64_t i = 0; i < 4; ++i) {
        const int low = g.nibble[8 * r + i], high = g.nibble[8 * r + 4 + i];
        rows[(r * panel_.width + j) * 4 + i] = static_cast<std::uint8_t>(low | high << 4);
        sum += (low + high - 16) * g.s;
      }
    return sum;
  }

  void finish(std::int64_t j, float scale, std::int32_t sum) const {
    to_.scales(group_, panel_)[j] = scale;
    to_.corrections(group_, panel_)[j] = -to_.kernels().offset * sum;
  }

  const PackedMatrix& to_;
  std::int64_t group_, k_, first_row_;
  Panel panel_;
  RowReader read_;
  std::uint8_t* base_;
};

// A not-finite weight would be a scale of NaN for a whole column, or an fp8 number that is none. Found before anything is written.
inline void check_finite(const PackedShape& s, const Matrix<float>& w, std::int64_t rows, std::int64_t first_row) {
  parallel_rows(rows, std::max<std::int64_t>(1, 65536 / std::max<std::int64_t>(s.k, 1)), [&](std::int64_t begin, std::int64_t end) {
    RowReader read(w, s.k);
    for (std::int64_t n = begin; n < end; ++n) {
      const float* row = read(n);
      if (largest_magnitude(row, s.k) <= std::numeric_limits<float>::max()) continue;
      for (std::int64_t k = 0; k < s.k; ++k)
        MOELLE_REQUIRE("pack", std::isfinite(row[k]), str("weights must be finite for ", name(s.format), "; got weight[", first_row + n, ", ", k, "]=", row[k]));
    }
  });
}

}  // namespace detail

// Rows [begin, end) of one group's w [N, K], of which `w` holds those alone: whole panels of a matrix that is not gated. A large matrix can
// so be packed while it is made or read.
inline void pack_rows(const PackedMatrix& to, std::int64_t group, std::int64_t begin, std::int64_t end, const Matrix<float>& w) {
  const PackedShape& s = to.shape();
  const std::int64_t nr = to.kernels().nr, whole = s.gated ? s.n : nr;
  MOELLE_REQUIRE("pack", group >= 0 && group < s.groups, str("group must be in [0, ", s.groups, "); got group=", group));
  MOELLE_REQUIRE("pack", begin >= 0 && begin <= end && end <= s.n && begin % std::max<std::int64_t>(whole, 1) == 0 && (end == s.n || end % whole == 0),
                 str("rows must be whole panels of ", whole, "; got begin=", begin, " end=", end, " n=", s.n));
  if (s.format != Format::f32 && s.format != Format::bf16) detail::check_finite(s, w, end - begin, begin);
  const std::int64_t first = begin / nr, last = s.gated ? to.panels() : (end + nr - 1) / nr;
  parallel_for(last - first, [&](std::int64_t i) { detail::PanelPacker(to, group, w, to.panel(first + i), begin).run(); });
}
// w [N, K] -> one group.
inline void pack_group(const PackedMatrix& to, std::int64_t group, const Matrix<float>& w) { pack_rows(to, group, 0, to.shape().n, w); }

// w [G, N, K], `stride` elements from one group to the next.
inline PackedMatrix pack(const PackedShape& shape, const Matrix<float>& w, std::int64_t stride = 0, const PackedKernels& kernels = packed_kernels()) {
  const PackedMatrix out(shape, kernels);
  for (std::int64_t g = 0; g < shape.groups; ++g) pack_group(out, g, {w.data + g * stride, w.row_stride, w.col_stride});
  return out;
}

}  // namespace moelle::gemm
