// moelle/gemm/packed_op.hpp -- linear layers with packed weights on tensors, for one matrix and for experts.
//
// Inference only: weights in these formats have no gradient, and neither has what is computed from them.
#pragma once
#include <cstdint>

#include <moelle/autograd/record.hpp>
#include <moelle/core/tensor.hpp>
#include <moelle/gemm/linear_op.hpp>  // rows_of
#include <moelle/gemm/pack.hpp>
#include <moelle/gemm/packed_driver.hpp>

namespace moelle::gemm {

// weight [N, K], or [E, N, K] of experts. gated: rows are gate and up projections, N = 2 F.
inline PackedMatrix pack(const Tensor<float>& weight, Format format, bool gated = false) {
  MOELLE_REQUIRE("pack", weight.defined(), "weight must be given; got an undefined tensor");
  MOELLE_REQUIRE("pack", weight.rank() == 2 || weight.rank() == 3, str("weight must be [out, in] or [experts, out, in]; got weight=", weight.shape()));
  const bool one = weight.rank() == 2;
  const Strides& s = weight.strides();
  return pack({.groups = one ? 1 : weight.size(0), .n = weight.size(-2), .k = weight.size(-1), .format = format, .gated = gated},
              {weight.data(), s[one ? 0 : 1], s[one ? 1 : 2]}, one ? 0 : s[0]);
}

namespace detail {

inline std::int64_t out_features(const PackedMatrix& w) { return w.shape().gated ? w.shape().n / 2 : w.shape().n; }

inline void check_packed(const char* op, const Tensor<float>& x, const PackedMatrix& w) {
  MOELLE_REQUIRE(op, x.defined() && w.defined(), "x and weight must be given; got an undefined one");
  MOELLE_REQUIRE(op, x.rank() >= 1 && x.size(-1) == w.shape().k, str("x must be [..., in] for packed weights [", w.shape().n, ", in]; got x=", x.shape(), " in=", w.shape().k));
  MOELLE_REQUIRE(op, !autograd::wants_grad(x), str("packed weights are for inference: x must not ask for a gradient, or use no_grad; got format=", name(w.format())));
}

// Scratch of the calling thread for prepared rows.
struct PreparedBuffers {
  Buffer units, scales;
};
inline PreparedBuffers& prepared_buffers() {
  thread_local PreparedBuffers own;
  return own;
}

// Rows of x with unit column stride.
inline Rows<float> plain_rows(const Tensor<float>& x) {
  auto rows = rows_of(x);
  return rows.matrix.col_stride == 1 || x.size(-1) <= 1 ? rows : rows_of(contiguous(x.detach()));
}

}  // namespace detail

// x [..., K], bias [N] or undefined -> [..., N]; with gated weights SwiGLU of both halves, [..., F]. `residual` [..., N], if given, is added.
inline Tensor<float> linear(const Tensor<float>& x, const PackedMatrix& w, const Tensor<float>& bias = {}, const Tensor<float>& residual = {},
                            const activation::SwigluParams& params = {}) {
  detail::check_packed("linear", x, w);
  const std::int64_t n = detail::out_features(w);
  MOELLE_REQUIRE("linear", w.shape().groups == 1, str("weights must be one matrix, not those of experts; got groups=", w.shape().groups));
  MOELLE_REQUIRE("linear", !bias.defined() || (bias.rank() == 1 && bias.size(0) == n), str("bias must be [", n, "]; got bias=", bias.shape()));
  MOELLE_REQUIRE("linear", !w.shape().gated || (!bias.defined() && !residual.defined()), "gated weights take neither bias nor residual; got one");
  Shape shape = x.shape();
  shape[shape.rank() - 1] = n;
  MOELLE_REQUIRE("linear", !residual.defined() || residual.shape() == shape, str("residual must be ", shape, "; got residual=", residual.shape()));
  MOELLE_REQUIRE("linear", !bias.defined() || !residual.defined(), "bias and residual exclude each other; got both");
  const auto rows = detail::plain_rows(x);
  const Tensor<float> y = residual.defined() ? clone(residual.detach()) : Tensor<float>::empty(shape);
  const Tensor<float> b = bias.defined() ? contiguous(bias.detach()) : bias;
  auto& buffers = detail::prepared_buffers();
  packed_product(w, {.rows = detail::prepare_rows(w, rows.matrix.data, rows.matrix.row_stride, rows.rows, buffers.units, buffers.scales),
                     .count = rows.rows, .y = y.data(), .ldy = n, .bias = b.defined() ? b.data() : nullptr, .accumulate = residual.defined(),
                     .limit = params.limit});
  return y;
}

// x [R, K] with rows sorted by expert, offsets [E + 1] -> [R, N], or [R, F] with gated weights.
inline Tensor<float> grouped_linear(const Tensor<float>& x, const PackedMatrix& w, const Tensor<std::int32_t>& offsets, const activation::SwigluParams& params = {}) {
  detail::check_packed("grouped_linear", x, w);
  MOELLE_REQUIRE("grouped_linear", x.rank() == 2, str("x must be [rows, in]; got x=", x.shape()));
  MOELLE_REQUIRE("grouped_linear", offsets.defined() && offsets.rank() == 1 && offsets.size(0) == w.shape().groups + 1 && offsets.is_contiguous(),
                 str("offsets must be contiguous [experts + 1]; got offsets=", offsets.defined() ? offsets.shape() : Shape{}, " experts=", w.shape().groups));
  check_offsets("grouped_linear", offsets.data(), w.shape().groups, x.size(0));
  const std::int64_t n = detail::out_features(w);
  const auto rows = detail::plain_rows(x);
  const Tensor<float> y = Tensor<float>::empty({x.size(0), n});
  auto& buffers = detail::prepared_buffers();
  packed_product(w, {.rows = detail::prepare_rows(w, rows.matrix.data, rows.matrix.row_stride, rows.rows, buffers.units, buffers.scales),
                     .count = rows.rows, .offsets = offsets.data(), .y = y.data(), .ldy = n, .limit = params.limit});
  return y;
}

}  // namespace moelle::gemm
