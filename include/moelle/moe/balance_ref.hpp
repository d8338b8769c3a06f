// moelle/moe/balance_ref.hpp -- the oracle of the balance losses: f and P of balance_op.hpp, written out in double.
#pragma once
#include <cmath>
#include <cstdint>
#include <vector>

namespace moelle::moe::ref {

// mean over `sequences` of sum_e f_e P_e, f_e = E / (K T) count_e, P_e = mean_t s_te / sum_j s_tj; scores[N, E], choice[N, K].
inline double sequence_balance_loss(const std::vector<double>& scores, const std::vector<std::int32_t>& choice, std::size_t E, std::size_t K,
                                    std::size_t sequences) {
  const std::size_t T = scores.size() / E / sequences;
  double loss = 0;
  for (std::size_t b = 0; b < sequences; ++b)
    for (std::size_t e = 0; e < E; ++e) {
      double count = 0, P = 0;
      for (std::size_t t = b * T; t < (b + 1) * T; ++t) {
        double sum = 0;
        for (std::size_t j = 0; j < E; ++j) sum += scores[t * E + j];
        for (std::size_t k = 0; k < K; ++k) count += choice[t * K + k] == static_cast<std::int32_t>(e);
        P += scores[t * E + e] / sum / static_cast<double>(T);
      }
      loss += static_cast<double>(E) / static_cast<double>(K * T) * count * P / static_cast<double>(sequences);
    }
  return loss;
}

// E sum_e f_e P_e, f_e = count_e / N, P_e = mean_t s_te.
inline double switch_balance_loss(const std::vector<double>& scores, const std::vector<std::int32_t>& choice, std::size_t E, std::size_t K) {
  const std::size_t N = scores.size() / E;
  double loss = 0;
  for (std::size_t e = 0; e < E; ++e) {
    double count = 0, P = 0;
    for (std::size_t i = 0; i < N * K; ++i) count += choice[i] == static_cast<std::int32_t>(e);
    for (std::size_t t = 0; t < N; ++t) P += scores[t * E + e] / static_cast<double>(N);
    loss += static_cast<double>(E) * count / static_cast<double>(N) * P;
  }
  return loss;
}

// mean_t (log sum_e exp x_te)^2
inline double router_z_loss(const std::vector<double>& logits, std::size_t E) {
  const std::size_t N = logits.size() / E;
  double loss = 0;
  for (std::size_t t = 0; t < N; ++t) {
    double sum = 0;
    for (std::size_t e = 0; e < E; ++e) sum += std::exp(logits[t * E + e]);
    loss += std::log(sum) * std::log(sum) / static_cast<double>(N);
  }
  return loss;
}

}  // namespace moelle::moe::ref
