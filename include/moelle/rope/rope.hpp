// moelle/rope/rope.hpp -- rotary position embedding on a slice of the head: the contract.
//
// Axes: T tokens, H heads, D head size, P positions in the tables, R = dim rotated channels, those in [offset, offset + R).
//   x, y [..., T, H, D]   positions [T] or [..., T]   cos, sin [P, R/2]
// A pair (a, b) of channels becomes (a c - b s, b c + a s), c and s of the token's position and the pair's index i:
//   interleaved    the pair is channels 2i, 2i + 1 (DeepSeek-V2, V4; the original paper)
//   half_split     channels i, i + R/2 (Llama, Qwen, DeepSeekMoE-16B, V3.2's indexer)
//   deinterleave   read as 2i, 2i + 1, written as i, i + R/2 (DeepSeek-V3 in transformers: the scores are those of
//                  interleaved, the cached keys are permuted)
// Other channels are copied. `inverse` applies the transpose: the turn by -angle, and for deinterleave reads i, i + R/2 and
// writes 2i, 2i + 1. Without a table scale, inverse undoes the rotation. The gradient is the transpose applied to dy.
//
// Every element is two products and one sum, each rounded: equal bits on every backend. NaN stays within its pair.
#pragma once
#include <cstdint>

#include <moelle/core/error.hpp>
#include <moelle/core/shape.hpp>

namespace moelle::rope {

enum class Layout : std::uint8_t { interleaved, half_split, deinterleave };

struct RopeOptions {
  Layout layout = Layout::interleaved;
  std::int64_t offset = 0;  // first rotated channel
  bool inverse = false;
};

inline void check(const RopeOptions& o, const Shape& x, const Shape& positions, const Shape& cos, const Shape& sin) {
  MOELLE_REQUIRE("rope", x.rank() >= 3, str("x must be [..., T, H, D]; got x=", x));
  MOELLE_REQUIRE("rope", cos.rank() == 2 && cos == sin, str("tables must be [P, dim/2] and alike; got cos=", cos, " sin=", sin));
  MOELLE_REQUIRE("rope", o.offset >= 0 && o.offset + 2 * cos[1] <= x.back(),
                 str("rotated channels must lie in the head; got offset=", o.offset, " dim=", 2 * cos[1], " head size=", x.back()));
  Shape tokens = x;
  tokens.erase(x.rank() - 1);
  tokens.erase(x.rank() - 2);
  MOELLE_REQUIRE("rope", positions == tokens || (positions.rank() == 1 && positions[0] == tokens.back()),
                 str("positions must be [T] or [..., T]; got positions=", positions, " x=", x));
}

// What the kernels see.
struct RopeArgs {
  std::int64_t heads, head_stride;  // of x
  std::int64_t D, offset, half;     // head size, first rotated channel, half of the rotated channels
  bool inverse;
};

}  // namespace moelle::rope
