// moelle/norm/softmax_simd.hpp -- softmax, its logarithm and their gradients on CPU vectors, over contiguous rows.
#pragma once
#include <cstdint>

#include <moelle/activation/lanes_simd.hpp>
#include <moelle/cpu/exp_simd.hpp>
#include <moelle/cpu/xsimd.hpp>
#include <moelle/norm/exp_simd.hpp>
#include <moelle/norm/softmax.hpp>

namespace moelle::norm::simd {

template <class T>
MOELLE_INLINE constexpr T infinity() {
  return sizeof(T) == 4 ? static_cast<T>(__builtin_huge_valf()) : static_cast<T>(__builtin_huge_val());
}

// What softmax needs to know about a row: `shift` (its maximum, or 0 if that is -infinity) and sum of e^(x - shift).
template <class T>
struct RowStats {
  T shift, sum;
};

// sum is 0 for a row of -infinity throughout and NaN if the row holds NaN or +infinity. Where y is given, it receives
// the exponentials.
template <class Arch, class T>
MOELLE_INLINE RowStats<T> row_stats(const T* x, std::int64_t n, T* y) {
  using B = xsimd::batch<T, Arch>;
  const auto larger = [](const B& a, const B& v) { return xsimd::select(v > a, v, a); };  // NaN in v is passed over
  const T top = moelle::simd::max_lanes<Arch, T>(moelle::simd::fold<Arch, T>(n, -infinity<T>(), -infinity<T>(), larger, larger, x));
  const T shift = top == -infinity<T>() ? T(0) : top;
  const B s(shift);
  const auto add = [](const B& a, const B& v) { return a + v; };
  if (y == nullptr) {
    const auto term = [&](const B& a, const B& v) { return a + exp_not_above_zero<Arch, T>(v - s); };
    return {shift, moelle::simd::sum_lanes<Arch, T>(moelle::simd::fold<Arch, T>(n, T(0), -infinity<T>(), term, add, x))};
  }
  const auto exponential = [&](const B& v) { return exp_not_above_zero<Arch, T>(v - s); };
  return {shift, moelle::simd::sum_lanes<Arch, T>(moelle::simd::map_sum<Arch, T>(n, -infinity<T>(), exponential, x, y))};
}

template <class Arch, class T>
void softmax(const T* x, std::int64_t n, T* y, std::int64_t begin, std::int64_t end) {
  using B = xsimd::batch<T, Arch>;
  for (std::int64_t r = begin; r < end; ++r) {
    T* out = y + r * n;
    const RowStats<T> stats = row_stats<Arch, T>(x + r * n, n, out);
    const B inverse(stats.sum == T(0) ? T(0) : T(1) / stats.sum);  // 0 for a row of -infinity; else the sum is at least 1
    moelle::simd::map<Arch, T>(n, out, [&](const B& v) { return v * inverse; }, out);
  }
}

template <class Arch, class T>
void log_softmax(const T* x, std::int64_t n, T* y, std::int64_t begin, std::int64_t end) {
  using B = xsimd::batch<T, Arch>;
  for (std::int64_t r = begin; r < end; ++r) {
    const RowStats<T> stats = row_stats<Arch, T>(x + r * n, n, nullptr);
    const B shift(stats.shift), log_sum = xsimd::log(B(stats.sum == T(0) ? T(1) : stats.sum));
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
