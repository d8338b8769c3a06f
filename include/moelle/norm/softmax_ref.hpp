// moelle/norm/softmax_ref.hpp -- the oracle: softmax.hpp, one row of n elements.
#pragma once
#include <cmath>
#include <cstdint>
#include <limits>

#include <moelle/norm/softmax.hpp>

namespace moelle::norm::ref {

template <class T>
void softmax(Softmax form, const T* x, std::int64_t n, T* y) {
  T m = -std::numeric_limits<T>::infinity();
  for (std::int64_t j = 0; j < n; ++j) m = std::isnan(x[j]) || std::isnan(m) ? std::numeric_limits<T>::quiet_NaN() : x[j] > m ? x[j] : m;
  const bool nothing = m == -std::numeric_limits<T>::infinity();
  T sum = 0;
  for (std::int64_t j = 0; j < n; ++j) sum += nothing ? T(0) : std::exp(x[j] - m);
  for (std::int64_t j = 0; j < n; ++j) {
    if (form == Softmax::plain) y[j] = nothing ? T(0) : std::exp(x[j] - m) / sum;
    if (form == Softmax::log) y[j] = nothing ? m : (x[j] - m) - std::log(sum);
  }
}

// From the output y.
template <class T>
void softmax_grad(Softmax form, const T* y, const T* dy, std::int64_t n, T* dx) {
  T dot = 0;
  for (std::int64_t j = 0; j < n; ++j) dot += form == Softmax::plain ? dy[j] * y[j] : dy[j];
  for (std::int64_t j = 0; j < n; ++j) dx[j] = form == Softmax::plain ? y[j] * (dy[j] - dot) : dy[j] - std::exp(y[j]) * dot;
}

}  // namespace moelle::norm::ref
