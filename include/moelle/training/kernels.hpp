// moelle/training/kernels.hpp -- the table of optimiser kernels of one instruction set.
#pragma once
#include <cstdint>

#include <moelle/training/adamw.hpp>

namespace moelle::training {

template <class T>
struct Kernels {
  void (*adamw)(T* w, const T* g, T* m, T* v, std::int64_t n, const AdamWStep& s);
  double (*sum_of_squares)(const T* g, std::int64_t n);
};

template <class T>
const Kernels<T>& kernels();

}  // namespace moelle::training

#if defined(MOELLE_COMPILED_KERNELS)
namespace moelle::training {
template <>
const Kernels<float>& kernels<float>();
template <>
const Kernels<double>& kernels<double>();
}  // namespace moelle::training
#else
#include <moelle/cpu/isa.hpp>
namespace moelle::training {
template <class Arch, class T>
constexpr Kernels<T> make_kernels();  // kernels_simd.hpp, which includes this file

template <class T>
const Kernels<T>& kernels() {
  static constexpr Kernels<T> table = make_kernels<cpu::Arch, T>();
  return table;
}
}  // namespace moelle::training
#include <moelle/training/kernels_simd.hpp>
#endif
