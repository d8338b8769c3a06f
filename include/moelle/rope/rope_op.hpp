// moelle/rope/rope_op.hpp -- rotary embedding on tensors, and the tables it reads.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>

#include <moelle/autograd/record.hpp>
#include <moelle/core/parallel.hpp>
#include <moelle/core/tensor.hpp>
#include <moelle/rope/frequencies.hpp>
#include <moelle/rope/kernels.hpp>
#include <moelle/rope/rope.hpp>
#include <moelle/tensor/view_op.hpp>  // contiguous

namespace moelle::rope {

template <class T>
struct RopeTables {
  Tensor<T> cos, sin;          // [P, dim/2], table_scale included; computed in double
  double softmax_scale = 1.0;  // to be multiplied into head_size^-1/2
};

// Rows for positions [0, positions).
template <class T>
RopeTables<T> make_tables(const RopeParams& params, std::int64_t positions) {
  MOELLE_REQUIRE("rope", positions >= 0, str("positions must not be negative; got positions=", positions));
  const Frequencies f = frequencies(params);
  const std::int64_t half = params.dim / 2;
  RopeTables<T> t{Tensor<T>::empty({positions, half}), Tensor<T>::empty({positions, half}), f.softmax_scale};
  parallel_rows(positions, 64, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t p = begin; p < end; ++p)
      for (std::int64_t i = 0; i < half; ++i) {
        const double angle = static_cast<double>(p) * f.inv_freq[static_cast<std::size_t>(i)];
        t.cos.data()[p * half + i] = static_cast<T>(std::cos(angle) * f.table_scale);
        t.sin.data()[p * half + i] = static_cast<T>(std::sin(angle) * f.table_scale);
      }
  });
  return t;
}

namespace detail {

// Distance of token t's first head from the first element: axes before the heads may have any strides.
inline std::int64_t token_offset(const Shape& shape, const Strides& strides, std::int64_t t) {
  std::int64_t offset = 0;
  for (int i = shape.rank() - 3; i >= 0; --i) {
    offset += t % shape[i] * strides[i];
    t /= shape[i];
  }
  return offset;
}

// positions holds one entry per token, or one per token of a sequence (T of them) repeated for every sequence.
template <class T, class Index>
Tensor<T> rotated(const Tensor<T>& x, const Tensor<Index>& positions, const Tensor<T>& cos, const Tensor<T>& sin, const RopeOptions& o) {
  const int rank = x.rank();
  const Tensor<T> in = x.size(-1) <= 1 || x.strides().back() == 1 ? x : contiguous(x);
  const Tensor<T> y = Tensor<T>::empty(x.shape());
  if (y.numel() == 0) return y;
  const std::int64_t heads = x.size(-2), D = x.size(-1), half = cos.size(-1), tokens = x.numel() / (heads * D);
  const RopeArgs args{heads, in.strides()[rank - 2], D, o.offset, half, o.inverse};
  const bool from = o.layout == Layout::interleaved || (o.layout == Layout::deinterleave && !o.inverse);
  const bool to = o.layout == Layout::interleaved || (o.layout == Layout::deinterleave && o.inverse);
  const auto kernel = kernels<T>().rope[from ? 1 : 0][to ? 1 : 0];
  const std::int64_t period = positions.numel();
  parallel_rows(tokens, std::max<std::int64_t>(1, 8192 / (heads * D)), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t t = begin; t < end; ++t) {
      const auto at = static_cast<std::int64_t>(positions.data()[t % period]) * half;
      kernel(args, in.data() + token_offset(in.shape(), in.strides(), t), cos.data() + at, sin.data() + at, y.data() + t * heads * D);
    }
  });
  return y;
}

}  // namespace detail

// x[..., T, H, D], positions[T] or [..., T] (int32 or int64), cos and sin [P, dim/2] -> [..., T, H, D].
// The tables receive no gradient.
template <class T, class Index>
Tensor<T> rope(const Tensor<T>& x, const Tensor<Index>& positions, const Tensor<T>& cos, const Tensor<T>& sin, const RopeOptions& options = {}) {
  static_assert(dtype_of<Index> == DType::int32 || dtype_of<Index> == DType::int64, "positions must be int32 or int64");
  check(options, x.shape(), positions.shape(), cos.shape(), sin.shape());
  const Tensor<Index> at = contiguous(positions);
  for (std::int64_t i = 0; i < at.numel(); ++i)
    MOELLE_REQUIRE("rope", at.data()[i] >= 0 && static_cast<std::int64_t>(at.data()[i]) < cos.size(0),
                   str("positions must lie in the tables; got positions[", i, "]=", at.data()[i], " rows=", cos.size(0)));
  const Tensor<T> c = contiguous(cos.detach()), s = contiguous(sin.detach());
  const Tensor<T> y = detail::rotated(x.detach(), at, c, s, options);
  if (!autograd::wants_grad(x)) return y;
  autograd::record<T>("rope", {x}, {y}, [options, at = autograd::Saved<Index>(at), c = autograd::Saved<T>(c), s = autograd::Saved<T>(s)](
                                           autograd::Backward<T>& b) {
    RopeOptions transpose = options;
    transpose.inverse = !options.inverse;
    b.add(0, detail::rotated(b.grad(0), at.get(), c.get(), s.get(), transpose));
  });
  return y;
}

template <class T, class Index>
Tensor<T> rope(const Tensor<T>& x, const Tensor<Index>& positions, const RopeTables<T>& tables, const RopeOptions& options = {}) {
  return rope(x, positions, tables.cos, tables.sin, options);
}

}  // namespace moelle::rope
