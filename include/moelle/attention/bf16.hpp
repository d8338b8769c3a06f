// moelle/attention/bf16.hpp -- the kernels of attention with bfloat16 operands: of tiles (packing.hpp), and of decoding over a latent cache
// (latent_decode.hpp).
#pragma once
#include <cstdint>

namespace moelle::attention {

// Units of 4 bytes hold `per` terms each: two bfloat16, or one float without an instruction for pairs.
struct Bf16Kernels {
  std::int64_t per;
  void (*round_row)(const float* x, std::int64_t k, float, std::uint32_t* out);  // units along the row; room for whole vectors behind
  using Rows = void (*)(std::int64_t rows, std::int64_t n, const std::uint16_t* from, std::int64_t ld, std::uint32_t* to, std::int64_t ldo);
  Rows keys;    // units along the channels; null: rows are read as they lie
  Rows values;  // units along the rows
  // x[rows][n], n whole vectors, in units across the rows; those outside [lo, hi) count as 0.
  void (*round_rows)(std::int64_t rows, std::int64_t n, std::int64_t lo, std::int64_t hi, const float* x, std::int64_t ld, std::uint32_t* to, std::int64_t ldo);
  using Product = void (*)(std::int64_t m, std::int64_t n, std::int64_t k, const std::uint32_t* a, std::int64_t lda, const std::uint32_t* b, std::int64_t ldb,
                           float* c, std::int64_t ldc, bool accumulate);
  Product product, product_turned;  // as those of Kernels
};

}  // namespace moelle::attention
