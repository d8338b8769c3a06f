// moelle/gemm/simulated_fp8.hpp -- operands as they are after a trip through e4m3 in tiles with a scale of their own.
//
// Activations and gradients in tiles of 1 x 128 along the summed axis, weights in tiles of 128 x 128; scale = max |x| / 448 of the tile.
// The product is then computed in float: what fp8 costs in accuracy shows, its speed does not. Source: DeepSeek-V3 (arXiv:2412.19437),
// section 3.3.2.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>

#include <moelle/core/parallel.hpp>
#include <moelle/core/tensor.hpp>
#include <moelle/gemm/gemm.hpp>
#include <moelle/quant/fp8.hpp>

namespace moelle::gemm {

inline constexpr std::int64_t kFp8Tile = 128;

// x [rows, cols], contiguous, in place, tiles of tile_rows x tile_cols.
template <class T>
void round_to_fp8_tiles(T* x, std::int64_t rows, std::int64_t cols, std::int64_t tile_rows, std::int64_t tile_cols) {
  const auto parts = [](std::int64_t n, std::int64_t size) { return (n + size - 1) / size; };
  const std::int64_t across = parts(cols, tile_cols);
  parallel_rows(parts(rows, tile_rows) * across, std::max<std::int64_t>(1, 16384 / (tile_rows * tile_cols)), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t t = begin; t < end; ++t) {
      const std::int64_t r0 = t / across * tile_rows, c0 = t % across * tile_cols, r1 = std::min(rows, r0 + tile_rows), c1 = std::min(cols, c0 + tile_cols);
      T most = 0;
      for (std::int64_t r = r0; r < r1; ++r)
        for (std::int64_t c = c0; c < c1; ++c) most = std::max(most, std::fabs(x[r * cols + c]));
      const T scale = most / static_cast<T>(quant::kE4m3Largest);
      if (!(scale > T(0)) || !std::isfinite(scale)) continue;  // zeros stay, and so does what is not finite
      for (std::int64_t r = r0; r < r1; ++r)
        for (std::int64_t c = c0; c < c1; ++c) {
          T& v = x[r * cols + c];
          v = static_cast<T>(quant::from_e4m3(quant::to_e4m3(static_cast<float>(v / scale)))) * scale;
        }
    }
  });
}

// A rounded copy [rows, cols] of a matrix with any strides.
template <class T>
Tensor<T> fp8_tiles(const Matrix<T>& m, std::int64_t rows, std::int64_t cols, std::int64_t tile_rows, std::int64_t tile_cols) {
  const Tensor<T> out = Tensor<T>::empty({rows, cols});
  parallel_rows(rows, std::max<std::int64_t>(1, 16384 / std::max<std::int64_t>(cols, 1)), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t r = begin; r < end; ++r)
      for (std::int64_t c = 0; c < cols; ++c) out.data()[r * cols + c] = m.data[r * m.row_stride + c * m.col_stride];
  });
  round_to_fp8_tiles(out.data(), rows, cols, tile_rows, tile_cols);
  return out;
}

}  // namespace moelle::gemm
