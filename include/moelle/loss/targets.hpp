// moelle/loss/targets.hpp -- labels made ready: checked once, with the weight of each token in the loss.
#pragma once
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <vector>

#include <moelle/core/tensor.hpp>
#include <moelle/loss/cross_entropy.hpp>

namespace moelle::loss {

struct Targets {
  std::vector<std::int64_t> label;  // -1 where ignored
  std::vector<double> weight;       // w[y_i], 0 where ignored
  double scale = 0.0;               // 1/n of the contract; 0 if there is nothing to average

  std::int64_t size() const { return static_cast<std::int64_t>(label.size()); }
  std::int64_t at(std::int64_t i) const { return label[static_cast<std::size_t>(i)]; }
  // dL/dl_i
  double factor(std::int64_t i) const { return weight[static_cast<std::size_t>(i)] * scale; }
};

// Checks params, shapes and labels. x is logits [..., V] or hidden [..., D].
template <class T, class Index>
Targets make_targets(const char* op, const CrossEntropyParams& p, const Shape& x, const Tensor<Index>& labels, std::int64_t V,
                     const Tensor<T>& label_weight) {
  static_assert(dtype_of<Index> == DType::int32 || dtype_of<Index> == DType::int64, "labels must be int32 or int64");
  check(p);
  check_shapes(op, x, labels.shape(), V, label_weight.defined() ? &label_weight.shape() : nullptr);
  const std::vector<T> per_label = label_weight.defined() ? label_weight.to_vector() : std::vector<T>();
  Targets t;
  double total = 0.0;
  labels.each([&](Index value) {
    const auto y = static_cast<std::int64_t>(value);
    const bool ignored = y == p.ignore_index;
    if (!ignored) check_label(op, y, t.size(), V);
    const double w = ignored ? 0.0 : per_label.empty() ? 1.0 : static_cast<double>(per_label[static_cast<std::size_t>(y)]);
    t.label.push_back(ignored ? -1 : y);
    t.weight.push_back(w);
    total += w;
  });
  if (p.reduction == Reduction::sum) t.scale = 1.0;
  if (p.reduction == Reduction::mean) t.scale = p.normalizer > 0 ? 1.0 / p.normalizer : total != 0 ? 1.0 / total : 0.0;
  return t;
}

// Number of labels that count: what gradient accumulation hands to `normalizer`, summed over its micro-batches.
template <class Index>
std::int64_t count_targets(const Tensor<Index>& labels, std::int64_t ignore_index = -100) {
  std::int64_t n = 0;
  labels.each([&](Index y) { n += static_cast<std::int64_t>(y) != ignore_index ? 1 : 0; });
  return n;
}

// What one row of logits amounts to.
template <class T>
struct RowLoss {
  T shift = 0, sum = 0;     // e^lse = sum e^shift
  double log_prob = 0.0;    // x[y] - lse
  double lse = 0.0;

  // From the label's logit. Subtracting the shift first keeps the digits of a small loss.
  void finish(T label_logit) {
    const double log_sum = std::log(static_cast<double>(sum));
    lse = static_cast<double>(shift) + log_sum;
    log_prob = (static_cast<double>(label_logit) - static_cast<double>(shift)) - log_sum;
  }
  double loss(double z) const { return z == 0 ? -log_prob : -log_prob + z * lse * lse; }
  // Multiplies e^(x - shift) in the gradient of a loss with dL/dl_i = c.
  T factor(double c, double z) const { return c == 0 ? T(0) : static_cast<T>(c * (1 + 2 * z * lse) / static_cast<double>(sum)); }
};

// sum_i w_i l_i / n, in order.
template <class T>
double total_loss(const Targets& t, const std::vector<RowLoss<T>>& rows, double z) {
  double sum = 0.0;
  for (std::size_t i = 0; i < rows.size(); ++i)
    if (t.label[i] >= 0) sum += t.weight[i] * rows[i].loss(z);
  return sum * t.scale;
}

}  // namespace moelle::loss
