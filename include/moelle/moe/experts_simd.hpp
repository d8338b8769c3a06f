// moelle/moe/experts_simd.hpp -- the part of the experts' gradient between the products, in one pass. See experts.hpp.
#pragma once
#include <cstdint>

#include <moelle/activation/lanes_simd.hpp>
#include <moelle/activation/unary_simd.hpp>  // Silu, at_most, clamp
#include <moelle/cpu/fma_simd.hpp>
#include <moelle/cpu/xsimd.hpp>

namespace moelle::moe::simd {

// One vector of a row: from the gate and up halves of H and from P.
template <class Arch, class T>
struct ExpertSlopes {
  xsimd::batch<T, Arch> activated, gate, up;

  MOELLE_INLINE ExpertSlopes(const xsimd::batch<T, Arch>& x, const xsimd::batch<T, Arch>& z, const xsimd::batch<T, Arch>& da, T limit) {
    using B = xsimd::batch<T, Arch>;
    const B high(limit), zero(T(0));
    const activation::simd::Silu<Arch, T> s(activation::simd::at_most<Arch, T>(x, limit));
    const B u = activation::simd::clamp<Arch, T>(z, -limit, limit);
    activated = s.value * u;
    gate = xsimd::select(x > high, zero, da * u * s.slope);
    up = xsimd::select(xsimd::abs(z) > high, zero, da * s.value);
  }
};

// For rows r in [begin, end) of h[R, 2F] and p[R, F]: dweights[slot[r]] = <P, A>; p <- w A; dh[R, 2F] = swiglu'(H) (w P).
template <class Arch, class T>
void experts_grad(const T* h, std::int64_t F, T limit, const T* weights, const std::int32_t* slot, T* p, T* dh, T* dweights,
                  std::int64_t begin, std::int64_t end) {
  using B = xsimd::batch<T, Arch>;
  constexpr std::int64_t L = moelle::simd::kLanes<Arch, T>;
  for (std::int64_t r = begin; r < end; ++r) {
    const T *gate = h + 2 * r * F, *up = gate + F;
    T *row = p + r * F, *dgate = dh + 2 * r * F, *dup = dgate + F;
    const B w(weights[slot[r]]);
    B dot(T(0));
    std::int64_t f = 0;
    for (; f + L <= F; f += L) {
      const B d = B::load_unaligned(row + f);
      const ExpertSlopes<Arch, T> s(B::load_unaligned(gate + f), B::load_unaligned(up + f), w * d, limit);
      dot = moelle::simd::fused_multiply_add<Arch, T>(d, s.activated, dot);
      (w * s.activated).store_unaligned(row + f);
      s.gate.store_unaligned(dgate + f);
      s.up.store_unaligned(dup + f);
    }
    if (f < F) {
      const auto part = [&](const T* from) { return moelle::simd::load_part<Arch, T>(from + f, F - f, T(0)); };
      const B d = part(row);
      const ExpertSlopes<Arch, T> s(part(gate), part(up), w * d, limit);
      dot = moelle::simd::fused_multiply_add<Arch, T>(d, s.activated, dot);
      moelle::simd::store_part<Arch, T>(w * s.activated, row + f, F - f);
      moelle::simd::store_part<Arch, T>(s.gate, dgate + f, F - f);
      moelle::simd::store_part<Arch, T>(s.up, dup + f, F - f);
    }
    dweights[slot[r]] = moelle::simd::sum_lanes<Arch, T>(dot);
  }
}

}  // namespace moelle::moe::simd
