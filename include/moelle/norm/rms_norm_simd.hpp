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

// 1 / sqrt(mean of squares + eps) of value(x...), a vector.
template <class Arch, class T, class F, class... In>
MOELLE_INLINE T inverse_rms(std::int64_t D, T eps, F value, const In*... x) {
  using B = Vec<Arch, T>;
  const auto add_square = [&](const B& sum, const auto&... at) {
    const B v = value(at...);
    return xsimd::fma(v, v, sum);
  };
  const B squares = fold<Arch, T>(D, T(0), T(0), add_square, [](const B& a, const B& b) { return a + b; }, x...);
  T lanes[moelle::simd::kLanes<Arch, T>];
  (B(T(1)) / xsimd::sqrt(B(sum_lanes<Arch, T>(squares) / static_cast<T>(D) + eps))).store_unaligned(lanes);
  return lanes[0];
}

template <bool Past, class Arch, class T>
MOELLE_INLINE void rms_norm_rows(const RmsNormArgs<T>& a, T* y, T* rstd, std::int64_t begin, std::int64_t end) {
  using B = Vec<Arch, T>;
  for (std::int64_t r = begin; r < end; ++r) {
    const T* x = a.x + r * a.x_stride;
    const T inverse = inverse_rms<Arch, T>(a.D, a.eps, [](const B& v) { return v; }, x);
    const B factor(inverse);
    Ahead<Past, Arch, T> next{x + a.x_stride};
    const auto scaled = [&](const B& v) {
      next.step();
      return v * factor;
    };
    if (a.weight == nullptr)
      map<Arch, T, Past>(a.D, y + r * a.D, scaled, x);
    else
      map<Arch, T, Past>(a.D, y + r * a.D, [&](const B& v, const B& w) { return w * scaled(v); }, x, a.weight);
    if (rstd != nullptr) rstd[r] = inverse;
  }
  moelle::simd::stores_done<Past>();
}
template <class Arch, class T>
void rms_norm(const RmsNormArgs<T>& a, T* y, T* rstd, std::int64_t begin, std::int64_t end) {
  a.past_caches ? rms_norm_rows<true, Arch, T>(a, y, rstd, begin, end) : rms_norm_rows<false, Arch, T>(a, y, rstd, begin, end);
}

// The sum is made twice, once for its squares: both results are then written in one pass, and neither is read.
template <bool Past, class Arch, class T>
MOELLE_INLINE void add_rms_norm_rows(const RmsNormArgs<T>& a, const T* residual, T* sum, T* y, T* rstd, std::int64_t begin, std::int64_t end) {
  using B = Vec<Arch, T>;
  using moelle::simd::map_pair;
  using moelle::simd::Pair;
  for (std::int64_t r = begin; r < end; ++r) {
    const T *x = a.x + r * a.x_stride, *other = residual + r * a.D;
    const T inverse = inverse_rms<Arch, T>(a.D, a.eps, [](const B& u, const B& v) { return u + v; }, x, other);
    const B factor(inverse);
    Ahead<Past, Arch, T> next_x{x + a.x_stride}, next_other{other + a.D};
    const auto both = [&](const B& u, const B& v) {
      next_x.step();
      next_other.step();
      const B s = u + v;
      return Pair<B>{s, s * factor};
    };
    const auto weighted = [&](const B& u, const B& v, const B& w) {
      const Pair<B> p = both(u, v);
      return Pair<B>{p.first, w * p.second};
    };
    if (a.weight == nullptr)
      map_pair<Arch, T, Past, Past>(a.D, sum + r * a.D, y + r * a.D, both, x, other);
    else
      map_pair<Arch, T, Past, Past>(a.D, sum + r * a.D, y + r * a.D, weighted, x, other, a.weight);
    if (rstd != nullptr) rstd[r] = inverse;
  }
  moelle::simd::stores_done<Past>();
}
template <class Arch, class T>
void add_rms_norm(const RmsNormArgs<T>& a, const T* residual, T* sum, T* y, T* rstd, std::int64_t begin, std::int64_t end) {
  a.past_caches ? add_rms_norm_rows<true, Arch, T>(a, residual, sum, y, rstd, begin, end)
                : add_rms_norm_rows<false, Arch, T>(a, residual, sum, y, rstd, begin, end);
}

