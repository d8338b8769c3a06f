// moelle/gemm/packed_ref.hpp -- the oracle of products with packed weights: what the operands become, and their product in double.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include <moelle/core/dtype.hpp>
#include <moelle/gemm/format.hpp>
#include <moelle/quant/fp8.hpp>
#include <moelle/quant/int4.hpp>
#include <moelle/quant/int8.hpp>

namespace moelle::gemm::ref {

inline float largest(const float* x, std::int64_t n) {
  float most = 0;
  for (std::int64_t i = 0; i < n; ++i) most = std::max(most, std::fabs(x[i]));
  return most;
}

// One output feature's weights w[K] as the format keeps them.
inline std::vector<double> stored_weights(Format format, const float* w, std::int64_t k) {
  std::vector<double> out(static_cast<std::size_t>(k));
  const auto set = [&](std::int64_t i, double v) { out[static_cast<std::size_t>(i)] = v; };
  if (format == Format::fp8) {
    for (std::int64_t k0 = 0; k0 < k; k0 += kScaleBlock) {
      const std::int64_t k1 = std::min(k, k0 + kScaleBlock);
      const float scale = largest(w + k0, k1 - k0) / quant::kE4m3Largest;
      for (std::int64_t i = k0; i < k1; ++i) set(i, scale == 0 ? 0.0 : static_cast<double>(quant::from_e4m3(quant::to_e4m3(w[i] / scale))) * static_cast<double>(scale));
    }
  } else if (format == Format::int4) {
    float step = 0;
    for (std::int64_t i = 0; i < k; i += kInt4Group) step = std::max(step, quant::int4_step(w + i, std::min(kInt4Group, k - i)));
    const float scale = quant::int4_scale(step);
    for (std::int64_t i = 0; i < k; i += kInt4Group) {
      const quant::Int4Group g = quant::int4_group(w + i, std::min(kInt4Group, k - i), scale);
      for (std::int64_t j = i; j < std::min(k, i + kInt4Group); ++j) set(j, static_cast<double>((g.nibble[j - i] - 8) * g.s) * static_cast<double>(scale));
    }
  } else {
    const quant::Int8Scale s = quant::int8_scale(largest(w, k));
    for (std::int64_t i = 0; i < k; ++i)
      set(i, format == Format::f32    ? static_cast<double>(w[i])
             : format == Format::bf16 ? static_cast<double>(static_cast<float>(bfloat16(w[i])))
                                      : static_cast<double>(quant::to_int8(w[i], s.inverse)) * static_cast<double>(s.scale));
  }
  return out;
}

// A row of activations x[K] as products with the format see it.
inline std::vector<double> prepared_row(Format format, const float* x, std::int64_t k) {
  return stored_weights(is_integer(format) ? Format::int8 : format == Format::f32 ? Format::f32 : Format::bf16, x, k);
}

// y[M, N] = x[M, K] w[N, K]^T of what both become; `magnitude`, if given, is the sum of |x w|.
inline std::vector<double> packed_product(Format format, const std::vector<float>& x, const std::vector<float>& w, std::int64_t m, std::int64_t n,
                                          std::int64_t k, std::vector<double>* magnitude = nullptr) {
  std::vector<double> y(static_cast<std::size_t>(m * n));
  if (magnitude != nullptr) magnitude->assign(y.size(), 0.0);
  for (std::int64_t j = 0; j < n; ++j) {
    const std::vector<double> column = stored_weights(format, w.data() + j * k, k);
    for (std::int64_t i = 0; i < m; ++i) {
      const std::vector<double> row = prepared_row(format, x.data() + i * k, k);
      for (std::size_t t = 0; t < column.size(); ++t) {
        y[static_cast<std::size_t>(i * n + j)] += row[t] * column[t];
        if (magnitude != nullptr) (*magnitude)[static_cast<std::size_t>(i * n + j)] += std::fabs(row[t] * column[t]);
      }
    }
  }
  return y;
}

}  // namespace moelle::gemm::ref
