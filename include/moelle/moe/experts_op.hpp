// moelle/moe/experts_op.hpp -- the routed experts of a layer as one operation; see experts.hpp for the formulas.
//
// Rows are copied once, into the order of their experts; all products are grouped ones on ranges of those rows, and weight
// gradients are added straight into the parameters' gradients.
#pragma once
#include <cstdint>

#include <moelle/activation/swiglu_op.hpp>
#include <moelle/autograd/record.hpp>
#include <moelle/core/parallel.hpp>
#include <moelle/core/tensor.hpp>
#include <moelle/gemm/products.hpp>
#include <moelle/gemm/simulated_fp8.hpp>
#include <moelle/moe/experts.hpp>
#include <moelle/moe/gate_op.hpp>  // Routing
#include <moelle/moe/permute_op.hpp>

namespace moelle::moe {

namespace detail {

using gemm::Precision;

// For fp8 a copy rounded in tiles; tiles of an expert's rows do not reach into the next expert's.
template <class T>
Tensor<T> rounded_rows(const Tensor<T>& rows, const Permutation& p, bool along_rows, Precision precision) {
  if (precision != Precision::fp8) return rows;
  const Tensor<T> y = clone(rows);
  const std::int64_t k = y.size(1);
  if (!along_rows) gemm::round_to_fp8_tiles(y.data(), y.size(0), k, 1, gemm::kFp8Tile);
  for (std::int64_t e = 0; along_rows && e < p.experts(); ++e)
    gemm::round_to_fp8_tiles(y.data() + p.offsets.data()[e] * k, p.offsets.data()[e + 1] - p.offsets.data()[e], k, gemm::kFp8Tile, 1);
  return y;
}
template <class T>
Tensor<T> rounded_weights(const Tensor<T>& weight, Precision precision) {
  if (precision != Precision::fp8) return weight;
  const Tensor<T> y = clone(weight);
  for (std::int64_t e = 0; e < y.size(0); ++e)
    gemm::round_to_fp8_tiles(y.data() + e * y.size(1) * y.size(2), y.size(1), y.size(2), gemm::kFp8Tile, gemm::kFp8Tile);
  return y;
}

// rows[R, k] times each expert's matrix [n, k] transposed, or [k, n] as it stands: [R, n].
template <class T>
Tensor<T> grouped_rows(const Tensor<T>& rows, const Tensor<T>& weight, bool transpose, const Permutation& p, Precision precision) {
  const std::int64_t k = rows.size(1), n = weight.size(transpose ? 1 : 2), ld = weight.size(2);
  const Tensor<T> y = Tensor<T>::empty({rows.size(0), n}), x = rounded_rows(rows, p, false, precision), w = rounded_weights(weight, precision);
  gemm::grouped<T>({.groups = p.experts(), .offsets = p.offsets.data(), .rows = p.rows(), .n = n, .k = k, .a = gemm::plain<T>(x.data(), k),
                    .b = transpose ? gemm::transposed<T>(w.data(), ld) : gemm::plain<T>(w.data(), ld),
                    .stride_b = weight.size(1) * weight.size(2), .c = y.data(), .ldc = n, .precision = precision});
  return y;
}

// a^T b per expert, into or onto input i's gradient.
template <class T>
void grouped_weight_grad(autograd::Backward<T>& b, std::size_t i, const Tensor<T>& rows_a, const Tensor<T>& rows_b, const Permutation& p, Precision precision) {
  const auto to = b.buffer(i);
  const std::int64_t m = rows_a.size(1), n = rows_b.size(1);
  const Tensor<T> x = rounded_rows(rows_a, p, true, precision), y = rounded_rows(rows_b, p, true, precision);
  gemm::grouped_grad<T>({.groups = p.experts(), .offsets = p.offsets.data(), .rows = p.rows(), .m = m, .n = n, .a = gemm::plain<T>(x.data(), m),
                         .b = gemm::plain<T>(y.data(), n), .c = to.tensor.data(), .ldc = n, .stride_c = m * n, .accumulate = !to.overwrite,
                         .precision = precision});
}

// [R, 2F] -> [R, F]
template <class T>
Tensor<T> swiglu_rows(const Tensor<T>& h, double limit) {
  const auto rows = moelle::detail::rows_of(h);
  const Tensor<T> a = Tensor<T>::empty({h.size(0), h.size(1) / 2});
  activation::swiglu_run(activation::swiglu_args(rows, limit), rows.rows, a);
  return a;
}

template <class T>
struct SavedExperts {
  Permutation p;
  Tensor<T> H;
  double limit;
  Precision precision;
  autograd::Saved<T> x, weights, gate_up, down;
};

template <class T>
void experts_backward(autograd::Backward<T>& b, const SavedExperts<T>& s) {
  const Permutation& p = s.p;
  const Tensor<T> w = s.weights.get();
  const Tensor<T> G = gather_tokens(b.grad(0), p);
  const Tensor<T> P = grouped_rows(G, s.down.get(), false, p, s.precision);  // becomes w A
  const Tensor<T> dH = Tensor<T>::empty(s.H.shape()), dw = Tensor<T>::empty(w.shape());
  const std::int64_t F = P.size(1);
  parallel_rows(p.rows(), row_grain(4 * F), [&](std::int64_t begin, std::int64_t end) {
    kernels<T>().experts_grad(s.H.data(), F, static_cast<T>(s.limit), w.data(), p.slot.data(), P.data(), dH.data(), dw.data(), begin, end);
  });
  b.add(1, dw);
  if (b.needs(3)) grouped_weight_grad(b, 3, G, P, p, s.precision);
  if (b.needs(2)) grouped_weight_grad(b, 2, dH, gather_tokens(s.x.get(), p), p, s.precision);
  if (b.needs(0)) scatter_grad(b, 0, grouped_rows(dH, s.gate_up.get(), false, p, s.precision), p);
}

}  // namespace detail

// x[N, D], choice[N, K], weights[N, K], gate_up[E, 2F, D], down[E, D, F] -> [N, D].
template <class T>
Tensor<T> experts(const Tensor<T>& x, const Tensor<std::int32_t>& choice, const Tensor<T>& weights, const Tensor<T>& gate_up, const Tensor<T>& down,
                  const activation::SwigluParams& params = {}, gemm::Precision precision = gemm::Precision::native) {
  MOELLE_REQUIRE("experts", x.defined() && choice.defined() && weights.defined() && gate_up.defined() && down.defined(),
                 "x, choice, weights, gate_up and down must be given; got an undefined tensor");
  MOELLE_REQUIRE("experts", params.limit > 0, str("limit must be positive; got limit=", params.limit));
  const ExpertSizes s = check_experts(x.shape(), choice.shape(), weights.shape(), gate_up.shape(), down.shape());
  const Permutation p = make_permutation(choice, s.E);
  const Tensor<T> in = contiguous(x.detach()), w = contiguous(weights.detach());
  const Tensor<T> up_weight = contiguous(gate_up.detach()), down_weight = contiguous(down.detach());
  const Tensor<T> H = detail::grouped_rows(detail::gather_tokens(in, p), up_weight, true, p, precision);
  const Tensor<T> out = detail::grouped_rows(detail::swiglu_rows(H, params.limit), down_weight, true, p, precision);
  const Tensor<T> y = Tensor<T>::empty({s.N, s.D});
  detail::combine_into(out, static_cast<const T*>(w.data()), p, y, false);
  if (!autograd::wants_grad(x, weights, gate_up, down)) return y;
  using autograd::Saved;
  const detail::SavedExperts<T> saved{p, H, params.limit, precision, Saved<T>(in), Saved<T>(w), Saved<T>(up_weight), Saved<T>(down_weight)};
  autograd::record<T>("experts", {x, weights, gate_up, down}, {y}, [saved](autograd::Backward<T>& b) { detail::experts_backward(b, saved); });
  return y;
}

// The same for what a gate returned.
template <class T>
Tensor<T> experts(const Tensor<T>& x, const Routing<T>& routing, const Tensor<T>& gate_up, const Tensor<T>& down,
                  const activation::SwigluParams& params = {}, gemm::Precision precision = gemm::Precision::native) {
  return experts(x, routing.experts, routing.weights, gate_up, down, params, precision);
}

}  // namespace moelle::moe
