// moelle/gemm/rows_simd.hpp -- rows of activations -> units that the tile multiplies with packed weights, and the way back from integers.
#pragma once
#include <cstdint>
#include <cstring>

#include <moelle/core/config.hpp>
#include <moelle/gemm/unpack_simd.hpp>  // Registers

namespace moelle::gemm::simd {

// f(vector of floats, first element) over x[k], the last vector filled up with zeros.
template <class Arch, class F>
MOELLE_INLINE void each_vector(const float* x, std::int64_t k, F f) {
  using R = Registers<Arch>;
  std::int64_t i = 0;
  for (; i + R::kLanes <= k; i += R::kLanes) f(load_as<typename R::F32>(x + i), i);
  if (i == k) return;
  typename R::F32 last{};
  std::memcpy(&last, x + i, static_cast<std::size_t>(k - i) * sizeof(float));
  f(last, i);
}

// max |x|; NaN if there is one (its bits are the largest).
template <class Arch>
float max_abs(const float* x, std::int64_t k) {
  using R = Registers<Arch>;
  typename R::I32 top{};
  each_vector<Arch>(x, k, [&](const typename R::F32& v, std::int64_t) __attribute__((always_inline)) {
    const typename R::I32 bits = (typename R::I32)v & 0x7fffffff;
    top = bits > top ? bits : top;
  });
  std::int32_t most = 0;
  for (std::int64_t i = 0; i < R::kLanes; ++i) most = top[i] > most ? top[i] : most;
  float out;
  std::memcpy(&out, &most, sizeof out);
  return out;
}

// Rounded to bfloat16 (nearest, ties to even; NaN stays NaN), the bits in the upper half.
template <class Arch>
MOELLE_INLINE typename Registers<Arch>::U32 round_to_bf16(const typename Registers<Arch>::F32& x) {
  using U32 = typename Registers<Arch>::U32;
  const U32 u = (U32)x;
  return x == x ? (u + 0x7fffu + ((u >> 16) & 1u)) & 0xffff0000u : (u & 0xffff0000u) | 0x400000u;
}

// x[k] -> bfloat16[k], as units of two; room for whole vectors behind.
template <class Arch>
void rows_to_bf16(const float* x, std::int64_t k, float, std::uint32_t* out) {
  using R = Registers<Arch>;
  auto* to = reinterpret_cast<std::uint8_t*>(out);
  each_vector<Arch>(x, k, [&](const typename R::F32& v, std::int64_t i) __attribute__((always_inline)) {
#if defined(MOELLE_GEMM_PAIRS)  // denormals become zero, as the multiplication would have it
    store_as(to + 2 * i, _mm512_cvtneps_pbh((__m512)v));
#else
    store_as(to + 2 * i, __builtin_convertvector(round_to_bf16<Arch>(v) >> 16, typename R::HalfU16));
#endif
  });
}
// The same numbers as floats.
template <class Arch>
void rows_to_rounded(const float* x, std::int64_t k, float, std::uint32_t* out) {
  using R = Registers<Arch>;
  each_vector<Arch>(x, k, [&](const typename R::F32& v, std::int64_t i) __attribute__((always_inline)) { store_as(out + i, round_to_bf16<Arch>(v)); });
}
template <class Arch>
void rows_to_f32(const float* x, std::int64_t k, float, std::uint32_t* out) {
  using R = Registers<Arch>;
  each_vector<Arch>(x, k, [&](const typename R::F32& v, std::int64_t i) __attribute__((always_inline)) { store_as(out + i, v); });
}

// Nearest integer, ties to even, of |x| < 2^22 in the low bits: where float's last bit is 1, adding rounds.
template <class Arch>
MOELLE_INLINE typename Registers<Arch>::U32 nearest_bits(const typename Registers<Arch>::F32& x) {
  return (typename Registers<Arch>::U32)(x + 0x1.8p23f);
}

// x[k] * inverse -> bytes q + Offset (0 or 128), as units of four. inverse = 0: all zero, whatever x holds.
template <class Arch, int Offset>
void rows_to_bytes(const float* x, std::int64_t k, float inverse, std::uint32_t* out) {
  using R = Registers<Arch>;
  auto* to = reinterpret_cast<std::uint8_t*>(out);
  if (inverse == 0.0f) {
    std::memset(to, Offset, static_cast<std::size_t>(k));
    return;
  }
  each_vector<Arch>(x, k, [&](const typename R::F32& v, std::int64_t i) __attribute__((always_inline)) {
    store_as(to + i, __builtin_convertvector((nearest_bits<Arch>(v * inverse) ^ static_cast<std::uint32_t>(Offset)) & 0xffu, typename R::QuarterU8));
  });
}

// x[k] * inverse -> int16, of every four terms 0, 2, 1, 3, as units of two.
template <class Arch>
void rows_to_i16(const float* x, std::int64_t k, float inverse, std::uint32_t* out) {
  using R = Registers<Arch>;
  if (inverse == 0.0f) {
    std::memset(out, 0, static_cast<std::size_t>((k + 3) / 4 * 8));
    return;
  }
  each_vector<Arch>(x, k, [&](const typename R::F32& v, std::int64_t i) __attribute__((always_inline)) {
    const auto bits = (typename R::I32)nearest_bits<Arch>(v * inverse);
    std::uint16_t q[R::kLanes];
    store_as(q, __builtin_convertvector(bits, typename R::HalfU16));
    for (std::int64_t n = 0; n < R::kLanes; n += 4) {
      // the mantissa holds 0x400000 + q: its low 16 bits are q in two's complement
      out[(i + n) / 2] = static_cast<std::uint32_t>(q[n]) | static_cast<std::uint32_t>(q[n + 2]) << 16;
      out[(i + n) / 2 + 1] = static_cast<std::uint32_t>(q[n + 1]) | static_cast<std::uint32_t>(q[n + 3]) << 16;
    }
  });
}

// out[m, n] = (accumulate ? out : bias ? bias : 0) + (sum + correction) * (row scale * column scale)
template <class Arch>
void finish_integers(std::int64_t m, std::int64_t n, const std::int32_t* sums, std::int64_t ld, const std::int32_t* corrections,
                     const float* row_scale, const float* column_scale, const float* bias, bool accumulate, float* out, std::int64_t ldo) {
  using R = Registers<Arch>;
  using F32 = typename R::F32;
  for (std::int64_t i = 0; i < m; ++i) {
    const std::int32_t* sum = sums + i * ld;
    float* to = out + i * ldo;
    std::int64_t j = 0;
    for (; j + R::kLanes <= n; j += R::kLanes) {
      const auto exact = load_as<typename R::I32>(sum + j) + load_as<typename R::I32>(corrections + j);
      F32 y = __builtin_convertvector(exact, F32) * (load_as<F32>(column_scale + j) * row_scale[i]);
      if (accumulate) y = load_as<F32>(to + j) + y;
      else if (bias != nullptr) y = load_as<F32>(bias + j) + y;
      store_as(to + j, y);
    }
    for (; j < n; ++j) {
      const float y = static_cast<float>(sum[j] + corrections[j]) * (column_scale[j] * row_scale[i]);
      to[j] = accumulate ? to[j] + y : bias != nullptr ? bias[j] + y : y;
    }
  }
}

}  // namespace moelle::gemm::simd
