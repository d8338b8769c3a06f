// moelle/attention/attention_ref.hpp -- the oracle: all scores of a query at once, in double.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include <moelle/attention/attention.hpp>

namespace moelle::attention::ref {

// visible(i, j) and mask(i, j) take 64-bit indices. One head: q[Tq, Dk], k[Tk, Dk], v[Tk, Dv] in rows; visible(i, j) and mask(i, j) as the contract says.
struct Head {
  std::int64_t Tq, Tk, Dk, Dv;
  double scale;
};

// Probabilities p[Tq, Tk]; rows without a visible key are 0.
template <class T, class Visible, class Mask>
std::vector<double> probabilities(const Head& h, const T* q, const T* k, Visible visible, Mask mask) {
  std::vector<double> p(static_cast<std::size_t>(h.Tq * h.Tk), 0.0);
  for (std::int64_t i = 0; i < h.Tq; ++i) {
    double* row = p.data() + i * h.Tk;
    double top = -std::numeric_limits<double>::infinity(), sum = 0.0;
    for (std::int64_t j = 0; j < h.Tk; ++j) {
      if (!visible(i, j)) continue;
      for (std::int64_t d = 0; d < h.Dk; ++d) row[j] += static_cast<double>(q[i * h.Dk + d]) * static_cast<double>(k[j * h.Dk + d]);
      row[j] = row[j] * h.scale + mask(i, j);
      top = std::max(top, row[j]);
    }
    for (std::int64_t j = 0; j < h.Tk; ++j)
      if (visible(i, j) && top > -std::numeric_limits<double>::infinity()) sum += row[j] = std::exp(row[j] - top);
      else row[j] = 0.0;
    for (std::int64_t j = 0; j < h.Tk && sum > 0; ++j) row[j] /= sum;
  }
  return p;
}

// o[Tq, Dv].
template <class T>
void forward(const Head& h, const std::vector<double>& p, const T* v, T* o) {
  for (std::int64_t i = 0; i < h.Tq; ++i)
    for (std::int64_t d = 0; d < h.Dv; ++d) {
      double sum = 0.0;
      for (std::int64_t j = 0; j < h.Tk; ++j) sum += p[static_cast<std::size_t>(i * h.Tk + j)] * static_cast<double>(v[j * h.Dv + d]);
      o[i * h.Dv + d] = static_cast<T>(sum);
    }
}

}  // namespace moelle::attention::ref
