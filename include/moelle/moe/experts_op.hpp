// moelle/moe/experts_op.hpp -- the routed experts of a layer as one operation.
//
// Axes: N tokens, K experts per token, R = N K rows, E experts, D hidden size, F expert size.
//   X = rows of x in order of experts [R, D]        H = X gate_up[e]^T [R, 2F], gate half first
//   A = silu(gate) up [R, F]                        y[n] = sum_k w[n, k] (A down[e]^T)[row of (n, k)]
// Gradient, with G the rows of dy:
//   P = G down[e] [R, F]      dw = <P, A>  (equal to <dy, expert output>, which need not be kept)
//   d down[e] = G^T (w A)     dH = swiglu'(H) (w P)     d gate_up[e] = dH^T X     dx[n] = sum_k (dH gate_up[e])[row of (n, k)]
// Kept for backward: X and H. A is computed again. Experts without tokens get a gradient of zero.
#pragma once
#include <algorithm>
#include <cstdint>

#include <moelle/activation/swiglu_op.hpp>
#include <moelle/autograd/record.hpp>
#include <moelle/core/parallel.hpp>
#include <moelle/core/tensor.hpp>
#include <moelle/gemm/products.hpp>
#include <moelle/moe/permute_op.hpp>

namespace moelle::moe {

namespace detail {

template <class T>
struct ExpertShapes {
  std::int64_t N, K, E, D, F;
};

template <class T>
ExpertShapes<T> check_experts(const Tensor<T>& x, const Tensor<std::int32_t>& choice, const Tensor<T>& weights, const Tensor<T>& gate_up, const Tensor<T>& down) {
  MOELLE_REQUIRE("experts", x.rank() == 2 && gate_up.rank() == 3 && down.rank() == 3 && choice.rank() == 2,
                 str("x must be [N, D], choice [N, K], gate_up [E, 2F, D], down [E, D, F]; got x=", x.shape(), " choice=", choice.shape(),
                     " gate_up=", gate_up.shape(), " down=", down.shape()));
  const ExpertShapes<T> s{x.size(0), choice.size(1), gate_up.size(0), x.size(1), down.size(2)};
  MOELLE_REQUIRE("experts", gate_up.shape() == Shape({s.E, 2 * s.F, s.D}) && down.shape() == Shape({s.E, s.D, s.F}),
                 str("gate_up must be [E, 2F, D] and down [E, D, F]; got gate_up=", gate_up.shape(), " down=", down.shape(), " x=", x.shape()));
  MOELLE_REQUIRE("experts", choice.size(0) == s.N && weights.shape() == choice.shape(),
                 str("choice and weights must be [N, K]; got choice=", choice.shape(), " weights=", weights.shape(), " N=", s.N));
  return s;
}

// rows[R, k] times each expert's matrix [n, k] transposed, or [k, n] as it stands: [R, n].
template <class T>
Tensor<T> grouped_rows(const Tensor<T>& rows, const Tensor<T>& weight, bool transpose, const Permutation& p) {
  const std::int64_t k = rows.size(1), n = weight.size(transpose ? 1 : 2), ld = weight.size(2);
  const Tensor<T> y = Tensor<T>::empty({rows.size(0), n});
  gemm::grouped<T>({.groups = p.experts(), .offsets = p.offsets.data(), .rows = p.rows(), .n = n, .k = k, .a = gemm::plain<T>(rows.data(), k),
                    .b = transpose ? gemm::transposed<T>(weight.data(), ld) : gemm::plain<T>(weight.data(), ld),
                    .stride_b = weight.size(1) * weight.size(2), .c = y.data(), .ldc = n});
  return y;
}

// a^T b per expert, into or onto input i's gradient.
template <class T>
void grouped_weight_grad(autograd::Backward<T>& b, std::size_t i, const Tensor<T>& rows_a, const Tensor<T>& rows_b, const Permutation& p) {
  if (!b.needs(i)) return;
  const auto to = b.buffer(i);
  const std::int64_t m = rows_a.size(1), n = rows_b.size(1);
  gemm::grouped_grad<T>({.groups = p.experts(), .offsets = p.offsets.data(), .rows = p.rows(), .m = m, .n = n, .a = gemm::plain<T>(rows_a.data(), m),
                         .b = gemm::plain<T>(rows_b.data(), n), .c = to.tensor.data(), .ldc = n, .stride_c = m * n, .accumulate = !to.overwrite});
}

template <class T>
Tensor<T> swiglu_rows(const Tensor<T>& h, double limit) {
  const auto rows = moelle::detail::rows_of(h);
  const Tensor<T> a = Tensor<T>::empty({h.size(0), h.size(1) / 2});
  activation::swiglu_run(activation::swiglu_args(rows, limit), rows.rows, a);
  return a;
}

// dw[slot] = <P[r], A[r]>, then P <- w P and A <- w A in place.
template <class T>
void weigh_rows(const Tensor<T>& P, const Tensor<T>& A, const Tensor<T>& w, const Tensor<T>& dw, const Permutation& p) {
  const std::int64_t F = A.size(1);
  parallel_rows(p.rows(), row_grain(F), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t r = begin; r < end; ++r) {
      const std::int64_t slot = p.slot.data()[r];
      T *q = P.data() + r * F, *a = A.data() + r * F;
      T lane[8] = {};  // eight sums in a fixed order: the compiler may use vectors, the result is the same
      std::int64_t f = 0;
      for (; f + 8 <= F; f += 8)
        for (std::int64_t j = 0; j < 8; ++j) lane[j] += q[f + j] * a[f + j];
      for (std::int64_t j = 0; f + j < F; ++j) lane[j] += q[f + j] * a[f + j];
      dw.data()[slot] = ((lane[0] + lane[4]) + (lane[2] + lane[6])) + ((lane[1] + lane[5]) + (lane[3] + lane[7]));
      const T by = w.data()[slot];
      for (f = 0; f < F; ++f) q[f] *= by, a[f] *= by;
    }
  });
}

}  // namespace detail

