// moelle/core/memory.hpp -- host memory: 64-byte aligned, kept for reuse.
//
// Training allocates the same few hundred buffers every step. Returned to the system, each costs its page faults again
// (about a quarter of a small model's step), so freed blocks are kept by size class, up to a limit.
#pragma once
#include <sys/mman.h>

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <map>
#include <memory>
#include <mutex>
#include <new>
#include <unordered_map>
#include <vector>

#include <moelle/core/regions.hpp>

namespace moelle {

struct MemoryStats {
  std::int64_t live_bytes = 0;    // handed out now
  std::int64_t peak_bytes = 0;    // largest live_bytes since reset_peak_memory()
  std::int64_t cached_bytes = 0;  // freed, kept for reuse
  std::int64_t fresh_bytes = 0;   // asked of the system since the program began: what stands still in a loop that reuses everything
};

namespace detail {

// Whether a sanitizer watches what lies around a block.
#if !defined(__has_feature)
#define MOELLE_HAS_FEATURE(x) 0
#else
#define MOELLE_HAS_FEATURE(x) __has_feature(x)
#endif
#if defined(__SANITIZE_ADDRESS__) || MOELLE_HAS_FEATURE(address_sanitizer)
inline constexpr bool kWatched = true;
#else
inline constexpr bool kWatched = false;
#endif
#undef MOELLE_HAS_FEATURE

class MemoryPool {
 public:
  static constexpr std::size_t kAlign = 64;
  static constexpr std::size_t kHuge = std::size_t{2} << 20;  // from here on, aligned to and advised for 2 MiB pages

  // Never destroyed: tensors in static storage may be freed after every local static is gone.
  static MemoryPool& instance() {
    static MemoryPool* pool = new MemoryPool;
    return *pool;
  }

  void* allocate(std::size_t bytes) {
    if (bytes > kLargest) throw std::bad_alloc();
    const std::size_t size = size_class(bytes);
    {
      const std::lock_guard lock(mutex_);
      if (void* p = reuse(size)) return p;
    }
    void* p = fresh(size);
    if (p == nullptr) {
      trim();
      p = fresh(size);
    }
    if (p == nullptr) throw std::bad_alloc();
    const std::lock_guard lock(mutex_);
    count(size);  // only what was really given: a failed request must not raise the peak
    stats_.fresh_bytes += static_cast<std::int64_t>(size);
    return p;
  }

  void release(void* p, std::size_t bytes) noexcept {
    std::size_t size = size_class(bytes);
    {
      const std::lock_guard lock(mutex_);
      if (const auto it = larger_.find(p); it != larger_.end()) {
        size = it->second;
        larger_.erase(it);
      }
      stats_.live_bytes -= static_cast<std::int64_t>(size);
      // Sizes that nobody asks for any more make room: a program whose work has changed would otherwise pay for fresh memory in every call.
      while (!fits(size) && drop_stale()) {
      }
      if (fits(size)) {
        try {
          Kept& kept = free_[size];
          kept.blocks.push_back(p);
          kept.used = stats_.fresh_bytes;
          stats_.cached_bytes += static_cast<std::int64_t>(size);
          return;
        } catch (...) {  // no memory for the list: give the block back
        }
      }
      if (in_region(size)) return regions_.give_back(p);
    }
    std::free(p);
  }

  // Returns all kept blocks to the system; those cut from a region once none of the region is in use.
  void trim() noexcept {
    const std::lock_guard lock(mutex_);
    for (auto& [size, kept] : free_) {
      for (void* p : kept.blocks) give_back(p, size);
      kept.blocks.clear();
    }
    stats_.cached_bytes = 0;
  }

  MemoryStats stats() {
    const std::lock_guard lock(mutex_);
    return stats_;
  }
  void reset_peak() {
    const std::lock_guard lock(mutex_);
    stats_.peak_bytes = stats_.live_bytes;
  }

 private:
  static constexpr std::size_t kLargest = std::size_t{1} << 62;  // sizes and their sums fit 64 bits
  static constexpr std::int64_t kStale = 4;

  // Blocks from kSmall to kHuge are cut from regions, smaller ones come from malloc.
  static constexpr std::size_t kSmall = kWatched ? kHuge : std::size_t{64} << 10;
  static bool in_region(std::size_t size) { return size >= kSmall && size < kHuge; }

