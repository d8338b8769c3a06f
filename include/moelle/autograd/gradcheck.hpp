// moelle/autograd/gradcheck.hpp -- compares a gradient with differences of the function itself. Public: check your own operations.
//
// Four-point differences, f'(x) = (f(x-2h) - 8 f(x-h) + 8 f(x+h) - f(x+2h)) / 12h + O(h^4), in double. With h = 1e-3 the truncation
// error is about 1e-13 |f^(5)| and rounding about 1e-13 |f|, so 1e-7 relative leaves room for functions that bend sharply.
#pragma once
#include <algorithm>
#include <cmath>
#include <functional>
#include <string>
#include <vector>

#include <moelle/autograd/backward.hpp>
#include <moelle/core/random.hpp>

namespace moelle::autograd {

struct GradcheckOptions {
  double step = 1e-3;
  double tolerance = 1e-7;  // of |analytic - numeric| / max(1, |numeric|)
  std::uint64_t seed = 0;   // of the random direction in which the outputs are weighed
};

struct GradcheckResult {
  bool ok = true;
  double worst = 0.0;  // largest relative error
  int compared = 0;    // number of derivatives compared
  std::string where;   // input and element of the worst
};

namespace detail {
// sum_ij w_ij y_ij with fixed random weights: one scalar that depends on every output element.
inline double weighed(const std::vector<Tensor<double>>& outputs, const random::Stream& weights) {
  double sum = 0.0;
  std::uint64_t i = 0;
  for (const auto& y : outputs) y.each([&](double v) { sum += v * (weights.uniform(i++) - 0.5); });
  return sum;
}
}  // namespace detail

// f maps the inputs to outputs; every input that requires a gradient is checked, element by element.
inline GradcheckResult gradcheck(const std::function<std::vector<Tensor<double>>(const std::vector<Tensor<double>>&)>& f,
                                 const std::vector<Tensor<double>>& inputs, const GradcheckOptions& options = {}) {
  const random::Stream weights(options.seed, "gradcheck");
  for (const auto& x : inputs) {
    MOELLE_REQUIRE("gradcheck", x.is_contiguous(), str("inputs must be contiguous; got shape=", x.shape(), " strides=", x.strides()));
    x.zero_grad();
  }
  const std::vector<Tensor<double>> outputs = f(inputs);
  std::vector<Tensor<double>> seeds, roots;
  std::uint64_t n = 0;
  for (const auto& y : outputs) {
    Tensor<double> g = Tensor<double>::empty(y.shape());
    for (std::int64_t i = 0; i < g.numel(); ++i) g.data()[i] = weights.uniform(n++) - 0.5;
    if (!y.requires_grad()) continue;
    roots.push_back(y);
    seeds.push_back(g);
  }
  backward<double>(roots, seeds);

  GradcheckResult result;
  const NoGrad guard;
  for (std::size_t k = 0; k < inputs.size(); ++k) {
    const Tensor<double>& x = inputs[k];
    if (!x.requires_grad()) continue;
    const std::vector<double> analytic = x.grad().defined() ? x.grad().to_vector() : std::vector<double>(static_cast<std::size_t>(x.numel()), 0.0);
    for (std::int64_t i = 0; i < x.numel(); ++i) {
      double* at = x.data() + i;
      const double keep = *at, h = options.step;
      const auto value = [&](double d) {
        *at = keep + d;
        return detail::weighed(f(inputs), weights);
      };
      const double numeric = (value(-2 * h) - 8 * value(-h) + 8 * value(h) - value(2 * h)) / (12 * h);
      *at = keep;
      const double error = std::abs(analytic[static_cast<std::size_t>(i)] - numeric) / std::max(1.0, std::abs(numeric));
      ++result.compared;
      if (!(error <= result.worst)) {  // also catches NaN
        result.worst = error;
        result.where = str("input ", k, " element ", i, ": analytic ", analytic[static_cast<std::size_t>(i)], " numeric ", numeric);
      }
    }
  }
  result.ok = result.worst <= options.tolerance && result.compared > 0;
  return result;
}

// One output, for short.
inline GradcheckResult gradcheck1(const std::function<Tensor<double>(const std::vector<Tensor<double>>&)>& f,
                                  const std::vector<Tensor<double>>& inputs, const GradcheckOptions& options = {}) {
  return gradcheck([&](const std::vector<Tensor<double>>& x) { return std::vector<Tensor<double>>{f(x)}; }, inputs, options);
}

}  // namespace moelle::autograd
