// moelle/gemm/grouped_op.hpp -- one linear layer per expert, on rows sorted by expert.
//
// Y[r, :] = X[r, :] W[e]^T for the rows r of expert e;  dX[r, :] = dY[r, :] W[e];  dW[e] = dY[rows of e]^T X[rows of e].
#pragma once
#include <cstdint>

#include <moelle/autograd/record.hpp>
#include <moelle/core/tensor.hpp>
#include <moelle/gemm/linear_op.hpp>  // rows_of
#include <moelle/gemm/products.hpp>

namespace moelle::gemm {

// x[R, K], weight[E, N, K], offsets[E + 1] -> y[R, N]
template <class T>
void check_grouped_linear(const Tensor<T>& x, const Tensor<T>& weight, const Tensor<std::int32_t>& offsets) {
  MOELLE_REQUIRE("grouped_linear", x.defined() && weight.defined() && offsets.defined(), "x, weight and offsets must be given; got an undefined tensor");
  MOELLE_REQUIRE("grouped_linear", x.rank() == 2 && weight.rank() == 3 && x.size(1) == weight.size(2),
                 str("x must be [rows, in] and weight [experts, out, in]; got x=", x.shape(), " weight=", weight.shape()));
  MOELLE_REQUIRE("grouped_linear", offsets.rank() == 1 && offsets.size(0) == weight.size(0) + 1 && offsets.is_contiguous(),
                 str("offsets must be contiguous [experts + 1]; got offsets=", offsets.shape(), " weight=", weight.shape()));
  check_offsets("grouped_linear", offsets.data(), weight.size(0), x.size(0));
}

template <class T>
void grouped_linear_grad(autograd::Backward<T>& b, const Tensor<T>& x, const Tensor<T>& weight, const Tensor<std::int32_t>& offsets) {
  const Tensor<T> dy = b.grad(0);
  const std::int64_t E = weight.size(0), N = weight.size(1), K = weight.size(2), R = x.size(0);
  if (b.needs(0)) {
    const auto to = b.buffer(0);
    grouped(GroupedArgs<T>{.groups = E, .offsets = offsets.data(), .rows = R, .n = K, .k = N, .a = plain<T>(dy.data(), N),
                           .b = {weight.data(), weight.strides()[1], weight.strides()[2]}, .stride_b = weight.strides()[0],
                           .c = to.tensor.data(), .ldc = K, .accumulate = !to.overwrite});
  }
  if (b.needs(1)) {
    const auto to = b.buffer(1);
    grouped_grad(GroupedGradArgs<T>{.groups = E, .offsets = offsets.data(), .rows = R, .m = N, .n = K, .a = plain<T>(dy.data(), N),
                                    .b = {x.data(), x.strides()[0], x.strides()[1]}, .c = to.tensor.data(), .ldc = K, .stride_c = N * K,
                                    .accumulate = !to.overwrite});
  }
}

template <class T>
Tensor<T> grouped_linear(const Tensor<T>& x, const Tensor<T>& weight, const Tensor<std::int32_t>& offsets) {
  check_grouped_linear(x, weight, offsets);
  const std::int64_t E = weight.size(0), N = weight.size(1), K = weight.size(2), R = x.size(0);
  const Tensor<T> y = Tensor<T>::empty({R, N});
  grouped(GroupedArgs<T>{.groups = E, .offsets = offsets.data(), .rows = R, .n = N, .k = K, .a = {x.data(), x.strides()[0], x.strides()[1]},
                         .b = {weight.data(), weight.strides()[2], weight.strides()[1]}, .stride_b = weight.strides()[0], .c = y.data(), .ldc = N});
  if (!autograd::wants_grad(x, weight)) return y;
  autograd::record<T>("grouped_linear", {x, weight}, {y},
                      [sx = autograd::Saved<T>(x), sw = autograd::Saved<T>(weight), so = autograd::Saved<std::int32_t>(offsets)](autograd::Backward<T>& b) {
    grouped_linear_grad(b, sx.get(), sw.get(), so.get());
  });
  return y;
}

}  // namespace moelle::gemm

namespace moelle {
using gemm::grouped_linear;
}