// x[N, D], choice[N, K], weights[N, K], gate_up[E, 2F, D], down[E, D, F] -> [N, D].
template <class T>
Tensor<T> experts(const Tensor<T>& x, const Tensor<std::int32_t>& choice, const Tensor<T>& weights, const Tensor<T>& gate_up, const Tensor<T>& down,
                  const activation::SwigluParams& params = {}) {
  const auto s = detail::check_experts(x, choice, weights, gate_up, down);
  const Permutation p = make_permutation(choice, s.E);
  const Tensor<T> up_weight = contiguous(gate_up.detach()), down_weight = contiguous(down.detach()), w = contiguous(weights.detach());
  const Tensor<T> X = detail::gather_tokens(contiguous(x.detach()), p);
  const Tensor<T> H = detail::grouped_rows(X, up_weight, true, p);
  const Tensor<T> out = detail::grouped_rows(detail::swiglu_rows(H, params.limit), down_weight, true, p);
  const Tensor<T> y = detail::combine_rows(out, w.data(), p);
  if (!autograd::wants_grad(x, weights, gate_up, down)) return y;
  autograd::record<T>("experts", {x, weights, gate_up, down}, {y},
                      [p, X, H, limit = params.limit, w = autograd::Saved<T>(w), up = autograd::Saved<T>(up_weight),
                       dn = autograd::Saved<T>(down_weight)](autograd::Backward<T>& b) {
    const Tensor<T> G = detail::gather_tokens(b.grad(0), p);
    const Tensor<T> P = detail::grouped_rows(G, dn.get(), false, p), A = detail::swiglu_rows(H, limit);
    const Tensor<T> dw = Tensor<T>::empty(w.get().shape());
    detail::weigh_rows(P, A, w.get(), dw, p);
    b.add(1, dw);
    detail::grouped_weight_grad(b, 3, G, A, p);
    const auto rows = moelle::detail::rows_of(H);
    const Tensor<T> dH = Tensor<T>::empty(H.shape());
    activation::swiglu_grad_run(activation::swiglu_args(rows, limit), rows.rows, P, {dH.data(), rows.width, dH.data() + rows.width / 2, rows.width});
    detail::grouped_weight_grad(b, 2, dH, X, p);
    if (b.needs(0)) b.add(0, detail::combine_rows(detail::grouped_rows(dH, up.get(), false, p), static_cast<const T*>(nullptr), p));
  });
  return y;
}

}  // namespace moelle::moe
