// moelle/loss/cross_entropy_simd.hpp -- what cross-entropy does to one row of logits, on CPU vectors.
#pragma once
#include <cstdint>

#include <moelle/activation/lanes_simd.hpp>
#include <moelle/cpu/xsimd.hpp>
#include <moelle/norm/exp_simd.hpp>
#include <moelle/norm/softmax_simd.hpp>  // row_shift, row_sum

namespace moelle::loss::simd {

template <class Arch, class T>
void exponentials(const T* x, std::int64_t n, T* y, T* shift, T* sum) {
  *shift = norm::simd::row_shift<Arch, T>(x, n);
  *sum = norm::simd::row_sum<Arch, T>(x, n, *shift, y);
}

template <class Arch, class T>
void scale(T* y, std::int64_t n, T factor) {
  using B = xsimd::batch<T, Arch>;
  const B f(factor), zero(T(0));
  if (factor == T(0))
    moelle::simd::map<Arch, T>(n, y, [&] { return zero; });
  else
    moelle::simd::map<Arch, T>(n, y, [&](const B& v) { return v * f; }, y);
}

template <class Arch, class T>
void scaled_exponentials(const T* x, std::int64_t n, T shift, T factor, T* y) {
  using B = xsimd::batch<T, Arch>;
  if (factor == T(0)) return scale<Arch, T>(y, n, factor);
  const B s(shift), f(factor);
  moelle::simd::map<Arch, T>(n, y, [&](const B& v) { return norm::simd::exp_not_above_zero<Arch, T>(v - s) * f; }, x);
}

}  // namespace moelle::loss::simd
