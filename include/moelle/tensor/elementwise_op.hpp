// moelle/tensor/elementwise_op.hpp -- arithmetic element by element, with NumPy's broadcasting; one operand may be a number.
//
// bfloat16 is computed in float and rounded once. Integers wrap around; integer division cuts towards zero and refuses a
// divisor of 0. For bool, + is or, * is and. The gradient of a broadcast operand is summed over the axes along which it was
// repeated (order as in reduce_op.hpp).
//   a + b:  da = g        db = g               a * b:  da = g b      db = g a
//   a - b:  da = g        db = -g              a / b:  da = g / b    db = -g a / b^2
//   maximum, minimum: NaN wins; of equals a wins; the gradient goes to the winner alone.
#pragma once
#include <algorithm>
#include <cmath>
#include <concepts>
#include <cstdint>
#include <type_traits>

#include <moelle/autograd/record.hpp>
#include <moelle/tensor/reduce_op.hpp>  // sum_to

namespace moelle {

template <class S>
concept Scalar = std::is_arithmetic_v<S> || std::same_as<S, bfloat16>;
template <class T>
concept Number = !std::same_as<T, bool>;
template <class T>
concept Real = is_real<T>;
template <class T>
concept Floating = is_real<T> || std::same_as<T, bfloat16>;

namespace detail {

// The type in which elements of type T are computed.
template <class T>
using Wide = std::conditional_t<std::is_same_v<T, bfloat16>, float, T>;

template <class T, class S>
Wide<T> scalar_as(S s) {
  static_assert(!std::is_integral_v<T> || std::is_integral_v<S>, "a fraction cannot be combined with integers: cast the tensor first");
  return static_cast<Wide<T>>(s);
}

template <class T>
using Unsigned = std::make_unsigned_t<std::conditional_t<std::is_same_v<T, bool>, unsigned char, T>>;

struct Plus {
  template <class T>
  T operator()(T a, T b) const {
    if constexpr (std::is_same_v<T, bool>) return a | b;
    else if constexpr (std::is_integral_v<T>) return static_cast<T>(static_cast<Unsigned<T>>(a) + static_cast<Unsigned<T>>(b));
    else return a + b;
  }
};
struct Minus {
  template <class T>
  T operator()(T a, T b) const {
    if constexpr (std::is_integral_v<T>) return static_cast<T>(static_cast<Unsigned<T>>(a) - static_cast<Unsigned<T>>(b));
    else return a - b;
  }
};
struct Times {
  template <class T>
  T operator()(T a, T b) const {
    if constexpr (std::is_same_v<T, bool>) return a & b;
    else if constexpr (std::is_integral_v<T>) return static_cast<T>(static_cast<Unsigned<T>>(a) * static_cast<Unsigned<T>>(b));
    else return a * b;
  }
};
struct Divided {
  template <class T>
  T operator()(T a, T b) const {
    if constexpr (std::is_integral_v<T>) {
      MOELLE_REQUIRE("div", b != 0, str("integers must not be divided by 0; got ", +a, " / 0"));
      if constexpr (std::is_signed_v<T>)
        if (b == -1) return Minus()(T(0), a);
      return static_cast<T>(a / b);
    } else {
      return a / b;
    }
  }
};
// Whether a is the maximum (Sign = 1) or minimum (-1) of a and b.
template <int Sign>
struct Wins {
  template <class T>
  bool operator()(T a, T b) const {
    if constexpr (std::is_floating_point_v<T>) {
      if (std::isnan(a) || std::isnan(b)) return std::isnan(a);
    }
    return Sign > 0 ? a >= b : a <= b;
  }
};

// f over the wide type of T.
template <class T, class F>
auto widened(F f) {
  return [f](auto... v) { return f(static_cast<Wide<T>>(v)...); };
}

template <class T, class F>
Tensor<T> binary(const char* op, const Tensor<T>& a, const Tensor<T>& b, F f) {
  return mapped<T>(broadcast_shapes(op, a.shape(), b.shape()), widened<T>(f), a, b);
}

// y = f(x), with dx = back(g) element by element, where back does not need x.
template <class T, class F, class Back>
Tensor<T> linear_unary(const char* op, const Tensor<T>& x, F f, Back back) {
  const Tensor<T> y = mapped<T>(x.shape(), widened<T>(f), x);
  if constexpr (is_real<T>)
    if (autograd::wants_grad(x))
      autograd::record<T>(op, {x}, {y}, [back](autograd::Backward<T>& b) { b.add(0, mapped<T>(b.grad(0).shape(), back, b.grad(0))); });
  return y;
}

template <int Sign, class T>
Tensor<T> winner(const char* op, const Tensor<T>& a, const Tensor<T>& b) {
  const Tensor<T> y = binary(op, a, b, [](auto p, auto q) { return Wins<Sign>()(p, q) ? p : q; });
  if constexpr (is_real<T>)
    if (autograd::wants_grad(a, b))
      autograd::record<T>(op, {a, b}, {y}, [a = autograd::Saved<T>(a), b = autograd::Saved<T>(b)](autograd::Backward<T>& n) {
        const Tensor<T> g = n.grad(0);
        const auto share = [&](bool first) {
          return mapped<T>(g.shape(), [first](T v, T p, T q) { return Wins<Sign>()(p, q) == first ? v : T(0); }, g, a.get(), b.get());
        };
        if (n.needs(0)) n.add(0, sum_to(share(true), a.get().shape()));
        if (n.needs(1)) n.add(1, sum_to(share(false), b.get().shape()));
      });
  return y;
}

}  // namespace detail

// --- two tensors ------------------------------------------------------------------------------------------------------
template <class T>
Tensor<T> add(const Tensor<T>& a, const Tensor<T>& b) {
  const Tensor<T> y = detail::binary("add", a, b, detail::Plus());
  if constexpr (is_real<T>)
    if (autograd::wants_grad(a, b))
      autograd::record<T>("add", {a, b}, {y}, [sa = a.shape(), sb = b.shape()](autograd::Backward<T>& n) {
        if (n.needs(0)) n.add(0, detail::sum_to(n.grad(0), sa));  // of equal shape: shared, not copied
        if (n.needs(1)) n.add(1, detail::sum_to(n.grad(0), sb));
      });
  return y;
}

template <Number T>
Tensor<T> neg(const Tensor<T>& x) {
  return detail::linear_unary(
      "neg", x, [](auto v) { return std::is_integral_v<T> ? detail::Minus()(decltype(v)(0), v) : static_cast<decltype(v)>(-v); }, [](T v) { return -v; });
}

template <Number T>
Tensor<T> sub(const Tensor<T>& a, const Tensor<T>& b) {
  const Tensor<T> y = detail::binary("sub", a, b, detail::Minus());
  if constexpr (is_real<T>)
    if (autograd::wants_grad(a, b))
      autograd::record<T>("sub", {a, b}, {y}, [sa = a.shape(), sb = b.shape()](autograd::Backward<T>& n) {
        if (n.needs(0)) n.add(0, detail::sum_to(n.grad(0), sa));
        if (n.needs(1)) n.add(1, neg(detail::sum_to(n.grad(0), sb)));
      });
  return y;
}

template <class T>
Tensor<T> mul(const Tensor<T>& a, const Tensor<T>& b) {
  const Tensor<T> y = detail::binary("mul", a, b, detail::Times());
  if constexpr (is_real<T>)
    if (autograd::wants_grad(a, b))
      autograd::record<T>("mul", {a, b}, {y}, [a = autograd::Saved<T>(a), b = autograd::Saved<T>(b)](autograd::Backward<T>& n) {
        const auto times = [&](const Tensor<T>& other) { return detail::binary("mul", n.grad(0), other, detail::Times()); };
        if (n.needs(0)) n.add(0, detail::sum_to(times(b.get()), a.get().shape()));
        if (n.needs(1)) n.add(1, detail::sum_to(times(a.get()), b.get().shape()));
      });
  return y;
}

template <Number T>
Tensor<T> div(const Tensor<T>& a, const Tensor<T>& b) {
  const Tensor<T> y = detail::binary("div", a, b, detail::Divided());
  if constexpr (is_real<T>)
    if (autograd::wants_grad(a, b))
      autograd::record<T>("div", {a, b}, {y}, [a = autograd::Saved<T>(a), b = autograd::Saved<T>(b)](autograd::Backward<T>& n) {
        const Tensor<T> g = n.grad(0);
        if (n.needs(0)) n.add(0, detail::sum_to(detail::binary("div", g, b.get(), detail::Divided()), a.get().shape()));
        if (n.needs(1)) {
          const auto db = detail::mapped<T>(g.shape(), [](T v, T p, T q) { return -v * p / (q * q); }, g, a.get(), b.get());
          n.add(1, detail::sum_to(db, b.get().shape()));
        }
      });
  return y;
}

template <class T>
Tensor<T> maximum(const Tensor<T>& a, const Tensor<T>& b) {
  return detail::winner<1>("maximum", a, b);
}
template <class T>
Tensor<T> minimum(const Tensor<T>& a, const Tensor<T>& b) {
  return detail::winner<-1>("minimum", a, b);
}

// --- a tensor and a number ----------------------------------------------------------------------------------------------
template <class T, Scalar S>
Tensor<T> add(const Tensor<T>& x, S s) {
  return detail::linear_unary("add", x, [s = detail::scalar_as<T>(s)](auto v) { return detail::Plus()(v, s); }, [](T g) { return g; });
}
template <Number T, Scalar S>
Tensor<T> sub(const Tensor<T>& x, S s) {
  return detail::linear_unary("sub", x, [s = detail::scalar_as<T>(s)](auto v) { return detail::Minus()(v, s); }, [](T g) { return g; });
}
template <Scalar S, Number T>
Tensor<T> sub(S s, const Tensor<T>& x) {
  return detail::linear_unary("sub", x, [s = detail::scalar_as<T>(s)](auto v) { return detail::Minus()(s, v); }, [](T g) { return -g; });
}
template <class T, Scalar S>
Tensor<T> mul(const Tensor<T>& x, S s) {
  const auto by = detail::scalar_as<T>(s);
  return detail::linear_unary("mul", x, [by](auto v) { return detail::Times()(v, by); }, [by](T g) { return g * by; });
}
template <Number T, Scalar S>
Tensor<T> div(const Tensor<T>& x, S s) {
  const auto by = detail::scalar_as<T>(s);
  return detail::linear_unary("div", x, [by](auto v) { return detail::Divided()(v, by); }, [by](T g) { return g / by; });
}
template <Scalar S, Number T>
Tensor<T> div(S s, const Tensor<T>& x) {
  return div(Tensor<T>::scalar(static_cast<T>(detail::scalar_as<T>(s))), x);
}

// --- operators ------------------------------------------------------------------------------------------------------------
template <class T>
Tensor<T> operator+(const Tensor<T>& a, const Tensor<T>& b) {
  return add(a, b);
}
template <Number T>
Tensor<T> operator-(const Tensor<T>& a, const Tensor<T>& b) {
  return sub(a, b);
}
template <class T>
Tensor<T> operator*(const Tensor<T>& a, const Tensor<T>& b) {
  return mul(a, b);
}
template <Number T>
Tensor<T> operator/(const Tensor<T>& a, const Tensor<T>& b) {
  return div(a, b);
}
template <class T, Scalar S>
Tensor<T> operator+(const Tensor<T>& x, S s) {
  return add(x, s);
}
template <class T, Scalar S>
Tensor<T> operator+(S s, const Tensor<T>& x) {
  return add(x, s);
}
template <Number T, Scalar S>
Tensor<T> operator-(const Tensor<T>& x, S s) {
  return sub(x, s);
}
template <Scalar S, Number T>
Tensor<T> operator-(S s, const Tensor<T>& x) {
  return sub(s, x);
}
template <class T, Scalar S>
Tensor<T> operator*(const Tensor<T>& x, S s) {
  return mul(x, s);
}
template <class T, Scalar S>
Tensor<T> operator*(S s, const Tensor<T>& x) {
  return mul(x, s);
}
template <Number T, Scalar S>
Tensor<T> operator/(const Tensor<T>& x, S s) {
  return div(x, s);
}
template <Scalar S, Number T>
Tensor<T> operator/(S s, const Tensor<T>& x) {
  return div(s, x);
}
template <Number T>
Tensor<T> operator-(const Tensor<T>& x) {
  return neg(x);
}

}  // namespace moelle
