// moelle/tensor/compare_op.hpp -- questions about elements (Tensor<bool>, no gradient), and choosing by the answer.
//
// Comparisons broadcast; with NaN all are false but ne. bfloat16 is compared as float.
//   where(c, a, b):        a where c holds, else b;  da = g where c holds, db = g elsewhere
//   masked_fill(x, m, v):  v where m holds, else x;  dx = g where m does not hold
#pragma once
#include <cmath>
#include <type_traits>

#include <moelle/tensor/elementwise_op.hpp>

namespace moelle {

namespace detail {
template <class T, class F>
Tensor<bool> compared(const char* op, const Tensor<T>& a, const Tensor<T>& b, F f) {
  return mapped<bool>(broadcast_shapes(op, a.shape(), b.shape()), widened<T>(f), a, b);
}
}  // namespace detail

#define MOELLE_COMPARISON(name, sign)                                                               \
  template <class T>                                                                                \
  Tensor<bool> name(const Tensor<T>& a, const Tensor<T>& b) {                                       \
    return detail::compared(#name, a, b, [](auto p, auto q) { return p sign q; });                  \
  }                                                                                                 \
  template <class T, Scalar S>                                                                      \
  Tensor<bool> name(const Tensor<T>& x, S s) {                                                      \
    return name(x, Tensor<detail::Wide<T>>::scalar(detail::scalar_as<T>(s)));                       \
  }
// A bfloat16 tensor and a number: the number is not rounded.
#define MOELLE_BF16_COMPARISON(name, sign)                                                          \
  inline Tensor<bool> name(const Tensor<bfloat16>& x, const Tensor<float>& s) {                     \
    return detail::mapped<bool>(broadcast_shapes(#name, x.shape(), s.shape()),                      \
                                [](bfloat16 p, float q) { return static_cast<float>(p) sign q; }, x, s); \
  }
MOELLE_BF16_COMPARISON(eq, ==)
MOELLE_BF16_COMPARISON(ne, !=)
MOELLE_BF16_COMPARISON(lt, <)
MOELLE_BF16_COMPARISON(le, <=)
MOELLE_BF16_COMPARISON(gt, >)
MOELLE_BF16_COMPARISON(ge, >=)
MOELLE_COMPARISON(eq, ==)
MOELLE_COMPARISON(ne, !=)
MOELLE_COMPARISON(lt, <)
MOELLE_COMPARISON(le, <=)
MOELLE_COMPARISON(gt, >)
MOELLE_COMPARISON(ge, >=)
#undef MOELLE_COMPARISON
#undef MOELLE_BF16_COMPARISON

inline Tensor<bool> logical_and(const Tensor<bool>& a, const Tensor<bool>& b) {
  return detail::compared("logical_and", a, b, [](bool p, bool q) { return p & q; });
}
inline Tensor<bool> logical_or(const Tensor<bool>& a, const Tensor<bool>& b) {
  return detail::compared("logical_or", a, b, [](bool p, bool q) { return p | q; });
}
inline Tensor<bool> logical_not(const Tensor<bool>& x) {
  return detail::mapped<bool>(x.shape(), [](bool v) { return !v; }, x);
}

template <Floating T>
Tensor<bool> isnan(const Tensor<T>& x) {
  return detail::mapped<bool>(x.shape(), detail::widened<T>([](auto v) { return std::isnan(v); }), x);
}
template <Floating T>
Tensor<bool> isfinite(const Tensor<T>& x) {
  return detail::mapped<bool>(x.shape(), detail::widened<T>([](auto v) { return std::isfinite(v); }), x);
}

template <class T>
Tensor<T> where(const Tensor<bool>& condition, const Tensor<T>& a, const Tensor<T>& b) {
  const Shape shape = broadcast_shapes("where", condition.shape(), broadcast_shapes("where", a.shape(), b.shape()));
  const Tensor<T> y = detail::mapped<T>(shape, [](bool c, T p, T q) { return c ? p : q; }, condition, a, b);
  if constexpr (is_real<T>)
    if (autograd::wants_grad(a, b))
      autograd::record<T>("where", {a, b}, {y}, [c = autograd::Saved<bool>(condition), sa = a.shape(), sb = b.shape()](autograd::Backward<T>& n) {
        const Tensor<T> g = n.grad(0);
        const auto share = [&](bool side) { return detail::mapped<T>(g.shape(), [side](T v, bool m) { return m == side ? v : T(0); }, g, c.get()); };
        if (n.needs(0)) n.add(0, detail::sum_to(share(true), sa));
        if (n.needs(1)) n.add(1, detail::sum_to(share(false), sb));
      });
  return y;
}

// The mask broadcasts to x's shape.
template <class T, Scalar S>
Tensor<T> masked_fill(const Tensor<T>& x, const Tensor<bool>& mask, S value) {
  MOELLE_REQUIRE("masked_fill", mask.rank() <= x.rank() && broadcast_shapes("masked_fill", x.shape(), mask.shape()) == x.shape(),
                 str("mask must broadcast to x; got x=", x.shape(), " mask=", mask.shape()));
  const T filler = static_cast<T>(detail::scalar_as<T>(value));
  const Tensor<T> y = detail::mapped<T>(x.shape(), [filler](T v, bool m) { return m ? filler : v; }, x, mask);
  if constexpr (is_real<T>)
    if (autograd::wants_grad(x))
      autograd::record<T>("masked_fill", {x}, {y}, [m = autograd::Saved<bool>(mask)](autograd::Backward<T>& n) {
        n.add(0, detail::mapped<T>(n.grad(0).shape(), [](T v, bool masked) { return masked ? T(0) : v; }, n.grad(0), m.get()));
      });
  return y;
}

}  // namespace moelle
