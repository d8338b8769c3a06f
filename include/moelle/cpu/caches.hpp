// moelle/cpu/caches.hpp -- the sizes of this machine's caches, for choosing how products are cut and results written. They never change a result.
#pragma once
#include <unistd.h>

#include <cstdint>
#include <cstdio>

namespace moelle::cpu {

struct Caches {
  std::int64_t l2 = std::int64_t{512} << 10;  // of one core
  std::int64_t l3 = std::int64_t{8} << 20;    // shared, whole
  bool read = false;                          // false: these defaults, since the system does not say
};

namespace detail {
// Linux's own list, e.g. "1024K"; 0 where there is none.
inline std::int64_t listed_cache(int level) {
  for (int index = 0; index < 8; ++index) {
    const auto scan = [&](const char* name, const char* format, long long* value) {
      char path[80];
      std::snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu0/cache/index%d/%s", index, name);
      std::FILE* file = std::fopen(path, "r");
      if (file == nullptr) return false;
      const bool one = std::fscanf(file, format, value) == 1;
      std::fclose(file);
      return one;
    };
    long long found = 0, kib = 0;
    if (scan("level", "%lld", &found) && found == level && scan("size", "%lldK", &kib) && kib > 0) return static_cast<std::int64_t>(kib) << 10;
  }
  return 0;
}
// The C library is asked second: it seldom knows on ARM, and glibc 2.36 gave ten times the L3 of a virtual machine on an EPYC.
inline std::int64_t cache_size(int level) {
  if (const std::int64_t listed = listed_cache(level); listed > 0) return listed;
#if defined(_SC_LEVEL2_CACHE_SIZE) && defined(_SC_LEVEL3_CACHE_SIZE)
  const long known = ::sysconf(level == 2 ? _SC_LEVEL2_CACHE_SIZE : _SC_LEVEL3_CACHE_SIZE);
  if (known > 0) return known;
#endif
  return 0;
}
}  // namespace detail

inline const Caches& caches() {
  static const Caches found = [] {
    Caches c;
    const std::int64_t l2 = detail::cache_size(2), l3 = detail::cache_size(3);
    if (l2 > 0) c = {.l2 = l2, .l3 = l3 > 0 ? l3 : 4 * l2, .read = true};
    return c;
  }();
  return found;
}

// Whether a result of rows at `to` is written past the caches (stream_simd.hpp): nobody could read it from there, and rows are whole lines.
inline bool past_caches(const void* to, std::int64_t rows, std::int64_t row_bytes) {
  return row_bytes % 64 == 0 && reinterpret_cast<std::uintptr_t>(to) % 64 == 0 && rows * row_bytes >= caches().l3;
}

}  // namespace moelle::cpu
