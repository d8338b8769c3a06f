// moelle/moe/permute_op.hpp -- gathers rows for the experts, and adds their results up again.
#pragma once
#include <algorithm>
#include <cstdint>

#include <moelle/autograd/record.hpp>
#include <moelle/core/parallel.hpp>
#include <moelle/core/tensor.hpp>
#include <moelle/moe/kernels.hpp>
#include <moelle/moe/permute.hpp>
#include <moelle/tensor/view_op.hpp>  // contiguous

namespace moelle::moe {

namespace detail {

inline std::int64_t row_grain(std::int64_t D) { return std::max<std::int64_t>(1, 16384 / std::max<std::int64_t>(1, D)); }

// out[r] = x[token of r], [R, D]; x contiguous.
template <class T>
Tensor<T> gather_tokens(const Tensor<T>& x, const Permutation& p) {
  const std::int64_t D = x.size(1);
  const Tensor<T> out = Tensor<T>::empty({p.rows(), D});
  parallel_rows(p.rows(), row_grain(D), [&](std::int64_t begin, std::int64_t end) {
    kernels<T>().gather_rows(x.data(), D, p.slot.data(), p.per_token, out.data(), begin, end);
  });
  return out;
}

// out[n] (+)= sum over slots, in slot order, of weights[n, k] y[row of (n, k)]; weights null: 1. y[R, D], out[N, D] contiguous.
template <class T>
void combine_into(const Tensor<T>& y, const T* weights, const Permutation& p, const Tensor<T>& out, bool accumulate) {
  const std::int64_t D = y.size(1), K = p.per_token;
  parallel_rows(p.tokens, row_grain(D * K), [&](std::int64_t begin, std::int64_t end) {
    kernels<T>().combine_rows(y.data(), D, weights, p.row.data(), K, out.data(), accumulate, begin, end);
  });
}

// Input i's gradient: each token's rows of dy, added up.
template <class T>
void scatter_grad(autograd::Backward<T>& b, std::size_t i, const Tensor<T>& dy, const Permutation& p) {
  const auto to = b.buffer(i);
  combine_into(dy, static_cast<const T*>(nullptr), p, to.tensor, !to.overwrite);
}

}  // namespace detail

// x[N, D] -> [R, D], rows in order of experts.
template <class T>
Tensor<T> permute(const Tensor<T>& x, const Permutation& p) {
  MOELLE_REQUIRE("permute", x.rank() == 2 && x.size(0) == p.tokens, str("x must be [N, D]; got shape=", x.shape(), " N=", p.tokens));
  const Tensor<T> y = detail::gather_tokens(contiguous(x.detach()), p);
  autograd::record<T>("permute", {x}, {y}, [p](autograd::Backward<T>& b) { detail::scatter_grad(b, 0, b.grad(0), p); });
  return y;
}

// y[R, D], weights[N, K] -> [N, D]: each token's rows, weighed and added in slot order.
template <class T>
Tensor<T> unpermute(const Tensor<T>& y, const Tensor<T>& weights, const Permutation& p) {
  MOELLE_REQUIRE("unpermute", y.rank() == 2 && y.size(0) == p.rows(), str("y must be [R, D]; got shape=", y.shape(), " R=", p.rows()));
  MOELLE_REQUIRE("unpermute", weights.shape() == p.row.shape(), str("weights must be [N, K]; got shape=", weights.shape(), " wanted=", p.row.shape()));
  const Tensor<T> rows = contiguous(y.detach()), w = contiguous(weights.detach());
  const Tensor<T> out = Tensor<T>::empty({p.tokens, y.size(1)});
  detail::combine_into(rows, static_cast<const T*>(w.data()), p, out, false);
  if (!autograd::wants_grad(y, weights)) return out;
  autograd::record<T>("unpermute", {y, weights}, {out}, [p, rows = autograd::Saved<T>(rows), w = autograd::Saved<T>(w)](autograd::Backward<T>& b) {
    const Tensor<T> g = b.grad(0), in = rows.get(), scale = w.get(), none;
    const Tensor<T> dy = b.needs(0) ? Tensor<T>::empty(in.shape()) : none, dw = b.needs(1) ? Tensor<T>::empty(scale.shape()) : none;
    T *to_y = dy.defined() ? dy.data() : nullptr, *to_w = dw.defined() ? dw.data() : nullptr;
    const std::int64_t D = g.size(1);
    parallel_rows(p.rows(), detail::row_grain(D), [&](std::int64_t begin, std::int64_t end) {
      kernels<T>().combine_grad(g.data(), in.data(), D, scale.data(), p.slot.data(), p.per_token, to_y, to_w, begin, end);
    });
    if (dy.defined()) b.add(0, dy);
    if (dw.defined()) b.add(1, dw);
  });
  return out;
}

}  // namespace moelle::moe
