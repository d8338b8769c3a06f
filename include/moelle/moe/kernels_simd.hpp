// moelle/moe/kernels_simd.hpp -- the experts' table of one instruction set.
#pragma once
#include <moelle/moe/experts_simd.hpp>
#include <moelle/moe/gate_simd.hpp>
#include <moelle/moe/kernels.hpp>
#include <moelle/moe/permute_simd.hpp>

namespace moelle::moe {

template <class Arch, class T>
constexpr Kernels<T> make_kernels() {
  return {&simd::gate_scores<Arch, T>, &simd::gate_select<Arch, T>,  &simd::gate_weights<Arch, T>, &simd::gate_grad<Arch, T>,
          &simd::gather_rows<Arch, T>, &simd::combine_rows<Arch, T>, &simd::combine_grad<Arch, T>, &simd::experts_grad<Arch, T>};
}

}  // namespace moelle::moe
