// moelle/moe/experts_ref.hpp -- the oracle: every token through each of its experts, one number at a time, in double.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include <moelle/moe/experts.hpp>

namespace moelle::moe::ref {

// x[N, D], choice[N, K], weights[N, K], gate_up[E, 2F, D], down[E, D, F] -> y[N, D]
template <class T>
std::vector<double> experts(const ExpertSizes& s, const T* x, const std::int32_t* choice, const T* weights, const T* gate_up, const T* down,
                            double limit) {
  std::vector<double> y(static_cast<std::size_t>(s.N * s.D)), a(static_cast<std::size_t>(s.F));
  const auto dot = [&](const T* row, const T* in) {
    double sum = 0;
    for (std::int64_t d = 0; d < s.D; ++d) sum += static_cast<double>(row[d]) * static_cast<double>(in[d]);
    return sum;
  };
  for (std::int64_t n = 0; n < s.N; ++n)
    for (std::int64_t k = 0; k < s.K; ++k) {
      const std::int64_t e = choice[n * s.K + k];
      for (std::int64_t f = 0; f < s.F; ++f) {
        const double gate = std::min(dot(gate_up + (2 * e * s.F + f) * s.D, x + n * s.D), limit);
        const double up = std::clamp(dot(gate_up + ((2 * e + 1) * s.F + f) * s.D, x + n * s.D), -limit, limit);
        a[static_cast<std::size_t>(f)] = gate / (1 + std::exp(-gate)) * up;
      }
      for (std::int64_t d = 0; d < s.D; ++d)
        for (std::int64_t f = 0; f < s.F; ++f)
          y[static_cast<std::size_t>(n * s.D + d)] += static_cast<double>(weights[n * s.K + k]) *
                                                      static_cast<double>(down[(e * s.D + d) * s.F + f]) * a[static_cast<std::size_t>(f)];
    }
  return y;
}

}  // namespace moelle::moe::ref
