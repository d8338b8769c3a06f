// moelle/rope/kernels_simd.hpp -- rotary embedding's table of one instruction set.
#pragma once
#include <moelle/rope/kernels.hpp>
#include <moelle/rope/rope_simd.hpp>

namespace moelle::rope {

template <class Arch, class T>
constexpr Kernels<T> make_kernels() {
  return {{{&simd::rope<false, false, Arch, T>, &simd::rope<false, true, Arch, T>},
           {&simd::rope<true, false, Arch, T>, &simd::rope<true, true, Arch, T>}}};
}

}  // namespace moelle::rope
