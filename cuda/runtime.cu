// cuda/runtime.cu -- the few calls of the CUDA runtime that host code needs; see include/moelle/cuda/device.hpp.
#if !defined(MOELLE_CUDA)
#define MOELLE_CUDA
#endif
#include <moelle/cuda/device.hpp>

namespace moelle::cuda {

int device_count(int* count) { return cudaGetDeviceCount(count); }
int allocate(void** memory, std::size_t bytes) {
  *memory = nullptr;
  return bytes == 0 ? cudaSuccess : cudaMalloc(memory, bytes);
}
int release(void* memory) { return cudaFree(memory); }
int copy_to_device(void* to, const void* from, std::size_t bytes, Stream stream) {
  return cudaMemcpyAsync(to, from, bytes, cudaMemcpyHostToDevice, static_cast<cudaStream_t>(stream));
}
int copy_to_host(void* to, const void* from, std::size_t bytes, Stream stream) {
  const cudaError_t status = cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToHost, static_cast<cudaStream_t>(stream));
  return status != cudaSuccess ? status : cudaStreamSynchronize(static_cast<cudaStream_t>(stream));
}
const char* describe(int status) { return cudaGetErrorString(static_cast<cudaError_t>(status)); }

}  // namespace moelle::cuda
