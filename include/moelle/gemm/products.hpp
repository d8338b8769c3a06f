// moelle/gemm/products.hpp -- the products by pointer and size, for operations of other domains.
//
// gemm, batched, grouped, grouped_grad use the thread pool; called from inside a parallel_for task they run on that thread alone.
// gemm_serial always does. None allocates after the first call of its size on a thread, but for small lists.
#pragma once
#include <cstdint>
#include <type_traits>
#include <vector>

#include <moelle/gemm/driver.hpp>
#include <moelle/gemm/gemm.hpp>

namespace moelle::gemm {

namespace detail {

template <class T>
Layout<T> layout_of(const GemmArgs<T>& p) {
  return {.a_row_stride = p.a.row_stride, .a_col_stride = p.a.col_stride, .b_row_stride = p.b.row_stride, .b_col_stride = p.b.col_stride,
          .ldc = p.ldc, .accumulate = p.accumulate, .bias = p.bias, .precision = p.precision};
}

}  // namespace detail

// Any list of products with the same strides; no two may write the same elements.
template <class T>
void run(const std::vector<Problem<T>>& problems, const Layout<T>& layout) {
  if constexpr (std::is_same_v<T, float>)
    if (layout.precision == Precision::bf16) return detail::Driver<float, std::uint32_t>(problems, layout, rounded_kernels()).run();
  detail::Driver<T>(problems, layout, kernels<T>()).run();
}

template <class T>
void gemm(const GemmArgs<T>& p) {
  check(p);
  const std::vector<Problem<T>> one{{p.a.data, p.b.data, p.c, p.m, p.n, p.k}};
  const Layout<T> layout = detail::layout_of(p);
  run(one, layout);
}

template <class T>
void gemm_serial(const GemmArgs<T>& p) {
  check(p);
  const std::vector<Problem<T>> one{{p.a.data, p.b.data, p.c, p.m, p.n, p.k}};
  Layout<T> layout = detail::layout_of(p);
  layout.serial = true;
  run(one, layout);
}

template <class T>
void batched(const BatchedArgs<T>& p) {
  check(p);
  std::vector<Problem<T>> list(static_cast<std::size_t>(p.count));
  const GemmArgs<T>& f = p.first;
  for (std::int64_t g = 0; g < p.count; ++g)
    list[static_cast<std::size_t>(g)] = {f.a.data + g * p.stride_a, f.b.data + g * p.stride_b, f.c + g * p.stride_c, f.m, f.n, f.k};
  const Layout<T> layout = detail::layout_of(f);
  run(list, layout);
}

template <class T>
void grouped(const GroupedArgs<T>& p) {
  check(p);
  std::vector<Problem<T>> list(static_cast<std::size_t>(p.groups));
  for (std::int64_t g = 0; g < p.groups; ++g) {
    const std::int64_t begin = p.offsets[g], rows = p.offsets[g + 1] - begin;
    list[static_cast<std::size_t>(g)] = {p.a.data + begin * p.a.row_stride, p.b.data + g * p.stride_b, p.c + begin * p.ldc, rows, p.n, p.k};
  }
  const Layout<T> layout{.a_row_stride = p.a.row_stride, .a_col_stride = p.a.col_stride, .b_row_stride = p.b.row_stride,
                         .b_col_stride = p.b.col_stride, .ldc = p.ldc, .accumulate = p.accumulate, .precision = p.precision};
  run(list, layout);
}

template <class T>
void grouped_grad(const GroupedGradArgs<T>& p) {
  check(p);
  std::vector<Problem<T>> list(static_cast<std::size_t>(p.groups));
  for (std::int64_t g = 0; g < p.groups; ++g) {
    const std::int64_t begin = p.offsets[g], rows = p.offsets[g + 1] - begin;
    list[static_cast<std::size_t>(g)] = {p.a.data + begin * p.a.row_stride, p.b.data + begin * p.b.row_stride, p.c + g * p.stride_c, p.m, p.n, rows};
  }
  const Layout<T> layout{.a_row_stride = p.a.col_stride, .a_col_stride = p.a.row_stride, .b_row_stride = p.b.row_stride,
                         .b_col_stride = p.b.col_stride, .ldc = p.ldc, .accumulate = p.accumulate, .precision = p.precision};
  run(list, layout);
}

}  // namespace moelle::gemm
