// moelle/loss/kernels_simd.hpp -- the losses' table of one instruction set.
#pragma once
#include <moelle/loss/cross_entropy_simd.hpp>
#include <moelle/loss/kernels.hpp>

namespace moelle::loss {

template <class Arch, class T>
constexpr Kernels<T> make_kernels() {
  return {&simd::exponentials<Arch, T>, &simd::scaled_exponentials<Arch, T>, &simd::scale<Arch, T>};
}

}  // namespace moelle::loss
