// moelle/attention/softmax_simd.hpp -- the row steps between attention's products.
//
// A row holds the scores of one query against one key block. Keys [lo, hi) are visible, the others get probability 0; a sum runs in as many
// lanes as a vector has, lane = key within the block modulo their number, so that it does not depend on which keys exist beside the visible.
#pragma once
#include <cstdint>
#include <limits>
#include <utility>

#include <moelle/cpu/xsimd.hpp>

#include <moelle/cpu/exp_simd.hpp>
#include <moelle/core/config.hpp>
#include <moelle/cpu/fma_simd.hpp>

namespace moelle::attention::simd {

template <class T>
inline constexpr T kNone = -std::numeric_limits<T>::infinity();

// f over the lanes, halves folded onto each other: lane 0 of ((0 8)(4 12))((2 10)(6 14)) and so on.
template <class Arch, class T, class F>
struct Fold {
  using B = xsimd::batch<T, Arch>;
  static constexpr int kN = static_cast<int>(B::size);
  typedef T Lanes __attribute__((vector_size(sizeof(T) * static_cast<std::size_t>(kN))));

  template <int Half, int... I>
  MOELLE_INLINE static B step(std::integer_sequence<int, I...>, const B& x) {
    const Lanes lanes = __builtin_bit_cast(Lanes, x);
    return F::of(x, __builtin_bit_cast(B, static_cast<Lanes>(__builtin_shufflevector(lanes, lanes, ((I + Half) % kN)...))));
  }
  template <int Half>
  MOELLE_INLINE static B run(const B& x) {
    if constexpr (Half == 0) return x;
    else return run<Half / 2>(step<Half>(std::make_integer_sequence<int, kN>(), x));
  }
  MOELLE_INLINE static T of(const B& x) {
    T first;
    const Lanes lanes = __builtin_bit_cast(Lanes, run<kN / 2>(x));
    first = lanes[0];
    return first;
  }
};
struct Add {
  template <class B>
  MOELLE_INLINE static B of(const B& x, const B& y) { return x + y; }
};
struct Larger {
  template <class B>
  MOELLE_INLINE static B of(const B& x, const B& y) { return xsimd::max(x, y); }
};
// x in the lanes j, j + 1, ... of a row that are in [lo, hi), elsewhere `other`.
template <class Arch, class T>
MOELLE_INLINE xsimd::batch<T, Arch> inside(const xsimd::batch<T, Arch>& x, std::int64_t j, std::int64_t lo, std::int64_t hi, T other) {
  using B = xsimd::batch<T, Arch>;
  alignas(64) T count[B::size];
  for (std::size_t i = 0; i < B::size; ++i) count[i] = static_cast<T>(i);
  const B lane = B::load_aligned(count);
  return xsimd::select((lane >= B(static_cast<T>(lo - j))) & (lane < B(static_cast<T>(hi - j))), x, B(other));
}
template <class Arch, class T>
MOELLE_INLINE T exp_of(T x) {
  using B = xsimd::batch<T, Arch>;
  T lane[B::size];
  moelle::simd::exp_below_88<Arch, T>(B(x)).store_unaligned(lane);
  return lane[0];
}

template <class T>
MOELLE_INLINE void fill_row(T* s, std::int64_t begin, std::int64_t end, T value) {
  for (std::int64_t j = begin; j < end; ++j) s[j] = value;
}

// All scores are -infinity, or some are NaN, which no comparison finds.
template <class T>
MOELLE_INLINE bool any_nan(const T* s, std::int64_t lo, std::int64_t hi) {
  bool found = false;
  for (std::int64_t j = lo; j < hi; ++j) found = found || s[j] != s[j];
  return found;
}

// s[lo, hi) <- exp(scale s + mask - top) with top the row's maximum; the rest of s[begin, end) <- 0, as well as what fills up the vectors at
// lo and hi. mask: of key 0 of the block, or null. lo < hi. Without a key of finite score: zeros, top = -infinity, sum = 0.
template <class Arch, class T>
void softmax_row(T* s, std::int64_t begin, std::int64_t end, std::int64_t lo, std::int64_t hi, T scale, const T* mask, T* top, T* sum) {
  using B = xsimd::batch<T, Arch>;
  constexpr auto N = static_cast<std::int64_t>(B::size);
  const std::int64_t first = lo / N * N, last = (hi + N - 1) / N * N;
  if (mask != nullptr) {
    for (std::int64_t j = lo; j < hi; ++j) s[j] = s[j] * scale + mask[j];
    scale = T(1);
  }
  B best(kNone<T>);
  for (std::int64_t j = first; j < last; j += N) {
    B x = B::load_unaligned(s + j);
    if (j < lo || j + N > hi) {
      x = inside<Arch, T>(x, j, lo, hi, kNone<T>);
      x.store_unaligned(s + j);
    }
    best = xsimd::max(best, x);
  }
  T highest = Fold<Arch, T, Larger>::of(best) * scale;
  const bool none = !(highest > kNone<T>) && !any_nan(s, lo, hi);
  if (!(highest > kNone<T>)) highest = T(0);
  fill_row(s, begin, first, T(0));
  fill_row(s, last, end, T(0));
  B total(T(0));
  for (std::int64_t j = first; j < last; j += N) {
    const B p = moelle::simd::exp_below_88<Arch, T>(moelle::simd::fused_multiply_add<Arch, T>(B::load_unaligned(s + j), B(scale), B(-highest)));
    p.store_unaligned(s + j);
    total = total + p;
  }
  *sum = Fold<Arch, T, Add>::of(total);
  *top = none ? kNone<T> : highest;
}

// s <- p = exp(scale s + mask - lse), g <- p (g - delta) scale: probabilities and the gradient of the raw scores, 0 outside [lo, hi).
template <class Arch, class T>
void softmax_grad_row(T* s, T* g, std::int64_t end, std::int64_t lo, std::int64_t hi, T scale, const T* mask, T lse, T delta) {
  using B = xsimd::batch<T, Arch>;
  constexpr auto N = static_cast<std::int64_t>(B::size);
  if (lse == kNone<T> || lo >= hi) lo = hi = 0;
  const std::int64_t first = lo / N * N, last = (hi + N - 1) / N * N;
  const T factor = scale;
  if (mask != nullptr) {
    for (std::int64_t j = lo; j < hi; ++j) s[j] = s[j] * scale + mask[j];
    scale = T(1);
  }
  fill_row(s, 0, first, T(0)), fill_row(s, last, end, T(0));
  fill_row(g, 0, first, T(0)), fill_row(g, last, end, T(0));
  for (std::int64_t j = first; j < last; j += N) {
    B p = moelle::simd::exp_below_88<Arch, T>(moelle::simd::fused_multiply_add<Arch, T>(B::load_unaligned(s + j), B(scale), B(-lse)));
    B ds = p * B(factor) * (B::load_unaligned(g + j) - B(delta));
    if (j < lo || j + N > hi) p = inside<Arch, T>(p, j, lo, hi, T(0)), ds = inside<Arch, T>(ds, j, lo, hi, T(0));
    p.store_unaligned(s + j);
    ds.store_unaligned(g + j);
  }
}

// Adds a key block's part of a row, o[n] with its maximum and sum, to what was summed before. n a multiple of the lanes.
template <class Arch, class T>
void merge_row(T* o, const T* part, std::int64_t n, T* top, T* sum, T part_top, T part_sum) {
  using B = xsimd::batch<T, Arch>;
  constexpr auto N = static_cast<std::int64_t>(B::size);
  if (part_top == kNone<T>) return;
  const T highest = part_top > *top ? part_top : *top;
  const T keep = exp_of<Arch, T>(*top - highest), add = exp_of<Arch, T>(part_top - highest);
  *top = highest;
  *sum = *sum * keep + part_sum * add;
  for (std::int64_t i = 0; i < n; i += N)
    moelle::simd::fused_multiply_add<Arch, T>(B::load_unaligned(o + i), B(keep), B::load_unaligned(part + i) * B(add)).store_unaligned(o + i);
}

// out[n] = o[n] / sum, 0 if no key was seen.
template <class Arch, class T>
void finish_row(T* out, const T* o, std::int64_t n, T sum) {
  using B = xsimd::batch<T, Arch>;
  constexpr auto N = static_cast<std::int64_t>(B::size);
  const T factor = sum == T(0) ? T(0) : T(1) / sum;
  std::int64_t i = 0;
  for (; i + N <= n; i += N) (B::load_unaligned(o + i) * B(factor)).store_unaligned(out + i);
  for (; i < n; ++i) out[i] = o[i] * factor;
}

// out[r] = a[r] . b[r] for rows of n elements, one after the other in memory.
template <class Arch, class T>
void row_dots(std::int64_t rows, std::int64_t n, const T* a, const T* b, T* out) {
  using B = xsimd::batch<T, Arch>;
  constexpr auto N = static_cast<std::int64_t>(B::size);
  for (std::int64_t r = 0; r < rows; ++r, a += n, b += n) {
    B total(T(0));
    std::int64_t i = 0;
    for (; i + N <= n; i += N) total = moelle::simd::fused_multiply_add<Arch, T>(B::load_unaligned(a + i), B::load_unaligned(b + i), total);
    T sum = Fold<Arch, T, Add>::of(total);
    for (; i < n; ++i) sum += a[i] * b[i];
    out[r] = sum;
  }
}

}  // namespace moelle::attention::simd
