// moelle/activation/swiglu_op.hpp -- SwiGLU on tensors: separate gate and up, or both packed in one product.
#pragma once
#include <algorithm>
#include <cstdint>

#include <moelle/activation/kernels.hpp>
#include <moelle/activation/rows.hpp>
#include <moelle/activation/swiglu.hpp>
#include <moelle/autograd/record.hpp>
#include <moelle/core/parallel.hpp>
#include <moelle/core/tensor.hpp>
#include <moelle/cpu/caches.hpp>

namespace moelle::activation {

// Reads gate and up where they lie; rows of a slice of a larger product are not copied.
template <class T>
SwigluArgs<T> swiglu_args(const detail::Rows<T>& gate, const detail::Rows<T>& up, double limit) {
  return {gate.data, gate.stride, up.data, up.stride, gate.width, static_cast<T>(limit)};
}
template <class T>
SwigluArgs<T> swiglu_args(const detail::Rows<T>& packed, double limit) {
  return {packed.data, packed.stride, packed.data + packed.width / 2, packed.stride, packed.width / 2, static_cast<T>(limit)};
}

template <class T>
void swiglu_run(SwigluArgs<T> args, std::int64_t rows, const Tensor<T>& y) {
  args.past_caches = cpu::past_caches(y.data(), rows, args.width * static_cast<std::int64_t>(sizeof(T)));
  const std::int64_t grain = std::max<std::int64_t>(1, 4096 / std::max<std::int64_t>(1, args.width));
  parallel_rows(rows, grain, [&](std::int64_t b, std::int64_t e) { kernels<T>().swiglu(args, y.data(), b, e); });
}
template <class T>
void swiglu_grad_run(SwigluArgs<T> args, std::int64_t rows, const Tensor<T>& dy, const SwigluGradArgs<T>& grad) {
  args.past_caches = cpu::past_caches(grad.gate, 2 * rows, args.width * static_cast<std::int64_t>(sizeof(T)));
  const std::int64_t grain = std::max<std::int64_t>(1, 4096 / std::max<std::int64_t>(1, args.width));
  parallel_rows(rows, grain, [&](std::int64_t b, std::int64_t e) { kernels<T>().swiglu_grad(args, dy.data(), grad, b, e); });
}

// gate[..., H], up[..., H] -> silu(gate) * up [..., H]
template <class T>
Tensor<T> swiglu(const Tensor<T>& gate, const Tensor<T>& up, const SwigluParams& params = {}) {
  check(params, gate.shape(), up.shape());
  const auto g = detail::rows_of(gate), u = detail::rows_of(up);
  const Tensor<T> y = Tensor<T>::empty(gate.shape());
  swiglu_run(swiglu_args(g, u, params.limit), g.rows, y);
  if (!autograd::wants_grad(gate, up)) return y;
  autograd::record<T>("swiglu", {gate, up}, {y},
                      [limit = params.limit, sg = autograd::Saved<T>(g.tensor), su = autograd::Saved<T>(u.tensor)](autograd::Backward<T>& b) {
    const auto gates = detail::rows_of(sg.get()), ups = detail::rows_of(su.get());
    const Tensor<T> dgate = Tensor<T>::empty(sg.get().shape()), dup = Tensor<T>::empty(su.get().shape());
    swiglu_grad_run(swiglu_args(gates, ups, limit), gates.rows, b.grad(0), {dgate.data(), gates.width, dup.data(), gates.width});
    b.add(0, dgate);
    b.add(1, dup);
  });
  return y;
}

// x[..., 2H], gate half first -> silu(gate) * up [..., H]
template <class T>
Tensor<T> swiglu_packed(const Tensor<T>& x, const SwigluParams& params = {}) {
  check_packed(params, x.shape());
  const auto rows = detail::rows_of(x);
  Shape shape = x.shape();
  shape[shape.rank() - 1] /= 2;
  const Tensor<T> y = Tensor<T>::empty(shape);
  swiglu_run(swiglu_args(rows, params.limit), rows.rows, y);
  if (!autograd::wants_grad(x)) return y;
  autograd::record<T>("swiglu", {x}, {y}, [limit = params.limit, saved = autograd::Saved<T>(rows.tensor)](autograd::Backward<T>& b) {
    const auto in = detail::rows_of(saved.get());
    const Tensor<T> dx = Tensor<T>::empty(saved.get().shape());
    swiglu_grad_run(swiglu_args(in, limit), in.rows, b.grad(0), {dx.data(), in.width, dx.data() + in.width / 2, in.width});
    b.add(0, dx);
  });
  return y;
}

}  // namespace moelle::activation
