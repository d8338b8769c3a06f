// moelle/moe/experts.hpp -- the routed experts of a layer: the contract.
//
// Axes: N tokens, K experts per token, R = N K rows, E experts, D hidden size, F expert size.
//   X = rows of x in order of experts [R, D]        H = X gate_up[e]^T [R, 2F], gate half first
//   A = silu(gate) up [R, F]                        y[n] = sum_k w[n, k] (A down[e]^T)[row of (n, k)]
// Gradient, with G the rows of dy:
//   P = G down[e] [R, F]      dw = <P, A>  (equal to <dy, expert output>, which need not be kept)
//   d down[e] = G^T (w A)     dH = swiglu'(H) (w P)     d gate_up[e] = dH^T X     dx[n] = sum_k (dH gate_up[e])[row of (n, k)]
// Kept for backward: x and H. X is gathered and A computed again. An expert without tokens gets a gradient of zero.
// The experts are DeepSeekMoE's (arXiv:2401.06066, section 3.1) and all its relatives'; weights are applied after the second
// product, as in V2 and V3. The limit of SwigluParams is V4's.
#pragma once
#include <cstdint>

#include <moelle/core/error.hpp>
#include <moelle/core/shape.hpp>

namespace moelle::moe {

struct ExpertSizes {
  std::int64_t N, K, E, D, F;
};

inline ExpertSizes check_experts(const Shape& x, const Shape& choice, const Shape& weights, const Shape& gate_up, const Shape& down) {
  const auto got = [&] { return str("; got x=", x, " choice=", choice, " weights=", weights, " gate_up=", gate_up, " down=", down); };
  MOELLE_REQUIRE("experts", x.rank() == 2 && choice.rank() == 2 && gate_up.rank() == 3 && down.rank() == 3,
                 "x must be [N, D], choice [N, K], gate_up [E, 2F, D], down [E, D, F]" + got());
  const ExpertSizes s{x[0], choice[1], gate_up[0], x[1], down[2]};
  MOELLE_REQUIRE("experts", gate_up == Shape({s.E, 2 * s.F, s.D}) && down == Shape({s.E, s.D, s.F}),
                 "gate_up must be [E, 2F, D] and down [E, D, F] with the D of x" + got());
  MOELLE_REQUIRE("experts", choice[0] == s.N && weights == choice, "choice and weights must be [N, K] with the N of x" + got());
  return s;
}

}  // namespace moelle::moe
