// moelle/training/schedule.hpp -- learning rate against step.
//
// Sources: cosine: Loshchilov and Hutter, arXiv:1608.03983; warm-up, stable, decay: Hu et al., arXiv:2404.06395, with the
// 1 - sqrt decay of Haegele et al., arXiv:2405.18392; DeepSeek-V3: arXiv:2412.19437, section 4.2.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <numbers>

#include <moelle/core/error.hpp>

namespace moelle::training {

enum class ScheduleKind : std::uint8_t { constant, cosine, wsd, deepseek_v3 };

struct Schedule {
  ScheduleKind kind = ScheduleKind::cosine;
  std::int64_t total_steps = 1;
  std::int64_t warmup_steps = 0;
  double min_ratio = 0.1;       // lowest learning rate, as a part of the peak
  double decay_fraction = 0.2;  // wsd: the last part of the run that decays
};

inline void check(const Schedule& s) {
  MOELLE_REQUIRE("schedule", s.total_steps >= 1 && s.warmup_steps >= 0 && s.warmup_steps <= s.total_steps,
                 str("warmup_steps must be in [0, total_steps]; got warmup_steps=", s.warmup_steps, " total_steps=", s.total_steps));
  MOELLE_REQUIRE("schedule", s.min_ratio >= 0 && s.min_ratio <= 1, str("min_ratio must be in [0, 1]; got min_ratio=", s.min_ratio));
  MOELLE_REQUIRE("schedule", s.decay_fraction > 0 && s.decay_fraction <= 1, str("decay_fraction must be in (0, 1]; got decay_fraction=", s.decay_fraction));
}

// Part of the peak learning rate at `step` (0 is the first). Linear warm-up: step s of w warm-up steps has (s + 1) / w.
inline double rate_at(const Schedule& s, std::int64_t step) {
  check(s);
  MOELLE_REQUIRE("schedule", step >= 0, str("step must not be negative; got step=", step));
  if (step < s.warmup_steps) return static_cast<double>(step + 1) / static_cast<double>(s.warmup_steps);
  const auto cosine = [](double from, double to, double progress) {
    return to + (from - to) * 0.5 * (1.0 + std::cos(std::numbers::pi * std::clamp(progress, 0.0, 1.0)));
  };
  const double total = static_cast<double>(s.total_steps), at = static_cast<double>(step), warm = static_cast<double>(s.warmup_steps);
  switch (s.kind) {
    case ScheduleKind::constant:
      return 1.0;
    case ScheduleKind::cosine:
      return cosine(1.0, s.min_ratio, (at - warm) / std::max(1.0, total - warm));
    case ScheduleKind::wsd: {
      const double decay = s.decay_fraction * total, into = (at - (total - decay)) / decay;
      return into <= 0 ? 1.0 : s.min_ratio + (1.0 - s.min_ratio) * (1.0 - std::sqrt(std::min(into, 1.0)));
    }
    case ScheduleKind::deepseek_v3: {
      // 14.8 T tokens: constant to 10 T, cosine to a tenth over 4.3 T, constant for 333 B, a third of that for the last 167 B.
      const double p = at / total;
      if (p < 10.0 / 14.8) return 1.0;
      if (p < 14.3 / 14.8) return cosine(1.0, 0.1, (p - 10.0 / 14.8) / (4.3 / 14.8));
      return p < 14.633 / 14.8 ? 0.1 : 7.3 / 220.0;
    }
  }
  return 1.0;
}

}  // namespace moelle::training
