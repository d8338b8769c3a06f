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

// The step that covers n <= 32 weights.
inline float int4_step(const float* w, std::int64_t n) {
  float high[8] = {}, low[8] = {};
  if (n == 32) {
    for (int i = 0; i < 32; i += 8)
      for (int j = 0; j < 8; ++j) {
        high[j] = w[i + j] > high[j] ? w[i + j] : high[j];
        low[j] = -w[i + j] > low[j] ? -w[i + j] : low[j];
      }
  } else {
    for (std::int64_t i = 0; i < n; ++i) {
      high[0] = std::max(high[0], w[i]);
      low[0] = std::max(low[0], -w[i]);
    }
  }
  return std::max(*std::max_element(high, high + 8) / 7.0f, *std::max_element(low, low + 8) / 8.0f);
}

inline float int4_scale(float largest_step) { return largest_step < 0x1p-100f ? 0.0f : largest_step / 15.0f; }

// The integers -8 .. 7 nearest to w / step for 32 weights, and the sum of their squared errors (eight partial sums, added in order).
inline float int4_integers(const float* w, float step, float* q) {
  const float inverse = 1.0f / step;
  float error[8] = {};
  for (int i = 0; i < 32; i += 8)
    for (int j = 0; j < 8; ++j) {
      const float x = w[i + j] * inverse, low = x < -8.0f ? -8.0f : x, inside = low > 7.0f ? 7.0f : low;
      const float nearest = (inside + 0x1.8p23f) - 0x1.8p23f;  // ties to even
      const float d = w[i + j] - step * nearest;
      q[i + j] = nearest;
      error[j] += d * d;
    }
  float sum = 0;
  for (float e : error) sum += e;
  return sum;
}

// Weights beyond n are zero.
inline Int4Group int4_group(const float* w, std::int64_t n, float scale) {
  Int4Group best{1, {}};
  std::fill_n(best.nibble, 32, std::uint8_t{8});
  if (scale == 0.0f) return best;
  float x[32] = {}, q[32];
  std::copy_n(w, n, x);
  const int middle = static_cast<int>(std::nearbyint(int4_step(x, 32) / scale));
  float least = -1;
  for (int s = std::clamp(middle - 1, 1, 15); s <= std::clamp(middle + 1, 1, 15); ++s) {
    const float error = int4_integers(x, scale * static_cast<float>(s), q);
    if (least >= 0 && !(error < least)) continue;
    least = error;
    best.s = static_cast<std::uint8_t>(s);
    for (int i = 0; i < 32; ++i) best.nibble[i] = static_cast<std::uint8_t>(8 + static_cast<int>(q[i]));
  }
  return best;
}

}  // namespace moelle::quant
