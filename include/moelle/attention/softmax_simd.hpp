// moelle/attention/softmax_simd.hpp -- the two row steps between attention's products.
#pragma once
#include <cstdint>
#include <limits>

#include <moelle/cpu/exp_simd.hpp>
#include <moelle/cpu/xsimd.hpp>

#include <moelle/attention/attention.hpp>
#include <moelle/core/config.hpp>

namespace moelle::attention::simd {

// A block row holds kKeyBlock scores; keys [lo, hi) are visible. Others become probability 0, so that sums and products over
// the whole block have the same terms in the same lanes however many keys exist.

template <class Arch, class T>
MOELLE_INLINE void scale_row(T* s, std::int64_t lo, std::int64_t hi, T scale, const T* mask) {
  using B = xsimd::batch<T, Arch>;
  constexpr auto N = static_cast<std::int64_t>(B::size);
  for (std::int64_t j = 0; j < kKeyBlock; j += N) (B::load_unaligned(s + j) * B(scale)).store_unaligned(s + j);
  if (mask != nullptr)
    for (std::int64_t j = lo; j < hi; ++j) s[j] += mask[j];
  for (std::int64_t j = 0; j < lo; ++j) s[j] = -std::numeric_limits<T>::infinity();
  for (std::int64_t j = hi; j < kKeyBlock; ++j) s[j] = -std::numeric_limits<T>::infinity();
}

// s <- exp(scale s + mask - max); updates the row's running maximum and sum; returns the factor for what was summed before.
// mask: of key 0 of the block, or null.
template <class Arch, class T>
T softmax_row(T* s, std::int64_t lo, std::int64_t hi, T scale, const T* mask, T* top, T* sum) {
  using B = xsimd::batch<T, Arch>;
  constexpr auto N = static_cast<std::int64_t>(B::size);
  constexpr T kNone = -std::numeric_limits<T>::infinity();
  scale_row<Arch, T>(s, lo, hi, scale, mask);
  B best(kNone);
  for (std::int64_t j = 0; j < kKeyBlock; j += N) best = xsimd::max(best, B::load_unaligned(s + j));
  T lane[N];
  best.store_unaligned(lane);
  T highest = *top;
  for (std::int64_t i = 0; i < N; ++i) highest = lane[i] > highest ? lane[i] : highest;
  if (highest == kNone) {  // nothing visible so far
    for (std::int64_t j = 0; j < kKeyBlock; ++j) s[j] = T(0);
    return T(1);
  }
  B total(T(0));
  for (std::int64_t j = 0; j < kKeyBlock; j += N) {
    const B p = moelle::simd::exp(B::load_unaligned(s + j) - B(highest));
    p.store_unaligned(s + j);
    total = total + p;
  }
  total.store_unaligned(lane);
  T added = 0;
  for (std::int64_t i = 0; i < N; ++i) added += lane[i];
  T factor[N] = {};
  moelle::simd::exp(B(*top - highest)).store_unaligned(factor);  // the same exp, so that every instruction set rescales as it sums
  const T by = *top == kNone ? T(0) : factor[0];
  *sum = *sum * by + added;
  *top = highest;
  return by;
}

// s <- p = exp(scale s + mask - lse), g <- p (g - delta) scale: probabilities and the gradient of the raw scores.
template <class Arch, class T>
void softmax_grad_row(T* s, T* g, std::int64_t lo, std::int64_t hi, T scale, const T* mask, T lse, T delta) {
  using B = xsimd::batch<T, Arch>;
  constexpr auto N = static_cast<std::int64_t>(B::size);
  if (lse == -std::numeric_limits<T>::infinity()) {
    for (std::int64_t j = 0; j < kKeyBlock; ++j) s[j] = g[j] = T(0);
    return;
  }
  scale_row<Arch, T>(s, lo, hi, scale, mask);
  for (std::int64_t j = 0; j < kKeyBlock; j += N) {
    const B p = moelle::simd::exp(B::load_unaligned(s + j) - B(lse));
    p.store_unaligned(s + j);
    (p * (B::load_unaligned(g + j) - B(delta)) * B(scale)).store_unaligned(g + j);
  }
}

// o[n] <- o[n] * factor + add[n].
template <class Arch, class T>
void rescale_add(T* o, const T* add, std::int64_t n, T factor) {
  using B = xsimd::batch<T, Arch>;
  constexpr auto N = static_cast<std::int64_t>(B::size);
  std::int64_t i = 0;
  for (; i + N <= n; i += N) (B::load_unaligned(o + i) * B(factor) + B::load_unaligned(add + i)).store_unaligned(o + i);
  for (; i < n; ++i) o[i] = o[i] * factor + add[i];
}

}  // namespace moelle::attention::simd
