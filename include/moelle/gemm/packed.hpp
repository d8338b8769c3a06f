// moelle/gemm/packed.hpp -- weights packed once, in a format of format.hpp, for one row and for many.
//
// Axes: N output features, K input features, G groups (experts; 1 for a layer). A weight is [G, N, K] as modules hold it.
// A gated matrix holds gate and up projections: N = 2 F, gate in the first half; their panels alternate, so that SwiGLU can be applied
// while both are in cache.
// Copies are handles of the same bytes, on 2 MiB pages. They are laid out for one instruction set and computed with its kernels, also
// when another is chosen later.
#pragma once
#include <algorithm>
#include <cstdint>
#include <memory>

#include <moelle/core/error.hpp>
#include <moelle/core/memory.hpp>
#include <moelle/gemm/format.hpp>
#include <moelle/gemm/packed_kernels.hpp>

namespace moelle::gemm {

inline constexpr std::int64_t kMostIntegerTerms = 65536;  // 255 * 127 * K fits 32 bits

struct PackedShape {
  std::int64_t groups = 1, n = 0, k = 0;
  Format format = Format::f32;
  bool gated = false;
};

inline void check(const PackedShape& s) {
  MOELLE_REQUIRE("pack", s.groups >= 0 && s.n >= 0 && s.k >= 0, str("sizes must not be negative; got groups=", s.groups, " n=", s.n, " k=", s.k));
  MOELLE_REQUIRE("pack", !s.gated || s.n % 2 == 0, str("a gated matrix must have an even number of rows: gate, then up; got n=", s.n));
  MOELLE_REQUIRE("pack", !is_integer(s.format) || s.k <= kMostIntegerTerms, str("k must be at most ", kMostIntegerTerms, " for ", name(s.format), "; got k=", s.k));
  const double bytes = static_cast<double>(s.groups) * static_cast<double>(s.n + 256) * static_cast<double>(s.k + 256) * 8;
  MOELLE_REQUIRE("pack", bytes < 0x1p62, str("sizes must fit the memory; got groups=", s.groups, " n=", s.n, " k=", s.k));
}

// A panel: `cols` columns of the output from `first` on, `width` with padding; `at` counts the padded columns before it.
struct Panel {
  std::int64_t first, cols, width, at;
};

class PackedMatrix {
 public:
  PackedMatrix() = default;
  // Uninitialised; pack_group() (pack.hpp) fills it in, a group at a time.
  explicit PackedMatrix(const PackedShape& shape, const PackedKernels& kernels = packed_kernels()) : shape_(shape), kernels_(&kernels) {
    check(shape);
    const auto lanes = [&](std::int64_t n) { return (n + kernels.lanes - 1) / kernels.lanes * kernels.lanes; };
    padded_n_ = shape.gated ? 2 * lanes(shape.n / 2) : lanes(shape.n);
    group_bytes_ = padded_n_ * column_bytes(shape.format, padded_k(shape.format, shape.k));
    column_scales_ = shape.format == Format::fp8 ? (shape.k + kScaleBlock - 1) / kScaleBlock : is_integer(shape.format) ? 1 : 0;
    const auto take = [](std::int64_t bytes) { return moelle::detail::lasting_memory(static_cast<std::size_t>(bytes)); };
    bytes_ = take(shape.groups * group_bytes_);
    scales_ = take(4 * shape.groups * group_scales());
    corrections_ = take(is_integer(shape.format) ? 4 * shape.groups * padded_n_ : 0);
    small_ = take(4 * shape.groups * group_small());
  }

  bool defined() const { return bytes_ != nullptr; }
  const PackedShape& shape() const { return shape_; }
  Format format() const { return shape_.format; }
  const PackedKernels& kernels() const { return *kernels_; }
  const PackedFormat& compute() const { return kernels_->of(shape_.format); }
  // Of the weights and their scales.
  std::int64_t bytes() const { return shape_.groups * (group_bytes_ + 4 * group_scales() + 4 * group_small() + (is_integer(shape_.format) ? 4 * padded_n_ : 0)); }

  // Panels in the order in which they are stored. Gated: gate and up of the same features follow one another.
  std::int64_t panels() const { return (shape_.gated ? 2 : 1) * ((half() + kernels_->nr - 1) / kernels_->nr); }
  Panel panel(std::int64_t i) const {
    const std::int64_t nr = kernels_->nr, p = shape_.gated ? i / 2 : i, cols = std::min(nr, half() - p * nr);
    const std::int64_t width = (cols + kernels_->lanes - 1) / kernels_->lanes * kernels_->lanes;
    if (!shape_.gated) return {p * nr, cols, width, p * nr};
    return {i % 2 * half() + p * nr, cols, width, 2 * p * nr + i % 2 * width};
  }
  // Terms from k on (a multiple of the format's) of a panel.
  std::uint8_t* stored(std::int64_t group, const Panel& p, std::int64_t k) const {
    return static_cast<std::uint8_t*>(bytes_.get()) + group * group_bytes_ + p.at * column_bytes(shape_.format, padded_k(shape_.format, shape_.k)) +
           p.width * column_bytes(shape_.format, k);
  }
  // Of a panel's columns: for int8 and int4, or for 128 terms of fp8; those of a panel follow one another as its terms do.
  float* scales(std::int64_t group, const Panel& p, std::int64_t k = 0) const {
    return static_cast<float*>(scales_.get()) + group * group_scales() + p.at * column_scales_ + k / kScaleBlock * p.width;
  }
  // What is to be added to each column's sum: minus the offset of the activations times the sum of the column's integers.
  std::int32_t* corrections(std::int64_t group, const Panel& p) const { return static_cast<std::int32_t*>(corrections_.get()) + group * padded_n_ + p.at; }
  // fp8, of a panel and 128 terms: which fours of terms hold zeros or denormals (format.hpp).
  std::uint32_t* small(std::int64_t group, const Panel& p, std::int64_t k) const {
    return static_cast<std::uint32_t*>(small_.get()) + group * group_small() + p.at / kernels_->lanes * column_scales_ + k / kScaleBlock;
  }

 private:
  std::int64_t half() const { return shape_.gated ? shape_.n / 2 : shape_.n; }
  std::int64_t group_scales() const { return column_scales_ * padded_n_; }
  std::int64_t group_small() const { return shape_.format == Format::fp8 ? group_scales() / kernels_->lanes : 0; }

  PackedShape shape_;
  const PackedKernels* kernels_ = nullptr;
  std::int64_t padded_n_ = 0, group_bytes_ = 0, column_scales_ = 0;
  std::shared_ptr<void> bytes_, scales_, corrections_, small_;
};

}  // namespace moelle::gemm
