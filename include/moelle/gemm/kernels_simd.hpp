// moelle/gemm/kernels_simd.hpp -- the product's table of one instruction set.
#pragma once
#include <moelle/gemm/kernels.hpp>
#include <moelle/gemm/pack_simd.hpp>
#include <moelle/gemm/row_simd.hpp>
#include <moelle/gemm/tile_simd.hpp>

namespace moelle::gemm {

template <class Arch, class T>
constexpr Kernels<T> make_kernels() {
  return {simd::Tile<Arch, T>::kMr, simd::Tile<Arch, T>::kNr, simd::Tile<Arch, T>::kLanes, &simd::pack_a<Arch, T>, &simd::pack_b<Arch, T>, &simd::block<Arch, simd::Multiply<Arch, T>>, &simd::row<Arch, T>};
}

}  // namespace moelle::gemm