  struct Kept {
    std::vector<void*> blocks;
    std::int64_t used = 0;  // fresh_bytes when a block of this class was last in use
  };

  // At most a quarter more is kept than was ever in use at once: the phases of a step want other sizes, and together more than its peak.
  bool fits(std::size_t size) const {
    return stats_.live_bytes + stats_.cached_bytes + static_cast<std::int64_t>(size) <= most_ + most_ / 4;
  }

  // Returns a block to the system that lay idle while kStale times the most ever in use was asked of the system; false if there is none. Sizes that
  // take turns within a step are not idle that long.
  bool drop_stale() noexcept {
    for (auto& [size, kept] : free_)
      if (!kept.blocks.empty() && stats_.fresh_bytes - kept.used > kStale * most_) {
        give_back(kept.blocks.back(), size);
        kept.blocks.pop_back();
        stats_.cached_bytes -= static_cast<std::int64_t>(size);
        return true;
      }
    return false;
  }

  // A kept block of this class or, from kHuge on, of one up to a quarter larger: steps that differ in a few sizes then need no new memory.
  void* reuse(std::size_t size) {
    auto it = free_.lower_bound(size);
    while (it != free_.end() && it->second.blocks.empty()) ++it;
    if (it == free_.end() || (it->first != size && (size < kHuge || it->first > size + size / 4))) return nullptr;
    void* p = it->second.blocks.back();
    if (it->first != size) {
      try {
        larger_.emplace(p, it->first);
      } catch (...) {
        return nullptr;
      }
    }
    it->second.blocks.pop_back();
    it->second.used = stats_.fresh_bytes;
    stats_.cached_bytes -= static_cast<std::int64_t>(it->first);
    count(it->first);
    return p;
  }

  void count(std::size_t size) {
    stats_.live_bytes += static_cast<std::int64_t>(size);
    stats_.peak_bytes = std::max(stats_.peak_bytes, stats_.live_bytes);
    most_ = std::max(most_, stats_.live_bytes);
  }
  // Under the lock.
  void give_back(void* p, std::size_t size) noexcept {
    if (in_region(size)) regions_.give_back(p);
    else std::free(p);
  }
  // Four classes per power of two: at most 25 % is unused.
  static std::size_t size_class(std::size_t bytes) {
    if (bytes <= kAlign) return kAlign;
    const std::size_t step = std::max(kAlign, std::bit_floor(bytes) / 4);
    return (bytes + step - 1) / step * step;
  }
  void* fresh(std::size_t size) {
    if (in_region(size)) {
      const std::lock_guard lock(mutex_);
      return regions_.take(size);
    }
    if (size < kHuge) return std::aligned_alloc(kAlign, size);
    const std::size_t rounded = (size + kHuge - 1) / kHuge * kHuge;
    void* p = std::aligned_alloc(kHuge, rounded);
    if (p != nullptr) ::madvise(p, rounded, MADV_HUGEPAGE);  // advice only: a refusal changes nothing but speed
    return p;
  }

  std::mutex mutex_;
  Regions regions_;
  std::map<std::size_t, Kept> free_;                     // by class
  std::unordered_map<void*, std::size_t> larger_;        // blocks in use that are of a larger class than was asked for
  MemoryStats stats_;
  std::int64_t most_ = 0;                                // largest live_bytes ever
};


// Memory of exactly this size for what stays: weights. On 2 MiB pages where the system grants them; not counted by memory_stats().
inline std::shared_ptr<void> lasting_memory(std::size_t bytes) {
  if (bytes > std::size_t{1} << 62) throw std::bad_alloc();
  const std::size_t page = bytes < MemoryPool::kHuge ? MemoryPool::kAlign : MemoryPool::kHuge, rounded = std::max(page, (bytes + page - 1) / page * page);
  void* p = std::aligned_alloc(page, rounded);
  if (p == nullptr) throw std::bad_alloc();
  if (page == MemoryPool::kHuge) ::madvise(p, rounded, MADV_HUGEPAGE);
  return std::shared_ptr<void>(p, [](void* q) { std::free(q); });
}

}  // namespace detail

inline MemoryStats memory_stats() { return detail::MemoryPool::instance().stats(); }
inline void reset_peak_memory() { detail::MemoryPool::instance().reset_peak(); }
inline void trim_memory() { detail::MemoryPool::instance().trim(); }

}  // namespace moelle
