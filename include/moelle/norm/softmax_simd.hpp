// moelle/norm/softmax_simd.hpp -- softmax, its logarithm and their gradients on CPU vectors, over contiguous rows.
#pragma once
#include <cstdint>

#include <moelle/activation/lanes_simd.hpp>
#include <moelle/cpu/exp_simd.hpp>
#include <moelle/cpu/stream_simd.hpp>
#include <moelle/cpu/xsimd.hpp>
#include <moelle/norm/exp_simd.hpp>
#include <moelle/norm/softmax.hpp>

namespace moelle::norm::simd {

template <class T>
MOELLE_INLINE constexpr T infinity() {
  return sizeof(T) == 4 ? static_cast<T>(__builtin_huge_valf()) : static_cast<T>(__builtin_huge_val());
}

// What is subtracted from a row before the exponential: its maximum, or 0 if that is -infinity.
template <class Arch, class T>
MOELLE_INLINE T row_shift(const T* x, std::int64_t n) {
  using B = xsimd::batch<T, Arch>;
  const auto larger = [](const B& a, const B& v) { return xsimd::max(v, a); };  // NaN in v may be passed over
  const T top = moelle::simd::max_lanes<Arch, T>(moelle::simd::fold<Arch, T>(n, -infinity<T>(), -infinity<T>(), larger, larger, x));
  return top == -infinity<T>() ? T(0) : top;
}

// The sum of e^(x - shift): 0 for a row of -infinity throughout and NaN if the row holds NaN or +infinity. Where y is given, it receives
// the exponentials. The row that follows is begun meanwhile: this takes longer than memory does.
template <class Arch, class T>
MOELLE_INLINE T row_sum(const T* x, std::int64_t n, T shift, T* y) {
  using B = xsimd::batch<T, Arch>;
  const B s(shift);
  moelle::simd::Ahead<true, Arch, T> next{x + n};
  const auto exponential = [&](const B& v) {
    next.step();
    return exp_not_above_zero<Arch, T>(v - s);
  };
  if (y == nullptr) {
    const auto term = [&](const B& a, const B& v) { return a + exponential(v); };
    const auto add = [](const B& a, const B& v) { return a + v; };
    return moelle::simd::sum_lanes<Arch, T>(moelle::simd::fold<Arch, T>(n, T(0), -infinity<T>(), term, add, x));
  }
  return moelle::simd::sum_lanes<Arch, T>(moelle::simd::map_sum<Arch, T>(n, -infinity<T>(), exponential, x, y));
}

// Several short rows go through each step together: the lanes of one row are joined while other rows are at work.
template <class Arch, class T>
void softmax(const T* x, std::int64_t n, T* y, std::int64_t begin, std::int64_t end) {
  using B = xsimd::batch<T, Arch>;
  constexpr std::int64_t kTogether = 16, kShort = 256;
  const std::int64_t most = n <= kShort ? kTogether : 1;
  T shift[kTogether], factor[kTogether];
  for (std::int64_t first = begin; first < end; first += most) {
    const T* in = x + first * n;
    T* out = y + first * n;
    const std::int64_t rows = end - first < most ? end - first : most;
    for (std::int64_t r = 0; r < rows; ++r) shift[r] = row_shift<Arch, T>(in + r * n, n);
    for (std::int64_t r = 0; r < rows; ++r) {
      const T sum = row_sum<Arch, T>(in + r * n, n, shift[r], out + r * n);
      factor[r] = sum == T(0) ? T(0) : T(1) / sum;  // 0 for a row of -infinity; else the sum is at least 1
    }
    for (std::int64_t r = 0; r < rows; ++r) {
      const B f(factor[r]);
      moelle::simd::map<Arch, T>(n, out + r * n, [&](const B& v) { return v * f; }, out + r * n);
    }
  }
}

template <class Arch, class T>
void log_softmax(const T* x, std::int64_t n, T* y, std::int64_t begin, std::int64_t end) {
  using B = xsimd::batch<T, Arch>;
  for (std::int64_t r = begin; r < end; ++r) {
    const T top = row_shift<Arch, T>(x + r * n, n), sum = row_sum<Arch, T>(x + r * n, n, top, nullptr);
    const B shift(top), log_sum = xsimd::log(B(sum == T(0) ? T(1) : sum));
    moelle::simd::map<Arch, T>(n, y + r * n, [&](const B& v) { return (v - shift) - log_sum; }, x + r * n);
  }
}

template <class Arch, class T>
void softmax_grad(const T* y, const T* dy, std::int64_t n, T* dx, std::int64_t begin, std::int64_t end) {
  using B = xsimd::batch<T, Arch>;
  const auto add = [](const B& a, const B& v) { return a + v; };
  for (std::int64_t r = begin; r < end; ++r) {
    const T *p = y + r * n, *g = dy + r * n;
    const auto term = [](const B& a, const B& u, const B& v) { return xsimd::fma(u, v, a); };
    const B dot(moelle::simd::sum_lanes<Arch, T>(moelle::simd::fold<Arch, T>(n, T(0), T(0), term, add, p, g)));
    moelle::simd::map<Arch, T>(n, dx + r * n, [&](const B& u, const B& v) { return u * (v - dot); }, p, g);
  }
}

template <class Arch, class T>
void log_softmax_grad(const T* y, const T* dy, std::int64_t n, T* dx, std::int64_t begin, std::int64_t end) {
  using B = xsimd::batch<T, Arch>;
  const auto add = [](const B& a, const B& v) { return a + v; };
  for (std::int64_t r = begin; r < end; ++r) {
    const T *p = y + r * n, *g = dy + r * n;
    const B sum(moelle::simd::sum_lanes<Arch, T>(moelle::simd::fold<Arch, T>(n, T(0), T(0), add, add, g)));
    moelle::simd::map<Arch, T>(n, dx + r * n, [&](const B& u, const B& v) { return v - moelle::simd::exp(u) * sum; }, p, g);
  }
}

}  // namespace moelle::norm::simd
