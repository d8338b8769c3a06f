// moelle/gemm/packed_kernels.hpp -- the table of the products with packed weights for one instruction set.
#pragma once
#include <cstdint>

#include <moelle/gemm/format.hpp>

namespace moelle::gemm {

// One format. Operands are units of 4 bytes that hold `per` terms each.
struct PackedFormat {
  std::int64_t per = 1;
  std::int64_t block = 0;  // terms of one chain of sums; integers are exact, so that theirs is only the size of a piece
  // x[k] -> the units of a row, the last vector filled up with zeros; inverse: from x to integers.
  void (*rows)(const float* x, std::int64_t k, float inverse, std::uint32_t* out) = nullptr;
  // k terms (a multiple of k_multiple) of a panel of `width` columns -> units; null where they are stored as the tile reads them. small: of fp8 (format.hpp).
  void (*unpack)(const std::uint8_t* stored, std::int64_t k, std::int64_t width, std::uint32_t small, std::uint32_t* out) = nullptr;
  // C[m, n] = (accumulate ? C : 0) + scale * A B for one panel, n <= nr; one of the two, for sums in float or int32. Meanwhile memory from
  // `ahead` on is called into the caches.
  void (*panel)(std::int64_t m, std::int64_t n, std::int64_t units, const std::uint32_t* a, std::int64_t lda, const std::uint32_t* b, float* c,
                std::int64_t ldc, bool accumulate, const float* scale, const std::uint8_t* ahead, std::int64_t ahead_bytes) = nullptr;
  void (*integer_panel)(std::int64_t m, std::int64_t n, std::int64_t units, const std::uint32_t* a, std::int64_t lda, const std::uint32_t* b,
                        std::int32_t* c, std::int64_t ldc, bool accumulate, const std::int32_t* scale, const std::uint8_t* ahead,
                        std::int64_t ahead_bytes) = nullptr;
  // The same for at most kFewPackedRows rows and whole panels of stored weights, over the whole of K, unpacked on the way; null where `unpack` is or
  // does as well. small, scale: the panel's, of fp8.
  void (*few_rows)(std::int64_t m, const std::uint8_t* stored, std::int64_t k, std::int64_t width, const std::uint32_t* small, const std::uint32_t* a,
                   std::int64_t lda, float* c, std::int64_t ldc, bool accumulate, const float* scale) = nullptr;
  void (*few_integer_rows)(std::int64_t m, const std::uint8_t* stored, std::int64_t k, std::int64_t width, const std::uint32_t* a, std::int64_t lda,
                           std::int32_t* c, std::int64_t ldc) = nullptr;
};

inline constexpr std::int64_t kFewPackedRows = 4;

struct PackedKernels {
  std::int64_t mr, nr, lanes;
  std::int32_t offset;  // added to quantised activations
  PackedFormat formats[kFormats];
  float (*max_abs)(const float* x, std::int64_t k);
  void (*finish_integers)(std::int64_t m, std::int64_t n, const std::int32_t* sums, std::int64_t ld, const std::int32_t* corrections,
                          const float* row_scale, const float* column_scale, const float* bias, bool accumulate, float* out, std::int64_t ldo);

  const PackedFormat& of(Format f) const { return formats[static_cast<int>(f)]; }
};

#if defined(MOELLE_COMPILED_KERNELS)
const PackedKernels& packed_kernels();  // picked among the compiled tables
#endif

}  // namespace moelle::gemm

#if !defined(MOELLE_COMPILED_KERNELS)
#include <moelle/cpu/isa.hpp>

namespace moelle::gemm {
template <class Arch>
constexpr PackedKernels make_packed_kernels();  // packed_kernels_simd.hpp, which includes this file

template <class Arch>
const PackedKernels& packed_kernels_of() {  // a template, so that the table is built where its maker is known
  static constexpr PackedKernels table = make_packed_kernels<Arch>();
  return table;
}
inline const PackedKernels& packed_kernels() { return packed_kernels_of<cpu::Arch>(); }
}  // namespace moelle::gemm

#include <moelle/gemm/packed_kernels_simd.hpp>
#endif
