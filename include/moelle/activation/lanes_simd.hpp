// moelle/activation/lanes_simd.hpp -- vectors of one instruction set over arrays of any length.
//
// The last, partial vector goes through a padded copy and the same arithmetic, so an element's bits never depend on where
// in the array it stands.
#pragma once
#include <cstdint>
#include <type_traits>
#include <utility>

#include <moelle/core/config.hpp>
#include <moelle/cpu/stream_simd.hpp>
#include <moelle/cpu/xsimd.hpp>

namespace moelle::simd {

template <class Arch, class T>
inline constexpr std::int64_t kLanes = static_cast<std::int64_t>(xsimd::batch<T, Arch>::size);

// p[0, n) in the first lanes, `rest` in the others; n < kLanes.
template <class Arch, class T>
MOELLE_INLINE xsimd::batch<T, Arch> load_part(const T* p, std::int64_t n, T rest) {
  T lanes[kLanes<Arch, T>];
  for (std::int64_t i = 0; i < kLanes<Arch, T>; ++i) lanes[i] = rest;
  for (std::int64_t i = 0; i < n; ++i) lanes[i] = p[i];
  return xsimd::batch<T, Arch>::load_unaligned(lanes);
}

template <class Arch, class T>
MOELLE_INLINE void store_part(const xsimd::batch<T, Arch>& v, T* p, std::int64_t n) {
  T lanes[kLanes<Arch, T>];
  v.store_unaligned(lanes);
  for (std::int64_t i = 0; i < n; ++i) p[i] = lanes[i];
}

// y[i] = f(x[i]...) over [0, n), f on vectors. Past: see stream_simd.hpp; a last, partial vector is stored as usual.
template <class Arch, class T, bool Past = false, class F, class... In>
MOELLE_INLINE void map(std::int64_t n, T* y, F f, const In*... x) {
  constexpr std::int64_t N = kLanes<Arch, T>;
  using B = xsimd::batch<T, Arch>;
  std::int64_t i = 0;
  for (; i + N <= n; i += N) store<Past, Arch, T>(f(B::load_unaligned(x + i)...), y + i);
  if (i < n) store_part<Arch, T>(f(load_part<Arch, T>(x + i, n - i, T(0))...), y + i, n - i);
}

template <class B>
struct Pair {
  B first, second;
};
// The same for two results: f gives a Pair, y[i] and z[i].
template <class Arch, class T, bool PastY = false, bool PastZ = false, class F, class... In>
MOELLE_INLINE void map_pair(std::int64_t n, T* y, T* z, F f, const In*... x) {
  constexpr std::int64_t N = kLanes<Arch, T>;
  using B = xsimd::batch<T, Arch>;
  std::int64_t i = 0;
  for (; i + N <= n; i += N) {
    const Pair<B> v = f(B::load_unaligned(x + i)...);
    store<PastY, Arch, T>(v.first, y + i);
    store<PastZ, Arch, T>(v.second, z + i);
  }
  if (i == n) return;
  const Pair<B> v = f(load_part<Arch, T>(x + i, n - i, T(0))...);
  store_part<Arch, T>(v.first, y + i, n - i);
  store_part<Arch, T>(v.second, z + i, n - i);
}

// term(acc, x[i]...) over [0, n), acc a vector; four accumulators, so that additions overlap. `rest` pads the last vector
// and must leave acc unchanged. Returned: (a0 + a1) + (a2 + a3) by `join`, lane by lane.
template <class Arch, class T, class F, class J, class... In>
MOELLE_INLINE xsimd::batch<T, Arch> fold(std::int64_t n, T start, T rest, F term, J join, const In*... x) {
  constexpr std::int64_t N = kLanes<Arch, T>;
  using B = xsimd::batch<T, Arch>;
  B a0(start), a1(start), a2(start), a3(start);
  std::int64_t i = 0;
  for (; i + 4 * N <= n; i += 4 * N) {
    a0 = term(a0, B::load_unaligned(x + i)...);
    a1 = term(a1, B::load_unaligned(x + i + N)...);
    a2 = term(a2, B::load_unaligned(x + i + 2 * N)...);
    a3 = term(a3, B::load_unaligned(x + i + 3 * N)...);
  }
  for (; i + N <= n; i += N) a0 = term(a0, B::load_unaligned(x + i)...);
  if (i < n) a1 = term(a1, load_part<Arch, T>(x + i, n - i, rest)...);
  return join(join(a0, a1), join(a2, a3));
}

// y[i] = f(x[i]) over [0, n), returning the sum of y in the order of fold; `rest` pads the last vector, and f(rest) must be 0.
template <class Arch, class T, class F>
MOELLE_INLINE xsimd::batch<T, Arch> map_sum(std::int64_t n, T rest, F f, const T* x, T* y) {
  constexpr std::int64_t N = kLanes<Arch, T>;
  using B = xsimd::batch<T, Arch>;
  B a0(T(0)), a1(T(0)), a2(T(0)), a3(T(0));
  const auto step = [&](B& sum, std::int64_t at) {
    const B v = f(B::load_unaligned(x + at));
    v.store_unaligned(y + at);
    sum = sum + v;
  };
  std::int64_t i = 0;
  for (; i + 4 * N <= n; i += 4 * N) {
    step(a0, i);
    step(a1, i + N);
    step(a2, i + 2 * N);
    step(a3, i + 3 * N);
  }
  for (; i + N <= n; i += N) step(a0, i);
  if (i < n) {
    const B v = f(load_part<Arch, T>(x + i, n - i, rest));
    store_part<Arch, T>(v, y + i, n - i);
    a1 = a1 + v;
  }
  return (a0 + a1) + (a2 + a3);
}

// Lanes among themselves, by the compilers' vector types: xsimd's own reductions differ between versions.
template <class Arch, class T>
struct Lanes {
  static constexpr int N = static_cast<int>(kLanes<Arch, T>);
  using B = xsimd::batch<T, Arch>;
  typedef T V __attribute__((vector_size(N * sizeof(T))));  // NOLINT: `using` loses the attribute in g++ 12

