// moelle/attention/kernels.hpp -- the table of attention's kernels of one instruction set; operands are packed by gemm's.
#pragma once
#include <cstdint>

#include <moelle/attention/bf16.hpp>

namespace moelle::attention {

template <class T>
struct Kernels {
  // C[m, n] = (accumulate ? C : 0) + A B; A [m][k], or [k][m] for the turned one, lda apart; B [k][n], ldb apart.
  using Product = void (*)(std::int64_t m, std::int64_t n, std::int64_t k, const T* a, std::int64_t lda, const T* b, std::int64_t ldb, T* c,
                           std::int64_t ldc, bool accumulate);
  Product product, product_turned;
  void (*softmax_row)(T* s, std::int64_t begin, std::int64_t end, std::int64_t lo, std::int64_t hi, T scale, const T* mask, T* top, T* sum);
  void (*softmax_grad_row)(T* s, T* g, std::int64_t end, std::int64_t lo, std::int64_t hi, T scale, const T* mask, T lse, T delta);
  void (*merge_row)(T* o, const T* part, std::int64_t n, T* top, T* sum, T part_top, T part_sum);
  void (*finish_row)(T* out, const T* o, std::int64_t n, T sum);
  void (*row_dots)(std::int64_t rows, std::int64_t n, const T* a, const T* b, T* out);
  // At most kFewRows rows against keys and values in place; ahead: rows to be fetched meanwhile.
  void (*few_scores)(std::int64_t rows, std::int64_t keys, std::int64_t d, const T* q, std::int64_t ldq, const T* k, std::int64_t ldk, const T* ahead,
                     std::int64_t ld_ahead, T* s, std::int64_t lds, bool accumulate);
  void (*few_weighted)(std::int64_t rows, std::int64_t keys, std::int64_t n, const T* s, std::int64_t lds, const T* v, std::int64_t ldv, const T* ahead,
                       std::int64_t ld_ahead, T* o, std::int64_t ldo, bool first);
  void (*softmax_columns)(T* s, std::int64_t ld, std::int64_t columns, std::int64_t lo, std::int64_t hi, T scale, T* top, T* sum);
  Bf16Kernels bf16;  // of float
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
