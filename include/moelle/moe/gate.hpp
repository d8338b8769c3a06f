// moelle/moe/gate.hpp -- which experts a token goes to, and with which weights: the contract.
//
// Axes: N tokens, E routed experts, G groups of E/G consecutive experts, K experts per token.
//   scores  s = softmax(x), sigmoid(x) or sqrt(softplus(x)) of the logits x [N, E]
//   ranking c = s + bias: the bias moves the choice and never a weight
//   groups  the top_groups best groups, ranked by their best c (V2) or the sum of their two best (V3), may supply experts;
//           experts of other groups cannot be chosen, whatever the sign of c (they count as -infinity, not as 0)
//   choice  the K best c, best first
//   weights w = s of the chosen, divided by their sum + 1e-20 if normalize, times scale
// One total order everywhere: higher value first, then lower index; NaN ranks below -infinity; -0 equals +0. Given the same
// scores and bias, all backends choose the same experts and give them weights of the same bits. NaN in a row's logits stays in
// that row: with softmax all its scores are NaN and experts 0 to K-1 are chosen, otherwise those experts come last.
//
// Gradient: the choice is piecewise constant, the bias receives none. With S the sum over the chosen (+ 1e-20), c = scale:
//   normalized dL/ds_r = c/S (g_r - sum_j g_j s_j/S)     plain dL/ds_r = c g_r     plus dL/ds from the scores themselves
//   sigmoid    dL/dx = dL/ds s (1 - s)
//   softmax    dL/dx = s (dL/ds - sum_j dL/ds_j s_j)
//   sqrt_softplus  dL/dx = dL/ds softplus'(x) / (2 s); see sqrt_softplus_tail for where softplus underflows
//
// Sources: DeepSeekMoE (arXiv:2401.06066) section 3; DeepSeek-V2 (2405.04434) 2.2.2; DeepSeek-V3 (2412.19437) 2.1.2;
// DeepSeek-V4 (2606.19348) for sqrt_softplus; Mixtral (2401.04088), whose softmax over the K best logits is softmax and normalize.
#pragma once
#include <cmath>
#include <cstdint>
#include <string>

#include <moelle/core/config.hpp>
#include <moelle/core/error.hpp>

