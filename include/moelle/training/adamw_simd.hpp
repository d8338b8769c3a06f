// moelle/training/adamw_simd.hpp -- the update on CPU vectors: one pass over w, g, m and v.
#pragma once
#include <cstdint>

#include <moelle/cpu/xsimd.hpp>

#include <moelle/core/config.hpp>
#include <moelle/training/adamw.hpp>

namespace moelle::training::simd {

template <class Arch, class T>
struct AdamWVectors {
  using B = xsimd::batch<T, Arch>;
  B beta1, one_beta1, beta2, one_beta2, scale, step, root, eps, keep;

  MOELLE_INLINE explicit AdamWVectors(const AdamWStep& s)
      : beta1(static_cast<T>(s.beta1)), one_beta1(static_cast<T>(1 - s.beta1)), beta2(static_cast<T>(s.beta2)),
        one_beta2(static_cast<T>(1 - s.beta2)), scale(static_cast<T>(s.grad_scale)), step(static_cast<T>(s.lr / s.correction1)),
        root(static_cast<T>(1 / s.correction2)), eps(static_cast<T>(s.eps)), keep(static_cast<T>(1 - s.lr * s.decay)) {}

  MOELLE_INLINE void update(T* w, const T* g, T* m, T* v) const {
    const B grad = B::load_unaligned(g) * scale;
    const B first = beta1 * B::load_unaligned(m) + one_beta1 * grad;
    const B second = beta2 * B::load_unaligned(v) + one_beta2 * grad * grad;
    (B::load_unaligned(w) * keep - step * first / (xsimd::sqrt(second * root) + eps)).store_unaligned(w);
    first.store_unaligned(m);
    second.store_unaligned(v);
  }
};

// Elements [0, n). A tail goes through small buffers, so that an element's result does not depend on its place.
template <class Arch, class T>
void adamw(T* w, const T* g, T* m, T* v, std::int64_t n, const AdamWStep& s) {
  constexpr auto N = static_cast<std::int64_t>(xsimd::batch<T, Arch>::size);
  const AdamWVectors<Arch, T> k(s);
  std::int64_t i = 0;
  for (; i + N <= n; i += N) k.update(w + i, g + i, m + i, v + i);
  if (i == n) return;
  T tw[N] = {}, tg[N] = {}, tm[N] = {}, tv[N] = {};
  for (std::int64_t j = 0; i + j < n; ++j) tw[j] = w[i + j], tg[j] = g[i + j], tm[j] = m[i + j], tv[j] = v[i + j];
  k.update(tw, tg, tm, tv);
  for (std::int64_t j = 0; i + j < n; ++j) w[i + j] = tw[j], m[i + j] = tm[j], v[i + j] = tv[j];
}

}  // namespace moelle::training::simd
