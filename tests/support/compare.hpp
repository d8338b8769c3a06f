// tests/support/compare.hpp -- ways to compare tensors. Numbers are only compared after NaN and infinities were found in the
// same places: a difference there gives an infinite error.
#pragma once
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <vector>

#include <moelle/core/tensor.hpp>

namespace moelle::test {

// The same shape and the same bits (two NaN of one bit pattern are equal, 0 and -0 are not).
template <class T>
bool bitwise_equal(const Tensor<T>& a, const Tensor<T>& b) {
  if (!a.defined() || !b.defined()) return a.defined() == b.defined();
  if (a.shape() != b.shape()) return false;
  std::vector<T> x, y;
  a.each([&](T v) { x.push_back(v); });
  b.each([&](T v) { y.push_back(v); });
  for (std::size_t i = 0; i < x.size(); ++i)
    if (const T p = x[i], q = y[i]; std::memcmp(&p, &q, sizeof(T)) != 0) return false;
  return true;
}

// Whether two numbers are both NaN, the same infinity, or both finite.
inline bool same_kind(double a, double b) {
  if (std::isnan(a) || std::isnan(b)) return std::isnan(a) == std::isnan(b);
  if (std::isinf(a) || std::isinf(b)) return a == b;
  return true;
}

// f(got, want) for all pairs of elements, as double; false if shapes or kinds differ.
template <class T, class U, class F>
bool each_pair(const Tensor<T>& got, const Tensor<U>& want, F f) {
  if (!got.defined() || !want.defined() || got.shape() != want.shape()) return false;
  std::vector<double> g, w;
  got.each([&](T v) { g.push_back(static_cast<double>(v)); });
  want.each([&](U v) { w.push_back(static_cast<double>(v)); });
  for (std::size_t i = 0; i < g.size(); ++i)
    if (!same_kind(g[i], w[i])) return false;
  for (std::size_t i = 0; i < g.size(); ++i)
    if (std::isfinite(w[i])) f(g[i], w[i]);
  return true;
}

// max |got - want|.
template <class T, class U>
double max_abs_error(const Tensor<T>& got, const Tensor<U>& want) {
  double worst = 0;
  const bool alike = each_pair(got, want, [&](double g, double w) { worst = std::fmax(worst, std::fabs(g - w)); });
  return alike ? worst : std::numeric_limits<double>::infinity();
}

// max |got - want| / max |want|: relative to the largest element, so that cancelled elements do not dominate.
template <class T, class U>
double max_relative_error(const Tensor<T>& got, const Tensor<U>& want) {
  double worst = 0, scale = 0;
  const bool alike = each_pair(got, want, [&](double g, double w) {
    worst = std::fmax(worst, std::fabs(g - w));
    scale = std::fmax(scale, std::fabs(w));
  });
  if (!alike) return std::numeric_limits<double>::infinity();
  return worst == 0 ? 0 : worst / std::fmax(scale, std::numeric_limits<double>::min());
}

// |x - y|^2 / (|x|^2 + |y|^2).
template <class T, class U>
double calc_diff(const Tensor<T>& got, const Tensor<U>& want) {
  double difference = 0, sum = 0;
  const bool alike = each_pair(got, want, [&](double g, double w) {
    difference += (g - w) * (g - w);
    sum += g * g + w * w;
  });
  if (!alike) return std::numeric_limits<double>::infinity();
  return difference == 0 ? 0 : difference / sum;
}

// max of |got - want| / bound, element by element, where bound has the same shape: at most 1 if every bound holds.
template <class T, class U>
double worst_share_of_bound(const Tensor<T>& got, const Tensor<U>& want, const Tensor<double>& bound) {
  const std::vector<double> b = bound.to_vector();
  if (!got.defined() || got.shape() != bound.shape()) return std::numeric_limits<double>::infinity();
  std::vector<double> g, w;
  got.each([&](T v) { g.push_back(static_cast<double>(v)); });
  want.each([&](U v) { w.push_back(static_cast<double>(v)); });
  if (g.size() != w.size()) return std::numeric_limits<double>::infinity();
  double worst = 0;
  for (std::size_t i = 0; i < g.size(); ++i) {
    if (!same_kind(g[i], w[i])) return std::numeric_limits<double>::infinity();
    if (!std::isfinite(w[i]) || g[i] == w[i]) continue;
    const double share = std::fabs(g[i] - w[i]) / b[i];
    worst = share > worst || std::isnan(share) ? share : worst;
  }
  return worst;
}

}  // namespace moelle::test
