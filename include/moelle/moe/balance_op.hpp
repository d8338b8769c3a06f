// moelle/moe/balance_op.hpp -- balance losses on the router's scores and logits. Gradients flow through P only: counts are constants.
//
// Axes: B sequences of T tokens each, N = B T, E experts, K per token.
//   sequence_balance_loss  mean over sequences of  sum_e f_e P_e,  f_e = E / (K T) count_e,  P_e = mean_t s_te / sum_j s_tj
//                          (DeepSeek-V3, arXiv:2412.19437, equations 17-20; for softmax scores the division changes nothing: V2's, per
//                          sequence)
//   expert_balance_loss    the same over the whole batch: DeepSeekMoE's expert-level loss (arXiv:2401.06066, section 3.3)
//   switch_balance_loss    E sum_e f_e P_e over all tokens, f_e = count_e / N (all K choices counted), P_e = mean_t softmax score
//                          (Fedus et al., arXiv:2101.03961, with K choices as in Hugging Face's Mixtral): K times the former
//   router_z_loss          mean_t (log sum_e exp x_te)^2 on logits (Zoph et al., arXiv:2202.08906)
// None is multiplied by a coefficient here. Sums are in double, over tokens in kReduceChunks parts. Without tokens all are 0.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include <moelle/autograd/record.hpp>
#include <moelle/core/parallel.hpp>
#include <moelle/core/tensor.hpp>
#include <moelle/moe/permute.hpp>     // flat
#include <moelle/tensor/view_op.hpp>  // contiguous

namespace moelle::moe {

namespace detail {

// sum of row(n) over [0, N), the same for any number of threads.
template <class F>
double sum_rows(std::int64_t N, F row) {
  double part[kReduceChunks] = {};
  parallel_for(kReduceChunks, [&](std::int64_t c) {
    double sum = 0.0;
    for (std::int64_t n = N * c / kReduceChunks; n < N * (c + 1) / kReduceChunks; ++n) sum += row(n);
    part[c] = sum;
  });
  double total = 0.0;
  for (const double p : part) total += p;
  return total;
}

enum class Divide : std::uint8_t { no, by_sum };

// sum over tokens and experts of c[sequence of t, e] p_te, p the scores or what they are after division by their sum.
template <class T>
struct WeighedScores {
  std::vector<double> c;  // [N / per_sequence, E]
  std::int64_t per_sequence, E;
  Divide divide;

  const double* coefficients(std::int64_t n) const { return c.data() + n / per_sequence * E; }
  double sum(const T* row) const {
    if (divide == Divide::no) return 1.0;
    double s = 1e-20;
    for (std::int64_t e = 0; e < E; ++e) s += static_cast<double>(row[e]);
    return s;
  }
  double value(const T* row, std::int64_t n) const {
    const double* w = coefficients(n);
    double dot = 0.0;
    for (std::int64_t e = 0; e < E; ++e) dot += w[e] * static_cast<double>(row[e]);
    return dot / sum(row);
  }
  // d(c.s / sum s)/ds_e = (c_e - c.s / sum s) / sum s
  void grad(const T* row, std::int64_t n, double g, T* d) const {
    const double* w = coefficients(n);
    const double total = sum(row), inner = divide == Divide::no ? 0.0 : value(row, n);
    for (std::int64_t e = 0; e < E; ++e) d[e] = static_cast<T>(g * (w[e] - inner) / total);
  }
};

template <class T>
Tensor<T> weighed_scores(const char* op, const Tensor<T>& scores, const WeighedScores<T>& f) {
  const std::int64_t N = scores.size(0), E = f.E;
  const Tensor<T> s = contiguous(scores.detach());
  const Tensor<T> y = Tensor<T>::scalar(static_cast<T>(sum_rows(N, [&](std::int64_t n) { return f.value(s.data() + n * E, n); })));
  if (!autograd::wants_grad(scores)) return y;
  autograd::record<T>(op, {scores}, {y}, [s = autograd::Saved<T>(s), f](autograd::Backward<T>& b) {
    const auto g = static_cast<double>(b.grad(0).item());
    const Tensor<T> in = s.get(), d = Tensor<T>::empty(in.shape());
    parallel_rows(in.size(0), 256, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t n = begin; n < end; ++n) f.grad(in.data() + n * f.E, n, g, d.data() + n * f.E);
    });
    b.add(0, d);
  });
  return y;
}

