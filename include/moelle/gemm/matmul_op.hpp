// moelle/gemm/matmul_op.hpp -- products of tensors, batched over leading axes with broadcasting (numpy.matmul's rule, rank >= 2).
//
// dA = dC B^T and dB = A^T dC, summed over the axes along which the operand was broadcast.
#pragma once
#include <algorithm>
#include <cstdint>
#include <unordered_map>
#include <vector>

#include <moelle/autograd/record.hpp>
#include <moelle/core/tensor.hpp>
#include <moelle/gemm/linear_op.hpp>  // rows_of, flipped
#include <moelle/gemm/products.hpp>

namespace moelle::gemm {

namespace detail {

template <class T>
Matrix<T> matrix_of(const Tensor<T>& t) {
  return {t.data(), t.strides()[t.rank() - 2], t.strides()[t.rank() - 1]};
}

// Offset of the operand's matrix for every batch entry, in row-major order of `batch`; broadcast axes do not move it.
inline std::vector<std::int64_t> batch_offsets(const Shape& batch, const Shape& shape, const Strides& strides) {
  const int lead = batch.rank() - (shape.rank() - 2);
  std::vector<std::int64_t> out{0};
  for (int i = 0; i < batch.rank(); ++i) {
    const std::int64_t step = i < lead || shape[i - lead] == 1 ? 0 : strides[i - lead];
    std::vector<std::int64_t> next;
    next.reserve(out.size() * static_cast<std::size_t>(batch[i]));
    for (std::int64_t base : out)
      for (std::int64_t j = 0; j < batch[i]; ++j) next.push_back(base + j * step);
    out = std::move(next);
  }
  return out;
}

// Runs problems of which several may add to one C: in passes, so that each C gets its terms in the order of the list.
template <class T>
void run_summed(const std::vector<Problem<T>>& problems, Layout<T> layout) {
  std::unordered_map<T*, std::size_t> seen;
  std::vector<std::vector<Problem<T>>> passes;
  for (const auto& p : problems) {
    const std::size_t pass = seen[p.c]++;
    if (pass == passes.size()) passes.emplace_back();
    passes[pass].push_back(p);
  }
  for (const auto& pass : passes) {
    run(pass, layout);
    layout.accumulate = true;
  }
}

// x[m, k] y[k, n] for every batch entry; `to` holds the C of each entry at offsets `oc`, rows n apart.
template <class T>
void run_batch(std::int64_t m, std::int64_t n, std::int64_t k, const Matrix<T>& x, const std::vector<std::int64_t>& ox, const Matrix<T>& y,
               const std::vector<std::int64_t>& oy, T* to, const std::vector<std::int64_t>& oc, bool accumulate) {
  std::vector<Problem<T>> list(oc.size());
  for (std::size_t i = 0; i < oc.size(); ++i) list[i] = {x.data + ox[i], y.data + oy[i], to + oc[i], m, n, k};
  run_summed(list, Layout<T>{.a_row_stride = x.row_stride, .a_col_stride = x.col_stride, .b_row_stride = y.row_stride,
                             .b_col_stride = y.col_stride, .ldc = n, .accumulate = accumulate});
}

}  // namespace detail

// Shape of the product of a[..., M, K] and b[..., K, N]; throws if there is none.
inline Shape matmul_shape(const Shape& a, const Shape& b) {
  MOELLE_REQUIRE("matmul", a.rank() >= 2 && b.rank() >= 2 && a.back() == b[b.rank() - 2],
                 str("operands must be [..., m, k] and [..., k, n]; got a=", a, " b=", b));
  const auto lead = [](const Shape& s) { return Shape(std::vector<std::int64_t>(s.begin(), s.end() - 2)); };
  Shape out = broadcast_shapes("matmul", lead(a), lead(b));
  out.push_back(a[a.rank() - 2]);
  out.push_back(b.back());
  return out;
}

template <class T>
void matmul_grad(autograd::Backward<T>& back, const Tensor<T>& a, const Tensor<T>& b, const Shape& shape) {
  const Tensor<T> dc = back.grad(0);
  const std::int64_t M = a.size(-2), K = a.size(-1), N = b.size(-1);
  const Shape batch(std::vector<std::int64_t>(shape.begin(), shape.end() - 2));
  const auto oc = detail::batch_offsets(batch, shape, contiguous_strides(shape));
  const auto offsets = [&](const Tensor<T>& t) { return detail::batch_offsets(batch, t.shape(), t.strides()); };
  const Matrix<T> d = plain<T>(dc.data(), N);
  if (back.needs(0)) {
    const auto to = back.buffer(0);
    if (oc.empty() && to.overwrite) std::fill_n(to.tensor.data(), to.tensor.numel(), T(0));
    detail::run_batch(M, K, N, d, oc, detail::flipped(detail::matrix_of(b)), offsets(b), to.tensor.data(), offsets(to.tensor), !to.overwrite);
  }
  if (back.needs(1)) {
    const auto to = back.buffer(1);
    if (oc.empty() && to.overwrite) std::fill_n(to.tensor.data(), to.tensor.numel(), T(0));
    detail::run_batch(K, N, M, detail::flipped(detail::matrix_of(a)), offsets(a), d, oc, to.tensor.data(), offsets(to.tensor), !to.overwrite);
  }
}

// The gradient where b is one matrix for all entries of a: the batch is more rows.
template <class T>
void matmul_rows_grad(autograd::Backward<T>& back, const Tensor<T>& a, const Tensor<T>& b) {
  const Tensor<T> dc = back.grad(0);
  const std::int64_t K = b.size(0), N = b.size(1);
  const auto rows = detail::rows_of(a);
  if (back.needs(0)) {
    const auto to = back.buffer(0);
    gemm(GemmArgs<T>{.m = rows.rows, .n = K, .k = N, .a = plain<T>(dc.data(), N), .b = detail::flipped(detail::matrix_of(b)),
                     .c = to.tensor.data(), .ldc = K, .accumulate = !to.overwrite});
  }
  if (back.needs(1)) {
    const auto to = back.buffer(1);
    gemm(GemmArgs<T>{.m = K, .n = N, .k = rows.rows, .a = detail::flipped(rows.matrix), .b = plain<T>(dc.data(), N),
                     .c = to.tensor.data(), .ldc = N, .accumulate = !to.overwrite});
  }
}

// a[..., M, K], b[..., K, N] -> [..., M, N]
template <class T>
Tensor<T> matmul(const Tensor<T>& a, const Tensor<T>& b) {
  MOELLE_REQUIRE("matmul", a.defined() && b.defined(), "operands must be given; got an undefined tensor");
  const Shape shape = matmul_shape(a.shape(), b.shape());
  const std::int64_t M = a.size(-2), K = a.size(-1), N = b.size(-1);
  if (b.rank() == 2 && a.rank() > 2) {  // one matrix for all: the batch is more rows, which packs b once and sums db in one product
    const auto rows = detail::rows_of(a);
    const Tensor<T> y = Tensor<T>::empty(shape);
    gemm(GemmArgs<T>{.m = rows.rows, .n = N, .k = K, .a = rows.matrix, .b = detail::matrix_of(b), .c = y.data(), .ldc = N});
    if (autograd::wants_grad(a, b))
      autograd::record<T>("matmul", {a, b}, {y}, [sa = autograd::Saved<T>(rows.tensor), sb = autograd::Saved<T>(b)](autograd::Backward<T>& back) {
        matmul_rows_grad(back, sa.get(), sb.get());
      });
    return y;
  }
  const Shape batch(std::vector<std::int64_t>(shape.begin(), shape.end() - 2));
  const Tensor<T> y = Tensor<T>::empty(shape);
  detail::run_batch(M, N, K, detail::matrix_of(a), detail::batch_offsets(batch, a.shape(), a.strides()), detail::matrix_of(b),
                    detail::batch_offsets(batch, b.shape(), b.strides()), y.data(), detail::batch_offsets(batch, shape, y.strides()), false);
  if (autograd::wants_grad(a, b))
    autograd::record<T>("matmul", {a, b}, {y}, [sa = autograd::Saved<T>(a), sb = autograd::Saved<T>(b), shape](autograd::Backward<T>& back) {
      matmul_grad(back, sa.get(), sb.get(), shape);
    });
  return y;
}

}  // namespace moelle::gemm

namespace moelle {
using gemm::matmul;
}
