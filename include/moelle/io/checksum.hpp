// moelle/io/checksum.hpp -- XXH64, the checksum of checkpoint files: portable, and faster than any disk.
//
// Source: Collet, "xxHash fast digest algorithm", format description 0.1.1, XXH64. Detects damage, not forgery.
#pragma once
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>

#include <moelle/core/error.hpp>

namespace moelle::io {

// Feed bytes in any pieces with update(); digest() may be asked at any time.
class Xxh64 {
 public:
  explicit Xxh64(std::uint64_t seed = 0) : lane_{seed + kP1 + kP2, seed + kP2, seed, seed - kP1}, seed_(seed) {}

  void update(const void* data, std::size_t n) {
    auto* p = static_cast<const unsigned char*>(data);
    total_ += n;
    if (held_ > 0) {
      const std::size_t take = n < sizeof(buffer_) - held_ ? n : sizeof(buffer_) - held_;
      if (take > 0) std::memcpy(buffer_ + held_, p, take);
      held_ += take;
      p += take;
      n -= take;
      if (held_ < sizeof(buffer_)) return;
      block(buffer_);
      held_ = 0;
    }
    for (; n >= sizeof(buffer_); p += sizeof(buffer_), n -= sizeof(buffer_)) block(p);
    if (n > 0) std::memcpy(buffer_, p, n);
    held_ = n;
  }

  std::uint64_t digest() const {
    std::uint64_t h = seed_ + kP5;
    if (total_ >= sizeof(buffer_)) {
      h = std::rotl(lane_[0], 1) + std::rotl(lane_[1], 7) + std::rotl(lane_[2], 12) + std::rotl(lane_[3], 18);
      for (const std::uint64_t lane : lane_) h = (h ^ round(0, lane)) * kP1 + kP4;
    }
    h += total_;
    std::size_t i = 0;
    for (; i + 8 <= held_; i += 8) h = std::rotl(h ^ round(0, word<std::uint64_t>(buffer_ + i)), 27) * kP1 + kP4;
    if (i + 4 <= held_) {
      h = std::rotl(h ^ (word<std::uint32_t>(buffer_ + i) * kP1), 23) * kP2 + kP3;
      i += 4;
    }
    for (; i < held_; ++i) h = std::rotl(h ^ (buffer_[i] * kP5), 11) * kP1;
    h = (h ^ (h >> 33)) * kP2;
    h = (h ^ (h >> 29)) * kP3;
    return h ^ (h >> 32);
  }

 private:
  static constexpr std::uint64_t kP1 = 0x9E3779B185EBCA87u, kP2 = 0xC2B2AE3D27D4EB4Fu, kP3 = 0x165667B19E3779F9u,
                                 kP4 = 0x85EBCA77C2B2AE63u, kP5 = 0x27D4EB2F165667C5u;
  template <class W>
  static std::uint64_t word(const unsigned char* p) {  // little-endian, as all machines this library runs on
    W w;
    std::memcpy(&w, p, sizeof w);
    return w;
  }
  static std::uint64_t round(std::uint64_t lane, std::uint64_t input) { return std::rotl(lane + input * kP2, 31) * kP1; }
  void block(const unsigned char* p) {
    for (std::size_t i = 0; i < 4; ++i) lane_[i] = round(lane_[i], word<std::uint64_t>(p + 8 * i));
  }

  std::uint64_t lane_[4];
  std::uint64_t seed_;
  std::uint64_t total_ = 0;
  std::size_t held_ = 0;
  unsigned char buffer_[32] = {};
};

inline std::uint64_t xxh64(const void* data, std::size_t n) {
  Xxh64 h;
  h.update(data, n);
  return h.digest();
}

// Sixteen lower-case digits, and back; Error for anything else.
inline std::string to_hex(std::uint64_t v) {
  std::string s(16, '0');
  for (std::size_t i = 0; i < 16; ++i) s[15 - i] = "0123456789abcdef"[(v >> (4 * i)) & 15];
  return s;
}
inline std::uint64_t from_hex(const std::string& s) {
  MOELLE_REQUIRE("checksum", s.size() == 16 && s.find_first_not_of("0123456789abcdef") == std::string::npos,
                 str("a checksum must have 16 lower-case hexadecimal digits; got ", s.size(), " characters"));
  std::uint64_t v = 0;
  for (const char c : s) v = v * 16 + static_cast<std::uint64_t>(c <= '9' ? c - '0' : c - 'a' + 10);
  return v;
}

}  // namespace moelle::io
