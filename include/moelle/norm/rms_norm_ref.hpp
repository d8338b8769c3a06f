// moelle/norm/rms_norm_ref.hpp -- the oracle: rms_norm.hpp row by row.
#pragma once
#include <cmath>
#include <cstdint>

#include <moelle/norm/rms_norm.hpp>

namespace moelle::norm::ref {

template <class T>
T inverse_rms(const T* x, std::int64_t D, T eps) {
  T sum = 0;
  for (std::int64_t j = 0; j < D; ++j) sum += x[j] * x[j];
  return 1 / std::sqrt(sum / static_cast<T>(D) + eps);
}

// x[rows, D], w[D] or null -> y[rows, D]
template <class T>
void rms_norm(const T* x, const T* w, std::int64_t rows, std::int64_t D, T eps, T* y) {
  for (std::int64_t i = 0; i < rows; ++i, x += D, y += D) {
    const T r = inverse_rms(x, D, eps);
    for (std::int64_t j = 0; j < D; ++j) y[j] = (w != nullptr ? w[j] : T(1)) * x[j] * r;
  }
}

// dy[rows, D] -> dx[rows, D], dw[D]
template <class T>
void rms_norm_grad(const T* x, const T* w, const T* dy, std::int64_t rows, std::int64_t D, T eps, T* dx, T* dw) {
  for (std::int64_t j = 0; j < D; ++j) dw[j] = 0;
  for (std::int64_t i = 0; i < rows; ++i, x += D, dy += D, dx += D) {
    const T r = inverse_rms(x, D, eps);
    T dot = 0;
    for (std::int64_t j = 0; j < D; ++j) dot += (w != nullptr ? w[j] : T(1)) * dy[j] * x[j];
    for (std::int64_t j = 0; j < D; ++j) {
      dx[j] = r * (w != nullptr ? w[j] : T(1)) * dy[j] - x[j] * r * r * r / static_cast<T>(D) * dot;
      dw[j] += dy[j] * x[j] * r;
    }
  }
}

}  // namespace moelle::norm::ref
