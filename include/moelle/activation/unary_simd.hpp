// moelle/activation/unary_simd.hpp -- functions of one element on CPU vectors.
#pragma once
#include <cstdint>

#include <moelle/activation/lanes_simd.hpp>
#include <moelle/activation/unary.hpp>
#include <moelle/cpu/exp_simd.hpp>
#include <moelle/cpu/xsimd.hpp>

namespace moelle::activation::simd {

template <class Arch, class T>
using Vec = xsimd::batch<T, Arch>;

// min(x, high); a NaN stays: where one of two is NaN, x86 gives the second and NEON the NaN.
template <class Arch, class T>
MOELLE_INLINE Vec<Arch, T> at_most(const Vec<Arch, T>& x, T high) {
  return xsimd::min(Vec<Arch, T>(high), x);
}
// x in [low, high]; a NaN stays.
template <class Arch, class T>
MOELLE_INLINE Vec<Arch, T> clamp(const Vec<Arch, T>& x, T low, T high) {
  return xsimd::max(Vec<Arch, T>(low), at_most<Arch, T>(x, high));
}

// The sigmoid to multiply x by, any number where x is NaN. Below -88 (float) it is no normal number, and 0.
template <class Arch, class T>
MOELLE_INLINE Vec<Arch, T> sigmoid_of_number(const Vec<Arch, T>& x) {
  constexpr T kFloor = sizeof(T) == 4 ? T(-88) : T(-800), kTop = sizeof(T) == 4 ? T(87) : T(800);
  const Vec<Arch, T> one(T(1));
  const Vec<Arch, T> s = one / (one + moelle::simd::exp_within_88<Arch, T>(-clamp<Arch, T>(x, kFloor, kTop)));
  return xsimd::select(x < Vec<Arch, T>(kFloor), Vec<Arch, T>(T(0)), s);
}

// A NaN stays the one it was.
template <class Arch, class T>
MOELLE_INLINE Vec<Arch, T> sigmoid(const Vec<Arch, T>& x) {
  return xsimd::select(x == x, sigmoid_of_number<Arch, T>(x), x);
}

// silu and its derivative at x. Below -87 (float) e^-x leaves the range; there the derivative is under 1e-35 anyway.
template <class Arch, class T>
struct Silu {
  Vec<Arch, T> value, slope;

  MOELLE_INLINE explicit Silu(const Vec<Arch, T>& x) {
    constexpr T kEnd = sizeof(T) == 4 ? T(87) : T(700);
    const Vec<Arch, T> one(T(1)), c = clamp<Arch, T>(x, -kEnd, kEnd);
    const Vec<Arch, T> e = moelle::simd::exp_within_88<Arch, T>(-c), s = one / (one + e);
    value = x * xsimd::select(x < Vec<Arch, T>(-kEnd), Vec<Arch, T>(T(0)), s);
    slope = s * moelle::simd::fused_multiply_add<Arch, T>(c, e * s, one);  // 1 - s is e s, without cancellation
  }
};

// Clamped, because xsimd's erf squares its argument; beyond 50 the result is 0 or 1 anyway.
template <class Arch, class T>
MOELLE_INLINE Vec<Arch, T> normal_cdf(const Vec<Arch, T>& x) {
  using B = Vec<Arch, T>;
  return B(T(0.5)) * (B(T(1)) + xsimd::erf(clamp<Arch, T>(x, T(-50), T(50)) * B(T(0.70710678118654752440))));
}

inline constexpr double kTwoRootTwoOverPi = 1.5957691216057307117;  // 2 sqrt(2/pi)
inline constexpr double kCubic = 0.044715;

// 2u, u the argument of gelu_tanh.
template <class Arch, class T>
MOELLE_INLINE Vec<Arch, T> tanh_argument(const Vec<Arch, T>& x) {
  using B = Vec<Arch, T>;
  return B(T(kTwoRootTwoOverPi)) * x * xsimd::fma(B(T(kCubic)), x * x, B(T(1)));
}

template <Unary F, class Arch, class T>
MOELLE_INLINE Vec<Arch, T> value(const Vec<Arch, T>& x) {
  using B = Vec<Arch, T>;
  if constexpr (F == Unary::sigmoid) return sigmoid<Arch, T>(x);
  if constexpr (F == Unary::silu) return x * sigmoid_of_number<Arch, T>(x);
  if constexpr (F == Unary::softplus) return xsimd::select(x > B(T(kSoftplusThreshold)), x, xsimd::log1p(moelle::simd::exp(x)));
  if constexpr (F == Unary::gelu) return x * normal_cdf<Arch, T>(x);
  if constexpr (F == Unary::gelu_tanh) return x * sigmoid_of_number<Arch, T>(tanh_argument<Arch, T>(clamp<Arch, T>(x, T(-30), T(30))));  // x^3 in range
  if constexpr (F == Unary::relu) return xsimd::select(x < B(T(0)), B(T(0)), x);
}

// Not for relu, whose gradient must be 0 even where dy is infinite.
template <Unary F, class Arch, class T>
MOELLE_INLINE Vec<Arch, T> slope(const Vec<Arch, T>& x) {
  using B = Vec<Arch, T>;
  const B one(T(1));
  if constexpr (F == Unary::sigmoid) {
    const B s = sigmoid<Arch, T>(x);
    return s * sigmoid<Arch, T>(-x);
  }
  if constexpr (F == Unary::silu) return Silu<Arch, T>(x).slope;
  if constexpr (F == Unary::softplus) return xsimd::select(x > B(T(kSoftplusThreshold)), one, sigmoid<Arch, T>(x));
  if constexpr (F == Unary::gelu) {
    const B c = clamp<Arch, T>(x, T(-50), T(50));  // beyond, the density is 0 and x^2 would overflow
    const B density = B(T(0.39894228040143267794)) * moelle::simd::exp(B(T(-0.5)) * c * c);
    return xsimd::fma(c, density, normal_cdf<Arch, T>(x));
  }
  if constexpr (F == Unary::gelu_tanh) {
    constexpr T kEnd = sizeof(T) == 4 ? T(9) : T(20);  // beyond, 0 or 1 up to 1e-26, and e^-2u must not overflow
    const B c = clamp<Arch, T>(x, -kEnd, kEnd);
    const B e = moelle::simd::exp(-tanh_argument<Arch, T>(c));
    const B s = one / (one + e);
    const B du = B(T(kTwoRootTwoOverPi)) * xsimd::fma(B(T(3 * kCubic)), c * c, one);
    return xsimd::fma(c * s * (e * s), du, s);  // 1 - s is e s
  }
}

// x[n] -> y[n]
template <Unary F, class Arch, class T>
void unary(const T* x, std::int64_t n, T* y) {
  moelle::simd::map<Arch, T>(n, y, [](const Vec<Arch, T>& v) { return value<F, Arch, T>(v); }, x);
}

// x[n], dy[n] -> dx[n]
template <Unary F, class Arch, class T>
void unary_grad(const T* x, const T* dy, std::int64_t n, T* dx) {
  using B = Vec<Arch, T>;
  if constexpr (F == Unary::relu)
    moelle::simd::map<Arch, T>(n, dx, [](const B& v, const B& g) { return xsimd::select(v <= B(T(0)), B(T(0)), g); }, x, dy);
  else
    moelle::simd::map<Arch, T>(n, dx, [](const B& v, const B& g) { return g * slope<F, Arch, T>(v); }, x, dy);
}

}  // namespace moelle::activation::simd
