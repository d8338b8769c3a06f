// moelle/gemm/block_product.hpp -- products of one thread on operands that the caller packs: for operations that have work of their own between
// products and want to do it while the operands are in near caches.
//
//   const BlockProduct<T, Unit> product(kernels);
//   product.pack_b(w, k, n, b);                        // product.size_b(k, n) units
//   product.pack_row(x, k, i, m, a);                   // rows i of m: product.size_a(m, k) units
//   product.run(m, n, k, a, b, c, ldc);                // C[m, n] = A B
// The same sums in the same order as gemm() (gemm.hpp), to the bit.
#pragma once
#include <algorithm>
#include <cstdint>
#include <type_traits>

#include <moelle/gemm/gemm.hpp>
#include <moelle/gemm/kernels.hpp>

namespace moelle::gemm {

template <class T, class Unit>
class BlockProduct {
 public:
  using unit_type = Unit;
  explicit BlockProduct(const Kernels<T, Unit>& kernels) : kernels_(kernels), block_(kBlockK * kernels.per) {}

  std::int64_t size_a(std::int64_t m, std::int64_t k) const { return (k + block_ - 1) / block_ * packed_a_size<Unit>(m); }
  std::int64_t size_b(std::int64_t k, std::int64_t n) const { return packed_b_size(kernels_, k, n); }

  // The terms of one chain of the sum: K in steps of it may be several products that add up.
  std::int64_t block() const { return block_; }

  // A[m, k].
  void pack_a(const Matrix<T>& x, std::int64_t m, std::int64_t k, Unit* a) const {
    for (std::int64_t k0 = 0; k0 < k; k0 += block_)
      kernels_.pack_a({x.data + k0 * x.col_stride, x.row_stride, x.col_stride}, m, std::min(block_, k - k0), a + k0 / block_ * packed_a_size<Unit>(m));
  }
  // Row i of the m rows of A, k contiguous terms.
  void pack_row(const T* row, std::int64_t k, std::int64_t i, std::int64_t m, Unit* a) const {
    for (std::int64_t k0 = 0; k0 < k; k0 += block_)
      kernels_.pack_a({row + k0, 0, 1}, 1, std::min(block_, k - k0), a + k0 / block_ * packed_a_size<Unit>(m) + i * kPackedRow<Unit>);
  }
  // B[k, n].
  void pack_b(const Matrix<T>& w, std::int64_t k, std::int64_t n, Unit* b) const {
    for (std::int64_t k0 = 0; k0 < k; k0 += block_)
      kernels_.pack_b({w.data + k0 * w.row_stride, w.row_stride, w.col_stride}, std::min(block_, k - k0), n, b + size_b(k0, n));
  }
  // C[m, m] = A B where that is symmetric, as A A^T is: only what lies below the diagonal, and the rest of its panels, is computed; then mirrored.
  void run_symmetric(std::int64_t m, std::int64_t k, const Unit* a, const Unit* b, T* c) const {
    for (std::int64_t j = 0; j < m; j += kernels_.nr) panel(j, m, m, k, a, b, j, c, m, false);
    for (std::int64_t i = kernels_.nr; i < m; ++i)
      for (std::int64_t j = 0; j < i / kernels_.nr * kernels_.nr; ++j) c[j * m + i] = c[i * m + j];
  }
  // C[m, n] = (accumulate ? C : 0) + A B.
  void run(std::int64_t m, std::int64_t n, std::int64_t k, const Unit* a, const Unit* b, T* c, std::int64_t ldc, bool accumulate = false) const {
    for (std::int64_t i = 0; k == 0 && !accumulate && i < m; ++i) std::fill_n(c + i * ldc, n, T(0));
    for (std::int64_t j = 0; j < n; j += kernels_.nr) panel(0, m, n, k, a, b, j, c, ldc, accumulate);
  }

 private:
  // Rows [row, m) of the panel whose first column is j.
  void panel(std::int64_t row, std::int64_t m, std::int64_t n, std::int64_t k, const Unit* a, const Unit* b, std::int64_t j, T* c, std::int64_t ldc, bool accumulate) const {
    for (std::int64_t k0 = 0; k0 < k; k0 += block_) {
      const std::int64_t units = (std::min(block_, k - k0) + kernels_.per - 1) / kernels_.per;
      kernels_.block(m - row, std::min(kernels_.nr, n - j), units, a + k0 / block_ * packed_a_size<Unit>(m) + row * kPackedRow<Unit>, kPackedRow<Unit>, b + size_b(k0, n) + j * units,
                     c + row * ldc + j, ldc, accumulate || k0 > 0);
    }
  }

  const Kernels<T, Unit>& kernels_;
  std::int64_t block_;  // terms of a K block
};

// f(product) with the product that the precision asks for.
template <class T, class F>
void with_block_product(Precision precision, F&& f) {
  if constexpr (std::is_same_v<T, float>)
    if (precision == Precision::bf16) return f(BlockProduct<float, std::uint32_t>(rounded_kernels()));
  f(BlockProduct<T, T>(kernels<T>()));
}

}  // namespace moelle::gemm
