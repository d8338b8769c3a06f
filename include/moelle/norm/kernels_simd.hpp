// moelle/norm/kernels_simd.hpp -- the norms' table of one instruction set.
#pragma once
#include <moelle/norm/kernels.hpp>
#include <moelle/norm/rms_norm_simd.hpp>
#include <moelle/norm/softmax_simd.hpp>

namespace moelle::norm {

template <class Arch, class T>
constexpr Kernels<T> make_kernels() {
  return {&simd::rms_norm<Arch, T>,
          &simd::add_rms_norm<Arch, T>,
          &simd::rms_norm_grad<Arch, T>,
          {&simd::softmax<Arch, T>, &simd::log_softmax<Arch, T>},
          {&simd::softmax_grad<Arch, T>, &simd::log_softmax_grad<Arch, T>}};
}

}  // namespace moelle::norm
