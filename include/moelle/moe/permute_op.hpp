// moelle/moe/permute_op.hpp -- gathers rows for the experts, and adds their results up again.
#pragma once
#include <algorithm>
#include <cstdint>

#include <moelle/autograd/record.hpp>
#include <moelle/core/parallel.hpp>
#include <moelle/core/tensor.hpp>
#include <moelle/moe/permute.hpp>
#include <moelle/tensor/view_op.hpp>  // contiguous

namespace moelle::moe {

namespace detail {

inline std::int64_t row_grain(std::int64_t D) { return std::max<std::int64_t>(1, 16384 / std::max<std::int64_t>(1, D)); }

// out[r] = x[token of r], [R, D].
template <class T>
Tensor<T> gather_tokens(const Tensor<T>& x, const Permutation& p) {
  const std::int64_t D = x.size(1);
  const Tensor<T> out = Tensor<T>::empty({p.rows(), D});
  parallel_rows(p.rows(), row_grain(D), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t r = begin; r < end; ++r) std::copy_n(x.data() + p.slot.data()[r] / p.per_token * D, D, out.data() + r * D);
  });
  return out;
}

// out[n] = sum over slots, in slot order, of weights[n, k] y[row of (n, k)]; weights null: 1. [N, D].
template <class T>
Tensor<T> combine_rows(const Tensor<T>& y, const T* weights, const Permutation& p) {
  const std::int64_t D = y.size(1), K = p.per_token;
  const Tensor<T> out = Tensor<T>::empty({p.tokens, D});
  parallel_rows(p.tokens, row_grain(D * K), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t n = begin; n < end; ++n) {
      T* o = out.data() + n * D;
      std::fill_n(o, D, T(0));
      for (std::int64_t k = 0; k < K; ++k) {
        const T* row = y.data() + p.row.data()[n * K + k] * D;
        const T w = weights != nullptr ? weights[n * K + k] : T(1);
        for (std::int64_t d = 0; d < D; ++d) o[d] += w * row[d];
      }
    }
  });
  return out;
}

}  // namespace detail

// x[N, D] -> [R, D], rows in order of experts.
template <class T>
Tensor<T> permute(const Tensor<T>& x, const Permutation& p) {
  MOELLE_REQUIRE("permute", x.rank() == 2 && x.size(0) == p.tokens, str("x must be [N, D]; got shape=", x.shape(), " N=", p.tokens));
  const Tensor<T> y = detail::gather_tokens(contiguous(x.detach()), p);
  autograd::record<T>("permute", {x}, {y}, [p](autograd::Backward<T>& b) { b.add(0, detail::combine_rows(b.grad(0), static_cast<const T*>(nullptr), p)); });
  return y;
}

// y[R, D], weights[N, K] -> [N, D]: each token's rows, weighed and added in slot order. d weights[n, k] = <d out[n], y[row]>.
template <class T>
Tensor<T> unpermute(const Tensor<T>& y, const Tensor<T>& weights, const Permutation& p) {
  MOELLE_REQUIRE("unpermute", y.rank() == 2 && y.size(0) == p.rows(), str("y must be [R, D]; got shape=", y.shape(), " R=", p.rows()));
  MOELLE_REQUIRE("unpermute", weights.shape() == p.row.shape(), str("weights must be [N, K]; got shape=", weights.shape(), " wanted=", p.row.shape()));
  const Tensor<T> rows = contiguous(y.detach()), w = contiguous(weights.detach());
  const Tensor<T> out = detail::combine_rows(rows, w.data(), p);
  if (!autograd::wants_grad(y, weights)) return out;
  autograd::record<T>("unpermute", {y, weights}, {out}, [p, rows = autograd::Saved<T>(rows), w = autograd::Saved<T>(w)](autograd::Backward<T>& b) {
    const Tensor<T> g = b.grad(0), dy = Tensor<T>::empty(rows.get().shape()), dw = Tensor<T>::empty(w.get().shape());
    const std::int64_t D = g.size(1);
    parallel_rows(p.rows(), detail::row_grain(D), [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t r = begin; r < end; ++r) {
        const std::int64_t slot = p.slot.data()[r];
        const T* from = g.data() + slot / p.per_token * D;
        T dot = 0;
        for (std::int64_t d = 0; d < D; ++d) {
          dy.data()[r * D + d] = w.get().data()[slot] * from[d];
          dot += from[d] * rows.get().data()[r * D + d];
        }
        dw.data()[slot] = dot;
      }
    });
    b.add(0, dy);
    b.add(1, dw);
  });
  return out;
}

}  // namespace moelle::moe
