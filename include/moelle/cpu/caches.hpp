// moelle/cpu/caches.hpp -- the sizes of this machine's caches, for choosing how products are cut. They never change a result.
#pragma once
#include <unistd.h>

#include <cstdint>

namespace moelle::cpu {

struct Caches {
  std::int64_t l2 = std::int64_t{512} << 10;  // of one core
  std::int64_t l3 = std::int64_t{8} << 20;    // shared, whole
};

// What the system says, or the defaults above where it is silent.
inline const Caches& caches() {
  static const Caches found = [] {
    Caches c;
#if defined(_SC_LEVEL2_CACHE_SIZE) && defined(_SC_LEVEL3_CACHE_SIZE)
    const long l2 = ::sysconf(_SC_LEVEL2_CACHE_SIZE), l3 = ::sysconf(_SC_LEVEL3_CACHE_SIZE);
    if (l2 > 0) c.l2 = l2;
    c.l3 = l3 > 0 ? l3 : 4 * c.l2;
#endif
    return c;
  }();
  return found;
}

}  // namespace moelle::cpu
