// moelle/gemm/linear_op.hpp -- the layer y = x W^T + b on tensors.
//
// dx = dy W,  dW = dy^T x,  db = sum over rows of dy. `precision` chooses the operands of all three products (gemm.hpp).
#pragma once
#include <algorithm>
#include <cstdint>

#include <moelle/autograd/record.hpp>
#include <moelle/core/parallel.hpp>
#include <moelle/core/tensor.hpp>
#include <moelle/gemm/products.hpp>
#include <moelle/gemm/simulated_fp8.hpp>
#include <moelle/tensor/ops.hpp>  // contiguous

namespace moelle::gemm {

namespace detail {

// x[..., width] as a matrix [rows, width]. All leading axes must step like one; otherwise `tensor` is a copy that does.
template <class T>
struct Rows {
  Tensor<T> tensor;
  std::int64_t rows;
  Matrix<T> matrix;  // [rows, width]
};

template <class T>
Rows<T> rows_of(const Tensor<T>& x) {
  const Shape& shape = x.shape();
  const int last = x.rank() - 1;
  std::int64_t rows = 1, step = 0;  // step: from one row to the next, 0 while there is only one
  for (int i = last - 1; i >= 0; --i) {
    if (shape[i] == 1) continue;
    if (step != 0 && x.strides()[i] != step * rows && x.numel() != 0) return rows_of(contiguous(x.detach()));
    if (step == 0) step = x.strides()[i];
    rows *= shape[i];
  }
  return {x.detach(), rows, {x.data(), step, x.strides()[last]}};
}

template <class T>
Matrix<T> flipped(const Matrix<T>& m) {
  return {m.data, m.col_stride, m.row_stride};
}

// sums[n] (+)= sum over rows of dy[rows, n]: kReduceChunks partial sums, added in order.
template <class T>
void column_sums(const T* dy, std::int64_t rows, std::int64_t n, T* sums, bool overwrite) {
  const std::int64_t chunks = std::clamp<std::int64_t>(rows, 1, kReduceChunks);
  const Tensor<T> partial = Tensor<T>::zeros({chunks, n});
  parallel_for(rows * n < 1 << 14 ? 1 : chunks, [&](std::int64_t task) {
    const bool all = rows * n < 1 << 14;
    for (std::int64_t c = all ? 0 : task; c < (all ? chunks : task + 1); ++c)
      for (std::int64_t r = rows * c / chunks; r < rows * (c + 1) / chunks; ++r)
        for (std::int64_t j = 0; j < n; ++j) partial.data()[c * n + j] += dy[r * n + j];
  });
  for (std::int64_t j = 0; j < n; ++j) {
    T sum = overwrite ? T(0) : sums[j];
    for (std::int64_t c = 0; c < chunks; ++c) sum += partial.data()[c * n + j];
    sums[j] = sum;
  }
}

}  // namespace detail

// x[..., K], weight[N, K], bias[N] or undefined -> y[..., N]
template <class T>
void check_linear(const Tensor<T>& x, const Tensor<T>& weight, const Tensor<T>& bias) {
  MOELLE_REQUIRE("linear", x.defined() && weight.defined(), "x and weight must be given; got an undefined tensor");
  MOELLE_REQUIRE("linear", x.rank() >= 1 && weight.rank() == 2 && x.size(-1) == weight.size(1),
                 str("x must be [..., in] and weight [out, in]; got x=", x.shape(), " weight=", weight.shape()));
  MOELLE_REQUIRE("linear", !bias.defined() || (bias.rank() == 1 && bias.size(0) == weight.size(0)),
                 str("bias must be [out]; got bias=", bias.shape(), " weight=", weight.shape()));
}

namespace detail {

// A matrix, or for fp8 a rounded copy of it, which `copy` keeps alive.
template <class T>
struct Operand {
  Matrix<T> matrix;
  Tensor<T> copy;
};
template <class T>
Operand<T> operand(const Matrix<T>& m, std::int64_t rows, std::int64_t cols, std::int64_t tile_rows, std::int64_t tile_cols, Precision precision) {
  if (precision != Precision::fp8) return {m, {}};
  const Tensor<T> copy = fp8_tiles(m, rows, cols, tile_rows, tile_cols);
  return {plain<T>(copy.data(), cols), copy};
}

}  // namespace detail

template <class T>
void linear_grad(autograd::Backward<T>& b, const Tensor<T>& saved_x, const Tensor<T>& weight, Precision precision) {
  const Tensor<T> dy = b.grad(0);
  const std::int64_t N = weight.size(0), K = weight.size(1);
  const auto x = detail::rows_of(saved_x);
  if (b.needs(0)) {
    const auto to = b.buffer(0);
    const auto w = detail::operand<T>({weight.data(), weight.strides()[0], weight.strides()[1]}, N, K, kFp8Tile, kFp8Tile, precision);
    const auto g = detail::operand(plain<T>(dy.data(), N), x.rows, N, 1, kFp8Tile, precision);
    gemm(GemmArgs<T>{.m = x.rows, .n = K, .k = N, .a = g.matrix, .b = w.matrix, .c = to.tensor.data(), .ldc = K, .accumulate = !to.overwrite, .precision = precision});
  }
  if (b.needs(1)) {
    const auto to = b.buffer(1);
    const auto g = detail::operand(plain<T>(dy.data(), N), x.rows, N, kFp8Tile, 1, precision), in = detail::operand(x.matrix, x.rows, K, kFp8Tile, 1, precision);
    gemm(GemmArgs<T>{.m = N, .n = K, .k = x.rows, .a = detail::flipped(g.matrix), .b = in.matrix, .c = to.tensor.data(), .ldc = K, .accumulate = !to.overwrite,
                     .precision = precision});
  }
  if (b.needs(2)) {
    const auto to = b.buffer(2);
    detail::column_sums(dy.data(), x.rows, N, to.tensor.data(), to.overwrite);
  }
}

template <class T>
Tensor<T> linear(const Tensor<T>& x, const Tensor<T>& weight, const Tensor<T>& bias = Tensor<T>(), Precision precision = Precision::native) {
  check_linear(x, weight, bias);
  const std::int64_t N = weight.size(0), K = weight.size(1);
  const auto rows = detail::rows_of(x);
  Shape shape = x.shape();
  shape[shape.rank() - 1] = N;
  const Tensor<T> y = Tensor<T>::empty(shape);
  const Tensor<T> b = !bias.defined() || bias.is_contiguous() ? bias : contiguous(bias.detach());
  const auto in = detail::operand(rows.matrix, rows.rows, K, 1, kFp8Tile, precision);
  const auto w = detail::operand<T>({weight.data(), weight.strides()[0], weight.strides()[1]}, N, K, kFp8Tile, kFp8Tile, precision);
  gemm(GemmArgs<T>{.m = rows.rows, .n = N, .k = K, .a = in.matrix, .b = detail::flipped(w.matrix), .c = y.data(), .ldc = N,
                   .bias = b.defined() ? b.data() : nullptr, .precision = precision});
  if (!autograd::wants_grad(x, weight, bias)) return y;
  autograd::record<T>("linear", {x, weight, bias}, {y},
                      [sx = autograd::Saved<T>(rows.tensor), sw = autograd::Saved<T>(weight), precision](autograd::Backward<T>& back) {
    linear_grad(back, sx.get(), sw.get(), precision);
  });
  return y;
}

}  // namespace moelle::gemm

namespace moelle {
using gemm::linear;
}
