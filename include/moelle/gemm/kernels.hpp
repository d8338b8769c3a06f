// moelle/gemm/kernels.hpp -- the table of the product's kernels for one instruction set.
//
// A product of one K block (k <= kBlockK) is: pack_b, pack_a unless A can be read in place, then block.
//   A: rows `lda` apart, k contiguous. pack_a writes them kPackedRow<T> apart, an odd number of cache lines. Rows that are a multiple
//      of 4 KiB apart should be packed: they share the same few places of the L1 cache.
//   B: panels of nr columns, [panel][k][nr]; the last one is as many vectors wide as it needs, filled up with zeros.
// Attention and other one-tile users may call these directly, with scratch of packed_a_size() and packed_b_size() elements.
#pragma once
#include <cstdint>

#include <moelle/core/config.hpp>
#include <moelle/gemm/gemm.hpp>

namespace moelle::gemm {

template <class T>
struct Kernels {
  std::int64_t mr, nr, lanes;  // rows and columns of the register tile, columns of a vector
  void (*pack_a)(Matrix<T> a, std::int64_t m, std::int64_t k, T* out);
  void (*pack_b)(Matrix<T> b, std::int64_t k, std::int64_t n, T* out);
  // C[m, n] = (accumulate ? C : 0) + A B for one K block; b packed.
  void (*block)(std::int64_t m, std::int64_t n, std::int64_t k, const T* a, std::int64_t lda, const T* b, T* c, std::int64_t ldc, bool accumulate);
  // c[n] = (accumulate ? c : 0) + a[k] B for one row and K block; B in place, one of its strides 1, n a multiple of lanes.
  void (*row)(std::int64_t n, std::int64_t k, const T* a, Matrix<T> b, T* c, bool accumulate);
};

template <class T>
constexpr std::int64_t packed_a_size(std::int64_t m) {
  return m * kPackedRow<T>;
}
template <class T>
std::int64_t packed_b_size(const Kernels<T>& kernels, std::int64_t k, std::int64_t n) {
  return (n + kernels.lanes - 1) / kernels.lanes * kernels.lanes * k;
}

#if defined(MOELLE_COMPILED_KERNELS)
template <class T>
const Kernels<T>& kernels();  // picked among the compiled tables
template <>
const Kernels<float>& kernels<float>();
template <>
const Kernels<double>& kernels<double>();
#endif

}  // namespace moelle::gemm

#if !defined(MOELLE_COMPILED_KERNELS)
#include <moelle/cpu/isa.hpp>

namespace moelle::gemm {
template <class Arch, class T>
constexpr Kernels<T> make_kernels();  // kernels_simd.hpp, which includes this file

template <class T>
const Kernels<T>& kernels() {
  static constexpr Kernels<T> table = make_kernels<cpu::Arch, T>();
  return table;
}
}  // namespace moelle::gemm

#include <moelle/gemm/kernels_simd.hpp>
#endif
