// moelle/training/adamw_ref.hpp -- the oracle.
#pragma once
#include <cmath>
#include <cstdint>

#include <moelle/training/adamw.hpp>

namespace moelle::training::ref {

template <class T>
void adamw(T* w, const T* g, T* m, T* v, std::int64_t n, const AdamWStep& s) {
  for (std::int64_t i = 0; i < n; ++i) {
    const double grad = s.grad_scale * static_cast<double>(g[i]);
    const double first = s.beta1 * static_cast<double>(m[i]) + (1 - s.beta1) * grad;
    const double second = s.beta2 * static_cast<double>(v[i]) + (1 - s.beta2) * grad * grad;
    const double update = first / s.correction1 / (std::sqrt(second / s.correction2) + s.eps);
    w[i] = static_cast<T>(static_cast<double>(w[i]) - s.lr * (update + s.decay * static_cast<double>(w[i])));
    m[i] = static_cast<T>(first);
    v[i] = static_cast<T>(second);
  }
}

}  // namespace moelle::training::ref
