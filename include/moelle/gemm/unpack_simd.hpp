// moelle/gemm/unpack_simd.hpp -- stored weights (format.hpp) -> units that the tile multiplies, a piece of a panel at a time, in cache.
//
// Everything is element by element on whole registers, without shuffles: the compiler's vectors do on every instruction set.
#pragma once
#include <cstdint>
#include <cstring>
#include <type_traits>

#include <moelle/cpu/xsimd.hpp>

#include <moelle/core/config.hpp>
#include <moelle/gemm/dot_simd.hpp>
#include <moelle/gemm/format.hpp>

namespace moelle::gemm::simd {

// Integers and floats of one register; a cast between them keeps the bits.
template <class Arch>
struct Registers {
  static constexpr std::int64_t kBytes = static_cast<std::int64_t>(xsimd::batch<float, Arch>::size) * 4;
  static constexpr std::int64_t kLanes = kBytes / 4;
  typedef std::uint8_t U8 __attribute__((vector_size(kBytes)));
  typedef std::int16_t I16 __attribute__((vector_size(kBytes)));
  typedef std::uint16_t U16 __attribute__((vector_size(kBytes)));
  typedef std::int32_t I32 __attribute__((vector_size(kBytes)));
  typedef std::uint32_t U32 __attribute__((vector_size(kBytes)));
  typedef float F32 __attribute__((vector_size(kBytes)));
  typedef std::uint16_t HalfU16 __attribute__((vector_size(kBytes / 2)));
  typedef std::uint8_t QuarterU8 __attribute__((vector_size(kBytes / 4)));
};

template <class V>
MOELLE_INLINE V load_as(const void* from) {
  V v;
  std::memcpy(&v, from, sizeof v);
  return v;
}
template <class V>
MOELLE_INLINE void store_as(void* to, const V& v) {
  std::memcpy(to, &v, sizeof v);
}

// f(std::integral_constant<int, number of vectors>): loops over a panel's width are unrolled.
template <class Arch, class F>
MOELLE_INLINE void for_width(std::int64_t width, F f) {
  switch (width / Registers<Arch>::kLanes) {
    case 1: return f(std::integral_constant<int, 1>());
    case 2: return f(std::integral_constant<int, 2>());
    default: return f(std::integral_constant<int, 3>());
  }
}

// bfloat16[k / 2][W][2] -> float[k][W]
template <class Arch>
void unpack_bf16_to_f32(const std::uint8_t* stored, std::int64_t k, std::int64_t width, std::uint32_t, std::uint32_t* out) {
  using R = Registers<Arch>;
  for (std::int64_t p = 0; p < k; p += 2, stored += 4 * width, out += 2 * width)
    for (std::int64_t j = 0; j < width; j += R::kLanes) {
      const auto x = load_as<typename R::U32>(stored + 4 * j);
      store_as(out + j, x << 16);
      store_as(out + width + j, x & 0xffff0000u);
    }
}

// e4m3 -> float[k][W]. The bits moved to where float keeps them are the number times 2^-120 (quant/fp8.hpp).
template <class Arch>
struct Fp8Pairs {
  using R = Registers<Arch>;
  // Of a register of four terms: both terms of pair 0 or 1, as 16 bits for each column.
  template <int Pair, int... I>
  MOELLE_INLINE static typename R::U32 pair(const typename R::U16& x, std::integer_sequence<int, I...>) {
    return __builtin_convertvector(__builtin_shufflevector(x, x, (I / 4 * 8 + Pair * 4 + I % 4)...), typename R::U32);
  }
  template <int Pair>
  MOELLE_INLINE static void store(const typename R::U16& x, std::uint32_t* even, std::uint32_t* odd) {
    const typename R::U32 u = pair<Pair>(x, std::make_integer_sequence<int, static_cast<int>(R::kLanes)>());
    const typename R::U32 low = ((u & 0x7fu) << 20) | ((u & 0x80u) << 24), high = ((u & 0x7f00u) << 12) | ((u & 0x8000u) << 16);
    store_as(even, (typename R::F32)low * 0x1p120f);
    store_as(odd, (typename R::F32)high * 0x1p120f);
  }
};

template <class Arch>
void unpack_fp8_to_f32(const std::uint8_t* stored, std::int64_t k, std::int64_t width, std::uint32_t, std::uint32_t* out) {
  using R = Registers<Arch>;
  for (std::int64_t p = 0; p < k; p += 4, stored += 4 * width, out += 4 * width)
    for (std::int64_t j = 0; j < width; j += R::kLanes) {
      const auto x = load_as<typename R::U16>(stored + 4 * j);
      Fp8Pairs<Arch>::template store<0>(x, out + j, out + width + j);
      Fp8Pairs<Arch>::template store<1>(x, out + 2 * width + j, out + 3 * width + j);
    }
}

// int8[k / 4][W][4] -> int16[k / 2][W][2]: terms 0 and 2 of four, then 1 and 3, as in the rows of A (rows_simd.hpp).
template <class Arch>
MOELLE_INLINE void widen_bytes(const typename Registers<Arch>::U8& bytes, std::uint32_t* even, std::uint32_t* odd) {
  using I16 = typename Registers<Arch>::I16;
  const I16 x = (I16)bytes;
  store_as(even, (I16)(x << 8) >> 8);
  store_as(odd, x >> 8);
}

template <class Arch>
void unpack_int8_to_i16(const std::uint8_t* stored, std::int64_t k, std::int64_t width, std::uint32_t, std::uint32_t* out) {
  using R = Registers<Arch>;
  for (std::int64_t p = 0; p < k; p += 4, stored += 4 * width, out += 2 * width)
    for (std::int64_t j = 0; j < width; j += R::kLanes) widen_bytes<Arch>(load_as<typename R::U8>(stored + 4 * j), out + j, out + width + j);
}

// The group scales of int4: of the 32-bit lane of each column, byte g.
template <class Arch>
struct Int4Scale {
  using U8 = typename Registers<Arch>::U8;
  using U16 = typename Registers<Arch>::U16;
  using U32 = typename Registers<Arch>::U32;
  U16 factor;
  U8 zero;
  MOELLE_INLINE void set(const U32& scales, std::int64_t g) {
    const U32 s = (scales >> static_cast<std::uint32_t>(8 * g)) & 0xffu;
    factor = (U16)(s * 0x00010001u);
    zero = (U8)((s << 3) * 0x01010101u);
  }
  // (nibble - 8) s fits a byte, and nibble * s an unsigned byte, so that one 16-bit product makes two of them.
  MOELLE_INLINE U8 low(const U16& x) const { return (U8)((x & 0x0f0f) * factor) - zero; }
  MOELLE_INLINE U8 high(const U16& x) const { return (U8)(((x >> 4) & 0x0f0f) * factor) - zero; }
};

// int4 -> int8[k / 4][W][4], or (Widen) int16[k / 2][W][2].
template <class Arch, bool Widen>
void unpack_int4(const std::uint8_t* stored, std::int64_t k, std::int64_t width, std::uint32_t, std::uint32_t* out) {
  using R = Registers<Arch>;
  constexpr std::int64_t kGroups = kScaleBlock / kInt4Group, kRows = kInt4Group / 8;
  for_width<Arch>(width, [&](auto vectors) __attribute__((always_inline)) {
    constexpr std::int64_t V = vectors, W = V * R::kLanes;
    for (std::int64_t p = 0; p < k; p += kScaleBlock) {
      const std::uint8_t* scales = stored;
      stored += kGroups * W;
      for (std::int64_t g = 0; g < kGroups; ++g) {
        Int4Scale<Arch> s[V];
#pragma GCC unroll 3
        for (std::int64_t v = 0; v < V; ++v) s[v].set(load_as<typename R::U32>(scales + v * R::kBytes), g);
        for (std::int64_t r = 0; r < kRows; ++r, stored += 4 * W, out += (Widen ? 4 : 2) * W)
#pragma GCC unroll 3
          for (std::int64_t v = 0; v < V; ++v) {
            const auto x = load_as<typename R::U16>(stored + v * R::kBytes);
            std::uint32_t* to = out + v * R::kLanes;
            if constexpr (Widen) {
              widen_bytes<Arch>(s[v].low(x), to, to + W);
              widen_bytes<Arch>(s[v].high(x), to + 2 * W, to + 3 * W);
            } else {
              store_as(to, s[v].low(x));
              store_as(to + W, s[v].high(x));
            }
          }
      }
    }
  });
}

#if defined(MOELLE_GEMM_PAIRS)
// e4m3 -> bfloat16, whose bytes are looked up among the 128 magnitudes. For all numbers.
struct Fp8Table {
  alignas(64) std::uint8_t low[128], high[128];
};
template <class Arch>
constexpr Fp8Table make_fp8_table() {
  Fp8Table t{};
  for (int b = 0; b < 128; ++b) {
    int exponent = b >> 3, mantissa = b & 7;  // mantissa / 8 beyond the leading 1
    int bits = 0;
    if (exponent > 0) {
      bits = (exponent + 120) << 7 | mantissa << 4;
    } else if (mantissa > 0) {  // mantissa * 2^-9
      exponent = -6;
      for (; mantissa < 8; mantissa *= 2) --exponent;
      bits = (exponent + 127) << 7 | (mantissa & 7) << 4;
    }
    t.low[b] = static_cast<std::uint8_t>(bits & 0xff);
    t.high[b] = static_cast<std::uint8_t>(bits >> 8);
  }
  return t;
}
template <class Arch>
inline constexpr Fp8Table kFp8Table = make_fp8_table<Arch>();

// The lower and the upper bytes of bfloat16, whose terms 0 and 1, then 2 and 3 of 16 columns become units.
struct Fp8Bytes {
  __m512i low, high;
  MOELLE_INLINE __m512i first() const { return _mm512_unpacklo_epi8(low, high); }
  MOELLE_INLINE __m512i second() const { return _mm512_unpackhi_epi8(low, high); }
};
template <class Arch>
MOELLE_INLINE Fp8Bytes fp8_looked_up(__m512i x) {
  constexpr const Fp8Table& t = kFp8Table<Arch>;
  const __m512i high = _mm512_permutex2var_epi8(_mm512_load_si512(t.high), x, _mm512_load_si512(t.high + 64));
  return {_mm512_permutex2var_epi8(_mm512_load_si512(t.low), x, _mm512_load_si512(t.low + 64)),
          _mm512_ternarylogic_epi64(high, x, _mm512_set1_epi8(static_cast<char>(0x80)), 0xf8)};  // high | (x & sign)
}

// Byte i of what vgf2p8affineqb takes is the row of output bit 7 - i: which input bit it is; -1: none.
constexpr std::int64_t bit_matrix(const int (&from)[8]) {
  std::uint64_t m = 0;
  for (int out = 0; out < 8; ++out)
    if (from[out] >= 0) m |= std::uint64_t{1} << (8 * (7 - out) + from[out]);
  return static_cast<std::int64_t>(m);
}
// Neither zeros nor denormals: bits s e3 e2 e1 e0 m2 m1 m0 become s e3 -e3 -e3 -e3 -e3 e2 e1 | e0 m2 m1 m0 0 0 0 0 (- is not), since 120 is added to
// the exponent. Every bit is one bit of x, or its opposite.
MOELLE_INLINE Fp8Bytes fp8_normal(__m512i x) {
  constexpr std::int64_t kLow = bit_matrix({-1, -1, -1, -1, 0, 1, 2, 3}), kHigh = bit_matrix({4, 5, 6, 6, 6, 6, 6, 7});
  return {_mm512_gf2p8affine_epi64_epi8(x, _mm512_set1_epi64(kLow), 0), _mm512_gf2p8affine_epi64_epi8(x, _mm512_set1_epi64(kHigh), 0x3c)};
}

// f(vector, terms 0 and 1, terms 2 and 3) for four terms of a panel. `small`: zeros or denormals are among them.
template <class Arch, int Vectors, class F>
MOELLE_INLINE void fp8_four_terms(const std::uint8_t* stored, bool small, F f) {
  if (__builtin_expect(small, 0)) {
#pragma GCC unroll 3
    for (int v = 0; v < Vectors; ++v) {
      const Fp8Bytes b = fp8_looked_up<Arch>(_mm512_loadu_si512(stored + 64 * v));
      f(v, b.first(), b.second());
    }
    return;
  }
#pragma GCC unroll 3
  for (int v = 0; v < Vectors; ++v) {
    const Fp8Bytes b = fp8_normal(_mm512_loadu_si512(stored + 64 * v));
    f(v, b.first(), b.second());
  }
}

// k <= kScaleBlock.
template <class Arch>
void unpack_fp8_to_bf16(const std::uint8_t* stored, std::int64_t k, std::int64_t width, std::uint32_t small, std::uint32_t* out) {
  for_width<Arch>(width, [&](auto vectors) __attribute__((always_inline)) {
    constexpr std::int64_t V = vectors, W = 16 * V;
    for (std::int64_t p = 0; p < k; p += 4, stored += 4 * W, out += 2 * W, small >>= 1)
      fp8_four_terms<Arch, V>(stored, (small & 1) != 0, [&](int v, __m512i first, __m512i second) __attribute__((always_inline)) {
        _mm512_storeu_si512(out + 16 * v, first);
        _mm512_storeu_si512(out + W + 16 * v, second);
      });
  });
}
#endif

}  // namespace moelle::gemm::simd
