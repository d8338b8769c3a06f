// moelle/gemm/kernels.hpp -- the table of the product's kernels for one instruction set.
//
// Operands are packed as units of `per` terms: the elements themselves, or (Unit = uint32) two bfloat16, rounded to nearest even, where
// the instruction set multiplies those, else one such number as a float.
// A product of one K block (k <= kBlockK units) is: pack_b, pack_a unless A can be read in place, then block.
//   A: rows `lda` apart, k contiguous. pack_a writes them kPackedRow<T> apart, an odd number of cache lines. Rows that are a multiple
//      of 4 KiB apart should be packed: they share the same few places of the L1 cache.
//   B: panels of nr columns, [panel][k][nr]; the last one is as many vectors wide as it needs, filled up with zeros.
// Attention and other one-tile users may call these directly, with scratch of packed_a_size() and packed_b_size() elements.
#pragma once
#include <cstdint>

#include <moelle/core/config.hpp>
#include <moelle/gemm/gemm.hpp>

namespace moelle::gemm {

template <class T, class Unit = T>
struct Kernels {
  std::int64_t per;
  std::int64_t mr, nr, lanes;  // rows and columns of the register tile, columns of a vector
  void (*pack_a)(Matrix<T> a, std::int64_t m, std::int64_t k, Unit* out);  // k terms
  void (*pack_b)(Matrix<T> b, std::int64_t k, std::int64_t n, Unit* out);
  // C[m, n] = (accumulate ? C : 0) + A B for one K block of k units; b packed.
  void (*block)(std::int64_t m, std::int64_t n, std::int64_t k, const Unit* a, std::int64_t lda, const Unit* b, T* c, std::int64_t ldc, bool accumulate);
  // Null where operands are rounded. c[n] = (accumulate ? c : 0) + a[k] B for one row and K block; B in place, one of its strides 1, n a multiple of lanes.
  void (*row)(std::int64_t n, std::int64_t k, const T* a, Matrix<T> b, T* c, bool accumulate);
};

template <class Unit>
constexpr std::int64_t packed_a_size(std::int64_t m) {
  return m * kPackedRow<Unit>;
}
// Units of k terms.
template <class T, class Unit>
std::int64_t packed_b_size(const Kernels<T, Unit>& kernels, std::int64_t k, std::int64_t n) {
  return (n + kernels.lanes - 1) / kernels.lanes * kernels.lanes * ((k + kernels.per - 1) / kernels.per);
}

using RoundedKernels = Kernels<float, std::uint32_t>;  // bfloat16 operands

#if defined(MOELLE_COMPILED_KERNELS)
template <class T>
const Kernels<T>& kernels();  // picked among the compiled tables
template <>
const Kernels<float>& kernels<float>();
template <>
const Kernels<double>& kernels<double>();
const RoundedKernels& rounded_kernels();
#endif

}  // namespace moelle::gemm

#if !defined(MOELLE_COMPILED_KERNELS)
#include <moelle/cpu/isa.hpp>

namespace moelle::gemm {
template <class Arch, class T>
constexpr Kernels<T> make_kernels();  // kernels_simd.hpp, which includes this file
template <class Arch>
constexpr RoundedKernels make_rounded_kernels();

template <class T>
const Kernels<T>& kernels() {
  static constexpr Kernels<T> table = make_kernels<cpu::Arch, T>();
  return table;
}
template <class Arch>
const RoundedKernels& rounded_kernels_of() {  // a template, so that the table is built where its maker is known
  static constexpr RoundedKernels table = make_rounded_kernels<Arch>();
  return table;
}
inline const RoundedKernels& rounded_kernels() { return rounded_kernels_of<cpu::Arch>(); }
}  // namespace moelle::gemm

#include <moelle/gemm/kernels_simd.hpp>
#endif
