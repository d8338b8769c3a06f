// moelle/gemm/workspace.hpp -- scratch memory of a thread, kept from one product to the next.
#pragma once
#include <cstddef>
#include <cstdint>

#include <moelle/core/memory.hpp>

namespace moelle::gemm {

// Grows, never shrinks, forgets its content when it grows. 64-byte aligned; from 2 MiB on, on huge pages.
class Buffer {
 public:
  Buffer() = default;
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  ~Buffer() { release(); }

  template <class T>
  T* reserve(std::int64_t elements) {
    const std::size_t bytes = static_cast<std::size_t>(elements) * sizeof(T);
    if (bytes > bytes_) {
      release();
      data_ = moelle::detail::MemoryPool::instance().allocate(bytes);
      bytes_ = bytes;
    }
    return static_cast<T*>(data_);
  }

 private:
  void release() {
    if (data_ != nullptr) moelle::detail::MemoryPool::instance().release(data_, bytes_);
    data_ = nullptr;
    bytes_ = 0;
  }

  void* data_ = nullptr;
  std::size_t bytes_ = 0;
};

// What one thread needs while it runs a product. `shared` belongs to the thread that called the product and is read by the tasks.
struct Workspace {
  Buffer shared, left, right;
};

inline Workspace& workspace() {
  thread_local Workspace own;
  return own;
}

}  // namespace moelle::gemm
