// moelle/tensor/elementwise_op.hpp -- arithmetic element by element, with NumPy's broadcasting.
//
// The gradient of a broadcast operand is summed over the axes along which it was repeated, in row-major order.
#pragma once
#include <cmath>
#include <cstdint>

#include <moelle/tensor/view_op.hpp>

namespace moelle {

namespace detail {

// x seen under `shape`: repeated axes have stride 0.
template <class T>
Tensor<T> broadcast_view(const Tensor<T>& x, const Shape& shape) {
  Strides strides(shape.rank(), 0);
  const int skip = shape.rank() - x.rank();
  for (int i = skip; i < shape.rank(); ++i) strides[i] = x.shape()[i - skip] == 1 && shape[i] != 1 ? 0 : x.strides()[i - skip];
  return x.alias(shape, strides);
}

// y[i] = f(a[i], b[i]) with broadcasting.
template <class T, class U, class F>
void apply(const char* op, const Tensor<T>& a, const Tensor<T>& b, const Tensor<U>& y, F f) {
  (void)op;
  if (y.numel() == 0) return;
  if (a.is_contiguous() && b.is_contiguous() && a.shape() == b.shape()) {
    const T *p = a.data(), *q = b.data();
    U* out = y.data();
    parallel_rows(y.numel(), 1 << 15, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin; i < end; ++i) out[i] = f(p[i], q[i]);
    });
    return;
  }
  const Tensor<T> va = broadcast_view(a, y.shape()), vb = broadcast_view(b, y.shape());
  const Shape& shape = y.shape();
  const int rank = shape.rank();
  const std::int64_t n = rank > 0 ? shape[rank - 1] : 1, sa = rank > 0 ? va.strides()[rank - 1] : 0, sb = rank > 0 ? vb.strides()[rank - 1] : 0;
  parallel_rows(y.numel() / n, std::max<std::int64_t>(1, (1 << 14) / n), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t r = begin; r < end; ++r) {
      std::int64_t oa = 0, ob = 0, rest = r;
      for (int i = rank - 2; i >= 0; --i) {
        oa += rest % shape[i] * va.strides()[i];
        ob += rest % shape[i] * vb.strides()[i];
        rest /= shape[i];
      }
      for (std::int64_t i = 0; i < n; ++i) y.data()[r * n + i] = f(va.data()[oa + i * sa], vb.data()[ob + i * sb]);
    }
  });
}

// Sums g over the axes along which `shape` was repeated.
template <class T>
Tensor<T> sum_to(const Tensor<T>& g, const Shape& shape) {
  if (g.shape() == shape) return g;
  const Tensor<T> out = Tensor<T>::zeros(shape);
  const Tensor<T> view = broadcast_view(out, g.shape());
  std::int64_t i = 0;
  Shape index(g.rank(), 0);
  g.each([&](T v) {
    std::int64_t at = 0, rest = i++;
    for (int d = g.rank() - 1; d >= 0; --d) {
      at += rest % g.shape()[d] * view.strides()[d];
      rest /= g.shape()[d];
    }
    out.data()[at] += v;
  });
  return out;
}

template <class T, class F>
Tensor<T> map(const Tensor<T>& x, F f) {
  const Tensor<T> in = contiguous(x.detach());
  const Tensor<T> y = Tensor<T>::empty(x.shape());
  parallel_rows(y.numel(), 1 << 14, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) y.data()[i] = f(in.data()[i]);
  });
  return y;
}

template <class T, class F>
Tensor<T> combined(const char* op, const Tensor<T>& a, const Tensor<T>& b, F f) {
  const Tensor<T> y = Tensor<T>::empty(broadcast_shapes(op, a.shape(), b.shape()));
  apply(op, a, b, y, f);
  return y;
}

}  // namespace detail

template <class T>
Tensor<T> add(const Tensor<T>& a, const Tensor<T>& b) {
  const Tensor<T> y = detail::combined("add", a, b, [](T x, T z) { return static_cast<T>(x + z); });
  if constexpr (is_real<T>)
    autograd::record<T>("add", {a, b}, {y}, [sa = a.shape(), sb = b.shape()](autograd::Backward<T>& g) {
      if (g.needs(0)) g.add(0, detail::sum_to(g.grad(0), sa));
      if (g.needs(1)) g.add(1, detail::sum_to(g.grad(0), sb));
    });
  return y;
}

template <class T>
Tensor<T> sub(const Tensor<T>& a, const Tensor<T>& b) {
  const Tensor<T> y = detail::combined("sub", a, b, [](T x, T z) { return static_cast<T>(x - z); });
  if constexpr (is_real<T>)
    autograd::record<T>("sub", {a, b}, {y}, [sa = a.shape(), sb = b.shape()](autograd::Backward<T>& g) {
      if (g.needs(0)) g.add(0, detail::sum_to(g.grad(0), sa));
      if (g.needs(1)) g.add(1, detail::sum_to(detail::map(g.grad(0), [](T v) { return -v; }), sb));
    });
  return y;
}

template <class T>
Tensor<T> mul(const Tensor<T>& a, const Tensor<T>& b) {
  const Tensor<T> y = detail::combined("mul", a, b, [](T x, T z) { return static_cast<T>(x * z); });
  if constexpr (is_real<T>)
    if (autograd::wants_grad(a, b))
      autograd::record<T>("mul", {a, b}, {y}, [a = autograd::Saved<T>(a), b = autograd::Saved<T>(b)](autograd::Backward<T>& g) {
        const auto times = [&](const Tensor<T>& other) { return detail::combined("mul", g.grad(0), other, [](T x, T z) { return x * z; }); };
        if (g.needs(0)) g.add(0, detail::sum_to(times(b.get()), a.get().shape()));
        if (g.needs(1)) g.add(1, detail::sum_to(times(a.get()), b.get().shape()));
      });
  return y;
}

template <class T>
Tensor<T> mul(const Tensor<T>& a, T by) {
  const Tensor<T> y = detail::map(a, [by](T x) { return static_cast<T>(x * by); });
  if constexpr (is_real<T>)
    autograd::record<T>("mul", {a}, {y}, [by](autograd::Backward<T>& g) { g.add(0, detail::map(g.grad(0), [by](T v) { return v * by; })); });
  return y;
}

}  // namespace moelle