// dx = r w dy - x c (+ plus), and dw += dy x r where dw is given; plus may be null, and w is none or one vector of weights.
template <bool Past, class Arch, class T, class... W>
MOELLE_INLINE void grad_row(const T* x, const T* dy, const T* plus, T r, T c, std::int64_t D, std::int64_t x_stride, T* dx, T* dw, const W*... w) {
  using B = Vec<Arch, T>;
  using moelle::simd::map_pair;
  using moelle::simd::Pair;
  const B rv(r), cv(-c);
  Ahead<Past, Arch, T> next_x{x + x_stride}, next_dy{dy + D};
  const auto slope = [&](const B& v, const B& g, const auto&... u) {
    next_x.step();
    next_dy.step();
    return xsimd::fma(v, cv, (g * ... * u) * rv);
  };
  const auto slope_plus = [&](const B& v, const B& g, const B& p, const auto&... u) { return p + slope(v, g, u...); };
  const auto joined = [&](const B& sum, const B& v, const B& g) { return xsimd::fma(g, v * rv, sum); };
  if (dw == nullptr && plus == nullptr) map<Arch, T, Past>(D, dx, slope, x, dy, w...);
  if (dw == nullptr && plus != nullptr) map<Arch, T, Past>(D, dx, slope_plus, x, dy, plus, w...);
  if (dw != nullptr && plus == nullptr)
    map_pair<Arch, T, Past>(D, dx, dw, [&](const B& s, const B& v, const B& g, const auto&... u) { return Pair<B>{slope(v, g, u...), joined(s, v, g)}; }, dw, x,
                            dy, w...);
  if (dw != nullptr && plus != nullptr)
    map_pair<Arch, T, Past>(
        D, dx, dw, [&](const B& s, const B& v, const B& g, const B& p, const auto&... u) { return Pair<B>{slope_plus(v, g, p, u...), joined(s, v, g)}; }, dw, x,
        dy, plus, w...);
}

template <bool Past, class Arch, class T>
MOELLE_INLINE void rms_norm_grad_rows(const RmsNormArgs<T>& a, const T* rstd, const T* dy, const T* plus, T* dx, T* dw, std::int64_t begin,
                                      std::int64_t end) {
  using B = Vec<Arch, T>;
  const auto add = [](const B& u, const B& v) { return u + v; };
  const auto dot = [](const B& s, const B& v, const B& g, const auto&... w) { return xsimd::fma(v, (g * ... * w), s); };
  for (std::int64_t r = begin; r < end; ++r) {
    const T *x = a.x + r * a.x_stride, *g = dy + r * a.D;
    if (dx == nullptr) {
      const B scale(rstd[r]);
      if (dw != nullptr) map<Arch, T>(a.D, dw, [&](const B& s, const B& v, const B& u) { return xsimd::fma(u, v * scale, s); }, dw, x, g);
      continue;
    }
    const auto of = [&](const auto*... w) {
      const B dots = fold<Arch, T>(a.D, T(0), T(0), dot, add, x, g, w...);
      // r^3 may overflow where r^2 times the dot product does not: multiply in this order.
      const T c = rstd[r] * (rstd[r] * (rstd[r] * (sum_lanes<Arch, T>(dots) / static_cast<T>(a.D))));
      grad_row<Past, Arch, T>(x, g, plus != nullptr ? plus + r * a.D : nullptr, rstd[r], c, a.D, a.x_stride, dx + r * a.D, dw, w...);
    };
    a.weight == nullptr ? of() : of(a.weight);
  }
  moelle::simd::stores_done<Past>();
}
template <class Arch, class T>
void rms_norm_grad(const RmsNormArgs<T>& a, const T* rstd, const T* dy, const T* plus, T* dx, T* dw, std::int64_t begin, std::int64_t end) {
  a.past_caches ? rms_norm_grad_rows<true, Arch, T>(a, rstd, dy, plus, dx, dw, begin, end)
                : rms_norm_grad_rows<false, Arch, T>(a, rstd, dy, plus, dx, dw, begin, end);
}

}  // namespace moelle::norm::simd
