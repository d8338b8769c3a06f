// moelle/norm/rms_norm_simd.hpp -- RMSNorm on CPU vectors: forward, fused with the residual sum, backward.
#pragma once
#include <cstdint>

#include <moelle/activation/lanes_simd.hpp>
#include <moelle/cpu/stream_simd.hpp>
#include <moelle/cpu/xsimd.hpp>
#include <moelle/norm/rms_norm.hpp>

namespace moelle::norm::simd {

using moelle::simd::Ahead;
using moelle::simd::fold;
using moelle::simd::map;
using moelle::simd::sum_lanes;

template <class Arch, class T>
using Vec = xsimd::batch<T, Arch>;

// 1 / sqrt(mean of squares + eps)
template <class Arch, class T>
MOELLE_INLINE T inverse_rms(const T* x, std::int64_t D, T eps) {
  using B = Vec<Arch, T>;
  const B squares = fold<Arch, T>(
      D, T(0), T(0), [](const B& a, const B& v) { return xsimd::fma(v, v, a); }, [](const B& a, const B& b) { return a + b; }, x);
  T lanes[moelle::simd::kLanes<Arch, T>];
  (B(T(1)) / xsimd::sqrt(B(sum_lanes<Arch, T>(squares) / static_cast<T>(D) + eps))).store_unaligned(lanes);
  return lanes[0];
}

// y = w x r; `ahead` is called with each vector.
template <bool Past, class Arch, class T, class F>
MOELLE_INLINE void scale_row(const T* x, const T* w, T r, std::int64_t D, T* y, F ahead) {
  using B = Vec<Arch, T>;
  const B factor(r);
  const auto scaled = [&](const B& v) {
    ahead();
    return v * factor;
  };
  if (w == nullptr)
    map<Arch, T, Past>(D, y, scaled, x);
  else
    map<Arch, T, Past>(D, y, [&](const B& v, const B& g) { return g * scaled(v); }, x, w);
}

template <bool Past, class Arch, class T>
MOELLE_INLINE void rms_norm_rows(const RmsNormArgs<T>& a, T* y, T* rstd, std::int64_t begin, std::int64_t end) {
  for (std::int64_t r = begin; r < end; ++r) {
    const T* x = a.x + r * a.x_stride;
    const T inverse = inverse_rms<Arch, T>(x, a.D, a.eps);
    Ahead<Past, Arch, T> next{x + a.x_stride};
    scale_row<Past, Arch, T>(x, a.weight, inverse, a.D, y + r * a.D, [&] { next.step(); });
    if (rstd != nullptr) rstd[r] = inverse;
  }
  moelle::simd::stores_done<Past>();
}
template <class Arch, class T>
void rms_norm(const RmsNormArgs<T>& a, T* y, T* rstd, std::int64_t begin, std::int64_t end) {
  a.past_caches ? rms_norm_rows<true, Arch, T>(a, y, rstd, begin, end) : rms_norm_rows<false, Arch, T>(a, y, rstd, begin, end);
}

// The sum, read again for y, is written as usual.
template <bool Past, class Arch, class T>
MOELLE_INLINE void add_rms_norm_rows(const RmsNormArgs<T>& a, const T* residual, T* sum, T* y, T* rstd, std::int64_t begin, std::int64_t end) {
  using B = Vec<Arch, T>;
  for (std::int64_t r = begin; r < end; ++r) {
    const T *x = a.x + r * a.x_stride, *other = residual + r * a.D;
    T* s = sum + r * a.D;
    map<Arch, T>(a.D, s, [](const B& u, const B& v) { return u + v; }, x, other);
    const T inverse = inverse_rms<Arch, T>(s, a.D, a.eps);
    Ahead<Past, Arch, T> next_x{x + a.x_stride}, next_other{other + a.D};
    scale_row<Past, Arch, T>(s, a.weight, inverse, a.D, y + r * a.D, [&] {
      next_x.step();
      next_other.step();
    });
    if (rstd != nullptr) rstd[r] = inverse;
  }
  moelle::simd::stores_done<Past>();
}
template <class Arch, class T>
void add_rms_norm(const RmsNormArgs<T>& a, const T* residual, T* sum, T* y, T* rstd, std::int64_t begin, std::int64_t end) {
  a.past_caches ? add_rms_norm_rows<true, Arch, T>(a, residual, sum, y, rstd, begin, end)
                : add_rms_norm_rows<false, Arch, T>(a, residual, sum, y, rstd, begin, end);
}

// dx = r w dy - x c (+ plus); w and plus may be null.
template <bool Past, class Arch, class T>
MOELLE_INLINE void grad_row(const T* x, const T* w, const T* dy, const T* plus, T r, T c, std::int64_t D, T* dx, std::int64_t x_stride) {
  using B = Vec<Arch, T>;
  const B rv(r), cv(-c);
  Ahead<Past, Arch, T> next_x{x + x_stride}, next_dy{dy + D};
  const auto term = [&](const B& v, const B& g) {
    next_x.step();
    next_dy.step();
    return xsimd::fma(v, cv, g * rv);
  };
  if (w == nullptr && plus == nullptr) map<Arch, T, Past>(D, dx, term, x, dy);
  if (w == nullptr && plus != nullptr) map<Arch, T, Past>(D, dx, [&](const B& v, const B& g, const B& p) { return p + term(v, g); }, x, dy, plus);
  if (w != nullptr && plus == nullptr) map<Arch, T, Past>(D, dx, [&](const B& v, const B& g, const B& u) { return term(v, g * u); }, x, dy, w);
  if (w != nullptr && plus != nullptr)
    map<Arch, T, Past>(D, dx, [&](const B& v, const B& g, const B& u, const B& p) { return p + term(v, g * u); }, x, dy, w, plus);
}

template <bool Past, class Arch, class T>
MOELLE_INLINE void rms_norm_grad_rows(const RmsNormArgs<T>& a, const T* rstd, const T* dy, const T* plus, T* dx, T* dw, std::int64_t begin,
                                      std::int64_t end) {
  using B = Vec<Arch, T>;
  const auto add = [](const B& u, const B& v) { return u + v; };
  for (std::int64_t r = begin; r < end; ++r) {
    const T *x = a.x + r * a.x_stride, *g = dy + r * a.D;
    const B scale(rstd[r]);
    if (dx != nullptr) {
      const B dots = a.weight == nullptr
                         ? fold<Arch, T>(a.D, T(0), T(0), [](const B& s, const B& v, const B& u) { return xsimd::fma(v, u, s); }, add, x, g)
                         : fold<Arch, T>(a.D, T(0), T(0), [](const B& s, const B& v, const B& u, const B& w) { return xsimd::fma(v, u * w, s); },
                                         add, x, g, a.weight);
      // r^3 may overflow where r^2 times the dot product does not: multiply in this order.
      const T c = rstd[r] * (rstd[r] * (rstd[r] * (sum_lanes<Arch, T>(dots) / static_cast<T>(a.D))));
      grad_row<Past, Arch, T>(x, a.weight, g, plus != nullptr ? plus + r * a.D : nullptr, rstd[r], c, a.D, dx + r * a.D, a.x_stride);
    }
    if (dw != nullptr) map<Arch, T>(a.D, dw, [&](const B& s, const B& v, const B& u) { return xsimd::fma(u, v * scale, s); }, dw, x, g);
  }
  moelle::simd::stores_done<Past>();
}
template <class Arch, class T>
void rms_norm_grad(const RmsNormArgs<T>& a, const T* rstd, const T* dy, const T* plus, T* dx, T* dw, std::int64_t begin, std::int64_t end) {
  a.past_caches ? rms_norm_grad_rows<true, Arch, T>(a, rstd, dy, plus, dx, dw, begin, end)
                : rms_norm_grad_rows<false, Arch, T>(a, rstd, dy, plus, dx, dw, begin, end);
}

}  // namespace moelle::norm::simd
