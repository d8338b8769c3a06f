// moelle/training/kernels_simd.hpp -- fills the table for one Arch.
#pragma once
#include <moelle/training/adamw_simd.hpp>
#include <moelle/training/kernels.hpp>
#include <moelle/training/squares_simd.hpp>

namespace moelle::training {

template <class Arch, class T>
constexpr Kernels<T> make_kernels() {
  return {&simd::adamw<Arch, T>, &simd::sum_of_squares<Arch, T>};
}

}  // namespace moelle::training
