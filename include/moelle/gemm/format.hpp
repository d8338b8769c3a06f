// moelle/gemm/format.hpp -- the formats in which weights are packed, as bytes.
//
// All formats share one shape: the columns of B (output features of a layer) lie in panels of nr columns, W wide (nr, or less for the
// last panel, a multiple of the vector's lanes); a panel holds all of K, so that few rows read one long stream and many rows read
// the same bytes block by block. Column n of a panel, term k:
//
//   format   bytes per weight   where                                                       value
//   f32      4                  float[k][n]                                                 exact
//   bf16     2                  bfloat16[k / 2][n][k % 2]                                   rounded to nearest even
//   fp8      1 (+ 4 / 128)      e4m3[k / 4][n / 4][k % 4 / 2][n % 4][k % 2]                 byte * scale[k / 128][n]
//   int8     1                  int8[k / 4][n][k % 4]                                       byte * scale[n]
//   int4     0.53               per 128 k: uint8 s[n][4], then 16 rows of nibbles           (nibble - 8) * s[n][k / 32] * scale[n]
//
// fp8: for each panel and 128 k a word, of which bit r is set if there is a zero or a denormal among terms 4 r to 4 r + 3: kernels convert the
// others faster.
// int4: byte (r, n, i) of the 16 x W x 4 bytes holds k = 8 r + i in the low and k = 8 r + 4 + i in the high nibble. Its group scales
// are small integers, so that a weight is an int8 number times the column's scale, and sums over K stay exact integers.
#pragma once
#include <cstdint>

#include <moelle/core/error.hpp>

namespace moelle::gemm {

enum class Format : std::uint8_t { f32, bf16, fp8, int8, int4 };
inline constexpr int kFormats = 5;

inline const char* name(Format f) {
  constexpr const char* kNames[kFormats] = {"f32", "bf16", "fp8", "int8", "int4"};
  return kNames[static_cast<int>(f)];
}

inline Format format_of(const std::string& text) {
  for (int i = 0; i < kFormats; ++i)
    if (text == name(static_cast<Format>(i))) return static_cast<Format>(i);
  moelle::detail::fail("format", str("must be f32, bf16, fp8, int8 or int4; got format=", text));
}

// Whether products are sums of integers: activations are then quantised to int8, one scale per row.
constexpr bool is_integer(Format f) { return f == Format::int8 || f == Format::int4; }

inline constexpr std::int64_t kScaleBlock = 128;  // K (and N, in checkpoints) of one fp8 scale; K of one stored piece of int4
inline constexpr std::int64_t kInt4Group = 32;    // K of one integer scale of int4

// K is filled up with zeros to a multiple of this.
constexpr std::int64_t k_multiple(Format f) {
  constexpr std::int64_t kMultiple[kFormats] = {1, 2, 4, 4, kScaleBlock};
  return kMultiple[static_cast<int>(f)];
}
constexpr std::int64_t padded_k(Format f, std::int64_t k) { return (k + k_multiple(f) - 1) / k_multiple(f) * k_multiple(f); }

// Bytes of the first k terms (a multiple of k_multiple) of one column.
constexpr std::int64_t column_bytes(Format f, std::int64_t k) {
  switch (f) {
    case Format::f32: return 4 * k;
    case Format::bf16: return 2 * k;
    case Format::int4: return k / kScaleBlock * (kScaleBlock / kInt4Group + kScaleBlock / 2);
    default: return k;
  }
}

}  // namespace moelle::gemm
