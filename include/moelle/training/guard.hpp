// moelle/training/guard.hpp -- decides from loss and gradient norm whether an update may be applied.
//
// A NaN or infinity is always refused. A spike is a value more than `limit` deviations above the mean of the last `window`
// accepted values (as in llm.c); it is refused once the window is full, at most `patience` times in a row, after which the new
// level is accepted. A deviation is the standard deviation, but at least a thousandth of a mean loss and half of a mean norm:
// norms are skewed, and clipping already bounds what one of three times the mean can do.
#pragma once
#include <cmath>
#include <cstdint>
#include <deque>
#include <string>

#include <moelle/core/error.hpp>

namespace moelle::training {

struct GuardOptions {
  double limit = 8.0;  // standard deviations; 0: only NaN and infinity are refused
  std::int64_t window = 64;
  std::int64_t patience = 8;
};

class Guard {
 public:
  explicit Guard(const GuardOptions& options = {}) : options_(options) {
    MOELLE_REQUIRE("guard", options.limit >= 0 && options.window >= 2 && options.patience >= 0,
                   str("limit and patience must not be negative and window at least 2; got limit=", options.limit, " window=", options.window,
                       " patience=", options.patience));
  }

  // "" if the step may be applied, else the reason why not.
  std::string refuse(double loss, double grad_norm) {
    if (!std::isfinite(loss)) return str("loss is ", loss);
    if (!std::isfinite(grad_norm)) return str("gradient norm is ", grad_norm);
    const double z = score(losses, loss, 1e-3), zg = score(norms, grad_norm, 0.5);
    if (options_.limit > 0 && in_a_row < options_.patience && (z > options_.limit || zg > options_.limit)) {
      ++in_a_row;
      return z > options_.limit ? str("loss ", loss, " is ", z, " deviations above its mean") : str("gradient norm ", grad_norm, " is ", zg, " deviations above its mean");
    }
    in_a_row = 0;
    push(losses, loss);
    push(norms, grad_norm);
    return "";
  }

  // State, for checkpoints.
  std::deque<double> losses, norms;
  std::int64_t in_a_row = 0;

 private:
  double score(const std::deque<double>& history, double value, double least) const {
    if (static_cast<std::int64_t>(history.size()) < options_.window) return 0.0;
    double mean = 0.0, square = 0.0;
    for (const double v : history) mean += v;
    mean /= static_cast<double>(history.size());
    for (const double v : history) square += (v - mean) * (v - mean);
    const double deviation = std::sqrt(square / static_cast<double>(history.size()));
    return (value - mean) / std::max(deviation, least * std::abs(mean) + 1e-12);
  }
  void push(std::deque<double>& history, double value) {
    history.push_back(value);
    if (static_cast<std::int64_t>(history.size()) > options_.window) history.pop_front();
  }

  GuardOptions options_;
};

}  // namespace moelle::training
