// moelle/core/regions.hpp -- blocks cut from regions of memory on 2 MiB pages.
//
// A step of a small model passes through hundreds of blocks of 100 KiB to 2 MiB. On pages of 4 KiB, each pass is a miss of the address
// translation every 1024 floats, which on a virtual machine costs as much as the arithmetic on them.
#pragma once
#include <sys/mman.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <unordered_map>

namespace moelle::detail {

// Not thread-safe: the caller holds a lock. Lives as long as the program.
class Regions {
 public:
  static constexpr std::size_t kRegion = std::size_t{32} << 20;  // what is never touched is never given

  // A 64-byte aligned block, null if there is no memory. size: a multiple of 64, less than kRegion.
  void* take(std::size_t size) {
    if (current_ == 0 || used_ + size > kRegion) {
      void* base = std::aligned_alloc(kRegion, kRegion);
      if (base == nullptr) return nullptr;
      ::madvise(base, kRegion, MADV_HUGEPAGE);  // advice only: a refusal changes nothing but speed
      const std::uintptr_t full = current_;
      current_ = reinterpret_cast<std::uintptr_t>(base);
      used_ = 0;
      blocks_.emplace(current_, 0);
      if (full != 0) drop_if_idle(full);
    }
    ++blocks_.at(current_);
    const std::uintptr_t at = current_ + used_;
    used_ += size + kGap;
    return reinterpret_cast<void*>(at);
  }

  // Of a block that take() gave.
  void give_back(void* block) noexcept {
    const std::uintptr_t base = reinterpret_cast<std::uintptr_t>(block) / kRegion * kRegion;
    --blocks_.find(base)->second;
    drop_if_idle(base);
  }

 private:
  static constexpr std::size_t kGap = 5 * 64;  // so that blocks of equal size do not all begin at the same place of a 4 KiB page

  void drop_if_idle(std::uintptr_t base) noexcept {
    const auto it = blocks_.find(base);
    if (it->second != 0) return;
    std::free(reinterpret_cast<void*>(base));
    blocks_.erase(it);
    if (base == current_) current_ = 0;
  }

  std::unordered_map<std::uintptr_t, std::int64_t> blocks_;  // of each region: how many are out
  std::uintptr_t current_ = 0;                               // where blocks are cut from; 0: none
  std::size_t used_ = 0;
};

}  // namespace moelle::detail
