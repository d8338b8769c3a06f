// moelle/activation/kernels_simd.hpp -- the activations' table of one instruction set.
#pragma once
#include <moelle/activation/kernels.hpp>
#include <moelle/activation/swiglu_simd.hpp>
#include <moelle/activation/unary_simd.hpp>

namespace moelle::activation {

template <class Arch, class T>
constexpr Kernels<T> make_kernels() {
  using U = Unary;
  return {{&simd::unary<U::sigmoid, Arch, T>, &simd::unary<U::silu, Arch, T>, &simd::unary<U::softplus, Arch, T>,
           &simd::unary<U::gelu, Arch, T>, &simd::unary<U::gelu_tanh, Arch, T>, &simd::unary<U::relu, Arch, T>},
          {&simd::unary_grad<U::sigmoid, Arch, T>, &simd::unary_grad<U::silu, Arch, T>, &simd::unary_grad<U::softplus, Arch, T>,
           &simd::unary_grad<U::gelu, Arch, T>, &simd::unary_grad<U::gelu_tanh, Arch, T>, &simd::unary_grad<U::relu, Arch, T>},
          &simd::swiglu<Arch, T>,
          &simd::swiglu_grad<Arch, T>};
}

}  // namespace moelle::activation
