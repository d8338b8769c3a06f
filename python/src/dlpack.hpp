// The structures of DLPack's C interface, versions 0.8 (legacy) and 1.0: https://dmlc.github.io/dlpack/latest/c_api.html
#pragma once
#include <cstdint>

namespace moelle::python::dlpack {

inline constexpr std::uint64_t kReadOnly = 1, kCopied = 2;
enum TypeCode : std::uint8_t { kInt = 0, kUInt = 1, kFloat = 2, kBfloat = 4, kBool = 6 };
enum DeviceType : std::int32_t { kCpu = 1, kCuda = 2 };

struct Version {
  std::uint32_t major, minor;
};
struct DeviceId {
  std::int32_t type, id;
};
struct DataType {
  std::uint8_t code, bits;
  std::uint16_t lanes;
};
struct TensorView {
  void* data;
  DeviceId device;
  std::int32_t ndim;
  DataType dtype;
  std::int64_t* shape;
  std::int64_t* strides;  // in elements; null: row-major
  std::uint64_t byte_offset;
};
struct Managed {  // capsule "dltensor"
  TensorView tensor;
  void* context;
  void (*deleter)(Managed*);
};
struct ManagedVersioned {  // capsule "dltensor_versioned"
  Version version;
  void* context;
  void (*deleter)(ManagedVersioned*);
  std::uint64_t flags;
  TensorView tensor;
};

}  // namespace moelle::python::dlpack
