// moelle/norm/kernels.hpp -- the CPU kernels of this domain as one table per element type.
#pragma once
#include <cstdint>

#include <moelle/norm/rms_norm.hpp>
#include <moelle/norm/softmax.hpp>

namespace moelle::norm {

template <class T>
struct Kernels {
  // y[r, :] and rstd[r] for rows [begin, end); rstd may be null.
  void (*rms_norm)(const RmsNormArgs<T>& args, T* y, T* rstd, std::int64_t begin, std::int64_t end);
  // x + residual -> sum, rms_norm(sum) -> y; residual has stride D, sum and y, too.
  void (*add_rms_norm)(const RmsNormArgs<T>& args, const T* residual, T* sum, T* y, T* rstd, std::int64_t begin, std::int64_t end);
  // dx = gradient (+ plus, if not null: [rows, D]), overwritten; dw[D] += of these rows. dx or dw may be null.
  void (*rms_norm_grad)(const RmsNormArgs<T>& args, const T* rstd, const T* dy, const T* plus, T* dx, T* dw, std::int64_t begin,
                        std::int64_t end);
  // Contiguous rows of n elements, by Softmax.
  void (*softmax[2])(const T* x, std::int64_t n, T* y, std::int64_t begin, std::int64_t end);
  void (*softmax_grad[2])(const T* y, const T* dy, std::int64_t n, T* dx, std::int64_t begin, std::int64_t end);
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

}  // namespace moelle::norm

#if !defined(MOELLE_COMPILED_KERNELS)
#include <moelle/cpu/isa.hpp>
#include <moelle/norm/kernels_simd.hpp>

namespace moelle::norm {
template <class T>
const Kernels<T>& kernels() {
  static constexpr Kernels<T> table = make_kernels<cpu::Arch, T>();
  return table;
}
}  // namespace moelle::norm
#endif
