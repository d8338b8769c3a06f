// moelle/gemm/gemm.hpp -- contract of the products: C = A B, one, many of one shape, or one per expert.
//
// Axes: M rows of C, N columns of C, K summed, G problems (batch entries, experts), R rows of all experts together.
//
// C[i,j] = (accumulate ? C[i,j] : bias ? bias[j] : 0) + sum_k A[i,k] B[k,j]. A and B have any strides, so the forms of training
// (forward NT, data gradient NN, weight gradient TN) are one function; C has unit column stride.
//
// Order of summation, the same for every element of every product: K is cut into blocks of kBlockK (bf16: of as many units, see kernels.hpp); each block is one chain of
// fused multiply-adds from zero, k increasing (on SSE2, which has no such instruction, of multiply and add); the blocks' sums are
// added to C in order. So an element depends on its row of A, its column of B and K alone: not on M, N, the form, the other rows,
// the batch or the number of threads.
#pragma once
#include <cstdint>
#include <string>

#include <moelle/core/error.hpp>

namespace moelle::gemm {

// K is summed in blocks of this size. Part of the result's definition, therefore a constant and not a tuning knob.
inline constexpr std::int64_t kBlockK = 512;

// Elements from one packed row of A to the next (see kernels.hpp): a K block and one cache line.
template <class T>
inline constexpr std::int64_t kPackedRow = kBlockK + 64 / static_cast<std::int64_t>(sizeof(T));

// What a product computes with. native: operands and sums in the element type T. bf16: operands rounded to bfloat16 (nearest, ties to
// even), sums in T = float; on AVX-512 BF16 a chain takes two terms at a step and denormals count as zero. Other T stay native. fp8: layers
// round their operands before a native product (simulated_fp8.hpp).
enum class Precision : std::uint8_t { native, bf16, fp8 };

inline const char* name(Precision p) {
  constexpr const char* kNames[] = {"f32", "bf16", "fp8"};
  return kNames[static_cast<int>(p)];
}
inline Precision precision_of(const std::string& text) {
  for (Precision p : {Precision::native, Precision::bf16, Precision::fp8})
    if (text == name(p)) return p;
  moelle::detail::fail("precision", str("must be f32, bf16 or fp8; got precision=", text));
}

// Element (i, j) is data[i * row_stride + j * col_stride].
template <class T>
struct Matrix {
  const T* data = nullptr;
  std::int64_t row_stride = 0;
  std::int64_t col_stride = 1;
};

// `data` holds the matrix row by row, `ld` elements from one row to the next.
template <class T>
Matrix<T> plain(const T* data, std::int64_t ld) {
  return {data, ld, 1};
}
// `data` holds the transpose of the matrix row by row.
template <class T>
Matrix<T> transposed(const T* data, std::int64_t ld) {
  return {data, 1, ld};
}

template <class T>
struct GemmArgs {
  std::int64_t m = 0, n = 0, k = 0;
  Matrix<T> a;                // [M, K]
  Matrix<T> b;                // [K, N]
  T* c = nullptr;             // [M, N], row-major; must not overlap A or B
  std::int64_t ldc = 0;       // elements from one row of C to the next, >= N
  bool accumulate = false;    // add to what C holds
  const T* bias = nullptr;    // [N], added to every row
  Precision precision = Precision::native;
};

// G products of one shape; problem g works on a.data + g * stride_a, and so on. A stride of 0 shares an operand.
template <class T>
struct BatchedArgs {
  GemmArgs<T> first;
  std::int64_t count = 0;
  std::int64_t stride_a = 0, stride_b = 0, stride_c = 0;  // stride_c: problems must not overlap in C
};

// Experts' products: rows [offsets[g], offsets[g + 1]) of A and C belong to expert g. C[r, :] = A[r, :] B[g].
template <class T>
struct GroupedArgs {
  std::int64_t groups = 0;
  const std::int32_t* offsets = nullptr;  // [G + 1]: 0 = offsets[0] <= offsets[1] <= ... = rows
  std::int64_t rows = 0, n = 0, k = 0;
  Matrix<T> a;                // [R, K]
  Matrix<T> b;                // [K, N] of expert 0
  std::int64_t stride_b = 0;  // elements from one expert's matrix to the next
  T* c = nullptr;             // [R, N]
  std::int64_t ldc = 0;
  bool accumulate = false;
  Precision precision = Precision::native;
};

// Their weight gradient: C[g] = A[rows of g, :]^T B[rows of g, :]. An expert without rows gets zeros, or nothing when accumulating.
template <class T>
struct GroupedGradArgs {
  std::int64_t groups = 0;
  const std::int32_t* offsets = nullptr;  // [G + 1]
  std::int64_t rows = 0, m = 0, n = 0;
  Matrix<T> a;                // [R, M]
  Matrix<T> b;                // [R, N]
  T* c = nullptr;             // [G, M, N]
  std::int64_t ldc = 0;
  std::int64_t stride_c = 0;  // elements from one expert's matrix to the next
  bool accumulate = false;
  Precision precision = Precision::native;
};

inline void check_offsets(const char* op, const std::int32_t* offsets, std::int64_t groups, std::int64_t rows) {
  MOELLE_REQUIRE(op, groups >= 0 && (groups > 0 || rows == 0), str("there must be an expert for every row; got groups=", groups, " rows=", rows));
  if (groups == 0) return;
  MOELLE_REQUIRE(op, offsets[0] == 0, str("offsets must start at 0; got offsets[0]=", offsets[0]));
  for (std::int64_t g = 0; g < groups; ++g)
    MOELLE_REQUIRE(op, offsets[g] <= offsets[g + 1],
                   str("offsets must not decrease; got offsets[", g, "]=", offsets[g], " offsets[", g + 1, "]=", offsets[g + 1]));
  MOELLE_REQUIRE(op, offsets[groups] == rows, str("offsets must end at the number of rows; got offsets[", groups, "]=", offsets[groups], " rows=", rows));
}

template <class T>
void check(const GemmArgs<T>& p) {
  MOELLE_REQUIRE("gemm", p.m >= 0 && p.n >= 0 && p.k >= 0, str("sizes must not be negative; got m=", p.m, " n=", p.n, " k=", p.k));
  MOELLE_REQUIRE("gemm", p.m <= 1 || p.ldc >= p.n, str("ldc must be at least n; got ldc=", p.ldc, " n=", p.n));
}
template <class T>
void check(const BatchedArgs<T>& p) {
  check(p.first);
  MOELLE_REQUIRE("gemm", p.count >= 0, str("count must not be negative; got count=", p.count));
}
template <class T>
void check(const GroupedArgs<T>& p) {
  MOELLE_REQUIRE("grouped", p.rows >= 0 && p.n >= 0 && p.k >= 0, str("sizes must not be negative; got rows=", p.rows, " n=", p.n, " k=", p.k));
  MOELLE_REQUIRE("grouped", p.rows <= 1 || p.ldc >= p.n, str("ldc must be at least n; got ldc=", p.ldc, " n=", p.n));
  check_offsets("grouped", p.offsets, p.groups, p.rows);
}
template <class T>
void check(const GroupedGradArgs<T>& p) {
  MOELLE_REQUIRE("grouped", p.rows >= 0 && p.m >= 0 && p.n >= 0, str("sizes must not be negative; got rows=", p.rows, " m=", p.m, " n=", p.n));
  MOELLE_REQUIRE("grouped", p.m <= 1 || p.ldc >= p.n, str("ldc must be at least n; got ldc=", p.ldc, " n=", p.n));
  check_offsets("grouped", p.offsets, p.groups, p.rows);
}

}  // namespace moelle::gemm
