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

// Square transposition in registers: first squares within the 128-bit lanes, then the lanes, by shuffles that are one instruction on
// every instruction set. xsimd 8.1 has no transposition; the compiler's shuffles know every vector width.
template <class Arch, class T>
struct Square {
  static constexpr int kN = static_cast<int>(xsimd::batch<T, Arch>::size);
  static constexpr int kLane = 16 / static_cast<int>(sizeof(T));  // elements of a lane
  static constexpr int kLanes = kN / kLane;
  typedef T Row __attribute__((vector_size(sizeof(T) * static_cast<std::size_t>(kN))));

  // Lane by lane: the lower or upper (High = 1) halves of x and y, element by element in turn.
  template <int High, int... I>
  MOELLE_INLINE static Row interleave(std::integer_sequence<int, I...>, const Row& x, const Row& y) {
    return __builtin_shufflevector(x, y, (I % 2 * kN + I / kLane * kLane + High * kLane / 2 + I % kLane / 2)...);
  }
  // The even or odd (Odd = 1) lanes of x, then those of y.
  template <int Odd, int... I>
  MOELLE_INLINE static Row lanes(std::integer_sequence<int, I...>, const Row& x, const Row& y) {
    return __builtin_shufflevector(x, y, ((2 * (I / kLane) + Odd) * kLane + I % kLane)...);
  }
  // Each of log2(kLane) rounds is a perfect shuffle of the rows of every group of kLane rows.
  MOELLE_INLINE static void round_within(const Row* from, Row* to) {
    constexpr auto kIndex = std::make_integer_sequence<int, kN>();
#pragma GCC unroll 16
    for (int g = 0; g < kN; g += kLane)
#pragma GCC unroll 4
      for (int i = 0; i < kLane / 2; ++i) {
        to[g + 2 * i] = interleave<0>(kIndex, from[g + i], from[g + i + kLane / 2]);
        to[g + 2 * i + 1] = interleave<1>(kIndex, from[g + i], from[g + i + kLane / 2]);
      }
  }
  // Each of log2(kLanes) rounds sorts the lanes of the rows c, c + kLane, c + 2 kLane, ...
  MOELLE_INLINE static void round_across(const Row* from, Row* to) {
    constexpr auto kIndex = std::make_integer_sequence<int, kN>();
#pragma GCC unroll 4
    for (int c = 0; c < kLane; ++c)
#pragma GCC unroll 4
      for (int i = 0; i < kLanes / 2; ++i) {
        to[c + i * kLane] = lanes<0>(kIndex, from[c + 2 * i * kLane], from[c + (2 * i + 1) * kLane]);
        to[c + (i + kLanes / 2) * kLane] = lanes<1>(kIndex, from[c + 2 * i * kLane], from[c + (2 * i + 1) * kLane]);
      }
  }
  // out[c * ld_out + r] = in[r * ld_in + c] for a full square.
  MOELLE_INLINE static void transpose(const T* in, std::int64_t ld_in, T* out, std::int64_t ld_out) {
    Row x[kN], y[kN];
#pragma GCC unroll 16
    for (int i = 0; i < kN; ++i) __builtin_memcpy(&x[i], in + i * ld_in, sizeof(Row));
    int rounds = 0;
#pragma GCC unroll 4
    for (int n = 1; n < kLane; n *= 2, ++rounds) rounds % 2 == 0 ? round_within(x, y) : round_within(y, x);
#pragma GCC unroll 4
    for (int n = 1; n < kLanes; n *= 2, ++rounds) rounds % 2 == 0 ? round_across(x, y) : round_across(y, x);
    const Row* done = rounds % 2 == 0 ? x : y;
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

// B[k, n] -> out[panel][k][nr], the last panel as wide as its columns need, zeros beyond column n.
template <class Arch, class T>
void pack_b(Matrix<T> b, std::int64_t k, std::int64_t n, T* out) {
  constexpr std::int64_t kNr = Tile<Arch, T>::kNr, kLanes = Tile<Arch, T>::kLanes;
  const std::int64_t full = n / kNr, rest = n - full * kNr, wide = (rest + kLanes - 1) / kLanes * kLanes;
  T* tail = out + full * kNr * k;
  for (std::int64_t p = 0; p < k; ++p)
    for (std::int64_t j = rest; j < wide; ++j) tail[p * wide + j] = T(0);
  if (b.col_stride == 1) {  // row by row, so that the source is read as one stream
    for (std::int64_t p = 0; p < k; ++p) {
      const T* row = b.data + p * b.row_stride;
      for (std::int64_t j = 0; j < full; ++j) copy_row<Arch>(row + j * kNr, kNr, kAhead * b.row_stride, out + (j * k + p) * kNr);
      copy_row<Arch>(row + full * kNr, rest, kAhead * b.row_stride, tail + p * wide);
    }
  } else if (b.row_stride == 1) {
    for (std::int64_t j = 0; j < full; ++j) transpose<Arch>(b.data + j * kNr * b.col_stride, b.col_stride, kNr, k, out + j * kNr * k, kNr);
    transpose<Arch>(b.data + full * kNr * b.col_stride, b.col_stride, rest, k, tail, wide);
  } else {
    for (std::int64_t j = 0; j <= full; ++j)
      transpose_slow<Arch>(b.data + j * kNr * b.col_stride, b.col_stride, b.row_stride, j < full ? kNr : rest, k, out + j * kNr * k, j < full ? kNr : wide);
  }
}

}  // namespace moelle::gemm::simd
