// moelle/training/squares_simd.hpp -- sum of squares in double, for gradient norms.
#pragma once
#include <cstdint>

#include <moelle/core/config.hpp>
#include <moelle/cpu/xsimd.hpp>

namespace moelle::training::simd {

template <class Arch, class T>
struct Doubles {
  static constexpr std::int64_t N = static_cast<std::int64_t>(xsimd::batch<double, Arch>::size);
  typedef T Narrow __attribute__((vector_size(N * sizeof(T))));          // NOLINT: `using` loses the attribute in g++ 12
  typedef double Wide __attribute__((vector_size(N * sizeof(double))));  // NOLINT

  static MOELLE_INLINE void add_squares(Wide& sum, const T* g) {
    Narrow v;
    __builtin_memcpy(&v, g, sizeof v);
    const Wide w = __builtin_convertvector(v, Wide);
    sum += w * w;
  }
};

// Four accumulators of as many doubles as a vector holds; what does not fill them is added last, in order.
template <class Arch, class T>
double sum_of_squares(const T* g, std::int64_t n) {
  using D = Doubles<Arch, T>;
  constexpr std::int64_t N = D::N;
  typename D::Wide a{}, b{}, c{}, d{};
  std::int64_t i = 0;
  for (; i + 4 * N <= n; i += 4 * N) {
    D::add_squares(a, g + i);
    D::add_squares(b, g + i + N);
    D::add_squares(c, g + i + 2 * N);
    D::add_squares(d, g + i + 3 * N);
  }
  a = (a + b) + (c + d);
  double sum = 0.0;
  for (std::int64_t l = 0; l < N; ++l) sum += a[l];
  for (; i < n; ++i) sum += static_cast<double>(g[i]) * static_cast<double>(g[i]);
  return sum;
}

}  // namespace moelle::training::simd
