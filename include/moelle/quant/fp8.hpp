// moelle/quant/fp8.hpp -- e4m3: sign, 4 bits of exponent (bias 7), 3 of mantissa. OCP 8-bit floating point specification, 1.0.
//
// Largest number 448, least 2^-9; no infinities; 0x7f and 0xff are NaN. Conversion rounds to nearest even and saturates.
#pragma once
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>

namespace moelle::quant {

inline constexpr float kE4m3Largest = 448.0f;

inline float from_e4m3(std::uint8_t b) {
  if ((b & 0x7f) == 0x7f) return std::numeric_limits<float>::quiet_NaN();
  // The bits moved to where float keeps them are the number times 2^-120, denormals included.
  const float scaled = std::bit_cast<float>(static_cast<std::uint32_t>(b & 0x7f) << 20) * 0x1p120f;
  return (b & 0x80) != 0 ? -scaled : scaled;
}

inline std::uint8_t to_e4m3(float x) {
  const std::uint8_t sign = std::signbit(x) ? 0x80 : 0;
  const float a = std::fabs(x);
  if (a != a) return static_cast<std::uint8_t>(sign | 0x7f);
  if (a >= kE4m3Largest) return static_cast<std::uint8_t>(sign | 0x7e);
  if (a < 0x1p-6f) return static_cast<std::uint8_t>(sign | static_cast<int>(std::nearbyint(a * 512.0f)));  // multiples of 2^-9; 8 is 2^-6
  const auto u = std::bit_cast<std::uint32_t>(a);
  const std::uint32_t rounded = u + 0x7ffffu + ((u >> 20) & 1u);
  const std::uint32_t bits = (rounded >> 20) - (120u << 3);
  return static_cast<std::uint8_t>(sign | (bits > 0x7e ? 0x7e : bits));
}

}  // namespace moelle::quant
