// NumPy arrays and tensors on one another's memory.
#include <cstring>

#include <moelle/tensor/cast_op.hpp>
#include <moelle/tensor/view_op.hpp>

#include "value.hpp"

namespace moelle::python {
namespace {

py::object bfloat16_dtype() {
  try {
    return py::dtype::from_args(py::module_::import("ml_dtypes").attr("bfloat16"));
  } catch (const py::error_already_set& e) {
    if (!e.matches(PyExc_ImportError)) throw;
    throw py::type_error("numpy: bfloat16 needs the package ml_dtypes; install it, or convert first: x.float()");
  }
}

// The element type of a NumPy dtype in native byte order; nothing for one that has no counterpart.
std::optional<DType> from_numpy_dtype(const py::dtype& d) {
  const char kind = d.kind();
  const auto bytes = d.itemsize();
  if (kind == 'f' && bytes == 4) return DType::float32;
  if (kind == 'f' && bytes == 8) return DType::float64;
  if (kind == 'i' && bytes == 4) return DType::int32;
  if (kind == 'i' && bytes == 8) return DType::int64;
  if (kind == 'u' && bytes == 1) return DType::uint8;
  if (kind == 'b') return DType::boolean;
  if (bytes == 2 && py::str(d.attr("name")).cast<std::string>() == "bfloat16") return DType::bfloat16;
  return std::nullopt;
}

// f<T>() for the T of a dtype.
template <class F>
auto with_type(DType t, F&& f) {
  switch (t) {
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

template <class T>
bool requires_grad(const Tensor<T>& x) {
  if constexpr (is_real<T>) return x.requires_grad();
  else return false;
}

// The array on the tensor's memory, which it keeps alive. Read-only if the tensor is, and if it takes part in gradients: a
// change that the graph does not see would make them wrong. x.detach().numpy() can be written to.
py::array to_numpy(const Value& v) {
  return std::visit([&]<class T>(const Tensor<T>& x) {
    if (x.device() != Device::cpu) throw Error(str("numpy: tensor must be on the CPU; got device=", x.device()));
    std::vector<py::ssize_t> strides;
    for (const std::int64_t s : x.strides()) strides.push_back(static_cast<py::ssize_t>(s) * static_cast<py::ssize_t>(sizeof(T)));
    const py::capsule owner(new std::shared_ptr<Storage>(x.storage()), [](void* p) { delete static_cast<std::shared_ptr<Storage>*>(p); });
    py::array a(py::dtype(py::reinterpret_borrow<py::dtype>(numpy_dtype(dtype_of<T>))), x.shape().vec(), strides, x.data(), owner);
    if (!x.storage()->writable() || requires_grad(x)) a.attr("setflags")(py::arg("write") = false);
    return a;
  }, v.of);
}

}  // namespace

std::shared_ptr<void> keep_alive(py::object object) {
  return {object.release().ptr(), [](void* p) {
            if (!Py_IsInitialized()) return;
            const py::gil_scoped_acquire gil;
            Py_DECREF(static_cast<PyObject*>(p));
          }};
}

py::object numpy_dtype(DType t) {
  if (t == DType::bfloat16) return bfloat16_dtype();
  return py::dtype(std::string(name(t)));
}

DType to_dtype(const py::handle& object) {
  if (py::isinstance<DType>(object)) return object.cast<DType>();
  if (py::isinstance<py::str>(object) && object.cast<std::string>() == "bfloat16") return DType::bfloat16;
  if (!object.is_none()) {
    try {
      const auto d = py::dtype::from_args(py::reinterpret_borrow<py::object>(object));
      if (const auto t = from_numpy_dtype(d); t && py::cast<bool>(d.attr("isnative"))) return *t;
    } catch (const py::error_already_set& e) {
      if (!e.matches(PyExc_TypeError)) throw;
    }
  }
  throw py::type_error("dtype must be one of float32, float64, bfloat16, int32, int64, uint8, bool; got dtype=" + py::str(object).cast<std::string>());
}

Value from_numpy(const py::array& a) {
  const auto type = from_numpy_dtype(a.dtype());
  const auto got = [&] { return "; got dtype=" + py::str(a.dtype().attr("str")).cast<std::string>(); };
  if (!type) throw py::type_error("from_numpy: dtype must be one of float32, float64, bfloat16, int32, int64, uint8, bool" + got());
  if (!py::cast<bool>(a.dtype().attr("isnative"))) throw py::type_error("from_numpy: byte order must be the machine's own; convert with a.astype(a.dtype.newbyteorder('='))" + got());
  MOELLE_REQUIRE("from_numpy", a.ndim() <= kMaxRank, str("rank must be at most ", kMaxRank, "; got rank=", a.ndim()));
  MOELLE_REQUIRE("from_numpy", py::cast<bool>(a.attr("flags").attr("aligned")), "elements must be aligned; copy the array first: a.copy()");
  Shape shape, strides;
  for (py::ssize_t i = 0; i < a.ndim(); ++i) {
    MOELLE_REQUIRE("from_numpy", a.strides(i) % a.itemsize() == 0, str("strides must be whole elements; got stride=", a.strides(i), " bytes"));
    shape.push_back(a.shape(i));
    strides.push_back(a.strides(i) / a.itemsize());
  }
  return with_type(*type, [&]<class T>() {
    auto* data = static_cast<T*>(const_cast<void*>(a.data()));
    return Value(Tensor<T>::external(data, shape, strides, keep_alive(a), Device::cpu, a.writeable()));
  });
}

Tensor<std::int32_t> as_ids(const char* op, const Value& v) {
  if (const auto* t = std::get_if<Tensor<std::int32_t>>(&v.of)) return *t;
  if (const auto* t = std::get_if<Tensor<std::uint8_t>>(&v.of)) return cast<std::int32_t>(*t);
  const auto* t = std::get_if<Tensor<std::int64_t>>(&v.of);
  if (t == nullptr) wrong_dtype(op, v.dtype(), {DType::int32, DType::int64, DType::uint8});
  t->each([&](std::int64_t id) {
    MOELLE_REQUIRE(op, id == static_cast<std::int32_t>(id), str("ids must fit 32 bits; got id=", id));
  });
  return cast<std::int32_t>(*t);
}

void bind_numpy(py::module_& m) {
  m.def("from_numpy", &from_numpy, py::arg("array").noconvert());
  m.def("to_numpy", &to_numpy, py::arg("input"));
  m.def("numpy_dtype", &numpy_dtype, py::arg("dtype"));
  m.def("to_dtype", &to_dtype, py::arg("dtype"));
}

}  // namespace moelle::python
