// moelle/rope/rope_ref.hpp -- the oracle: rope.hpp for one head of one token.
#pragma once
#include <cstdint>

#include <moelle/rope/rope.hpp>

namespace moelle::rope::ref {

// x[D] -> y[D]; cos[R/2] and sin[R/2] of the token's position.
template <class T>
void rope(const RopeOptions& o, const T* x, const T* cos, const T* sin, std::int64_t D, std::int64_t R, T* y) {
  for (std::int64_t j = 0; j < D; ++j) y[j] = x[j];
  const auto channel = [&](bool interleaved, std::int64_t i, int member) {
    return o.offset + (interleaved ? 2 * i + member : i + member * (R / 2));
  };
  const bool from = o.layout == Layout::interleaved || (o.layout == Layout::deinterleave && !o.inverse);
  const bool to = o.layout == Layout::interleaved || (o.layout == Layout::deinterleave && o.inverse);
  for (std::int64_t i = 0; i < R / 2; ++i) {
    const T a = x[channel(from, i, 0)], b = x[channel(from, i, 1)], s = o.inverse ? -sin[i] : sin[i];
    y[channel(to, i, 0)] = a * cos[i] - b * s;
    y[channel(to, i, 1)] = b * cos[i] + a * s;
  }
}

// The transpose, applied to dy.
template <class T>
void rope_grad(RopeOptions o, const T* dy, const T* cos, const T* sin, std::int64_t D, std::int64_t R, T* dx) {
  o.inverse = !o.inverse;
  rope(o, dy, cos, sin, D, R, dx);
}

}  // namespace moelle::rope::ref
