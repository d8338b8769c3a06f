// moelle/tensor/math_op.hpp -- functions of one tensor, element by element, from the C library; y = f(x):
//   exp   dx = g y              sqrt   dx = g / (2 y)          abs    dx = g sign(x), 0 at 0
//   log   dx = g / x            rsqrt  y = 1 / sqrt(x), dx = -g y^3 / 2
//   tanh  dx = g (1 - y^2)      pow    y = x^p, dx = g p x^(p-1), 0 for p = 0
//   clamp dx = g where low <= x <= high (NaN stays NaN), 0 elsewhere
// sign is -1, 0 or 1 (NaN stays NaN) and has no gradient. Activations are in activation/.
#pragma once
#include <cmath>
#include <type_traits>

#include <moelle/tensor/elementwise_op.hpp>

namespace moelle {

namespace detail {

// y = f(x) with dx = back(g, x): x is kept.
template <class T, class F, class Back>
Tensor<T> unary_of_input(const char* op, const Tensor<T>& x, F f, Back back) {
  const Tensor<T> y = mapped<T>(x.shape(), widened<T>(f), x);
  if constexpr (is_real<T>)
    if (autograd::wants_grad(x))
      autograd::record<T>(op, {x}, {y}, [back, x = autograd::Saved<T>(x)](autograd::Backward<T>& b) {
        b.add(0, mapped<T>(x.get().shape(), back, b.grad(0), x.get()));
      });
  return y;
}

// y = f(x) with dx = back(g, y): y is kept.
template <class T, class F, class Back>
Tensor<T> unary_of_output(const char* op, const Tensor<T>& x, F f, Back back) {
  const Tensor<T> y = mapped<T>(x.shape(), widened<T>(f), x);
  if constexpr (is_real<T>)
    if (autograd::wants_grad(x))
      autograd::record<T>(op, {x}, {y}, [back, y = autograd::Saved<T>(y)](autograd::Backward<T>& b) {
        b.add(0, mapped<T>(y.get().shape(), back, b.grad(0), y.get()));
      });
  return y;
}

template <class T>
T sign_of(T v) {
  if constexpr (std::is_floating_point_v<T>)
    if (std::isnan(v)) return v;
  return static_cast<T>((v > T(0)) - (v < T(0)));
}

}  // namespace detail

template <Floating T>
Tensor<T> exp(const Tensor<T>& x) {
  return detail::unary_of_output("exp", x, [](auto v) { return std::exp(v); }, [](T g, T y) { return g * y; });
}
template <Floating T>
Tensor<T> log(const Tensor<T>& x) {
  return detail::unary_of_input("log", x, [](auto v) { return std::log(v); }, [](T g, T v) { return g / v; });
}
template <Floating T>
Tensor<T> sqrt(const Tensor<T>& x) {
  return detail::unary_of_output("sqrt", x, [](auto v) { return std::sqrt(v); }, [](T g, T y) { return g / (T(2) * y); });
}
template <Floating T>
Tensor<T> rsqrt(const Tensor<T>& x) {
  return detail::unary_of_output("rsqrt", x, [](auto v) { return decltype(v)(1) / std::sqrt(v); }, [](T g, T y) { return T(-0.5) * g * y * y * y; });
}
template <Floating T>
Tensor<T> tanh(const Tensor<T>& x) {
  return detail::unary_of_output("tanh", x, [](auto v) { return std::tanh(v); }, [](T g, T y) { return g * (T(1) - y * y); });
}

template <Floating T, Scalar S>
Tensor<T> pow(const Tensor<T>& x, S exponent) {
  const auto p = detail::scalar_as<T>(exponent);
  const auto slope = [p](T g, T v) {
    const auto e = static_cast<detail::Wide<T>>(p);
    if (e == 2) return static_cast<T>(2 * g * v);
    return e == 0 ? T(0) : static_cast<T>(g * e * std::pow(v, e - 1));
  };
  if (p == 2) return detail::unary_of_input("pow", x, [](auto v) { return v * v; }, slope);
  return detail::unary_of_input("pow", x, [p](auto v) { return std::pow(v, p); }, slope);
}

template <Number T>
Tensor<T> abs(const Tensor<T>& x) {
  const auto magnitude = [](auto v) {
    if constexpr (std::is_floating_point_v<decltype(v)>) return std::fabs(v);
    else return v < 0 ? detail::Minus()(decltype(v)(0), v) : v;
  };
  return detail::unary_of_input("abs", x, magnitude, [](T g, T v) { return static_cast<T>(g * detail::sign_of(v)); });
}

template <Number T>
Tensor<T> sign(const Tensor<T>& x) {
  return detail::mapped<T>(x.shape(), detail::widened<T>([](auto v) { return detail::sign_of(v); }), x);
}

template <Number T, Scalar S, Scalar R>
Tensor<T> clamp(const Tensor<T>& x, S lowest, R highest) {
  const auto low = detail::scalar_as<T>(lowest), high = detail::scalar_as<T>(highest);
  MOELLE_REQUIRE("clamp", low <= high, str("low must not exceed high; got low=", +low, " high=", +high));
  return detail::unary_of_input(
      "clamp", x, [low, high](auto v) { return v < low ? low : v > high ? high : v; },
      [low, high](T g, T v) { return v >= low && v <= high ? g : T(0); });
}

}  // namespace moelle
