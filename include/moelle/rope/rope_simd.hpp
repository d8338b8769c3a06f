// moelle/rope/rope_simd.hpp -- rotary embedding on CPU vectors, one token at a time.
//
// Written with the compilers' vector types: xsimd 8.1 has no shuffle that separates pairs, and the arithmetic is three
// plain operations. The rest of a row that does not fill a vector is done element by element, with the same roundings.
#pragma once
#include <cstdint>
#include <utility>

#include <moelle/cpu/xsimd.hpp>
#include <moelle/rope/rope.hpp>

namespace moelle::rope::simd {

template <class Arch, class T>
struct Pairs {
  static constexpr int N = static_cast<int>(xsimd::batch<T, Arch>::size);
  typedef T V __attribute__((vector_size(N * sizeof(T))));  // NOLINT: `using` loses the attribute in g++ 12
  V a, b;

  static MOELLE_INLINE V load(const T* p) {
    V v;
    __builtin_memcpy(&v, p, sizeof v);
    return v;
  }
  static MOELLE_INLINE void store(T* p, V v) { __builtin_memcpy(p, &v, sizeof v); }

  template <int... I>
  static MOELLE_INLINE Pairs separate(V low, V high, std::integer_sequence<int, I...>) {
    return {__builtin_shufflevector(low, high, (2 * I)...), __builtin_shufflevector(low, high, (2 * I + 1)...)};
  }
  template <int... I>
  MOELLE_INLINE V weave(std::integer_sequence<int, I...>, std::integral_constant<int, 0>) const {
    return __builtin_shufflevector(a, b, (I / 2 + N * (I % 2))...);
  }
  template <int... I>
  MOELLE_INLINE V weave(std::integer_sequence<int, I...>, std::integral_constant<int, 1>) const {
    return __builtin_shufflevector(a, b, (N / 2 + I / 2 + N * (I % 2))...);
  }

  // Pairs [i, i + N) of a head whose halves are `half` apart.
  template <bool Interleaved>
  static MOELLE_INLINE Pairs read(const T* x, std::int64_t i, std::int64_t half) {
    if constexpr (Interleaved) return separate(load(x + 2 * i), load(x + 2 * i + N), std::make_integer_sequence<int, N>());
    return {load(x + i), load(x + half + i)};
  }
  template <bool Interleaved>
  MOELLE_INLINE void write(T* y, std::int64_t i, std::int64_t half) const {
    if constexpr (Interleaved) {
      store(y + 2 * i, weave(std::make_integer_sequence<int, N>(), std::integral_constant<int, 0>()));
      store(y + 2 * i + N, weave(std::make_integer_sequence<int, N>(), std::integral_constant<int, 1>()));
    } else {
      store(y + i, a);
      store(y + half + i, b);
    }
  }
};

template <bool From, bool To, class Arch, class T>
MOELLE_INLINE void rotate(const T* x, const T* cos, const T* sin, T sign, std::int64_t half, T* y) {
  using P = Pairs<Arch, T>;
  std::int64_t i = 0;
  for (; i + P::N <= half; i += P::N) {
    const P in = P::template read<From>(x, i, half);
    const typename P::V c = P::load(cos + i), s = P::load(sin + i) * sign;
    const P out{in.a * c - in.b * s, in.b * c + in.a * s};
    out.template write<To>(y, i, half);
  }
  for (; i < half; ++i) {
    const T a = From ? x[2 * i] : x[i], b = From ? x[2 * i + 1] : x[half + i], s = sin[i] * sign;
    y[To ? 2 * i : i] = a * cos[i] - b * s;
    y[To ? 2 * i + 1 : half + i] = b * cos[i] + a * s;
  }
}

// All heads of one token; cos[half] and sin[half] of its position. y has its heads side by side.
template <bool From, bool To, class Arch, class T>
void rope(const RopeArgs& a, const T* x, const T* cos, const T* sin, T* y) {
  const std::int64_t rest = a.offset + 2 * a.half;
  for (std::int64_t h = 0; h < a.heads; ++h, x += a.head_stride, y += a.D) {
    __builtin_memcpy(y, x, static_cast<std::size_t>(a.offset) * sizeof(T));
    rotate<From, To, Arch, T>(x + a.offset, cos, sin, a.inverse ? T(-1) : T(1), a.half, y + a.offset);
    __builtin_memcpy(y + rest, x + rest, static_cast<std::size_t>(a.D - rest) * sizeof(T));
  }
}

}  // namespace moelle::rope::simd
