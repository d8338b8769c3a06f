// Arithmetic and comparison of tensors with tensors and numbers, and changes in place.
#include <limits>

#include <moelle/tensor/compare_op.hpp>
#include <moelle/tensor/elementwise_op.hpp>
#include <moelle/tensor/inplace_op.hpp>

#include "value.hpp"

namespace moelle::python {
namespace {

// A Python int as an element of T; one that does not fit is an error.
template <class T>
auto whole(const char* op, std::int64_t s) {
  if constexpr (std::is_integral_v<T>) {
    MOELLE_REQUIRE(op, s >= static_cast<std::int64_t>(std::numeric_limits<T>::min()) && s <= static_cast<std::int64_t>(std::numeric_limits<T>::max()),
                   str("number must fit the tensor's dtype ", dtype_of<T>, "; got ", s));
    return static_cast<T>(s);
  } else {
    return static_cast<double>(s);
  }
}

// name(Tensor, Tensor), name(Tensor, int), name(Tensor, float) from one generic function f(x, y).
template <class List, class F>
void def_binary(py::module_& m, const char* op, List list, F f) {
  m.def(op, [=](const Value& a, const Value& b) {
    return dispatch(list, op, a, [&]<class T>(const Tensor<T>& x) { return f(x, as<T>(op, "the second tensor", b)); });
  }, py::arg("input"), py::arg("other").noconvert());
  m.def(op, [=](const Value& a, std::int64_t s) {
    return dispatch(list, op, a, [&]<class T>(const Tensor<T>& x) { return f(x, whole<T>(op, s)); });
  }, py::arg("input"), py::arg("other").noconvert());
  m.def(op, [=](const Value& a, double s) {
    return dispatch(list, op, a, [&]<class T>(const Tensor<T>& x) -> Value {
      if constexpr (std::is_integral_v<T>) throw py::type_error(str(op, ": a fraction cannot be combined with integers: convert the tensor first, x.float(); got dtype=", dtype_of<T>, " number=", s));
      else return f(x, s);
    });
  }, py::arg("input"), py::arg("other"));
  m.def(op, [=](const Value& a, const py::array& b) {
    const Value other = from_numpy(b);
    return dispatch(list, op, a, [&]<class T>(const Tensor<T>& x) { return f(x, as<T>(op, "the second tensor", other)); });
  }, py::arg("input"), py::arg("other").noconvert());
}

// name(number, Tensor)
template <class List, class F>
void def_reversed(py::module_& m, const char* op, List list, F f) {
  m.def(op, [=](std::int64_t s, const Value& b) {
    return dispatch(list, op, b, [&]<class T>(const Tensor<T>& x) { return f(whole<T>(op, s), x); });
  }, py::arg("other").noconvert(), py::arg("input"));
  m.def(op, [=](double s, const Value& b) {
    return dispatch(list, op, b, [&]<class T>(const Tensor<T>& x) -> Value {
      if constexpr (std::is_integral_v<T>) throw py::type_error(str(op, ": a fraction cannot be combined with integers: convert the tensor first, x.float(); got dtype=", dtype_of<T>, " number=", s));
      else return f(s, x);
    });
  });
}

using NotBool = Numbers;
using Wholes = Types<std::int32_t, std::int64_t, std::uint8_t>;

void bind_operators(py::module_& m) {
  // bool has + and * between tensors alone; a number beside it would be cut to 0 or 1.
  def_binary(m, "add", NotBool{}, [](const auto& x, const auto& y) { return add(x, y); });
  def_binary(m, "sub", NotBool{}, [](const auto& x, const auto& y) { return sub(x, y); });
  def_binary(m, "mul", NotBool{}, [](const auto& x, const auto& y) { return mul(x, y); });
  def_binary(m, "div", Floats{}, [](const auto& x, const auto& y) { return div(x, y); });
  def_binary(m, "div_trunc", Wholes{}, [](const auto& x, const auto& y) { return div(x, y); });
  def_reversed(m, "rsub", NotBool{}, [](const auto& x, const auto& y) { return sub(x, y); });
  def_reversed(m, "rdiv", Floats{}, [](const auto& x, const auto& y) { return div(x, y); });
  m.def("neg", [](const Value& x) { return dispatch(NotBool{}, "neg", x, [](const auto& t) { return neg(t); }); });
  m.def("maximum", [](const Value& a, const Value& b) {
    return dispatch(All{}, "maximum", a, [&]<class T>(const Tensor<T>& x) { return maximum(x, as<T>("maximum", "other", b)); });
  });
  m.def("minimum", [](const Value& a, const Value& b) {
    return dispatch(All{}, "minimum", a, [&]<class T>(const Tensor<T>& x) { return minimum(x, as<T>("minimum", "other", b)); });
  });
}

void bind_comparisons(py::module_& m) {
  def_binary(m, "eq", All{}, [](const auto& x, const auto& y) { return eq(x, y); });
  def_binary(m, "ne", All{}, [](const auto& x, const auto& y) { return ne(x, y); });
  def_binary(m, "lt", All{}, [](const auto& x, const auto& y) { return lt(x, y); });
  def_binary(m, "le", All{}, [](const auto& x, const auto& y) { return le(x, y); });
  def_binary(m, "gt", All{}, [](const auto& x, const auto& y) { return gt(x, y); });
  def_binary(m, "ge", All{}, [](const auto& x, const auto& y) { return ge(x, y); });
  m.def("logical_and", [](const Value& a, const Value& b) { return Value(logical_and(as<bool>("logical_and", "input", a), as<bool>("logical_and", "other", b))); });
  m.def("logical_or", [](const Value& a, const Value& b) { return Value(logical_or(as<bool>("logical_or", "input", a), as<bool>("logical_or", "other", b))); });
  m.def("logical_not", [](const Value& a) { return Value(logical_not(as<bool>("logical_not", "input", a))); });
  m.def("isnan", [](const Value& x) { return dispatch(Floats{}, "isnan", x, [](const auto& t) { return isnan(t); }); });
  m.def("isfinite", [](const Value& x) { return dispatch(Floats{}, "isfinite", x, [](const auto& t) { return isfinite(t); }); });
  m.def("where", [](const Value& condition, const Value& a, const Value& b) {
    const auto& c = as<bool>("where", "condition", condition);
    return dispatch(All{}, "where", a, [&]<class T>(const Tensor<T>& x) { return where(c, x, as<T>("where", "other", b)); });
  });
  const auto fill = [](const Value& x, const Value& mask, auto value) {
    const auto& where = as<bool>("masked_fill", "mask", mask);
    return dispatch(NotBool{}, "masked_fill", x, [&]<class T>(const Tensor<T>& t) -> Value {
      if constexpr (std::is_integral_v<decltype(value)>) return masked_fill(t, where, whole<T>("masked_fill", value));
      else if constexpr (std::is_integral_v<T>) throw py::type_error("masked_fill: value must be a whole number for an integer tensor");
      else return masked_fill(t, where, value);
    });
  };
  m.def("masked_fill", [=](const Value& x, const Value& mask, std::int64_t v) { return fill(x, mask, v); }, py::arg(), py::arg(), py::arg().noconvert());
  m.def("masked_fill", [=](const Value& x, const Value& mask, double v) { return fill(x, mask, v); });
}

void bind_inplace(py::module_& m) {
  m.def("copy_", [](const Value& x, const Value& values) {
    dispatch(All{}, "copy_", x, [&]<class T>(const Tensor<T>& t) { return copy_(t, as<T>("copy_", "source", values)); });
  });
  m.def("fill_", [](const Value& x, std::int64_t v) {
    dispatch(All{}, "fill_", x, [&]<class T>(const Tensor<T>& t) { return fill_(t, whole<T>("fill_", v)); });
  }, py::arg(), py::arg().noconvert());
  m.def("fill_", [](const Value& x, double v) { dispatch(Floats{}, "fill_", x, [&](const auto& t) { return fill_(t, v); }); });
  m.def("add_", [](const Value& x, const Value& other, double alpha) {
    dispatch(NotBool{}, "add_", x, [&]<class T>(const Tensor<T>& t) {
      const auto& y = as<T>("add_", "other", other);
      if constexpr (std::is_integral_v<T>) {
        MOELLE_REQUIRE("add_", alpha == static_cast<double>(static_cast<std::int64_t>(alpha)), str("alpha must be whole for integers; got alpha=", alpha));
        return add_(t, y, whole<T>("add_", static_cast<std::int64_t>(alpha)));
      } else {
        return add_(t, y, alpha);
      }
    });
  });
  m.def("mul_", [](const Value& x, double v) { dispatch(Floats{}, "mul_", x, [&](const auto& t) { return mul_(t, v); }); });
}

}  // namespace

void bind_arithmetic(py::module_& m) {
  bind_operators(m);
  bind_comparisons(m);
  bind_inplace(m);
}

}  // namespace moelle::python
