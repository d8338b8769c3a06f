// tests/gemm/packed_cases.hpp -- operands of products with packed weights.
#pragma once
#include <cstdint>
#include <cstring>
#include <vector>

#include <moelle/core/random.hpp>
#include <moelle/gemm/format.hpp>
#include <moelle/gemm/pack.hpp>
#include <moelle/gemm/packed_driver.hpp>

namespace gemm_test {

using moelle::gemm::Format;
inline constexpr Format kAllFormats[] = {Format::f32, Format::bf16, Format::fp8, Format::int8, Format::int4};

// x [m, k] and w [n, k] that every format keeps exactly and whose products are exact in any order:
//   integers of -4 .. 4; rows of x and w hold a 127 for int8, whose scales are then 1;
//   int4: each group is a multiple, at most 15, of -7 .. 7, with one 7 in it, the first column group a 105: all scales are 1;
//   fp8: each 128 terms hold a 7, so that their scale is 2^-6.
inline void fill_exact(Format f, std::int64_t m, std::int64_t n, std::int64_t k, std::uint64_t seed, std::vector<float>* x, std::vector<float>* w) {
  const moelle::random::Stream stream(seed, "exact");
  std::uint64_t at = 0;
  const auto pick = [&](std::int64_t low, std::int64_t high) { return static_cast<float>(low + static_cast<std::int64_t>(stream.below(at++, static_cast<std::uint64_t>(high - low + 1)))); };
  x->resize(static_cast<std::size_t>(m * k));
  w->resize(static_cast<std::size_t>(n * k));
  for (float& v : *x) v = pick(-4, 4);
  for (float& v : *w) v = pick(-4, 4);
  if (k == 0) return;
  for (std::int64_t i = 0; i < m && is_integer(f); ++i) (*x)[static_cast<std::size_t>(i * k + static_cast<std::int64_t>(stream.below(at++, static_cast<std::uint64_t>(k))))] = 127;
  for (std::int64_t j = 0; j < n; ++j) {
    float* row = w->data() + j * k;
    if (f == Format::int8) row[stream.below(at++, static_cast<std::uint64_t>(k))] = -127;
    for (std::int64_t k0 = 0; k0 < k && f == Format::fp8; k0 += moelle::gemm::kScaleBlock) row[k0] = 7;
    for (std::int64_t k0 = 0; k0 < k && f == Format::int4; k0 += moelle::gemm::kInt4Group) {
      const float s = k0 == 0 ? 15.0f : pick(1, 15);
      for (std::int64_t i = k0; i < std::min(k, k0 + moelle::gemm::kInt4Group); ++i) row[i] = s * pick(-7, 7);
      row[k0] = 7 * s;
    }
  }
}

inline void fill_normal(std::int64_t count, std::uint64_t seed, std::vector<float>* x) {
  const moelle::random::Stream stream(seed, "normal");
  x->resize(static_cast<std::size_t>(count));
  for (std::int64_t i = 0; i < count; ++i) (*x)[static_cast<std::size_t>(i)] = static_cast<float>(stream.normal(static_cast<std::uint64_t>(i)));
}

inline moelle::gemm::PackedMatrix packed(Format f, std::int64_t n, std::int64_t k, const std::vector<float>& w, bool gated = false, std::int64_t groups = 1) {
  return moelle::gemm::pack({.groups = groups, .n = n, .k = k, .format = f, .gated = gated}, {w.data(), k, 1}, n * k);
}

// y [m, n or f] by way of the rows at x, ldx apart.
inline void multiply(const moelle::gemm::PackedMatrix& w, const float* x, std::int64_t ldx, std::int64_t m, float* y, std::int64_t ldy,
                     const std::int32_t* offsets = nullptr, const float* bias = nullptr, bool accumulate = false) {
  moelle::gemm::Buffer units, scales;
  const auto rows = moelle::gemm::detail::prepare_rows(w, x, ldx, m, units, scales);
  moelle::gemm::packed_product(w, {.rows = rows, .count = m, .offsets = offsets, .y = y, .ldy = ldy, .bias = bias, .accumulate = accumulate});
}

inline std::vector<float> multiply(const moelle::gemm::PackedMatrix& w, const std::vector<float>& x, std::int64_t m, const std::int32_t* offsets = nullptr) {
  const std::int64_t n = w.shape().gated ? w.shape().n / 2 : w.shape().n;
  std::vector<float> y(static_cast<std::size_t>(m * n));
  multiply(w, x.data(), w.shape().k, m, y.data(), n, offsets);
  return y;
}

inline bool same_floats(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0);
}

}  // namespace gemm_test
