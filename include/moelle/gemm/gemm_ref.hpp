// moelle/gemm/gemm_ref.hpp -- the oracle: plain loops, one sum per element, k increasing.
#pragma once
#include <cstdint>

#include <moelle/gemm/gemm.hpp>

namespace moelle::gemm::ref {

template <class T>
void gemm(const GemmArgs<T>& p) {
  for (std::int64_t i = 0; i < p.m; ++i)
    for (std::int64_t j = 0; j < p.n; ++j) {
      T sum = p.accumulate ? p.c[i * p.ldc + j] : T(0);
      if (p.bias != nullptr) sum += p.bias[j];
      for (std::int64_t k = 0; k < p.k; ++k)
        sum += p.a.data[i * p.a.row_stride + k * p.a.col_stride] * p.b.data[k * p.b.row_stride + j * p.b.col_stride];
      p.c[i * p.ldc + j] = sum;
    }
}

// One product after the other.
template <class T>
void batched(const BatchedArgs<T>& p) {
  for (std::int64_t g = 0; g < p.count; ++g) {
    GemmArgs<T> one = p.first;
    one.a.data += g * p.stride_a;
    one.b.data += g * p.stride_b;
    one.c += g * p.stride_c;
    ref::gemm(one);
  }
}

template <class T>
void grouped(const GroupedArgs<T>& p) {
  for (std::int64_t g = 0; g < p.groups; ++g) {
    const std::int64_t begin = p.offsets[g], rows = p.offsets[g + 1] - begin;
    Matrix<T> a = p.a, b = p.b;
    a.data += begin * a.row_stride;
    b.data += g * p.stride_b;
    ref::gemm(GemmArgs<T>{.m = rows, .n = p.n, .k = p.k, .a = a, .b = b, .c = p.c + begin * p.ldc, .ldc = p.ldc, .accumulate = p.accumulate});
  }
}

template <class T>
void grouped_grad(const GroupedGradArgs<T>& p) {
  for (std::int64_t g = 0; g < p.groups; ++g) {
    const std::int64_t begin = p.offsets[g], rows = p.offsets[g + 1] - begin;
    const Matrix<T> at{p.a.data + begin * p.a.row_stride, p.a.col_stride, p.a.row_stride};
    Matrix<T> b = p.b;
    b.data += begin * b.row_stride;
    ref::gemm(GemmArgs<T>{.m = p.m, .n = p.n, .k = rows, .a = at, .b = b, .c = p.c + g * p.stride_c, .ldc = p.ldc, .accumulate = p.accumulate});
  }
}

}  // namespace moelle::gemm::ref
