// moelle/gemm/pack.hpp -- floats -> packed weights.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>

#include <moelle/core/dtype.hpp>
#include <moelle/core/parallel.hpp>
#include <moelle/gemm/gemm.hpp>
#include <moelle/gemm/packed.hpp>
#include <moelle/quant/fp8.hpp>
#include <moelle/quant/int4.hpp>
#include <moelle/quant/int8.hpp>

namespace moelle::gemm {

namespace detail {

// One panel of one group. Columns beyond the matrix and terms beyond K are zero.
class PanelPacker {
 public:
  // w [N, K]: element (n, k) is w.data[n * row_stride + k * col_stride].
  PanelPacker(const PackedMatrix& to, std::int64_t group, const Matrix<float>& w) : to_(to), group_(group), w_(w), k_(to.shape().k) {}

  void run(const Panel& p) const {
    std::memset(to_.stored(group_, p, 0), 0, static_cast<std::size_t>(p.width * column_bytes(to_.format(), padded_k(to_.format(), k_))));
    switch (to_.format()) {
      case Format::f32: return each(p, [&](std::int64_t j, std::int64_t k, float x) { store(p, 4 * (k * p.width + j), x); });
      case Format::bf16: return each(p, [&](std::int64_t j, std::int64_t k, float x) { store(p, 2 * (k / 2 * 2 * p.width + 2 * j + k % 2), bfloat16(x)); });
      case Format::fp8: return fp8(p);
      case Format::int8: return int8(p);
      case Format::int4: return int4(p);
    }
  }

 private:
  float at(const Panel& p, std::int64_t j, std::int64_t k) const { return w_.data[(p.first + j) * w_.row_stride + k * w_.col_stride]; }

  template <class F>
  void each(const Panel& p, F f) const {
    for (std::int64_t j = 0; j < p.cols; ++j)
      for (std::int64_t k = 0; k < k_; ++k) f(j, k, at(p, j, k));
  }
  template <class V>
  void store(const Panel& p, std::int64_t at, V v) const {
    std::memcpy(to_.stored(group_, p, 0) + at, &v, sizeof v);
  }
  float largest(const Panel& p, std::int64_t j, std::int64_t begin, std::int64_t end) const {
    float most = 0;
    for (std::int64_t k = begin; k < end; ++k) most = std::max(most, std::fabs(at(p, j, k)));
    return most;
  }

  // One scale for each column and 128 terms, so that the largest is 448.
  void fp8(const Panel& p) const {
    for (std::int64_t k0 = 0; k0 < k_; k0 += kScaleBlock) {
      const std::int64_t k1 = std::min(k0 + kScaleBlock, k_);
      for (std::int64_t j = 0; j < p.width; ++j) {
        const float most = j < p.cols ? largest(p, j, k0, k1) : 0.0f, scale = most < 0x1p-100f ? 0.0f : most / quant::kE4m3Largest;
        *to_.scales(group_, p.at + j, k0) = scale;
        for (std::int64_t k = k0; k < k1 && j < p.cols && scale != 0; ++k) store(p, k / 4 * 4 * p.width + j / 4 * 16 + k % 4 / 2 * 8 + j % 4 * 2 + k % 2, quant::to_e4m3(at(p, j, k) / scale));
      }
    }
  }

  void int8(const Panel& p) const {
    for (std::int64_t j = 0; j < p.width; ++j) {
      const quant::Int8Scale s = quant::int8_scale(j < p.cols ? largest(p, j, 0, k_) : 0.0f);
      std::int32_t sum = 0;
      for (std::int64_t k = 0; k < k_ && j < p.cols; ++k) {
        const std::int8_t q = quant::to_int8(at(p, j, k), s.inverse);
        store(p, k / 4 * 4 * p.width + 4 * j + k % 4, q);
        sum += q;
      }
      *to_.scales(group_, p.at + j) = s.scale;
      *to_.corrections(group_, p.at + j) = -to_.kernels().offset * sum;
    }
  }

