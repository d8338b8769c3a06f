// The class Tensor: what it is made of, and how it is made. Its methods are put together in moelle/_tensor.py.
#include <moelle/autograd/backward.hpp>
#include <moelle/cuda/device.hpp>
#include <moelle/tensor/cast_op.hpp>
#include <moelle/tensor/inplace_op.hpp>
#include <moelle/tensor/random_op.hpp>

#include "value.hpp"

namespace moelle::python {
namespace {

template <class F>
Value make(const py::handle& dtype, F&& f) {
  switch (to_dtype(dtype)) {
    case DType::float32: return f.template operator()<float>();
    case DType::float64: return f.template operator()<double>();
    case DType::bfloat16: return f.template operator()<bfloat16>();
    case DType::int32: return f.template operator()<std::int32_t>();
    case DType::int64: return f.template operator()<std::int64_t>();
    case DType::uint8: return f.template operator()<std::uint8_t>();
    case DType::boolean: break;
  }
  return f.template operator()<bool>();
}

// f(Tensor<float or double>) on x, else `otherwise`.
template <class R, class F>
R if_real(const Value& x, R otherwise, F&& f) {
  if (const auto* t = std::get_if<Tensor<float>>(&x.of)) return f(*t);
  if (const auto* t = std::get_if<Tensor<double>>(&x.of)) return f(*t);
  return otherwise;
}

py::object grad_of(const Value& x) {
  return if_real<py::object>(x, py::none(), [](const auto& t) { return py::cast(t.grad()); });
}
void set_grad(const Value& x, const Value* grad) {
  dispatch<bool>(Reals{}, "grad", x, [&]<class T>(const Tensor<T>& t) {
    t.set_grad(as_optional<T>("grad", "grad", grad));
    return true;
  });
}
void set_requires_grad(const Value& x, bool on) {
  if (!on && x.dtype() != DType::float32 && x.dtype() != DType::float64) return;
  dispatch<bool>(Reals{}, "requires_grad", x, [&](const auto& t) {
    t.set_requires_grad(on);
    return true;
  });
}
std::string producer_of(const Value& x) {
  return if_real<std::string>(x, "", [](const auto& t) { return t.meta() != nullptr && t.meta()->producer != nullptr ? t.meta()->producer->op : ""; });
}
void backward(const Value& x, const Value* gradient, bool retain_graph) {
  dispatch<bool>(Reals{}, "backward", x, [&]<class T>(const Tensor<T>& t) {
    autograd::backward<T>({t}, {as_optional<T>("backward", "gradient", gradient)}, retain_graph);
    return true;
  });
}

py::object item_of(const Value& x) {
  return std::visit([]<class T>(const Tensor<T>& t) -> py::object {
    if constexpr (std::is_same_v<T, bfloat16>) return py::float_(static_cast<float>(t.item()));
    else return py::cast(t.item());
  }, x.of);
}
Value to_type(const Value& x, const py::handle& dtype) {
  return make(dtype, [&]<class U>() { return dispatch(All{}, "to", x, [](const auto& t) { return cast<U>(t); }); });
}
Value full(const Shape& shape, const py::object& fill, const py::handle& dtype) {
  return make(dtype, [&]<class T>() {
    if constexpr (std::is_same_v<T, bfloat16>) return Value(Tensor<T>::full(shape, bfloat16(fill.cast<float>())));
    else return Value(Tensor<T>::full(shape, fill.cast<T>()));
  });
}

}  // namespace

void bind_tensor(py::module_& m) {
  py::enum_<DType>(m, "dtype")
      .value("float32", DType::float32).value("float64", DType::float64).value("bfloat16", DType::bfloat16).value("int32", DType::int32)
      .value("int64", DType::int64).value("uint8", DType::uint8).value("bool", DType::boolean)
      .def_property_readonly("itemsize", [](DType t) { return size_of(t); })
      .def_property_readonly("is_floating_point", [](DType t) { return t == DType::float32 || t == DType::float64 || t == DType::bfloat16; })
      .def("__repr__", [](DType t) { return std::string("moelle.") + name(t); });

  py::class_<Value>(m, "Tensor")
      .def(py::init(&from_numpy), py::arg("array").noconvert())
      .def_property_readonly("dtype", &Value::dtype)
      .def_property_readonly("shape", [](const Value& x) { return x.shape(); })
      .def_property_readonly("ndim", [](const Value& x) { return x.shape().rank(); })
      .def_property_readonly("device", [](const Value& x) { return std::visit([](const auto& t) { return name(t.device()); }, x.of); })
      .def("numel", [](const Value& x) { return std::visit([](const auto& t) { return t.numel(); }, x.of); })
      .def("stride", [](const Value& x) { return std::visit([](const auto& t) -> Shape { return t.strides(); }, x.of); })
      .def("is_contiguous", [](const Value& x) { return std::visit([](const auto& t) { return t.is_contiguous(); }, x.of); })
      .def("data_ptr", [](const Value& x) { return std::visit([](const auto& t) { return reinterpret_cast<std::uintptr_t>(t.data()); }, x.of); })
      .def_property_readonly("is_leaf", [](const Value& x) { return if_real(x, true, [](const auto& t) { return t.is_leaf(); }); })
      .def_property_readonly("_version", [](const Value& x) { return std::visit([](const auto& t) { return t.storage()->version(); }, x.of); })
      .def_property_readonly("_writable", [](const Value& x) { return std::visit([](const auto& t) { return t.storage()->writable(); }, x.of); })
      .def_property_readonly("_producer", &producer_of)
      .def_property("requires_grad", [](const Value& x) { return if_real(x, false, [](const auto& t) { return t.requires_grad(); }); }, &set_requires_grad)
      .def_property("grad", &grad_of, &set_grad)
      .def("retain_grad", [](const Value& x) { return dispatch<bool>(Reals{}, "retain_grad", x, [](const auto& t) { return t.retain_grad(), true; }), py::none(); })
      .def("detach", [](const Value& x) { return std::visit([](const auto& t) { return Value(t.detach()); }, x.of); })
      .def("item", &item_of)
      .def("backward", &backward, py::arg("gradient") = py::none(), py::arg("retain_graph") = false)
      .def("is_same", [](const Value& a, const Value& b) {
        return std::visit([&]<class T>(const Tensor<T>& t) { const auto* u = std::get_if<Tensor<T>>(&b.of); return u != nullptr && t.same(*u); }, a.of);
      }, py::arg("other"));
  py::class_<Parameter, Value>(m, "Parameter")
      .def(py::init([](const Value& data, bool requires_grad) {
        Parameter p{data};
        if (!dispatch<bool>(Reals{}, "Parameter", p, [](const auto& t) { return t.is_leaf(); })) p = Parameter{std::visit([](const auto& t) { return Value(t.detach()); }, data.of)};
        if (requires_grad) set_requires_grad(p, true);
        return p;
      }), py::arg("data"), py::arg("requires_grad") = true);
  py::implicitly_convertible<py::array, Value>();

  m.def("empty", [](const Shape& shape, const py::object& dtype) { return make(dtype, [&]<class T>() { return Value(Tensor<T>::empty(shape)); }); });
  m.def("full", &full);
  m.def("arange", [](std::int64_t begin, std::int64_t end, std::int64_t step, const py::object& dtype) {
    return make(dtype, [&]<class T>() { return Value(Tensor<T>::arange(begin, end, step)); });
  });
  m.def("rand", [](const Shape& shape, std::uint64_t seed, const std::string& stream, double low, double high, const py::object& dtype) {
    return make(dtype, [&]<class T>() -> Value {
      if constexpr (std::is_floating_point_v<T>) return released([&] { return rand<T>(shape, {seed, stream}, low, high); });
      else wrong_dtype("rand", dtype_of<T>, {DType::float32, DType::float64});
    });
  });
  m.def("randn", [](const Shape& shape, std::uint64_t seed, const std::string& stream, double mean, double std, const py::object& dtype) {
    return make(dtype, [&]<class T>() -> Value {
      if constexpr (std::is_floating_point_v<T>) return released([&] { return randn<T>(shape, {seed, stream}, mean, std); });
      else wrong_dtype("randn", dtype_of<T>, {DType::float32, DType::float64});
    });
  });
  m.def("randint", [](const Shape& shape, std::uint64_t seed, const std::string& stream, std::int64_t low, std::int64_t high, const py::object& dtype) {
    return make(dtype, [&]<class T>() -> Value {
      if constexpr (std::is_integral_v<T> && !std::is_same_v<T, bool>) return released([&] { return randint<T>(shape, {seed, stream}, low, high); });
      else wrong_dtype("randint", dtype_of<T>, {DType::int32, DType::int64, DType::uint8});
    });
  });
  m.def("to_type", &to_type);
  m.def("round_to_bf16", [](const Value& x) { return dispatch(Reals{}, "round_to_bf16", x, [](const auto& t) { return round_to_bf16(t); }); });
  m.def("require_device", [](const std::string& device) {
    MOELLE_REQUIRE("device", device == "cpu" || device == "cuda", str("device must be cpu or cuda; got device=", device));
    cuda::require(device == "cuda" ? Device::cuda : Device::cpu);
    MOELLE_REQUIRE("device", device == "cpu", "tensors of Python live on the CPU; got device=cuda");
  });
}

}  // namespace moelle::python