// Tokens of each expert per sequence, [N / per_sequence, E], each times `by`.
inline std::vector<double> sequence_counts(const Tensor<std::int32_t>& choice, std::int64_t E, std::int64_t per_sequence, double by) {
  const std::int64_t N = choice.size(0), K = choice.size(1);
  std::vector<double> counts(static_cast<std::size_t>(N / per_sequence * E), 0.0);
  std::vector<std::int32_t> keep;
  const std::int32_t* e = flat(choice, keep);
  for (std::int64_t i = 0; i < N * K; ++i) {
    MOELLE_REQUIRE("balance", e[i] >= 0 && e[i] < E, str("experts must be in [0, ", E, "); got expert=", e[i]));
    counts[static_cast<std::size_t>(i / K / per_sequence * E + e[i])] += 1.0;
  }
  for (double& c : counts) c *= by;
  return counts;
}

template <class T>
void check_balance(const Tensor<T>& scores, const Tensor<std::int32_t>& choice, std::int64_t sequences) {
  MOELLE_REQUIRE("balance", scores.defined() && choice.defined(), "scores and choice must be given; got an undefined tensor");
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
  const std::int64_t N = scores.size(0), E = scores.size(1), K = choice.size(1), length = N / sequences;
  if (N == 0) return Tensor<T>::scalar(T(0));
  // f_e, P's 1/T, and the mean over sequences
  const double by = static_cast<double>(E) / (static_cast<double>(K) * static_cast<double>(length)) / static_cast<double>(N);
  return detail::weighed_scores<T>("sequence_balance_loss", scores, {detail::sequence_counts(choice, E, length, by), length, E, detail::Divide::by_sum});
}

// scores[N, E], choice[N, K] -> scalar.
template <class T>
Tensor<T> expert_balance_loss(const Tensor<T>& scores, const Tensor<std::int32_t>& choice) {
  return sequence_balance_loss(scores, choice, 1);
}

// scores[N, E] after softmax, choice[N, K] -> scalar.
template <class T>
Tensor<T> switch_balance_loss(const Tensor<T>& scores, const Tensor<std::int32_t>& choice) {
  detail::check_balance(scores, choice, 1);
  const std::int64_t N = scores.size(0), E = scores.size(1);
  if (N == 0) return Tensor<T>::scalar(T(0));
  const double by = static_cast<double>(E) / static_cast<double>(N) / static_cast<double>(N);
  return detail::weighed_scores<T>("switch_balance_loss", scores, {detail::sequence_counts(choice, E, N, by), N, E, detail::Divide::no});
}

// logits[N, E] -> scalar.
template <class T>
Tensor<T> router_z_loss(const Tensor<T>& logits) {
  MOELLE_REQUIRE("router_z_loss", logits.defined() && logits.rank() == 2 && logits.size(1) > 0,
                 str("logits must be [N, E]; got shape=", logits.defined() ? logits.shape() : Shape()));
  const std::int64_t N = logits.size(0), E = logits.size(1);
  if (N == 0) return Tensor<T>::scalar(T(0));
  const Tensor<T> x = contiguous(logits.detach());
  const auto log_sum_exp = [E](const T* row) {
    const auto top = static_cast<double>(*std::max_element(row, row + E));
    double sum = 0.0;
    for (std::int64_t e = 0; e < E; ++e) sum += std::exp(static_cast<double>(row[e]) - top);
    return top + std::log(sum);
  };
  std::vector<double> z(static_cast<std::size_t>(N));
  const double total = detail::sum_rows(N, [&](std::int64_t n) {
    const double l = z[static_cast<std::size_t>(n)] = log_sum_exp(x.data() + n * E);
    return l * l;
  });
  const Tensor<T> y = Tensor<T>::scalar(static_cast<T>(total / static_cast<double>(N)));
  if (!autograd::wants_grad(logits)) return y;
  autograd::record<T>("router_z_loss", {logits}, {y}, [x = autograd::Saved<T>(x), z](autograd::Backward<T>& b) {
    const Tensor<T> in = x.get(), d = Tensor<T>::empty(in.shape());
    const std::int64_t rows = in.size(0), experts = in.size(1);
    const double g = static_cast<double>(b.grad(0).item()) * 2.0 / static_cast<double>(rows);
    parallel_rows(rows, 64, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t n = begin; n < end; ++n) {
        const double l = z[static_cast<std::size_t>(n)];
        for (std::int64_t i = n * experts; i < (n + 1) * experts; ++i)
          d.data()[i] = static_cast<T>(g * l * std::exp(static_cast<double>(in.data()[i]) - l));
      }
    });
    b.add(0, d);
  });
  return y;
}

}  // namespace moelle::moe
