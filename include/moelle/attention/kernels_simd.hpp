// moelle/attention/kernels_simd.hpp -- fills the table for one Arch.
#pragma once
#include <moelle/attention/kernels.hpp>
#include <moelle/attention/softmax_simd.hpp>

namespace moelle::attention {

template <class Arch, class T>
constexpr Kernels<T> make_kernels() {
  return {&simd::softmax_row<Arch, T>, &simd::softmax_grad_row<Arch, T>, &simd::rescale_add<Arch, T>};
}

}  // namespace moelle::attention
