// moelle/moe/permute_simd.hpp -- moving rows to their experts and back, on CPU vectors. See permute.hpp for the contract.
#pragma once
#include <cstdint>

#include <moelle/activation/lanes_simd.hpp>
#include <moelle/cpu/xsimd.hpp>
#include <moelle/cpu/fma_simd.hpp>

namespace moelle::moe::simd {

// out[r] = x[slot[r] / K] for rows [begin, end)
template <class Arch, class T>
void gather_rows(const T* x, std::int64_t D, const std::int32_t* slot, std::int64_t K, T* out, std::int64_t begin, std::int64_t end) {
  for (std::int64_t r = begin; r < end; ++r)
    __builtin_memcpy(out + r * D, x + slot[r] / K * D, static_cast<std::size_t>(D) * sizeof(T));
}

// Column chunk of one token: start + sum_k w[k] y[row[k], d...], by load(pointer).
template <class Arch, class T, class Load>
MOELLE_INLINE xsimd::batch<T, Arch> combined(xsimd::batch<T, Arch> acc, const T* y, std::int64_t D, const T* w, const std::int32_t* row,
                                             std::int64_t K, Load load) {
  using B = xsimd::batch<T, Arch>;
  for (std::int64_t k = 0; k < K; ++k) {
    const B v = load(y + row[k] * D);
    acc = w != nullptr ? moelle::simd::fused_multiply_add<Arch, T>(B(w[k]), v, acc) : acc + v;
  }
  return acc;
}

// out[n] = (accumulate ? out[n] : 0) + sum_k weights[n, k] y[row[n, k]] for tokens [begin, end); weights null: 1.
template <class Arch, class T>
void combine_rows(const T* y, std::int64_t D, const T* weights, const std::int32_t* row, std::int64_t K, T* out, bool accumulate,
                  std::int64_t begin, std::int64_t end) {
  using B = xsimd::batch<T, Arch>;
  constexpr std::int64_t L = moelle::simd::kLanes<Arch, T>;
  for (std::int64_t n = begin; n < end; ++n) {
    const T* w = weights != nullptr ? weights + n * K : nullptr;
    T* o = out + n * D;
    std::int64_t d = 0;
    for (; d + L <= D; d += L) {
      const B start = accumulate ? B::load_unaligned(o + d) : B(T(0));
      combined<Arch, T>(start, y + d, D, w, row + n * K, K, [](const T* p) { return B::load_unaligned(p); }).store_unaligned(o + d);
    }
    if (d == D) continue;
    const std::int64_t rest = D - d;
    const auto load = [rest](const T* p) { return moelle::simd::load_part<Arch, T>(p, rest, T(0)); };
    const B start = accumulate ? load(o + d) : B(T(0));
    moelle::simd::store_part<Arch, T>(combined<Arch, T>(start, y + d, D, w, row + n * K, K, load), o + d, rest);
  }
}

// For rows r in [begin, end), g[N, D] the gradient of the combined rows: dy[r] = w g, dw[slot] = <g, y[r]>. dy or dw may be null.
template <class Arch, class T>
void combine_grad(const T* g, const T* y, std::int64_t D, const T* weights, const std::int32_t* slot, std::int64_t K, T* dy, T* dw,
                  std::int64_t begin, std::int64_t end) {
  using B = xsimd::batch<T, Arch>;
  for (std::int64_t r = begin; r < end; ++r) {
    const T* from = g + slot[r] / K * D;
    if (dw != nullptr) {
      const auto term = [](const B& a, const B& u, const B& v) { return moelle::simd::fused_multiply_add<Arch, T>(u, v, a); };
      const auto add = [](const B& a, const B& v) { return a + v; };
      dw[slot[r]] = moelle::simd::sum_lanes<Arch, T>(moelle::simd::fold<Arch, T>(D, T(0), T(0), term, add, from, y + r * D));
    }
    if (dy == nullptr) continue;
    const B w(weights[slot[r]]);
    moelle::simd::map<Arch, T>(D, dy + r * D, [&](const B& v) { return w * v; }, from);
  }
}

}  // namespace moelle::moe::simd
