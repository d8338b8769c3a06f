// moelle/moe/balance_op.hpp -- balance losses on the router's scores and logits. Gradients flow through P only: counts are constants.
//
// Axes: B sequences of T tokens each, N = B T, E experts, K per token.
//   sequence_balance_loss  mean over sequences of  sum_e f_e P_e,  f_e = E / (K T) count_e,  P_e = mean_t s_te / sum_j s_tj
//                          (DeepSeek-V3, arXiv:2412.19437, equations 17-20; for softmax scores the division changes nothing: V2's, per
//                          sequence; with B = 1 it is DeepSeekMoE's expert-level loss, arXiv:2401.06066, section 3.3)
//   switch_balance_loss    E sum_e f_e P_e over all tokens, f_e = count_e / N (all K choices counted), P_e = mean_t softmax score
//                          (Fedus et al., arXiv:2101.03961, with K choices as in Hugging Face's Mixtral)
//   router_z_loss          mean_t (log sum_e exp x_te)^2 on logits (Zoph et al., arXiv:2202.08906)
// None is multiplied by a coefficient here.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include <moelle/autograd/record.hpp>
#include <moelle/core/parallel.hpp>
#include <moelle/core/tensor.hpp>
#include <moelle/tensor/view_op.hpp>  // contiguous

