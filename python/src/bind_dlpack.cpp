// DLPack in both directions, versioned and legacy capsules.
#include <memory>

#include <moelle/tensor/view_op.hpp>

#include "dlpack.hpp"
#include "value.hpp"

namespace moelle::python {
namespace {

using namespace dlpack;

DataType type_of(DType t) {
  const auto bits = static_cast<std::uint8_t>(8 * size_of(t));
  switch (t) {
    case DType::float32:
    case DType::float64: return {kFloat, bits, 1};
    case DType::bfloat16: return {kBfloat, bits, 1};
    case DType::int32:
    case DType::int64: return {kInt, bits, 1};
    case DType::uint8: return {kUInt, bits, 1};
    case DType::boolean: break;
  }
  return {kBool, bits, 1};
}

// A capsule's content: the structure itself, and what it points to.
template <class M>
struct Export {
  M managed{};
  std::shared_ptr<Storage> storage;
  std::int64_t shape[kMaxRank], strides[kMaxRank];
};

template <class M>
M* make_export(const Value& v) {
  auto e = std::make_unique<Export<M>>();
  std::visit([&]<class T>(const Tensor<T>& x) {
    std::copy(x.shape().begin(), x.shape().end(), e->shape);
    std::copy(x.strides().begin(), x.strides().end(), e->strides);
    e->storage = x.storage();
    e->managed.tensor = {x.data(), {kCpu, 0}, x.rank(), type_of(dtype_of<T>), e->shape, e->strides, 0};
  }, v.of);
  e->managed.deleter = [](M* m) { delete static_cast<Export<M>*>(m->context); };
  e->managed.context = e.get();
  return &e.release()->managed;
}

// A capsule nobody has taken still owns its content.
template <class M>
py::capsule make_capsule(M* managed, const char* unused) {
  PyObject* capsule = PyCapsule_New(managed, unused, [](PyObject* c) {
    const char* have = PyCapsule_GetName(c);
    const bool taken = have == nullptr || std::string_view(have).starts_with("used_");
    if (taken) return;
    auto* m = static_cast<M*>(PyCapsule_GetPointer(c, have));
    if (m != nullptr) m->deleter(m);
  });
  if (capsule == nullptr) {
    managed->deleter(managed);
    throw py::error_already_set();
  }
  return py::reinterpret_steal<py::capsule>(capsule);
}

py::capsule to_dlpack(const Value& given, bool versioned, bool copy) {
  const Value v = copy ? dispatch(All{}, "__dlpack__", given, [](const auto& x) { return clone(x.detach()); }) : given;
  const bool writable = std::visit([](const auto& x) { return x.storage()->writable(); }, v.of);
  if (!versioned) {
    if (!writable) throw py::buffer_error("__dlpack__: a read-only tensor needs a consumer of DLPack 1.0, or a copy");
    return make_capsule(make_export<Managed>(v), "dltensor");
  }
  auto* m = make_export<ManagedVersioned>(v);
  m->version = {1, 0};
  m->flags = (writable ? 0 : kReadOnly) | (copy ? kCopied : 0);
  return make_capsule(m, "dltensor_versioned");
}

template <class T>
Value import_as(const TensorView& t, bool writable, std::shared_ptr<void> owner) {
  Shape shape, strides;
  for (std::int32_t i = 0; i < t.ndim; ++i) shape.push_back(t.shape[i]);
  if (t.strides == nullptr) strides = contiguous_strides(shape);
  else
    for (std::int32_t i = 0; i < t.ndim; ++i) strides.push_back(t.strides[i]);
  auto* data = reinterpret_cast<T*>(static_cast<char*>(t.data) + t.byte_offset);
  return Tensor<T>::external(data, shape, strides, std::move(owner), Device::cpu, writable);
}

template <class M>
std::shared_ptr<void> take(const py::object& capsule, M* managed, const char* used) {
  if (PyCapsule_SetName(capsule.ptr(), used) != 0) throw py::error_already_set();
  return {managed, [](void* p) {
            auto* m = static_cast<M*>(p);
            if (m->deleter == nullptr || !Py_IsInitialized()) return;
            const py::gil_scoped_acquire gil;  // the producer may be Python
            m->deleter(m);
          }};
}

Value import_checked(const TensorView& t, bool writable, std::shared_ptr<void> owner) {
  if (t.device.type != kCpu) throw py::buffer_error(str("from_dlpack: memory must be the CPU's; got device type ", t.device.type));
  if (t.ndim > kMaxRank) throw py::buffer_error(str("from_dlpack: rank must be at most ", kMaxRank, "; got rank=", t.ndim));
  const auto is = [&](DType d) {
    const DataType w = type_of(d);
    return t.dtype.code == w.code && t.dtype.bits == w.bits && t.dtype.lanes == 1;
  };
  if (is(DType::float32)) return import_as<float>(t, writable, std::move(owner));
  if (is(DType::float64)) return import_as<double>(t, writable, std::move(owner));
  if (is(DType::bfloat16)) return import_as<bfloat16>(t, writable, std::move(owner));
  if (is(DType::int32)) return import_as<std::int32_t>(t, writable, std::move(owner));
  if (is(DType::int64)) return import_as<std::int64_t>(t, writable, std::move(owner));
  if (is(DType::uint8)) return import_as<std::uint8_t>(t, writable, std::move(owner));
  if (is(DType::boolean)) return import_as<bool>(t, writable, std::move(owner));
  throw py::type_error(str("from_dlpack: dtype must be one of float32, float64, bfloat16, int32, int64, uint8, bool; got code=", int{t.dtype.code},
                           " bits=", int{t.dtype.bits}, " lanes=", t.dtype.lanes));
}

Value from_capsule(const py::object& capsule) {
  if (PyCapsule_IsValid(capsule.ptr(), "dltensor_versioned")) {
    auto* m = static_cast<ManagedVersioned*>(PyCapsule_GetPointer(capsule.ptr(), "dltensor_versioned"));
    if (m->version.major != 1) throw py::buffer_error(str("from_dlpack: major version must be 1; got version=", m->version.major, ".", m->version.minor));
    auto owner = take(capsule, m, "used_dltensor_versioned");
    return import_checked(m->tensor, (m->flags & kReadOnly) == 0, std::move(owner));
  }
  if (!PyCapsule_IsValid(capsule.ptr(), "dltensor")) throw py::type_error("from_dlpack: argument must have __dlpack__, or be a capsule that nobody has taken yet");
  auto* m = static_cast<Managed*>(PyCapsule_GetPointer(capsule.ptr(), "dltensor"));
  auto owner = take(capsule, m, "used_dltensor");
  return import_checked(m->tensor, true, std::move(owner));
}

}  // namespace

void bind_dlpack(py::module_& m) {
  m.def("to_dlpack", &to_dlpack, py::arg("input"), py::arg("versioned"), py::arg("copy"));
  m.def("from_dlpack_capsule", &from_capsule, py::arg("capsule"));
}

}  // namespace moelle::python
