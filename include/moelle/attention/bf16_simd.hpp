// moelle/attention/bf16_simd.hpp -- tiles of scores, and a latent cache in bfloat16 -> units that a product multiplies (gemm/dot_simd.hpp).
//
// With vdpbf16ps a unit is a pair of terms. Of scores the terms are channels: a row of the cache is pairs as it lies. Of the output they are keys:
// two rows are interleaved. Elsewhere a unit is a float that bfloat16 holds exactly, so that results differ by the order of sums alone.
#pragma once
#include <cstdint>
#include <utility>

#include <moelle/attention/bf16.hpp>
#include <moelle/attention/product_simd.hpp>
#include <moelle/core/config.hpp>
#include <moelle/gemm/rows_simd.hpp>  // round_to_bf16

namespace moelle::attention::simd {

using gemm::simd::load_as;
using gemm::simd::Registers;
using gemm::simd::store_as;

// Row by row of the cache, n channels, -> floats.
template <class Arch>
void bf16_rows_to_f32(std::int64_t rows, std::int64_t n, const std::uint16_t* from, std::int64_t ld, std::uint32_t* to, std::int64_t ldo) {
  using R = Registers<Arch>;
  for (std::int64_t r = 0; r < rows; ++r) {
    std::int64_t i = 0;
    for (; i + R::kLanes <= n; i += R::kLanes)
      store_as(to + r * ldo + i, __builtin_convertvector(load_as<typename R::HalfU16>(from + r * ld + i), typename R::U32) << 16);
    for (; i < n; ++i) to[r * ldo + i] = std::uint32_t{from[r * ld + i]} << 16;
  }
}
// x[rows][n], n a whole number of vectors, rounded; rows outside [lo, hi) become 0.
template <class Arch>
void round_rows_alone(std::int64_t rows, std::int64_t n, std::int64_t lo, std::int64_t hi, const float* x, std::int64_t ld, std::uint32_t* to, std::int64_t ldo) {
  using R = Registers<Arch>;
  for (std::int64_t r = 0; r < rows; ++r)
    for (std::int64_t c = 0; c < n; c += R::kLanes)
      store_as(to + r * ldo + c, r < lo || r >= hi ? typename R::U32{} : gemm::simd::round_to_bf16<Arch>(load_as<typename R::F32>(x + r * ld + c)));
}

// Elements of two registers in turn: of their lower (Half = 0) or upper halves.
template <class Arch, int Half, int... I>
MOELLE_INLINE typename Registers<Arch>::U16 interleave(std::integer_sequence<int, I...>, const typename Registers<Arch>::U16& x, const typename Registers<Arch>::U16& y) {
  constexpr int kN = static_cast<int>(sizeof...(I));
  return __builtin_shufflevector(x, y, (I % 2 * kN + Half * kN / 2 + I / 2)...);
}
// Rows 2 p and 2 p + 1 of the cache, n channels, -> pairs [p][ldo]; a last row alone is paired with zeros, as are channels up to ldo.
template <class Arch>
void bf16_rows_to_pairs(std::int64_t rows, std::int64_t n, const std::uint16_t* from, std::int64_t ld, std::uint32_t* to, std::int64_t ldo) {
  using R = Registers<Arch>;
  constexpr std::int64_t kN = 2 * R::kLanes;
  constexpr auto kIndex = std::make_integer_sequence<int, static_cast<int>(kN)>();
  for (std::int64_t r = 0; r < rows; r += 2, to += ldo) {
    const std::uint16_t *x = from + r * ld, *y = x + ld;
    const bool both = r + 1 < rows;
    std::int64_t i = 0;
    for (; i + kN <= n && both; i += kN) {
      const auto a = load_as<typename R::U16>(x + i), b = load_as<typename R::U16>(y + i);
      store_as(to + i, interleave<Arch, 0>(kIndex, a, b));
      store_as(to + i + R::kLanes, interleave<Arch, 1>(kIndex, a, b));
    }
    for (; i < n; ++i) to[i] = std::uint32_t{x[i]} | (both ? std::uint32_t{y[i]} << 16 : 0u);
    for (; i < ldo; ++i) to[i] = 0;
  }
}
template <class Arch>
void round_rows_to_pairs(std::int64_t rows, std::int64_t n, std::int64_t lo, std::int64_t hi, const float* x, std::int64_t ld, std::uint32_t* to, std::int64_t ldo) {
  using R = Registers<Arch>;
  const auto rounded = [&](std::int64_t r, std::int64_t c) __attribute__((always_inline)) {
    return r < lo || r >= hi ? typename R::U32{} : gemm::simd::round_to_bf16<Arch>(load_as<typename R::F32>(x + r * ld + c));
  };
  for (std::int64_t r = 0; r < rows; r += 2)
    for (std::int64_t c = 0; c < n; c += R::kLanes) store_as(to + r / 2 * ldo + c, (rounded(r, c) >> 16) | rounded(r + 1, c));
}

// Products of floats that are passed as units of 4 bytes.
template <class Arch, bool Turned>
void float_product(std::int64_t m, std::int64_t n, std::int64_t k, const std::uint32_t* a, std::int64_t lda, const std::uint32_t* b, std::int64_t ldb, float* c,
                   std::int64_t ldc, bool accumulate) {
  product<Arch, gemm::simd::Multiply<Arch, float>, Turned>(m, n, k, reinterpret_cast<const float*>(a), lda, reinterpret_cast<const float*>(b), ldb, c, ldc, accumulate);
}

template <class Arch>
constexpr Bf16Kernels make_bf16_kernels() {
#if defined(MOELLE_GEMM_PAIRS)
  using Pairs = gemm::simd::Bf16Pairs<Arch>;
  return {.per = 2, .round_row = &gemm::simd::rows_to_bf16<Arch>, .keys = nullptr, .values = &bf16_rows_to_pairs<Arch>, .round_rows = &round_rows_to_pairs<Arch>,
          .product = &product<Arch, Pairs, false>, .product_turned = &product<Arch, Pairs, true>};
#else
  return {.per = 1, .round_row = &gemm::simd::rows_to_rounded<Arch>, .keys = &bf16_rows_to_f32<Arch>, .values = &bf16_rows_to_f32<Arch>, .round_rows = &round_rows_alone<Arch>,
          .product = &float_product<Arch, false>, .product_turned = &float_product<Arch, true>};
#endif
}

}  // namespace moelle::attention::simd
