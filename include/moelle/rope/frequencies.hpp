// moelle/rope/frequencies.hpp -- the angles of rotary embedding and the two scale factors that come with stretching them.
//
// Pair i of `dim` channels turns by position * f_i, f_i = theta^(-2i/dim) (Su et al., arXiv:2104.09864, section 3.2.2).
//   linear  f_i / s                                             (Chen et al., arXiv:2306.15595)
//   ntk     theta s^(dim/(dim-2)) in place of theta             (Peng et al., arXiv:2309.00071, section 3.1)
//   yarn    f_i (1 - ramp) + f_i / s ramp,                      (arXiv:2309.00071, section 3.2)
//           ramp = clamp((i - lo) / (hi - lo), 0, 1), corr(r) = dim ln(original / (2 pi r)) / (2 ln theta),
//           lo = max(floor corr(beta_fast), 0), hi = min(ceil corr(beta_slow), dim - 1); not rounded unless `truncate`
// with s = factor. With m(a) = 0.1 a ln s + 1 (1 where s <= 1), YaRN and the DeepSeek family scale twice:
//   table_scale    cos and sin, hence queries and keys: attention_factor if given, else for yarn m(mscale) / m(mscale_all_dim)
//                  if both are given, else m(1)
//   softmax_scale  the scores, beside head_size^-1/2: m(mscale_all_dim)^2 if mscale_all_dim is given, else 1
// DeepSeek-V2 and V3 set mscale = mscale_all_dim, so that all of it lands on the scores.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <numbers>
#include <optional>
#include <vector>

#include <moelle/core/error.hpp>

namespace moelle::rope {

enum class Scaling : std::uint8_t { none, linear, ntk, yarn };

inline const char* name(Scaling s) {
  constexpr const char* kNames[] = {"none", "linear", "ntk", "yarn"};
  return kNames[static_cast<int>(s)];
}

struct RopeParams {
  std::int64_t dim = 64;  // channels that turn; even
  double theta = 10000.0;
  Scaling scaling = Scaling::none;
  double factor = 1.0;                        // s
  std::int64_t original_max_position = 4096;  // yarn: the length trained on
  double beta_fast = 32.0;
  double beta_slow = 1.0;
  double mscale = 0.0;          // 0: not given
  double mscale_all_dim = 0.0;  // 0: not given
  std::optional<double> attention_factor = std::nullopt;
  bool truncate = true;
};

inline void check(const RopeParams& p) {
  MOELLE_REQUIRE("rope", p.dim >= 2 && p.dim % 2 == 0, str("dim must be even and positive; got dim=", p.dim));
  MOELLE_REQUIRE("rope", std::isfinite(p.theta) && p.theta > 1, str("theta must be above 1; got theta=", p.theta));
  MOELLE_REQUIRE("rope", std::isfinite(p.factor) && p.factor > 0, str("factor must be positive; got factor=", p.factor));
  MOELLE_REQUIRE("rope", p.scaling != Scaling::ntk || p.dim > 2, str("ntk scaling needs dim above 2; got dim=", p.dim));
  MOELLE_REQUIRE("rope", p.scaling != Scaling::yarn || (p.original_max_position >= 1 && p.beta_slow > 0 && p.beta_fast >= p.beta_slow),
                 str("yarn needs original_max_position >= 1 and 0 < beta_slow <= beta_fast; got original_max_position=", p.original_max_position,
                     " beta_fast=", p.beta_fast, " beta_slow=", p.beta_slow));
  MOELLE_REQUIRE("rope", !p.attention_factor || (std::isfinite(*p.attention_factor) && *p.attention_factor > 0),
                 str("attention_factor must be positive; got attention_factor=", p.attention_factor.value_or(0)));
}

struct Frequencies {
  std::vector<double> inv_freq;  // f_i, [dim / 2]
  double table_scale = 1.0;
  double softmax_scale = 1.0;
};

// m(a) for s = factor.
inline double yarn_mscale(double factor, double a) { return factor <= 1 ? 1.0 : 0.1 * a * std::log(factor) + 1.0; }

// The pair at which a channel has turned `rotations` times over the original length; a real number.
inline double yarn_correction(const RopeParams& p, double rotations) {
  return static_cast<double>(p.dim) * std::log(static_cast<double>(p.original_max_position) / (rotations * 2 * std::numbers::pi)) /
         (2 * std::log(p.theta));
}

inline Frequencies frequencies(const RopeParams& p) {
  check(p);
  const auto dim = static_cast<double>(p.dim);
  const double theta = p.scaling == Scaling::ntk ? p.theta * std::pow(p.factor, dim / (dim - 2)) : p.theta;
  double lo = yarn_correction(p, p.beta_fast), hi = yarn_correction(p, p.beta_slow);
  if (p.truncate) lo = std::floor(lo), hi = std::ceil(hi);
  lo = std::max(lo, 0.0), hi = std::min(hi, dim - 1);
  if (lo == hi) hi += 0.001;

  Frequencies f;
  for (std::int64_t i = 0; i < p.dim / 2; ++i) {
    const double base = std::pow(theta, -2 * static_cast<double>(i) / dim);
    const double ramp = std::clamp((static_cast<double>(i) - lo) / (hi - lo), 0.0, 1.0);
    switch (p.scaling) {
      case Scaling::none:
      case Scaling::ntk: f.inv_freq.push_back(base); break;
      case Scaling::linear: f.inv_freq.push_back(base / p.factor); break;
      case Scaling::yarn: f.inv_freq.push_back(base * (1 - ramp) + base / p.factor * ramp); break;
    }
  }
  if (p.scaling == Scaling::yarn)
    f.table_scale = p.mscale != 0 && p.mscale_all_dim != 0 ? yarn_mscale(p.factor, p.mscale) / yarn_mscale(p.factor, p.mscale_all_dim)
                                                           : yarn_mscale(p.factor, 1.0);
  if (p.attention_factor) f.table_scale = *p.attention_factor;
  if (p.scaling != Scaling::none && p.mscale_all_dim != 0) f.softmax_scale = std::pow(yarn_mscale(p.factor, p.mscale_all_dim), 2);
  return f;
}

}  // namespace moelle::rope