namespace moelle::moe {

namespace detail {

// sum_e coefficient[sequence, e] * p_te, p the scores or their normalised form, summed over all tokens.
template <class T>
Tensor<T> weighed_scores(const char* op, const Tensor<T>& scores, const std::vector<double>& coefficient, std::int64_t per_sequence, bool normalize) {
  const std::int64_t N = scores.size(0), E = scores.size(1);
  const Tensor<T> s = contiguous(scores.detach());
  const auto row_sum = [E, normalize](const T* row) {
    double sum = normalize ? 1e-20 : 1.0;
    for (std::int64_t e = 0; normalize && e < E; ++e) sum += static_cast<double>(row[e]);
    return sum;
  };
  double total = 0.0;
  for (std::int64_t n = 0; n < N; ++n) {
    const T* row = s.data() + n * E;
    const double* c = coefficient.data() + n / per_sequence * E;
    double dot = 0.0;
    for (std::int64_t e = 0; e < E; ++e) dot += c[e] * static_cast<double>(row[e]);
    total += dot / row_sum(row);
  }
  const Tensor<T> y = Tensor<T>::scalar(static_cast<T>(total));
  if (!autograd::wants_grad(scores)) return y;
  autograd::record<T>(op, {scores}, {y}, [s = autograd::Saved<T>(s), coefficient, per_sequence, normalize, row_sum](autograd::Backward<T>& b) {
    const double g = static_cast<double>(b.grad(0).item());
    const std::int64_t rows = s.get().size(0), experts = s.get().size(1);
    const Tensor<T> d = Tensor<T>::empty({rows, experts});
    for (std::int64_t n = 0; n < rows; ++n) {
      const T* row = s.get().data() + n * experts;
      const double* c = coefficient.data() + n / per_sequence * experts;
      const double sum = row_sum(row);
      double inner = 0.0;  // d(c.s / sum s)/ds_e = (c_e - c.s / sum s) / sum s
      for (std::int64_t e = 0; normalize && e < experts; ++e) inner += c[e] * static_cast<double>(row[e]) / sum;
      for (std::int64_t e = 0; e < experts; ++e) d.data()[n * experts + e] = static_cast<T>(g * (c[e] - inner) / sum);
    }
    b.add(0, d);
  });
  return y;
}

// Tokens of each expert per sequence, [N / per_sequence, E].
inline std::vector<double> sequence_counts(const Tensor<std::int32_t>& choice, std::int64_t E, std::int64_t per_sequence) {
  const std::int64_t N = choice.size(0), K = choice.size(1);
  std::vector<double> counts(static_cast<std::size_t>(N / per_sequence * E), 0.0);
  const std::vector<std::int32_t> flat = choice.to_vector();
  for (std::int64_t i = 0; i < N * K; ++i) {
    const std::int32_t e = flat[static_cast<std::size_t>(i)];
    MOELLE_REQUIRE("balance", e >= 0 && e < E, str("experts must be in [0, ", E, "); got expert=", e));
    counts[static_cast<std::size_t>(i / K / per_sequence * E + e)] += 1.0;
  }
  return counts;
}

template <class T>
void check_balance(const Tensor<T>& scores, const Tensor<std::int32_t>& choice, std::int64_t sequences) {
  MOELLE_REQUIRE("balance", scores.rank() == 2 && choice.rank() == 2 && scores.size(0) == choice.size(0) && choice.size(1) > 0,
                 str("scores must be [N, E] and choice [N, K]; got scores=", scores.shape(), " choice=", choice.shape()));
  MOELLE_REQUIRE("balance", sequences > 0 && scores.size(0) % sequences == 0,
                 str("tokens must divide into the sequences; got tokens=", scores.size(0), " sequences=", sequences));
}

}  // namespace detail

// scores[N, E], choice[N, K], N = sequences * T -> scalar.
template <class T>
Tensor<T> sequence_balance_loss(const Tensor<T>& scores, const Tensor<std::int32_t>& choice, std::int64_t sequences) {
  detail::check_balance(scores, choice, sequences);
  const std::int64_t N = scores.size(0), E = scores.size(1), K = choice.size(1);
  if (N == 0) return Tensor<T>::scalar(T(0));
  const auto length = static_cast<double>(N / sequences);
  auto f = detail::sequence_counts(choice, E, N / sequences);
  for (double& c : f) c *= static_cast<double>(E) / (static_cast<double>(K) * length) / length / static_cast<double>(sequences);
  return detail::weighed_scores("sequence_balance_loss", scores, f, N / sequences, true);
}

// scores[N, E] after softmax, choice[N, K] -> scalar.
template <class T>
Tensor<T> switch_balance_loss(const Tensor<T>& scores, const Tensor<std::int32_t>& choice) {
  detail::check_balance(scores, choice, 1);
  const std::int64_t N = scores.size(0), E = scores.size(1);
  if (N == 0) return Tensor<T>::scalar(T(0));
  auto f = detail::sequence_counts(choice, E, N);
  for (double& c : f) c *= static_cast<double>(E) / static_cast<double>(N) / static_cast<double>(N);
  return detail::weighed_scores("switch_balance_loss", scores, f, N, false);
}

// logits[N, E] -> scalar.
template <class T>
Tensor<T> router_z_loss(const Tensor<T>& logits) {
  MOELLE_REQUIRE("router_z_loss", logits.rank() == 2, str("logits must be [N, E]; got shape=", logits.shape()));
  const std::int64_t N = logits.size(0), E = logits.size(1);
  if (N == 0) return Tensor<T>::scalar(T(0));
  const Tensor<T> x = contiguous(logits.detach());
  std::vector<double> lse(static_cast<std::size_t>(N));
  double total = 0.0;
  for (std::int64_t n = 0; n < N; ++n) {
    const T* row = x.data() + n * E;
    const auto top = static_cast<double>(*std::max_element(row, row + E));
    double sum = 0.0;
    for (std::int64_t e = 0; e < E; ++e) sum += std::exp(static_cast<double>(row[e]) - top);
    lse[static_cast<std::size_t>(n)] = top + std::log(sum);
    total += lse[static_cast<std::size_t>(n)] * lse[static_cast<std::size_t>(n)];
  }
  const Tensor<T> y = Tensor<T>::scalar(static_cast<T>(total / static_cast<double>(N)));
  if (!autograd::wants_grad(logits)) return y;
  autograd::record<T>("router_z_loss", {logits}, {y}, [x = autograd::Saved<T>(x), lse](autograd::Backward<T>& b) {
    const std::int64_t rows = x.get().size(0), experts = x.get().size(1);
    const double g = static_cast<double>(b.grad(0).item()) * 2.0 / static_cast<double>(rows);
    const Tensor<T> d = Tensor<T>::empty({rows, experts});
    for (std::int64_t n = 0; n < rows; ++n)
      for (std::int64_t e = 0; e < experts; ++e) {
        const double l = lse[static_cast<std::size_t>(n)];
        d.data()[n * experts + e] = static_cast<T>(g * l * std::exp(static_cast<double>(x.get().data()[n * experts + e]) - l));
      }
    b.add(0, d);
  });
  return y;
}

}  // namespace moelle::moe
