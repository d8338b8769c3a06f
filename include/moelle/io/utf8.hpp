// moelle/io/utf8.hpp -- whether bytes are UTF-8: no overlong forms, no surrogates, nothing above U+10FFFF.
#pragma once
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>

namespace moelle::io {

// The length of the character at s[0] (1 to 4), or 0 if there is none. RFC 3629, section 4.
inline std::size_t utf8_length(std::string_view s) {
  const auto byte = [&](std::size_t i) { return i < s.size() ? static_cast<unsigned>(static_cast<unsigned char>(s[i])) : 0u; };
  const auto tail = [&](std::size_t i) { return (byte(i) & 0xC0u) == 0x80u; };
  const unsigned a = byte(0), b = byte(1);
  if (s.empty()) return 0;
  if (a < 0x80) return 1;
  if (a >= 0xC2 && a <= 0xDF) return tail(1) ? 2 : 0;
  if (a >= 0xE0 && a <= 0xEF) {
    const bool second = tail(1) && (a != 0xE0 || b >= 0xA0) && (a != 0xED || b <= 0x9F);
    return second && tail(2) ? 3 : 0;
  }
  if (a >= 0xF0 && a <= 0xF4) {
    const bool second = tail(1) && (a != 0xF0 || b >= 0x90) && (a != 0xF4 || b <= 0x8F);
    return second && tail(2) && tail(3) ? 4 : 0;
  }
  return 0;
}

inline bool is_utf8(std::string_view s) {
  while (!s.empty()) {
    std::uint64_t eight;
    if (s.size() >= sizeof eight) {  // eight ASCII characters at once
      std::memcpy(&eight, s.data(), sizeof eight);
      if ((eight & 0x8080808080808080u) == 0) {
        s.remove_prefix(sizeof eight);
        continue;
      }
    }
    const std::size_t n = utf8_length(s);
    if (n == 0) return false;
    s.remove_prefix(n);
  }
  return true;
}

}  // namespace moelle::io