  void int4(const Panel& p) const {
    for (std::int64_t j = 0; j < p.width; ++j) {
      float step = 0;
      for (std::int64_t k = 0; k < k_ && j < p.cols; k += kInt4Group)
        step = std::max(step, quant::int4_step(&w_.data[(p.first + j) * w_.row_stride + k * w_.col_stride], std::min(kInt4Group, k_ - k), w_.col_stride));
      const float scale = quant::int4_scale(step);
      std::int32_t sum = 0;
      for (std::int64_t k = 0; k < padded_k(Format::int4, k_); k += kInt4Group) sum += int4_group(p, j, k, scale);
      *to_.scales(group_, p.at + j) = scale;
      *to_.corrections(group_, p.at + j) = -to_.kernels().offset * sum;
    }
  }

  // Returns the sum of the group's integers.
  std::int32_t int4_group(const Panel& p, std::int64_t j, std::int64_t k, float scale) const {
    const bool real = j < p.cols && k < k_;
    const float* w = real ? &w_.data[(p.first + j) * w_.row_stride + k * w_.col_stride] : nullptr;
    const quant::Int4Group g = quant::int4_group(w, real ? std::min(kInt4Group, k_ - k) : 0, w_.col_stride, real ? scale : 0.0f);
    std::uint8_t* piece = to_.stored(group_, p, k / kScaleBlock * kScaleBlock);
    const std::int64_t in = k % kScaleBlock / kInt4Group;
    piece[4 * j + in] = g.s;
    std::uint8_t* rows = piece + kScaleBlock / kInt4Group * p.width + in * (kInt4Group / 8) * 4 * p.width;
    std::int32_t sum = 0;
    for (std::int64_t r = 0; r < kInt4Group / 8; ++r)
      for (std::int64_t i = 0; i < 4; ++i) {
        const int low = g.nibble[8 * r + i], high = g.nibble[8 * r + 4 + i];
        rows[(r * p.width + j) * 4 + i] = static_cast<std::uint8_t>(low | high << 4);
        sum += (low + high - 16) * g.s;
      }
    return sum;
  }

  const PackedMatrix& to_;
  std::int64_t group_;
  Matrix<float> w_;
  std::int64_t k_;
};

// A not-finite weight would be a scale of NaN for a whole column, or an fp8 number that is none.
inline void check_finite(const PackedShape& s, const Matrix<float>& w) {
  const std::int64_t chunk = 64;
  parallel_for((s.n + chunk - 1) / chunk, [&](std::int64_t task) {
    for (std::int64_t n = task * chunk; n < std::min(s.n, (task + 1) * chunk); ++n)
      for (std::int64_t k = 0; k < s.k; ++k) {
        const float x = w.data[n * w.row_stride + k * w.col_stride];
        MOELLE_REQUIRE("pack", std::isfinite(x), str("weights must be finite for ", name(s.format), "; got weight[", n, ", ", k, "]=", x));
      }
  });
}

}  // namespace detail

// w [N, K] -> one group.
inline void pack_group(const PackedMatrix& to, std::int64_t group, const Matrix<float>& w) {
  MOELLE_REQUIRE("pack", group >= 0 && group < to.shape().groups, str("group must be in [0, ", to.shape().groups, "); got group=", group));
  if (to.format() != Format::f32 && to.format() != Format::bf16) detail::check_finite(to.shape(), w);
  const detail::PanelPacker packer(to, group, w);
  parallel_for(to.panels(), [&](std::int64_t i) { packer.run(to.panel(i)); });
}

// w [G, N, K], `stride` elements from one group to the next.
inline PackedMatrix pack(const PackedShape& shape, const Matrix<float>& w, std::int64_t stride = 0, const PackedKernels& kernels = packed_kernels()) {
  const PackedMatrix out(shape, kernels);
  for (std::int64_t g = 0; g < shape.groups; ++g) pack_group(out, g, {w.data + g * stride, w.row_stride, w.col_stride});
  return out;
}

}  // namespace moelle::gemm
