// moelle/gemm/packed_kernels_simd.hpp -- the table of one instruction set: for each format, which dot product computes it.
#pragma once
#include <moelle/gemm/few_rows_simd.hpp>
#include <moelle/gemm/gemm.hpp>  // kBlockK
#include <moelle/gemm/packed_kernels.hpp>
#include <moelle/gemm/rows_simd.hpp>
#include <moelle/gemm/tile_simd.hpp>
#include <moelle/gemm/unpack_simd.hpp>

namespace moelle::gemm {

namespace simd {
// panel() on floats that are passed as units of 4 bytes.
template <class Arch, class Dot>
void unit_panel(std::int64_t m, std::int64_t n, std::int64_t units, const std::uint32_t* a, std::int64_t lda, const std::uint32_t* b, float* c,
                std::int64_t ldc, bool accumulate, const float* scale, const std::uint8_t* ahead, std::int64_t ahead_bytes) {
  panel<Arch, Dot>(m, n, units, reinterpret_cast<const float*>(a), lda, reinterpret_cast<const float*>(b), c, ldc, accumulate, scale, ahead, ahead_bytes);
}
}  // namespace simd

template <class Arch>
constexpr PackedKernels make_packed_kernels() {
  using Shape = simd::Tile<Arch, float>;
  using Floats = simd::Multiply<Arch, float>;
  PackedKernels t{.mr = Shape::kMr, .nr = Shape::kNr, .lanes = Shape::kLanes, .offset = 0, .formats = {}, .max_abs = &simd::max_abs<Arch>,
                  .finish_integers = &simd::finish_integers<Arch>};
  PackedFormat &f32 = t.formats[0], &bf16 = t.formats[1], &fp8 = t.formats[2], &int8 = t.formats[3], &int4 = t.formats[4];
  f32 = {.per = 1, .block = kBlockK, .rows = &simd::rows_to_f32<Arch>, .panel = &simd::unit_panel<Arch, Floats>};
#if defined(MOELLE_GEMM_PAIRS)
  using Pairs = simd::Bf16Pairs<Arch>;
  bf16 = {.per = 2, .block = 2 * kBlockK, .rows = &simd::rows_to_bf16<Arch>, .panel = &simd::panel<Arch, Pairs>};
  fp8 = {.per = 2, .block = kScaleBlock, .rows = &simd::rows_to_bf16<Arch>, .unpack = &simd::unpack_fp8_to_bf16<Arch>, .panel = &simd::panel<Arch, Pairs>, .few_rows = &simd::few_rows_fp8<Arch>};
#else
  bf16 = {.per = 1, .block = kBlockK, .rows = &simd::rows_to_rounded<Arch>, .unpack = &simd::unpack_bf16_to_f32<Arch>,
          .panel = &simd::unit_panel<Arch, Floats>};
  fp8 = {.per = 1, .block = kScaleBlock, .rows = &simd::rows_to_rounded<Arch>, .unpack = &simd::unpack_fp8_to_f32<Arch>,
         .panel = &simd::unit_panel<Arch, Floats>};
#endif
#if defined(MOELLE_GEMM_QUADS)
  using Bytes = simd::ByteQuads<Arch>;
  t.offset = 128;
  int8 = {.per = 4, .block = 4 * kBlockK, .rows = &simd::rows_to_bytes<Arch, 128>, .integer_panel = &simd::panel<Arch, Bytes>};
  int4 = {.per = 4, .block = 4 * kBlockK, .rows = &simd::rows_to_bytes<Arch, 128>, .unpack = &simd::unpack_int4<Arch, false>,
          .integer_panel = &simd::panel<Arch, Bytes>, .few_integer_rows = &simd::few_rows_int4<Arch>};
#elif defined(MOELLE_GEMM_SIGNED_QUADS)
  using Bytes = simd::SignedQuads<Arch>;
  int8 = {.per = 4, .block = 4 * kBlockK, .rows = &simd::rows_to_bytes<Arch, 0>, .integer_panel = &simd::panel<Arch, Bytes>};
  int4 = {.per = 4, .block = 4 * kBlockK, .rows = &simd::rows_to_bytes<Arch, 0>, .unpack = &simd::unpack_int4<Arch, false>,
          .integer_panel = &simd::panel<Arch, Bytes>};
#else
  using Shorts = simd::ShortPairs<Arch>;
  int8 = {.per = 2, .block = 2 * kBlockK, .rows = &simd::rows_to_i16<Arch>, .unpack = &simd::unpack_int8_to_i16<Arch>,
          .integer_panel = &simd::panel<Arch, Shorts>};
  int4 = {.per = 2, .block = 2 * kBlockK, .rows = &simd::rows_to_i16<Arch>, .unpack = &simd::unpack_int4<Arch, true>,
          .integer_panel = &simd::panel<Arch, Shorts>};
#endif
  return t;
}

}  // namespace moelle::gemm
