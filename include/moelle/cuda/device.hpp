// moelle/cuda/device.hpp -- what host code sees of CUDA: no CUDA header, no type of CUDA.
//
// A build with -DMOELLE_CUDA=ON defines MOELLE_CUDA and links cuda/*.cu, where the functions declared here are defined. They
// return a status, 0 for success; the operations turn it into an Error. No call waits for the device but to_host().
#pragma once
#include <cstddef>
#include <cstdint>
#include <memory>

#include <moelle/core/dtype.hpp>
#include <moelle/core/error.hpp>
#include <moelle/core/tensor.hpp>

namespace moelle::cuda {

using Stream = void*;  // a cudaStream_t; null is the default stream

#if defined(MOELLE_CUDA)
int device_count(int* count);
int allocate(void** memory, std::size_t bytes);
int release(void* memory);
int copy_to_device(void* to, const void* from, std::size_t bytes, Stream stream);
int copy_to_host(void* to, const void* from, std::size_t bytes, Stream stream);  // waits until the bytes are there
const char* describe(int status);
#endif

// Whether this build holds CUDA code.
inline constexpr bool cuda_built() {
#if defined(MOELLE_CUDA)
  return true;
#else
  return false;
#endif
}

// Whether this build holds CUDA code and the machine has a device to run it on.
inline bool cuda_available() {
#if defined(MOELLE_CUDA)
  int count = 0;
  return device_count(&count) == 0 && count > 0;
#else
  return false;
#endif
}

// Throws if `device` is one this build cannot use. Everything that accepts a device calls this.
inline void require(Device device) {
  MOELLE_REQUIRE("cuda", device != Device::cuda || cuda_built(),
                 str("this build has no CUDA support; rebuild with -DMOELLE_CUDA=ON and a CUDA toolkit; got device=", device));
  MOELLE_REQUIRE("cuda", device != Device::cuda || cuda_available(), str("this machine must have a CUDA device; got none for device=", device));
}

// Throws if tensors that work together lie on different devices; the undefined do not count. Returns the device.
template <class T, class... Rest>
Device common_device(const char* op, const Tensor<T>& first, const Tensor<Rest>&... rest) {
  const Device device = first.device();
  MOELLE_REQUIRE(op, ((!rest.defined() || rest.device() == device) && ...), str("tensors must be on one device; got ", device, " and another"));
  require(device);
  return device;
}

#if defined(MOELLE_CUDA)
inline void check_status(const char* op, int status) {
  MOELLE_REQUIRE(op, status == 0, str("CUDA must accept the call; got status=", status, " (", describe(status), ")"));
}

// Uninitialised device memory under a contiguous tensor.
template <class T>
Tensor<T> empty(const Shape& shape) {
  void* memory = nullptr;
  check_status("cuda", allocate(&memory, static_cast<std::size_t>(numel(shape)) * sizeof(T)));
  const std::shared_ptr<void> owner(memory, [](void* p) { (void)release(p); });
  return Tensor<T>::external(static_cast<T*>(memory), shape, contiguous_strides(shape), owner, Device::cuda);
}

// Copies between host and device; x must be contiguous.
template <class T>
Tensor<T> to_device(const Tensor<T>& x, Stream stream = nullptr) {
  MOELLE_REQUIRE("to_device", x.is_contiguous() && x.device() == Device::cpu, str("tensor must be contiguous and on the CPU; got device=", x.device()));
  require(Device::cuda);
  const Tensor<T> y = empty<T>(x.shape());
  check_status("to_device", copy_to_device(y.data(), x.data(), static_cast<std::size_t>(x.numel()) * sizeof(T), stream));
  return y;
}
template <class T>
Tensor<T> to_host(const Tensor<T>& x, Stream stream = nullptr) {
  MOELLE_REQUIRE("to_host", x.is_contiguous() && x.device() == Device::cuda, str("tensor must be contiguous and on a CUDA device; got device=", x.device()));
  const Tensor<T> y = Tensor<T>::empty(x.shape());
  check_status("to_host", copy_to_host(y.data(), x.data(), static_cast<std::size_t>(x.numel()) * sizeof(T), stream));
  return y;
}
#endif

}  // namespace moelle::cuda
