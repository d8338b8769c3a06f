// moelle/quant/int4.hpp -- 4-bit weights with two levels of scales: w = (nibble - 8) * s * scale.
//
// `scale` (float) belongs to an output channel, s (1 .. 15) to a group of 32 of its weights, nibble is in 0 .. 15. So |(nibble - 8) s| is at
// most 120, an int8 number, and sums of products with int8 activations are exact integers whatever their length.
// With u_g = max(max w / 7, max -w / 8) the step that just covers group g, scale = max_g u_g / 15; s_g is the best of the three integers
// around u_g / scale by squared error, the lowest among equals. A group of zeros has s = 1.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>

namespace moelle::quant {

struct Int4Group {
  std::uint8_t s;
  std::uint8_t nibble[32];
};

// The step that covers n <= 32 weights, `stride` apart.
inline float int4_step(const float* w, std::int64_t n, std::int64_t stride) {
  float high = 0, low = 0;
  for (std::int64_t i = 0; i < n; ++i) {
    high = std::max(high, w[i * stride]);
    low = std::max(low, -w[i * stride]);
  }
  return std::max(high / 7.0f, low / 8.0f);
}

inline float int4_scale(float largest_step) { return largest_step < 0x1p-100f ? 0.0f : largest_step / 15.0f; }

inline int int4_round(float x, float inverse) {
  return static_cast<int>(std::clamp(std::nearbyint(x * inverse), -8.0f, 7.0f));
}

// Weights beyond n are zero.
inline Int4Group int4_group(const float* w, std::int64_t n, std::int64_t stride, float scale) {
  Int4Group best{1, {}};
  std::fill_n(best.nibble, 32, std::uint8_t{8});
  if (scale == 0.0f) return best;
  const int middle = static_cast<int>(std::nearbyint(int4_step(w, n, stride) / scale));
  double least = -1;
  for (int s = std::clamp(middle - 1, 1, 15); s <= std::clamp(middle + 1, 1, 15); ++s) {
    const float step = scale * static_cast<float>(s), inverse = 1.0f / step;
    double error = 0;
    for (std::int64_t i = 0; i < n; ++i) {
      const double d = static_cast<double>(w[i * stride]) - static_cast<double>(step * static_cast<float>(int4_round(w[i * stride], inverse)));
      error += d * d;
    }
    if (least >= 0 && error >= least) continue;
    least = error;
    best.s = static_cast<std::uint8_t>(s);
    for (std::int64_t i = 0; i < n; ++i) best.nibble[i] = static_cast<std::uint8_t>(8 + int4_round(w[i * stride], inverse));
  }
  return best;
}

}  // namespace moelle::quant