namespace moelle::moe {

enum class Score : std::uint8_t { sigmoid, softmax, sqrt_softplus };
enum class GroupScore : std::uint8_t { max, top2_sum };

// DeepSeek's own V2 code applies scale only where it does not normalize; V3 and transformers (V2 included) always do.
enum class ScaleRule : std::uint8_t { always, unless_normalized };

struct GateParams {
  int groups = 1;      // G; must divide E
  int top_groups = 1;  // 1 <= top_groups <= G
  int top_k = 1;       // K; 1 <= K <= min(kMaxTopK, top_groups * E / G)
  Score score = Score::sigmoid;
  GroupScore group_score = GroupScore::top2_sum;
  bool normalize = true;
  double scale = 1.0;
  ScaleRule scale_rule = ScaleRule::always;
};

// The gates by the names of Hugging Face's topk_method. Mixtral: greedy with normalize; Qwen3 and OLMoE: greedy with either.
inline GateParams greedy(int top_k, bool normalize = false, double scale = 1.0) {
  return {.top_k = top_k, .score = Score::softmax, .group_score = GroupScore::max, .normalize = normalize, .scale = scale};
}
inline GateParams group_limited_greedy(int groups, int top_groups, int top_k, double scale = 1.0) {
  return {.groups = groups, .top_groups = top_groups, .top_k = top_k, .score = Score::softmax, .group_score = GroupScore::max,
          .normalize = false, .scale = scale};
}
inline GateParams noaux_tc(int groups, int top_groups, int top_k, double scale = 1.0, Score score = Score::sigmoid) {
  return {.groups = groups, .top_groups = top_groups, .top_k = top_k, .score = score, .group_score = GroupScore::top2_sum,
          .normalize = true, .scale = scale};
}

inline constexpr int kMaxTopK = 64;
inline constexpr int kMaxGroups = 32;  // one bit, and on a GPU one lane, per group
inline constexpr double kNormEps = 1e-20;

// Throws unless `p` is meaningful for E experts. Entry points call this; kernels assume it.
inline void check(const GateParams& p, std::int64_t experts) {
  const auto got = [&] {
    return str("; got experts=", experts, " groups=", p.groups, " top_groups=", p.top_groups, " top_k=", p.top_k);
  };
  MOELLE_REQUIRE("gate", experts >= 1 && experts < (std::int64_t{1} << 31), "experts must be in [1, 2^31)" + got());
  MOELLE_REQUIRE("gate", p.groups >= 1 && p.groups <= kMaxGroups && experts % p.groups == 0,
                 str("groups must be in [1, ", kMaxGroups, "] and divide experts") + got());
  const std::int64_t size = experts / p.groups;
  MOELLE_REQUIRE("gate", p.group_score != GroupScore::top2_sum || p.groups == 1 || size >= 2,
                 "top2_sum needs at least two experts per group" + got());
  MOELLE_REQUIRE("gate", p.top_groups >= 1 && p.top_groups <= p.groups, "top_groups must be in [1, groups]" + got());
  MOELLE_REQUIRE("gate", p.top_k >= 1 && p.top_k <= kMaxTopK && p.top_k <= p.top_groups * size,
                 str("top_k must be in [1, min(", kMaxTopK, ", top_groups * experts / groups)]") + got());
  MOELLE_REQUIRE("gate", std::isfinite(p.scale), str("scale must be finite; got scale=", p.scale));
}

// What the chosen scores are multiplied by.
[[nodiscard]] MOELLE_HD MOELLE_INLINE constexpr double scale_of(const GateParams& p) {
  return p.scale_rule == ScaleRule::unless_normalized && p.normalize ? 1.0 : p.scale;
}

// Below this, sqrt(softplus(x)) is e^(x/2) to the last bit, and so is twice its derivative; softplus itself would underflow.
template <class T>
[[nodiscard]] MOELLE_HD MOELLE_INLINE constexpr T sqrt_softplus_tail() {
  return sizeof(T) == 4 ? T(-17) : T(-40);
}
inline constexpr double kLinearSoftplus = 20.0;  // above, softplus(x) is taken as x, as PyTorch does

__extension__ typedef unsigned __int128 Wide;

// The unsigned numbers in which a value's rank and its index are packed, so that comparing keys is the order above.
template <class T>
struct Rank;
template <>
struct Rank<float> {
  using Bits = std::uint32_t;
  using Key = std::uint64_t;
  static constexpr Bits kInfinity = 0x7f800000u;
};
template <>
struct Rank<double> {
  using Bits = std::uint64_t;
  using Key = Wide;
  static constexpr Bits kInfinity = 0x7ff0000000000000u;
};
template <class T>
using RankKey = typename Rank<T>::Key;

// Key 0 is below every candidate and means "none".
template <class T>
[[nodiscard]] MOELLE_HD MOELLE_INLINE constexpr RankKey<T> rank_key(typename Rank<T>::Bits value, int index) {
  using Bits = typename Rank<T>::Bits;
  constexpr Bits kSign = Bits{1} << (8 * sizeof(Bits) - 1);
  const bool nan = (value & ~kSign) > Rank<T>::kInfinity;
  const Bits b = value == kSign ? Bits{0} : value;
  const Bits ordered = nan ? Bits{0} : (b & kSign) != 0 ? static_cast<Bits>(~b) : static_cast<Bits>(b | kSign);
  return (RankKey<T>{ordered} << (8 * sizeof(Bits))) | (0xffffffffu - static_cast<std::uint32_t>(index));
}
template <class Key>
[[nodiscard]] MOELLE_HD MOELLE_INLINE constexpr int index_of(Key key) {
  return static_cast<int>(0xffffffffu - static_cast<std::uint32_t>(key));
}

// The same order, spelled out.
template <class T>
[[nodiscard]] MOELLE_INLINE bool ranks_before(T a, int index_a, T b, int index_b) {
  const bool nan_a = a != a, nan_b = b != b;
  if (nan_a != nan_b) return nan_b;
  if (!nan_a && a != b) return a > b;
  return index_a < index_b;
}

}  // namespace moelle::moe
