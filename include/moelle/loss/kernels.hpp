// moelle/loss/kernels.hpp -- the CPU kernels of this domain as one table per element type.
#pragma once
#include <cstdint>

#include <moelle/core/config.hpp>

namespace moelle::loss {

template <class T>
struct Kernels {
  // shift = max of x[n] (0 if that is -infinity) and sum = sum of e^(x - shift); y, unless null, receives the exponentials and
  // may be x itself.
  void (*exponentials)(const T* x, std::int64_t n, T* y, T* shift, T* sum);
  // y = e^(x - shift) factor, zeros for factor 0; y may be x.
  void (*scaled_exponentials)(const T* x, std::int64_t n, T shift, T factor, T* y);
  // y *= factor, zeros for factor 0.
  void (*scale)(T* y, std::int64_t n, T factor);
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

}  // namespace moelle::loss

#if !defined(MOELLE_COMPILED_KERNELS)
#include <moelle/cpu/isa.hpp>
#include <moelle/loss/kernels_simd.hpp>

namespace moelle::loss {
template <class T>
const Kernels<T>& kernels() {
  static constexpr Kernels<T> table = make_kernels<cpu::Arch, T>();
  return table;
}
}  // namespace moelle::loss
#endif
