// moelle/activation/swiglu.hpp -- the gated unit of the feed-forward layers: the contract.
//
// Shapes:  gate, up, y [..., H]; packed [..., 2H] holds the gate in the first half.
//   g = min(gate, L)   u = clamp(up, -L, L)   y = silu(g) u
//   dgate = dy u silu'(g) where gate <= L, else 0
//   dup   = dy silu(g)    where |up| <= L, else 0
// Source:  Shazeer (arXiv:2002.05202) for SwiGLU; the limit L is DeepSeek-V4's swiglu_limit (none by default).
// NaN in gate or up gives NaN in y. Finite inputs without overflow of the product never give NaN.
#pragma once
#include <cstdint>
#include <limits>

#include <moelle/core/error.hpp>
#include <moelle/core/shape.hpp>

namespace moelle::activation {

struct SwigluParams {
  double limit = std::numeric_limits<double>::infinity();  // L > 0
};

inline void check(const SwigluParams& p, const Shape& gate, const Shape& up) {
  MOELLE_REQUIRE("swiglu", gate == up, str("gate and up must have one shape; got gate=", gate, " up=", up));
  MOELLE_REQUIRE("swiglu", p.limit > 0, str("limit must be positive; got limit=", p.limit));
}
inline void check_packed(const SwigluParams& p, const Shape& x) {
  MOELLE_REQUIRE("swiglu", x.rank() >= 1 && x.back() % 2 == 0, str("last axis must be even: gate, then up; got shape=", x));
  MOELLE_REQUIRE("swiglu", p.limit > 0, str("limit must be positive; got limit=", p.limit));
}

// What the kernels see. Row r of gate is at gate + r * gate_stride; `width` elements each.
template <class T>
struct SwigluArgs {
  const T* gate;
  std::int64_t gate_stride;
  const T* up;
  std::int64_t up_stride;
  std::int64_t width;
  T limit;
  bool past_caches = false;  // how results are written: cpu/stream_simd.hpp
};
template <class T>
struct SwigluGradArgs {
  T* gate;
  std::int64_t gate_stride;
  T* up;
  std::int64_t up_stride;
};

}  // namespace moelle::activation
