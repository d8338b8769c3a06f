// moelle/gemm/pack_simd.hpp -- copies the operands of a product into the order in which the kernel reads them.
#pragma once
#include <cstdint>
#include <utility>

#include <moelle/cpu/xsimd.hpp>

#include <moelle/core/config.hpp>
#include <moelle/gemm/gemm.hpp>  // Matrix, kPackedRow
#include <moelle/gemm/tile_simd.hpp>  // Tile

namespace moelle::gemm::simd {

inline constexpr std::int64_t kAhead = 8;  // rows between what is copied and what is prefetched

// Square transposition in registers. xsimd 8.1 has none, so shuffles are the compiler's, which every vector width knows.
template <class Arch, class T>
struct Square {
  static constexpr int kN = static_cast<int>(xsimd::batch<T, Arch>::size);
  typedef T Row __attribute__((vector_size(sizeof(T) * static_cast<std::size_t>(kN))));

  template <int... I>
  MOELLE_INLINE static void interleave(std::integer_sequence<int, I...>, const Row& x, const Row& y, Row& low, Row& high) {
    low = __builtin_shufflevector(x, y, (I / 2 + I % 2 * kN)...);
    high = __builtin_shufflevector(x, y, (kN / 2 + I / 2 + I % 2 * kN)...);
  }
  // log2(kN) perfect shuffles of the rows, each of which interleaves row i with row i + kN / 2, transpose the square.
  MOELLE_INLINE static void stage(const Row* from, Row* to) {
#pragma GCC unroll 16
    for (int i = 0; i < kN / 2; ++i)
      interleave(std::make_integer_sequence<int, kN>(), from[i], from[i + kN / 2], to[2 * i], to[2 * i + 1]);
  }
  // out[c * ld_out + r] = in[r * ld_in + c] for a full square.
  MOELLE_INLINE static void transpose(const T* in, std::int64_t ld_in, T* out, std::int64_t ld_out) {
    Row x[kN], y[kN];
#pragma GCC unroll 16
    for (int i = 0; i < kN; ++i) __builtin_memcpy(&x[i], in + i * ld_in, sizeof(Row));
    int stages = 0;
#pragma GCC unroll 4
    for (int n = 1; n < kN; n *= 2, ++stages) stages % 2 == 0 ? stage(x, y) : stage(y, x);
    const Row* done = stages % 2 == 0 ? x : y;
#pragma GCC unroll 16
    for (int i = 0; i < kN; ++i) __builtin_memcpy(out + i * ld_out, &done[i], sizeof(Row));
  }
};

// out[c * ld_out + r] = in[r * row_stride + c * col_stride], any strides, element by element: tails and odd layouts.
template <class Arch, class T>
MOELLE_INLINE void transpose_slow(const T* in, std::int64_t row_stride, std::int64_t col_stride, std::int64_t rows, std::int64_t cols,
                                  T* out, std::int64_t ld_out) {
  for (std::int64_t c = 0; c < cols; ++c)
    for (std::int64_t r = 0; r < rows; ++r) out[c * ld_out + r] = in[r * row_stride + c * col_stride];
}

// out[c * ld_out + r] = in[r * ld_in + c]. The last squares overlap the ones before them and write the same elements again. What
// is read next lies kN rows further on, too far apart for the processor to foresee: without the prefetch, a half to a third of the
// speed from memory.
template <class Arch, class T>
MOELLE_INLINE void transpose(const T* in, std::int64_t ld_in, std::int64_t rows, std::int64_t cols, T* out, std::int64_t ld_out) {
  constexpr std::int64_t kN = Square<Arch, T>::kN;
  if (rows < kN || cols < kN) return transpose_slow<Arch>(in, ld_in, 1, rows, cols, out, ld_out);
  for (std::int64_t row = 0; row < rows; row += kN)
    for (std::int64_t col = 0; col < cols; col += kN) {
      const std::int64_t r = row + kN <= rows ? row : rows - kN, c = col + kN <= cols ? col : cols - kN;
      const T* square = in + r * ld_in + c;
#pragma GCC unroll 16
      for (std::int64_t i = 0; i < kN; ++i) __builtin_prefetch(square + (kN + i) * ld_in, 0, 2);
      Square<Arch, T>::transpose(square, ld_in, out + c * ld_out + r, ld_out);
    }
}

// out[0, n) = in[0, n) in whole vectors, of which the last may overlap the one before. Prefetches from in + ahead.
template <class Arch, class T>
MOELLE_INLINE void copy_row(const T* in, std::int64_t n, std::int64_t ahead, T* out) {
  using B = xsimd::batch<T, Arch>;
  constexpr std::int64_t kN = static_cast<std::int64_t>(B::size);
  if (n < kN) {
    for (std::int64_t i = 0; i < n; ++i) out[i] = in[i];
    return;
  }
  for (std::int64_t i = 0; i < n; i += kN) {
    const std::int64_t at = i + kN <= n ? i : n - kN;
    __builtin_prefetch(in + at + ahead, 0, 2);
    B::load_unaligned(in + at).store_unaligned(out + at);
  }
}

// A[m, k] -> out[m][kPackedRow].
template <class Arch, class T>
void pack_a(Matrix<T> a, std::int64_t m, std::int64_t k, T* out) {
  constexpr std::int64_t kRow = kPackedRow<T>;
  if (a.col_stride == 1) {
    for (std::int64_t i = 0; i < m; ++i) copy_row<Arch>(a.data + i * a.row_stride, k, kAhead * a.row_stride, out + i * kRow);
  } else if (a.row_stride == 1) {
    transpose<Arch>(a.data, a.col_stride, k, m, out, kRow);
  } else {
    transpose_slow<Arch>(a.data, a.col_stride, a.row_stride, k, m, out, kRow);
  }
}

// B[k, n] -> out[ceil(n / nr)][k][nr], zeros beyond column n.
template <class Arch, class T>
void pack_b(Matrix<T> b, std::int64_t k, std::int64_t n, T* out) {
  constexpr std::int64_t kNr = Tile<Arch, T>::kNr;
  const std::int64_t full = n / kNr, rest = n - full * kNr;
  T* tail = out + full * kNr * k;
  for (std::int64_t p = 0; p < k && rest != 0; ++p)
    for (std::int64_t j = rest; j < kNr; ++j) tail[p * kNr + j] = T(0);
  if (b.col_stride == 1) {  // row by row, so that the source is read as one stream
    for (std::int64_t p = 0; p < k; ++p) {
      const T* row = b.data + p * b.row_stride;
      for (std::int64_t j = 0; j < full; ++j) copy_row<Arch>(row + j * kNr, kNr, kAhead * b.row_stride, out + (j * k + p) * kNr);
      copy_row<Arch>(row + full * kNr, rest, kAhead * b.row_stride, tail + p * kNr);
    }
  } else if (b.row_stride == 1) {
    for (std::int64_t j = 0; j < full; ++j) transpose<Arch>(b.data + j * kNr * b.col_stride, b.col_stride, kNr, k, out + j * kNr * k, kNr);
    transpose<Arch>(b.data + full * kNr * b.col_stride, b.col_stride, rest, k, tail, kNr);
  } else {
    for (std::int64_t j = 0; j <= full; ++j)
      transpose_slow<Arch>(b.data + j * kNr * b.col_stride, b.col_stride, b.row_stride, j < full ? kNr : rest, k, out + j * kNr * k, kNr);
  }
}

}  // namespace moelle::gemm::simd
