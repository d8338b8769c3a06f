// moelle/rope/kernels.hpp -- the CPU kernels of this domain as one table per element type.
#pragma once
#include <cstdint>

#include <moelle/rope/rope.hpp>

namespace moelle::rope {

template <class T>
struct Kernels {
  // One token: x and y at its first head. Indices: pairs interleaved (1) or half-split (0) in x, in y.
  void (*rope[2][2])(const RopeArgs& args, const T* x, const T* cos, const T* sin, T* y);
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

}  // namespace moelle::rope

#if !defined(MOELLE_COMPILED_KERNELS)
#include <moelle/cpu/isa.hpp>
#include <moelle/rope/kernels_simd.hpp>

namespace moelle::rope {
template <class T>
const Kernels<T>& kernels() {
  static constexpr Kernels<T> table = make_kernels<cpu::Arch, T>();
  return table;
}
}  // namespace moelle::rope
#endif
