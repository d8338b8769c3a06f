// moelle/tensor/index_op.hpp -- elements chosen by index tensors (int32 or int64), along one axis d:
//   gather         y[i, j] = x[index[i, j], j]                  dx[index[i, j], j] += g[i, j]
//   scatter_add    y = x; y[index[i, j], j] += src[i, j]        dx = g, dsrc[i, j] = g[index[i, j], j]
//   index_select   y[i, :] = x[index[i], :]                     dx[index[i], :] += g[i, :]
//   index_add      y = x; y[index[i], :] += src[i, :]           dx = g, dsrc[i, :] = g[index[i], :]
// (written for d = 0). Additions to one element happen in ascending i, whatever the number of threads. Indices must lie in
// [0, size): all are checked before anything is written.
#pragma once
#include <algorithm>
#include <concepts>
#include <cstdint>
#include <utility>
#include <vector>

#include <moelle/tensor/inplace_op.hpp>
#include <moelle/tensor/view_op.hpp>

namespace moelle {

template <class I>
concept IndexType = std::same_as<I, std::int32_t> || std::same_as<I, std::int64_t>;

namespace detail {

template <class I>
void check_indices(const char* op, const Tensor<I>& index, std::int64_t size) {
  index.each([&](I i) { MOELLE_REQUIRE(op, i >= 0 && i < size, str("indices must be in [0, ", size, "); got index=", i)); });
}

// The axis moved to the front: lanes = all others.
inline Shape lanes_of(const Shape& s, int d) {
  Shape r = s;
  r.erase(d);
  return r;
}

// y[.., i, ..] = x[.., index, ..]: `index_strides` says where the index of each element of y lies.
template <class T, class I>
void gather_into(const Tensor<T>& y, const Tensor<T>& x, const Tensor<I>& index, const Strides& index_strides, int d) {
  if (y.numel() == 0) return;
  Strides from = x.strides();
  const std::int64_t hop = from[d];
  from[d] = 0;
  for_runs(merged(y.shape(), {y.strides(), from, index_strides}), [&](const Offsets& at, std::int64_t n, const Offsets& step) {
    T* to = y.data() + at[0];
    const T* source = x.data() + at[1];
    const I* which = index.data() + at[2];
    if (step[2] == 0 && step[0] == 1 && step[1] == 1) {
      const T* row = source + *which * hop;
      std::copy(row, row + n, to);
    } else {
      for (std::int64_t i = 0; i < n; ++i) to[i * step[0]] = source[i * step[1] + which[i * step[2]] * hop];
    }
  });
}

// y[.., index, ..] += src[.., i, ..] in ascending i for each lane; lanes are spread over threads.
template <class T, class I>
void scatter_add_into(const Tensor<T>& y, const Tensor<T>& src, const Tensor<I>& index, const Strides& index_strides, int d) {
  const std::int64_t K = src.shape()[d], hop = y.strides()[d], next = src.strides()[d], next_index = index_strides[d];
  if (src.numel() == 0) return;
  const auto plus = widened<T>(Plus());
  const Axes lanes = merged(lanes_of(src.shape(), d), {lanes_of(y.strides(), d), lanes_of(src.strides(), d), lanes_of(index_strides, d)});
  for_runs(
      lanes,
      [&](const Offsets& at, std::int64_t n, const Offsets& step) {
        for (std::int64_t k = 0; k < K; ++k) {
          const I* which = index.data() + at[2] + k * next_index;
          const T* from = src.data() + at[1] + k * next;
          T* to = y.data() + at[0];
          if (step[2] == 0 && step[0] == 1 && step[1] == 1) {
            T* row = to + *which * hop;
            for (std::int64_t i = 0; i < n; ++i) row[i] = static_cast<T>(plus(row[i], from[i]));
          } else {
            for (std::int64_t i = 0; i < n; ++i) {
              T& target = to[i * step[0] + which[i * step[2]] * hop];
              target = static_cast<T>(plus(target, from[i * step[1]]));
            }
          }
        }
      },
      K);
}

// Strides of a list of indices, seen as if repeated for every lane.
template <class I>
Strides list_strides(const Tensor<I>& index, int rank, int d) {
  Strides s(rank, 0);
  s[d] = index.strides()[0];
  return s;
}

// Backward of a choice: g is added to the buffer of input 0.
template <class T, class I>
void add_chosen(autograd::Backward<T>& b, const Tensor<I>& index, const Strides& index_strides, int d) {
  const Tensor<T> g = b.grad(0);
  const autograd::Accumulator<T> dx = b.buffer(0);
  if (dx.overwrite) fill_elements(dx.tensor, T(0));
  scatter_add_into(dx.tensor, g, index, index_strides, d);
}

// y = x + scattered src.
template <class T, class I>
Tensor<T> added(const char* op, const Tensor<T>& x, int d, const Tensor<I>& index, const Strides& index_strides, const Tensor<T>& src) {
  const Tensor<T> y = clone(x.detach());
  scatter_add_into(y, src, index, index_strides, d);
  if constexpr (is_real<T>)
    if (autograd::wants_grad(x, src))
      autograd::record<T>(op, {x, src}, {y}, [index = autograd::Saved<I>(index), index_strides, d, shape = src.shape()](autograd::Backward<T>& b) {
        if (b.needs(0)) b.add(0, b.grad(0));
        if (!b.needs(1)) return;
        const Tensor<T> dsrc = Tensor<T>::empty(shape);
        gather_into(dsrc, b.grad(0), index.get(), index_strides, d);
        b.add(1, dsrc);
      });
  return y;
}

inline void check_scatter(const char* op, const Shape& x, const Shape& index, int d) {
  MOELLE_REQUIRE(op, x.rank() == index.rank(), str("index must have the tensor's rank; got x=", x, " index=", index));
  for (int i = 0; i < x.rank(); ++i)
    MOELLE_REQUIRE(op, i == d || index[i] <= x[i], str("index must not exceed the tensor outside of dim ", d, "; got x=", x, " index=", index));
}

}  // namespace detail

// index: x's rank, no larger than x outside of dim. The result has index's shape.
template <class T, IndexType I>
Tensor<T> gather(const Tensor<T>& x, std::int64_t dim, const Tensor<I>& index) {
  const int d = normalize_dim("gather", dim, x.rank());
  detail::check_scatter("gather", x.shape(), index.shape(), d);
  detail::check_indices("gather", index, x.shape()[d]);
  const Tensor<T> y = Tensor<T>::empty(index.shape());
  detail::gather_into(y, x, index, index.strides(), d);
  if constexpr (is_real<T>)
    if (autograd::wants_grad(x))
      autograd::record<T>("gather", {x}, {y}, [index = autograd::Saved<I>(index), d](autograd::Backward<T>& b) {
        detail::add_chosen(b, index.get(), index.get().strides(), d);
      });
  return y;
}

// src: index's shape.
template <class T, IndexType I>
Tensor<T> scatter_add(const Tensor<T>& x, std::int64_t dim, const Tensor<I>& index, const Tensor<T>& src) {
  const int d = normalize_dim("scatter_add", dim, x.rank());
  detail::check_scatter("scatter_add", x.shape(), index.shape(), d);
  MOELLE_REQUIRE("scatter_add", src.shape() == index.shape(), str("src must have the index's shape; got src=", src.shape(), " index=", index.shape()));
  detail::check_indices("scatter_add", index, x.shape()[d]);
  return detail::added("scatter_add", x, d, index, index.strides(), src);
}

// index: one axis. x's shape with the axis as long as the index.
template <class T, IndexType I>
Tensor<T> index_select(const Tensor<T>& x, std::int64_t dim, const Tensor<I>& index) {
  const int d = normalize_dim("index_select", dim, x.rank());
  MOELLE_REQUIRE("index_select", index.rank() == 1, str("index must have one axis; got index=", index.shape()));
  detail::check_indices("index_select", index, x.shape()[d]);
  Shape shape = x.shape();
  shape[d] = index.numel();
  const Tensor<T> y = Tensor<T>::empty(shape);
  detail::gather_into(y, x, index, detail::list_strides(index, x.rank(), d), d);
  if constexpr (is_real<T>)
    if (autograd::wants_grad(x))
      autograd::record<T>("index_select", {x}, {y}, [index = autograd::Saved<I>(index), d](autograd::Backward<T>& b) {
        detail::add_chosen(b, index.get(), detail::list_strides(index.get(), b.grad(0).rank(), d), d);
      });
  return y;
}

// src: x's shape with the axis as long as the index.
template <class T, IndexType I>
Tensor<T> index_add(const Tensor<T>& x, std::int64_t dim, const Tensor<I>& index, const Tensor<T>& src) {
  const int d = normalize_dim("index_add", dim, x.rank());
  Shape shape = x.shape();
  shape[d] = index.numel();
  MOELLE_REQUIRE("index_add", index.rank() == 1 && src.shape() == shape, str("src must be as x with one row per index; got x=", x.shape(), " index=", index.shape(), " src=", src.shape()));
  detail::check_indices("index_add", index, x.shape()[d]);
  return detail::added("index_add", x, d, index, detail::list_strides(index, x.rank(), d), src);
}

// Rows of x (its first axis) by an index of any shape: index.shape + x.shape[1:].
template <class T, IndexType I>
Tensor<T> take_rows(const Tensor<T>& x, const Tensor<I>& index) {
  MOELLE_REQUIRE("take_rows", x.rank() > 0, str("x must have an axis; got shape=", x.shape()));
  Shape shape = index.shape();
  for (int i = 1; i < x.rank(); ++i) shape.push_back(x.shape()[i]);
  return reshape(index_select(x, 0, reshape(index, {index.numel()})), shape);
}

// In place, no gradient: x[index[i], :] = src[i, :] along one axis, src broadcast; of equal indices the last wins.
template <class T, IndexType I>
const Tensor<T>& index_copy_(const Tensor<T>& x, std::int64_t dim, const Tensor<I>& index, const Tensor<T>& src) {
  const int d = normalize_dim("index_copy_", dim, x.rank());
  detail::check_writable("index_copy_", x);
  Shape shape = x.shape();
  shape[d] = index.numel();
  MOELLE_REQUIRE("index_copy_", index.rank() == 1, str("index must have one axis; got index=", index.shape()));
  detail::check_indices("index_copy_", index, x.shape()[d]);
  const autograd::NoGrad guard;
  const Tensor<T> rows = expand(src.storage() == x.storage() ? clone(src.detach()) : src.detach(), shape);
  std::int64_t i = 0;
  index.each([&](I at) { detail::copy_elements(select(rows, d, i++), select(x.detach(), d, at)); });
  x.bump_version();
  return x;
}

}  // namespace moelle
