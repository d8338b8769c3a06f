// moelle/moe/gate.hpp -- which experts a token goes to, and with which weights: the contract.
//
// Axes: N tokens, E routed experts, G groups of E/G consecutive experts, K experts per token.
//   scores  s = softmax(x), sigmoid(x) or sqrt(softplus(x)) of the logits x [N, E]
//   ranking c = s + bias: the bias moves the choice and never a weight
//   groups  the top_groups best groups, ranked by their best c (V2) or the sum of their two best (V3), may supply experts;
//           experts of other groups cannot be chosen, whatever the sign of c
//   choice  the K best c, best first
//   weights w = s of the chosen, divided by their sum + 1e-20 if normalize, times scale
// One total order everywhere: higher value first, then lower index; NaN ranks below -infinity; -0 equals +0.
//
// Gradient: the choice is piecewise constant, the bias receives none. With S the sum over the chosen (+ 1e-20), c = scale:
//   normalized dL/ds_r = c/S (g_r - sum_j g_j s_j/S)     plain dL/ds_r = c g_r     plus dL/ds from the scores themselves
//   sigmoid    dL/dx = dL/ds s (1 - s)
//   softmax    dL/dx = s (dL/ds - sum_j dL/ds_j s_j)
//   sqrt_softplus  dL/dx = dL/ds sigmoid(x) / (2 s), and dL/ds s / 2 for x < -15, where both vanish alike
//
// Sources: DeepSeekMoE (arXiv:2401.06066) section 3; DeepSeek-V2 (2405.04434) 2.2.2; DeepSeek-V3 (2412.19437) 2.1.2;
// DeepSeek-V4 (2606.19348) for sqrt_softplus; Mixtral (2401.04088) is softmax with normalize.
#pragma once
#include <bit>
#include <cmath>
#include <cstdint>
#include <string>

#include <moelle/core/config.hpp>
#include <moelle/core/error.hpp>

namespace moelle::moe {

enum class Score : std::uint8_t { sigmoid, softmax, sqrt_softplus };
enum class GroupScore : std::uint8_t { max, top2_sum };

struct GateParams {
  int groups = 1;      // G; must divide E
  int top_groups = 1;  // 1 <= top_groups <= G
  int top_k = 1;       // K; 1 <= K <= min(kMaxTopK, top_groups * E / G)
  Score score = Score::sigmoid;
  GroupScore group_score = GroupScore::top2_sum;
  bool normalize = true;
  float scale = 1.0f;
};

inline constexpr int kMaxTopK = 32;  // one warp lane per chosen expert
inline constexpr int kMaxGroups = 32;
inline constexpr double kNormEps = 1e-20;

// Throws unless `p` is meaningful for E experts. Entry points call this; kernels assume it.
inline void check(const GateParams& p, std::int64_t experts) {
  const auto got = [&] {
    return str("; got experts=", experts, " groups=", p.groups, " top_groups=", p.top_groups, " top_k=", p.top_k);
  };
  MOELLE_REQUIRE("gate", experts >= 1 && p.groups >= 1 && p.groups <= kMaxGroups && experts % p.groups == 0,
                 "groups must be in [1, 32] and divide experts" + got());
  const std::int64_t size = experts / p.groups;
  MOELLE_REQUIRE("gate", p.group_score != GroupScore::top2_sum || p.groups == 1 || size >= 2,
                 "top2_sum needs at least two experts per group" + got());
  MOELLE_REQUIRE("gate", p.top_groups >= 1 && p.top_groups <= p.groups, "top_groups must be in [1, groups]" + got());
  MOELLE_REQUIRE("gate", p.top_k >= 1 && p.top_k <= kMaxTopK && p.top_k <= p.top_groups * size,
                 "top_k must be in [1, min(32, top_groups * experts / groups)]" + got());
  MOELLE_REQUIRE("gate", std::isfinite(p.scale), str("scale must be finite; got scale=", p.scale));
}

// A float's rank and its index in one unsigned number: comparing keys is the total order above. Key 0 is no candidate.
[[nodiscard]] MOELLE_HD MOELLE_INLINE constexpr std::uint64_t rank_key(std::uint32_t float_bits, int index) {
  const bool nan = (float_bits & 0x7fffffffu) > 0x7f800000u;
  const std::uint32_t b = float_bits == 0x80000000u ? 0u : float_bits;
  const std::uint32_t ordered = nan ? 0u : (b & 0x80000000u) != 0 ? ~b : (b | 0x80000000u);
  return (std::uint64_t{ordered} << 32) | (0xffffffffu - static_cast<std::uint32_t>(index));
}
[[nodiscard]] MOELLE_HD MOELLE_INLINE constexpr int index_of(std::uint64_t key) {
  return static_cast<int>(0xffffffffu - static_cast<std::uint32_t>(key));
}

// The same order for any real type, two candidates at a time.
template <class T>
[[nodiscard]] MOELLE_INLINE bool ranks_before(T a, int index_a, T b, int index_b) {
  const bool nan_a = a != a, nan_b = b != b;
  if (nan_a != nan_b) return nan_b;
  if (!nan_a && a != b) return a > b;
  return index_a < index_b;
}

}  // namespace moelle::moe
