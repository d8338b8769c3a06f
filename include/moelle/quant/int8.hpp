// moelle/quant/int8.hpp -- symmetric int8 of a row: x = q * scale, q in [-127, 127].
//
// scale = max |x| / 127 and q = x * (127 / max |x|) rounded to nearest even. A row whose largest number is below kInt8Least is all
// zero. A row with NaN or infinity has a NaN scale and q = 0: what is computed from it is NaN.
#pragma once
#include <bit>
#include <cstdint>
#include <limits>

namespace moelle::quant {

inline constexpr float kInt8Least = 0x1p-119f;  // 127 divided by it is still finite

struct Int8Scale {
  float scale;    // from q to x
  float inverse;  // from x to q
};

inline Int8Scale int8_scale(float max_abs) {
  if (!(max_abs <= std::numeric_limits<float>::max())) return {std::numeric_limits<float>::quiet_NaN(), 0.0f};
  if (max_abs < kInt8Least) return {0.0f, 0.0f};
  return {max_abs / 127.0f, 127.0f / max_abs};
}

// Where the last bit of a float is 1, adding rounds: the low bits of the sum are the nearest integer.
inline std::int8_t to_int8(float x, float inverse) { return static_cast<std::int8_t>(std::bit_cast<std::uint32_t>(x * inverse + 0x1.8p23f)); }

}  // namespace moelle::quant