  template <int W, int... I>
  static MOELLE_INLINE V turned(V v, std::integer_sequence<int, I...>) {
    return __builtin_shufflevector(v, v, ((I + W) % N)...);
  }
  // Lane i is that of i + W; the first W follow the last.
  template <int W>
  static MOELLE_INLINE B turned(const B& v) {
    return __builtin_bit_cast(B, turned<W>(__builtin_bit_cast(V, v), std::make_integer_sequence<int, N>()));
  }
  // Halves are joined until one lane is left.
  template <int W, class J>
  static MOELLE_INLINE T joined(const B& v, J join) {
    if constexpr (W == 0)
      return __builtin_bit_cast(V, v)[0];
    else
      return joined<W / 2>(join(v, turned<W>(v)), join);
  }
};

// Sum of the lanes, lane i and lane i + n/2 first.
template <class Arch, class T>
MOELLE_INLINE T sum_lanes(const xsimd::batch<T, Arch>& v) {
  using B = xsimd::batch<T, Arch>;
  return Lanes<Arch, T>::template joined<Lanes<Arch, T>::N / 2>(v, [](const B& a, const B& b) { return a + b; });
}

// Largest lane; no lane may be NaN.
template <class Arch, class T>
MOELLE_INLINE T max_lanes(const xsimd::batch<T, Arch>& v) {
  using B = xsimd::batch<T, Arch>;
  return Lanes<Arch, T>::template joined<Lanes<Arch, T>::N / 2>(v, [](const B& a, const B& b) { return xsimd::max(b, a); });
}

// Bit i is lane i of a comparison.
template <class Arch, class T>
MOELLE_INLINE std::uint32_t lanes_set(const xsimd::batch_bool<T, Arch>& m) {
  using Mask = xsimd::batch_bool<T, Arch>;
  constexpr int N = static_cast<int>(kLanes<Arch, T>);
  if constexpr (sizeof(Mask) <= 2) {  // a mask register
    std::uint16_t bits = 0;
    __builtin_memcpy(&bits, &m, sizeof m);
    return bits;
  } else {  // a vector of ones and zeros
    using Int = std::conditional_t<sizeof(T) == 4, std::int32_t, std::int64_t>;
    typedef Int I __attribute__((vector_size(N * sizeof(T))));  // NOLINT
    I bit;
    for (int i = 0; i < N; ++i) bit[i] = Int{1} << i;
    I set = __builtin_bit_cast(I, m) & bit;
    const auto halve = [&]<int W>(const auto& self, std::integral_constant<int, W>) -> void {
      if constexpr (W > 0) {
        set |= __builtin_bit_cast(I, Lanes<Arch, T>::template turned<W>(__builtin_bit_cast(xsimd::batch<T, Arch>, set)));
        self(self, std::integral_constant<int, W / 2>());
      }
    };
    halve(halve, std::integral_constant<int, N / 2>());
    return static_cast<std::uint32_t>(set[0]);
  }
}

}  // namespace moelle::simd
