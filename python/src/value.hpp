// What Python calls a Tensor: one of the seven Tensor<T>, and how C++ functions take and return it.
//
// Bindings convert, release the GIL, and call; anything more belongs in the library or in the Python package.
#pragma once
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include <moelle/autograd/meta.hpp>
#include <moelle/core/tensor.hpp>

namespace moelle::python {

namespace py = pybind11;

using AnyTensor = std::variant<Tensor<float>, Tensor<double>, Tensor<bfloat16>, Tensor<std::int32_t>, Tensor<std::int64_t>, Tensor<std::uint8_t>, Tensor<bool>>;

struct Value {
  AnyTensor of;

  Value() = default;
  Value(AnyTensor any) : of(std::move(any)) {}
  template <class T>
  Value(const Tensor<T>& t) : of(t) {}

  DType dtype() const {
    return std::visit([](const auto& t) { return t.dtype(); }, of);
  }
  const Shape& shape() const {
    return std::visit([](const auto& t) -> const Shape& { return t.shape(); }, of);
  }
};

// A tensor that optimisers move: what assigning to an attribute of a module registers.
struct Parameter : Value {};

template <class F>
auto released(F&& f) {
  const py::gil_scoped_release nogil;
  return f();
}

// --- choosing the function for a dtype ------------------------------------------------------------------------------
template <class... Ts>
struct Types {};
using All = Types<float, double, bfloat16, std::int32_t, std::int64_t, std::uint8_t, bool>;
using Numbers = Types<float, double, bfloat16, std::int32_t, std::int64_t, std::uint8_t>;
using Floats = Types<float, double, bfloat16>;
using Reals = Types<float, double>;  // those that take gradients
using Integers = Types<std::int32_t, std::int64_t>;

[[noreturn]] inline void wrong_dtype(const char* op, DType got, std::initializer_list<DType> allowed) {
  std::string names;
  for (const DType t : allowed) names += (names.empty() ? "" : ", ") + std::string(name(t));
  throw py::type_error(str(op, ": dtype must be one of ", names, "; got dtype=", got));
}

// f(Tensor<T>) for x's T, without the GIL; TypeError unless T is one of Ts.
template <class R = Value, class... Ts, class F>
R dispatch(Types<Ts...>, const char* op, const Value& x, F&& f) {
  std::optional<R> out;
  const auto attempt = [&]<class T>() {
    if (const auto* t = std::get_if<Tensor<T>>(&x.of)) out.emplace(released([&] { return R(f(*t)); }));
  };
  (attempt.template operator()<Ts>(), ...);
  if (!out) wrong_dtype(op, x.dtype(), {dtype_of<Ts>...});
  return std::move(*out);
}

// The tensor in `v`, which must have T as its dtype; `what` names the argument.
template <class T>
const Tensor<T>& as(const char* op, const char* what, const Value& v) {
  const auto* t = std::get_if<Tensor<T>>(&v.of);
  if (t == nullptr) throw py::type_error(str(op, ": ", what, " must have dtype ", dtype_of<T>, "; got dtype=", v.dtype()));
  return *t;
}
// ... or undefined where the argument was None.
template <class T>
Tensor<T> as_optional(const char* op, const char* what, const Value* v) {
  return v == nullptr ? Tensor<T>() : as<T>(op, what, *v);
}

// Token ids, labels, segments: int32 as it is, int64 and uint8 converted; a value that does not fit is an error.
Tensor<std::int32_t> as_ids(const char* op, const Value& v);

// --- Python's memory under a tensor -----------------------------------------------------------------------------------
// Keeps a Python object alive from C++ code that may let go of it without the GIL.
std::shared_ptr<void> keep_alive(py::object object);
// A tensor on the array's own memory.
Value from_numpy(const py::array& array);
DType to_dtype(const py::handle& object);
py::object numpy_dtype(DType t);

void bind_arithmetic(py::module_& m);
void bind_attention(py::module_& m);
void bind_autograd(py::module_& m);
void bind_dlpack(py::module_& m);
void bind_estimate(py::module_& m);
void bind_functions(py::module_& m);
void bind_io(py::module_& m);
void bind_layers(py::module_& m);
void bind_math(py::module_& m);
void bind_models(py::module_& m);
void bind_moe(py::module_& m);
void bind_numpy(py::module_& m);
void bind_optimizer(py::module_& m);
void bind_system(py::module_& m);
void bind_tensor(py::module_& m);
void bind_training(py::module_& m);
void bind_views(py::module_& m);

}  // namespace moelle::python

namespace pybind11::detail {

// Tensor<T> in a signature: a Python Tensor of that dtype, or None for an undefined one.
template <class T>
struct type_caster<moelle::Tensor<T>> {
  PYBIND11_TYPE_CASTER(moelle::Tensor<T>, const_name("Tensor"));

  bool load(handle source, bool convert) {
    if (source.is_none()) return true;
    make_caster<moelle::python::Value> any;
    if (!any.load(source, convert)) return false;
    const auto* t = std::get_if<moelle::Tensor<T>>(&cast_op<const moelle::python::Value&>(any).of);
    if (t == nullptr) return false;
    value = *t;
    return true;
  }
  static handle cast(const moelle::Tensor<T>& t, return_value_policy, handle parent) {
    if (!t.defined()) return none().release();
    return make_caster<moelle::python::Value>::cast(moelle::python::Value(t), return_value_policy::move, parent);
  }
};

// Shape in a signature: a sequence of ints in, a tuple out.
template <>
struct type_caster<moelle::Shape> {
  PYBIND11_TYPE_CASTER(moelle::Shape, const_name("Sequence[int]"));

  bool load(handle source, bool convert) {
    make_caster<std::vector<std::int64_t>> list;
    if (!list.load(source, convert)) return false;
    value = moelle::Shape(cast_op<std::vector<std::int64_t>&>(list));
    return true;
  }
  static handle cast(const moelle::Shape& s, return_value_policy, handle) {
    tuple out(static_cast<std::size_t>(s.rank()));
    for (int i = 0; i < s.rank(); ++i) out[static_cast<std::size_t>(i)] = s[i];
    return out.release();
  }
};

}  // namespace pybind11::detail
