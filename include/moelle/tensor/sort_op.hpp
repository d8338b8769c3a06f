// moelle/tensor/sort_op.hpp -- order along one axis: sort, top-k, running sums.
//
// Equal elements keep their order (lower index first), descending too. NaN counts as larger than everything, NaN equal to
// NaN, 0 equal to -0. Gradients of sorted and chosen values go back to where they came from.
//   cumsum: y_k = x_0 + ... + x_k, kept in double (int64 for integers), each rounded once;   dx_k = g_k + ... + g_last
#pragma once
#include <algorithm>
#include <cstdint>
#include <numeric>
#include <type_traits>
#include <vector>

#include <moelle/tensor/index_op.hpp>

namespace moelle {

template <class T>
struct Sorted {
  Tensor<T> values;
  Tensor<std::int64_t> indices;
};

struct SortOptions {
  std::int64_t dim = -1;
  bool descending = false;
};

namespace detail {

// Whether a comes strictly before b in ascending order.
template <class T>
bool before(T a, T b) {
  if constexpr (!std::is_integral_v<T>)
    if (!(b == b)) return a == a;
  return a < b;
}

// The first k of each lane along the last axis, in order.
template <class T>
Tensor<std::int64_t> order_last(const Tensor<T>& x, std::int64_t k, bool descending) {
  const std::int64_t n = x.shape().back();
  Shape shape = x.shape();
  shape[x.rank() - 1] = k;
  const Tensor<std::int64_t> indices = Tensor<std::int64_t>::empty(shape);
  if (indices.numel() == 0) return indices;
  parallel_rows(x.numel() / n, std::max<std::int64_t>(1, 2048 / n), [&](std::int64_t begin, std::int64_t end) {
    std::vector<std::int64_t> order(static_cast<std::size_t>(n));
    for (std::int64_t r = begin; r < end; ++r) {
      const T* row = x.data() + r * n;
      std::iota(order.begin(), order.end(), std::int64_t{0});
      const auto first = [row, descending](std::int64_t a, std::int64_t b) {
        const T p = row[a], q = row[b];
        if (descending ? before(q, p) : before(p, q)) return true;
        if (descending ? before(p, q) : before(q, p)) return false;
        return a < b;
      };
      if (k == n) std::sort(order.begin(), order.end(), first);
      else std::partial_sort(order.begin(), order.begin() + k, order.end(), first);
      std::copy_n(order.begin(), k, indices.data() + r * k);
    }
  });
  return indices;
}

template <class T>
Sorted<T> ordered(const Tensor<T>& x, int d, std::int64_t k, bool descending) {
  const int last = x.rank() - 1;
  Tensor<std::int64_t> indices = order_last(contiguous(transpose(x.detach(), d, last)), k, descending);
  indices = contiguous(transpose(indices, d, last));
  return {gather(x, d, indices), indices};
}

template <class T>
Tensor<T> running_sum(const Tensor<T>& x, int d, bool backwards) {
  const Tensor<T> y = Tensor<T>::empty(x.shape());
  if (y.numel() == 0) return y;
  using Sum = typename SumReducer<T>::Partial;
  const std::int64_t K = x.shape()[d], from_hop = x.strides()[d], to_hop = y.strides()[d];
  const Axes lanes = merged(lanes_of(x.shape(), d), {lanes_of(y.strides(), d), lanes_of(x.strides(), d)});
  for_runs(
      lanes,
      [&](const Offsets& at, std::int64_t n, const Offsets& step) {
        for (std::int64_t i = 0; i < n; ++i) {
          Sum sum = 0;
          for (std::int64_t j = 0; j < K; ++j) {
            const std::int64_t k = backwards ? K - 1 - j : j;
            sum += SumReducer<T>::widen(x.data()[at[1] + i * step[1] + k * from_hop]);
            y.data()[at[0] + i * step[0] + k * to_hop] = static_cast<T>(sum);
          }
        }
      },
      K);
  return y;
}

}  // namespace detail

template <class T>
Sorted<T> sort(const Tensor<T>& x, const SortOptions& options = {}) {
  if (x.rank() == 0) return {x, Tensor<std::int64_t>::zeros({})};
  const int d = normalize_dim("sort", options.dim, x.rank());
  return detail::ordered(x, d, x.shape()[d], options.descending);
}

template <class T>
Tensor<std::int64_t> argsort(const Tensor<T>& x, const SortOptions& options = {}) {
  return sort(x.detach(), options).indices;
}

// The k largest along one axis, largest first.
template <class T>
Sorted<T> topk(const Tensor<T>& x, std::int64_t k, std::int64_t dim = -1) {
  const int d = normalize_dim("topk", dim, x.rank());
  MOELLE_REQUIRE("topk", k >= 0 && k <= x.shape()[d], str("k must be in [0, ", x.shape()[d], "]; got k=", k));
  return detail::ordered(x, d, k, true);
}

template <Number T>
Tensor<T> cumsum(const Tensor<T>& x, std::int64_t dim) {
  const int d = normalize_dim("cumsum", dim, x.rank());
  const Tensor<T> y = detail::running_sum(x, d, false);
  if constexpr (is_real<T>)
    autograd::record<T>("cumsum", {x}, {y}, [d](autograd::Backward<T>& b) { b.add(0, detail::running_sum(b.grad(0), d, true)); });
  return y;
}

}  // namespace moelle
