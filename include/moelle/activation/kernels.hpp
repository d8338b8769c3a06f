// moelle/activation/kernels.hpp -- the CPU kernels of this domain as one table per element type.
#pragma once
#include <cstdint>

#include <moelle/activation/swiglu.hpp>
#include <moelle/activation/unary.hpp>

namespace moelle::activation {

template <class T>
struct Kernels {
  void (*unary[kUnaryCount])(const T* x, std::int64_t n, T* y);  // by Unary
  void (*unary_grad[kUnaryCount])(const T* x, const T* dy, std::int64_t n, T* dx);
  void (*swiglu)(const SwigluArgs<T>& args, T* y, std::int64_t begin, std::int64_t end);
  void (*swiglu_grad)(const SwigluArgs<T>& args, const T* dy, const SwigluGradArgs<T>& grad, std::int64_t begin, std::int64_t end);
};

template <class Arch, class T>
constexpr Kernels<T> make_kernels();  // the table of one instruction set: kernels_simd.hpp

#if defined(MOELLE_COMPILED_KERNELS)
template <class T>
const Kernels<T>& kernels();  // picked among the compiled tables
template <>
const Kernels<float>& kernels<float>();
template <>
const Kernels<double>& kernels<double>();
#endif

}  // namespace moelle::activation

#if !defined(MOELLE_COMPILED_KERNELS)
#include <moelle/activation/kernels_simd.hpp>
#include <moelle/cpu/isa.hpp>

namespace moelle::activation {
template <class T>
const Kernels<T>& kernels() {
  static constexpr Kernels<T> table = make_kernels<cpu::Arch, T>();
  return table;
}
}  // namespace moelle::activation
#endif
