// moelle/activation/swiglu_simd.hpp -- SwiGLU on CPU vectors, forward and backward, over rows with strides.
#pragma once
#include <cstdint>

#include <moelle/activation/lanes_simd.hpp>
#include <moelle/activation/swiglu.hpp>
#include <moelle/activation/unary_simd.hpp>
#include <moelle/cpu/xsimd.hpp>

namespace moelle::activation::simd {

template <bool Past, class Arch, class T>
MOELLE_INLINE void swiglu_rows(const SwigluArgs<T>& a, T* y, std::int64_t begin, std::int64_t end) {
  using B = Vec<Arch, T>;
  const T limit = a.limit;
  for (std::int64_t r = begin; r < end; ++r) {
    const T *gates = a.gate + r * a.gate_stride, *ups = a.up + r * a.up_stride;
    moelle::simd::Ahead<Past, Arch, T> next_gates{gates + a.gate_stride}, next_ups{ups + a.up_stride};
    moelle::simd::map<Arch, T, Past>(
        a.width, y + r * a.width,
        [&](const B& gate, const B& up) {
          next_gates.step();
          next_ups.step();
          const B g = at_most<Arch, T>(gate, limit);
          return g * sigmoid_of_number<Arch, T>(g) * clamp<Arch, T>(up, -limit, limit);
        },
        gates, ups);
  }
  moelle::simd::stores_done<Past>();
}

// Rows [begin, end) of y.
template <class Arch, class T>
void swiglu(const SwigluArgs<T>& a, T* y, std::int64_t begin, std::int64_t end) {
  a.past_caches ? swiglu_rows<true, Arch, T>(a, y, begin, end) : swiglu_rows<false, Arch, T>(a, y, begin, end);
}

template <class Arch, class T>
struct SwigluSlopes {
  Vec<Arch, T> gate, up;

  MOELLE_INLINE SwigluSlopes(const Vec<Arch, T>& x, const Vec<Arch, T>& z, const Vec<Arch, T>& dy, T limit) {
    const Vec<Arch, T> high(limit), zero(T(0));
    const Silu<Arch, T> s(at_most<Arch, T>(x, limit));
    gate = xsimd::select(x > high, zero, dy * clamp<Arch, T>(z, -limit, limit) * s.slope);
    up = xsimd::select(xsimd::abs(z) > high, zero, dy * s.value);
  }
};

template <bool Past, class Arch, class T>
MOELLE_INLINE void swiglu_grad_rows(const SwigluArgs<T>& a, const T* dy, const SwigluGradArgs<T>& d, std::int64_t begin, std::int64_t end) {
  constexpr std::int64_t N = moelle::simd::kLanes<Arch, T>;
  using B = Vec<Arch, T>;
  const T limit = a.limit;
  for (std::int64_t r = begin; r < end; ++r) {
    const T *gate = a.gate + r * a.gate_stride, *up = a.up + r * a.up_stride, *g = dy + r * a.width;
    T *dgate = d.gate + r * d.gate_stride, *dup = d.up + r * d.up_stride;
    std::int64_t i = 0;
    for (; i + N <= a.width; i += N) {
      const SwigluSlopes<Arch, T> s(B::load_unaligned(gate + i), B::load_unaligned(up + i), B::load_unaligned(g + i), limit);
      moelle::simd::store<Past, Arch, T>(s.gate, dgate + i);
      moelle::simd::store<Past, Arch, T>(s.up, dup + i);
    }
    if (i == a.width) continue;
    const std::int64_t n = a.width - i;
    const auto part = [&](const T* p) { return moelle::simd::load_part<Arch, T>(p + i, n, T(0)); };
    const SwigluSlopes<Arch, T> s(part(gate), part(up), part(g), limit);
    moelle::simd::store_part<Arch, T>(s.gate, dgate + i, n);
    moelle::simd::store_part<Arch, T>(s.up, dup + i, n);
  }
  moelle::simd::stores_done<Past>();
}

// Rows [begin, end) of dgate and dup; dy has rows of `width`.
template <class Arch, class T>
void swiglu_grad(const SwigluArgs<T>& a, const T* dy, const SwigluGradArgs<T>& d, std::int64_t begin, std::int64_t end) {
  a.past_caches ? swiglu_grad_rows<true, Arch, T>(a, dy, d, begin, end) : swiglu_grad_rows<false, Arch, T>(a, dy, d, begin, end);
}

}  // namespace moelle::activation::simd
