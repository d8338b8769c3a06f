// moelle/attention/kernels.hpp -- the table of attention's row kernels of one instruction set; the products are gemm's.
#pragma once
#include <cstdint>

namespace moelle::attention {

template <class T>
struct Kernels {
  T (*softmax_row)(T* s, std::int64_t lo, std::int64_t hi, T scale, const T* mask, T* top, T* sum);
  void (*softmax_grad_row)(T* s, T* g, std::int64_t lo, std::int64_t hi, T scale, const T* mask, T lse, T delta);
  void (*rescale_add)(T* o, const T* add, std::int64_t n, T factor);
};

template <class T>
const Kernels<T>& kernels();

}  // namespace moelle::attention

#if defined(MOELLE_COMPILED_KERNELS)
namespace moelle::attention {
template <>
const Kernels<float>& kernels<float>();
template <>
const Kernels<double>& kernels<double>();
}  // namespace moelle::attention
#else
#include <moelle/cpu/isa.hpp>
namespace moelle::attention {
template <class Arch, class T>
constexpr Kernels<T> make_kernels();  // kernels_simd.hpp, which includes this file

template <class T>
const Kernels<T>& kernels() {
  static constexpr Kernels<T> table = make_kernels<cpu::Arch, T>();
  return table;
}
}  // namespace moelle::attention
#include <moelle/attention/kernels_simd.hpp>
#endif
