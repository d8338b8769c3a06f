// moelle/activation/unary_op.hpp -- sigmoid, silu, softplus, gelu, relu on tensors of any shape and strides.
#pragma once
#include <cstdint>

#include <moelle/activation/kernels.hpp>
#include <moelle/activation/unary.hpp>
#include <moelle/autograd/record.hpp>
#include <moelle/core/parallel.hpp>
#include <moelle/core/tensor.hpp>
#include <moelle/tensor/view_op.hpp>  // contiguous

namespace moelle::activation {

inline constexpr std::int64_t kGrain = 8192;  // elements worth a task of their own

// y = f(x), x[...] -> y[...].
template <class T>
Tensor<T> unary(Unary f, const Tensor<T>& x) {
  const Tensor<T> in = contiguous(x.detach());
  const Tensor<T> y = Tensor<T>::empty(x.shape());
  const auto kernel = kernels<T>().unary[static_cast<int>(f)];
  parallel_rows(x.numel(), kGrain, [&](std::int64_t b, std::int64_t e) { kernel(in.data() + b, e - b, y.data() + b); });
  if (!autograd::wants_grad(x)) return y;
  autograd::record<T>(name(f), {x}, {y}, [f, saved = autograd::Saved<T>(in)](autograd::Backward<T>& b) {
    const Tensor<T> dy = b.grad(0), dx = Tensor<T>::empty(dy.shape());
    const T* from = saved.get().data();
    parallel_rows(dx.numel(), kGrain, [&](std::int64_t first, std::int64_t last) {
      kernels<T>().unary_grad[static_cast<int>(f)](from + first, dy.data() + first, last - first, dx.data() + first);
    });
    b.add(0, dx);
  });
  return y;
}

template <class T>
Tensor<T> sigmoid(const Tensor<T>& x) {
  return unary(Unary::sigmoid, x);
}
template <class T>
Tensor<T> silu(const Tensor<T>& x) {
  return unary(Unary::silu, x);
}
template <class T>
Tensor<T> softplus(const Tensor<T>& x) {
  return unary(Unary::softplus, x);
}
template <class T>
Tensor<T> relu(const Tensor<T>& x) {
  return unary(Unary::relu, x);
}

enum class Gelu : std::uint8_t { exact, tanh };
template <class T>
Tensor<T> gelu(const Tensor<T>& x, Gelu form = Gelu::exact) {
  return unary(form == Gelu::exact ? Unary::gelu : Unary::gelu_tanh, x);
}

}  // namespace moelle::activation
