// moelle/norm/rms_norm.hpp -- root mean square normalisation, alone or fused with the residual sum: the contract.
//
// Axes: D width, rows = product of the other axes.
//   r = 1 / sqrt(mean_j x_j^2 + eps)       y_j = w_j x_j r                            (w = 1 where no weight is given)
//   dx_j = r w_j dy_j - x_j r^3 / D sum_i w_i dy_i x_i        dw_j = sum over rows of dy_j x_j r
// Fused: s = x + residual (returned, the next layer's residual), y = rms_norm(s); dx = dresidual = ds + the dx above.
//
// Source: Zhang and Sennrich (arXiv:1910.07467), section 4; eps inside the root as in Llama and DeepSeek.
// Order: a row is summed in the lanes of four vectors, then lane halves; dw in kReduceChunks fixed ranges of rows, in order.
// NaN makes its row NaN, no other. Infinity gives NaN in its place and 0 in the rest of its row, and so (0 throughout) does a
// row whose squares overflow. A row of zeros gives zeros if eps > 0. D = 0 and no rows are legal.
#pragma once
#include <cstdint>

#include <moelle/core/error.hpp>
#include <moelle/core/shape.hpp>

namespace moelle::norm {

// weight is null where none is given.
inline void check_rms_norm(const Shape& x, const Shape* weight, double eps) {
  MOELLE_REQUIRE("rms_norm", x.rank() >= 1, str("x must have at least one axis; got x=", x));
  MOELLE_REQUIRE("rms_norm", weight == nullptr || (weight->rank() == 1 && weight->back() == x.back()),
                 str("weight must have the size of the last axis; got x=", x, " weight=", *weight));
  MOELLE_REQUIRE("rms_norm", eps >= 0 && eps < 1e300, str("eps must be finite and not negative; got eps=", eps));
}
inline void check_add_rms_norm(const Shape& x, const Shape& residual, const Shape* weight, double eps) {
  MOELLE_REQUIRE("add_rms_norm", x == residual, str("x and residual must have one shape; got x=", x, " residual=", residual));
  check_rms_norm(x, weight, eps);
}

// What the kernels see. Row r of x is at x + r * x_stride, D elements.
template <class T>
struct RmsNormArgs {
  const T* x;
  std::int64_t x_stride;
  const T* weight;  // [D] or null
  std::int64_t D;
  T eps;
  bool past_caches;  // how y and dx are written: cpu/stream_simd.hpp
};

}  // namespace moelle::norm
