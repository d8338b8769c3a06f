// moelle/core/storage.hpp -- the bytes under one or more tensors.
#pragma once
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>

#include <moelle/core/dtype.hpp>
#include <moelle/core/error.hpp>
#include <moelle/core/memory.hpp>

namespace moelle {

class Storage {
 public:
  // Uninitialised host memory.
  explicit Storage(std::size_t bytes)
      : data_(detail::MemoryPool::instance().allocate(bytes)), bytes_(bytes), owned_(true) {}
  // Somebody else's memory, kept alive by `owner` (a NumPy array, a mapped file, a device allocation).
  Storage(void* data, std::size_t bytes, std::shared_ptr<void> owner, Device device = Device::cpu, bool writable = true)
      : data_(data), bytes_(bytes), owner_(std::move(owner)), device_(device), writable_(writable) {}
  Storage(const Storage&) = delete;
  Storage& operator=(const Storage&) = delete;
  ~Storage() {
    if (owned_) detail::MemoryPool::instance().release(data_, bytes_);
  }

  void* data() const { return data_; }
  std::size_t bytes() const { return bytes_; }
  Device device() const { return device_; }
  bool writable() const { return writable_; }

  // Counts in-place changes, so that a gradient computed from an overwritten value is an error and not a wrong number.
  std::uint64_t version() const { return version_.load(std::memory_order_relaxed); }
  void bump_version() { version_.fetch_add(1, std::memory_order_relaxed); }

 private:
  void* data_;
  std::size_t bytes_;
  std::shared_ptr<void> owner_;
  Device device_ = Device::cpu;
  bool owned_ = false;
  bool writable_ = true;
  std::atomic<std::uint64_t> version_{0};
};

}  // namespace moelle
