// moelle/gemm/kernels_simd.hpp -- the product's tables of one instruction set.
#pragma once
#include <moelle/gemm/kernels.hpp>
#include <moelle/gemm/pack_bf16_simd.hpp>
#include <moelle/gemm/pack_simd.hpp>
#include <moelle/gemm/row_simd.hpp>
#include <moelle/gemm/tile_simd.hpp>

namespace moelle::gemm {

template <class Arch, class T>
constexpr Kernels<T> make_kernels() {
  using Shape = simd::Tile<Arch, T>;
  return {.per = 1, .mr = Shape::kMr, .nr = Shape::kNr, .lanes = Shape::kLanes, .pack_a = &simd::pack_a<Arch, T>, .pack_b = &simd::pack_b<Arch, T>,
          .block = &simd::block<Arch, simd::Multiply<Arch, T>>, .row = &simd::row<Arch, T>};
}

template <class Arch>
constexpr RoundedKernels make_rounded_kernels() {
  using Shape = simd::Tile<Arch, float>;
#if defined(MOELLE_GEMM_PAIRS)
  return {.per = 2, .mr = Shape::kMr, .nr = Shape::kNr, .lanes = Shape::kLanes, .pack_a = &simd::pack_a_pairs<Arch>, .pack_b = &simd::pack_b_pairs<Arch>,
          .block = &simd::block<Arch, simd::Bf16Pairs<Arch>>, .row = nullptr};
#else
  return {.per = 1, .mr = Shape::kMr, .nr = Shape::kNr, .lanes = Shape::kLanes, .pack_a = &simd::pack_a_rounded<Arch>, .pack_b = &simd::pack_b_rounded<Arch>,
          .block = &simd::block_of_units<Arch>, .row = nullptr};
#endif
}

}  // namespace moelle::gemm
