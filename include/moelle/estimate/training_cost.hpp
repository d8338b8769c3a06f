// moelle/estimate/training_cost.hpp -- hours and money of a training run.
//
// Either from arithmetic (FLOPs per token, peak and utilisation of the machine), or from a measured rate (machine hours per
// trillion tokens), as the DeepSeek reports publish it.
#pragma once
#include <cmath>
#include <string>
#include <string_view>
#include <vector>

#include <moelle/core/error.hpp>
#include <moelle/io/suggest.hpp>

namespace moelle::estimate {

struct TrainingRun {
  double tokens = 0;
  double train_flops_per_token = 0;       // of Estimate; needed unless hours_per_trillion_tokens is given
  double hours_per_trillion_tokens = 0;   // machine hours, measured; 0: from the two below
  double peak_flops_per_second = 989.5e12;  // of one machine; the default is an H100 or H800 in bfloat16, dense
  double utilisation = 0.4;               // share of the peak that training reaches
  double extra_hours = 0;                 // machine hours besides: context extension, post-training
  double machines = 1;
  double dollars_per_hour = 2;
};

struct TrainingCost {
  double flops = 0;
  double hours = 0;         // machine hours
  double days = 0;          // of all machines together, the extra hours not counted
  double dollars = 0;
  double flops_per_second = 0;  // reached by each machine; 0 if no FLOPs were given
  double utilisation = 0;       // ... as a share of the peak
};

inline TrainingCost training_cost(const TrainingRun& r) {
  const auto require = [](bool ok, const char* key, const char* rule, double v) {
    MOELLE_REQUIRE("training_cost", ok && std::isfinite(v), str(key, " must be ", rule, "; got ", key, "=", v));
  };
  require(r.tokens > 0, "tokens", "above 0", r.tokens);
  require(r.train_flops_per_token >= 0, "train_flops_per_token", "at least 0", r.train_flops_per_token);
  require(r.hours_per_trillion_tokens >= 0, "hours_per_trillion_tokens", "at least 0", r.hours_per_trillion_tokens);
  require(r.peak_flops_per_second > 0, "peak_flops_per_second", "above 0", r.peak_flops_per_second);
  require(r.utilisation > 0 && r.utilisation <= 1, "utilisation", "in (0, 1]", r.utilisation);
  require(r.extra_hours >= 0, "extra_hours", "at least 0", r.extra_hours);
  require(r.machines > 0, "machines", "above 0", r.machines);
  require(r.dollars_per_hour >= 0, "dollars_per_hour", "at least 0", r.dollars_per_hour);
  MOELLE_REQUIRE("training_cost", r.hours_per_trillion_tokens > 0 || r.train_flops_per_token > 0,
                 "train_flops_per_token or hours_per_trillion_tokens must be given; got neither");
  TrainingCost c;
  c.flops = r.tokens * r.train_flops_per_token;
  const double training = r.hours_per_trillion_tokens > 0 ? r.tokens / 1e12 * r.hours_per_trillion_tokens
                                                          : c.flops / (r.peak_flops_per_second * r.utilisation) / 3600;
  c.hours = training + r.extra_hours;
  c.days = training / r.machines / 24;
  c.dollars = c.hours * r.dollars_per_hour;
  c.flops_per_second = c.flops / (training * 3600);
  c.utilisation = c.flops_per_second / r.peak_flops_per_second;
  return c;
}

// What was published about real runs, by preset name. Source: DeepSeek-V3 (arXiv:2412.19437), table 1; DeepSeek-V2
// (arXiv:2405.04434), section 3.2.3, for V2 and the dense 67B on the same machines; all in H800 hours.
struct PublishedRun {
  const char* name;
  double hours_per_trillion_tokens;
  double tokens;
  double extra_hours;  // V3: 119 K for longer context, 5 K for post-training
  double machines;
};

inline const std::vector<PublishedRun>& published_runs() {
  static const std::vector<PublishedRun> kRuns{{"deepseek-v3", 180e3, 14.8e12, 124e3, 2048},
                                               {"deepseek-v2", 172.8e3, 8.1e12, 0, 1},
                                               {"deepseek-67b", 300.6e3, 2e12, 0, 1}};
  return kRuns;
}

inline TrainingRun published_run(std::string_view name) {
  std::vector<std::string> names;
  for (const PublishedRun& r : published_runs()) {
    names.emplace_back(r.name);
    if (name == r.name)
      return {.tokens = r.tokens, .hours_per_trillion_tokens = r.hours_per_trillion_tokens, .extra_hours = r.extra_hours, .machines = r.machines};
  }
  moelle::detail::fail("published_run", "name must be one of deepseek-v3, deepseek-v2, deepseek-67b; got name=" + io::in_quotes(name) +
                                            io::did_you_mean(name, names));
}

// The share of machine hours per token that `a` saves against `b`.
inline double saving(const TrainingRun& a, const TrainingRun& b) {
  return 1 - training_cost(a).hours / a.tokens / (training_cost(b).hours / b.tokens);
}

}  // namespace moelle::estimate
