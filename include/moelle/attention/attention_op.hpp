// moelle/attention/attention_op.hpp -- attention on tensors.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include <moelle/attention/attention.hpp>
#include <moelle/attention/tiles.hpp>
#include <moelle/autograd/record.hpp>
#include <moelle/core/tensor.hpp>
#include <moelle/tensor/view_op.hpp>  // contiguous

namespace moelle::attention {

// What else may hide a key from a query. Neither receives a gradient.
template <class T>
struct Visibility {
  Tensor<std::int32_t> segments;  // [B, T]: equal numbers side by side are one document; needs Tq = Tk
  Tensor<T> mask;                 // added to the scores; broadcasts to [B, H, Tq, Tk]; -infinity hides a key
};

namespace detail {

// x [B, T, heads, D] as it lies, or copied if D is not contiguous.
template <class T>
Tensor<T> readable(const Tensor<T>& x) {
  return x.size(-1) <= 1 || x.strides().back() == 1 ? x.detach() : contiguous(x.detach());
}
template <class T>
Heads<const T> heads(const Tensor<T>& x, std::int64_t offset = 0) {
  return {x.data() + offset, x.strides()[0], x.strides()[1], x.strides()[2]};
}
template <class T>
Heads<T> writable(const Tensor<T>& x, std::int64_t offset = 0) {
  return {x.data() + offset, x.strides()[0], x.strides()[1], x.strides()[2]};
}

// First key and one past the last of each query's document.
struct Documents {
  std::vector<std::int32_t> begin, end;
};
inline Documents documents(const Tensor<std::int32_t>& segments) {
  Documents d;
  const std::vector<std::int32_t> s = segments.to_vector();
  const std::int64_t T = segments.size(1);
  d.begin.resize(s.size());
  d.end.resize(s.size());
  for (std::size_t row = 0; row < s.size(); row += static_cast<std::size_t>(T))
    for (std::int64_t t = 0, first = 0; t < T; ++t) {
      if (s[row + static_cast<std::size_t>(t)] != s[row + static_cast<std::size_t>(first)]) first = t;
      d.begin[row + static_cast<std::size_t>(t)] = static_cast<std::int32_t>(first);
      std::int64_t& stop = first;  // filled in for the whole document once it ends
      if (t + 1 == T || s[row + static_cast<std::size_t>(t + 1)] != s[row + static_cast<std::size_t>(t)])
        std::fill(d.end.begin() + static_cast<std::ptrdiff_t>(row) + stop, d.end.begin() + static_cast<std::ptrdiff_t>(row) + t + 1, static_cast<std::int32_t>(t + 1));
    }
  return d;
}

// Everything a problem points to, kept for backward.
template <class T>
struct Setup {
  Problem<T> problem;
  Documents docs;
  Tensor<T> mask;  // [B or 1, H or 1, Tq or 1, Tk], key stride 1

  void set_visibility(const Visibility<T>& v) {
    Problem<T>& p = problem;
    if (v.segments.defined()) {
      MOELLE_REQUIRE("attention", v.segments.shape() == Shape({p.B, p.Tq}) && p.Tq == p.Tk,
                     str("segments must be [B, T] and Tq equal Tk; got segments=", v.segments.shape(), " B=", p.B, " Tq=", p.Tq, " Tk=", p.Tk));
      docs = documents(v.segments);
    }
    if (v.mask.defined()) {
      MOELLE_REQUIRE("attention", broadcast_shapes("attention", v.mask.shape(), {p.B, p.H, p.Tq, p.Tk}) == Shape({p.B, p.H, p.Tq, p.Tk}),
                     str("mask must broadcast to [B, H, Tq, Tk]; got mask=", v.mask.shape(), " for ", Shape({p.B, p.H, p.Tq, p.Tk})));
      Shape shape = v.mask.shape();
      while (shape.rank() < 4) shape.insert(0, 1);
      mask = contiguous(v.mask.detach()).alias(shape);
      if (shape[3] != p.Tk) {  // one value for all keys of a query: give each key its own
        const Tensor<T> wide = Tensor<T>::empty({shape[0], shape[1], shape[2], p.Tk});
        for (std::int64_t i = 0; i < mask.numel(); ++i) std::fill_n(wide.data() + i * p.Tk, p.Tk, mask.data()[i]);
        mask = wide;
      }
    }
    point();
  }
  // Points the problem at this object's own memory: to be called again after a copy.
  void point() {
    Problem<T>& p = problem;
    p.document_begin = docs.begin.empty() ? nullptr : docs.begin.data();
    p.document_end = docs.end.empty() ? nullptr : docs.end.data();
    if (!mask.defined()) return;
    const auto stride = [&](int axis) { return mask.shape()[axis] == 1 ? 0 : mask.strides()[axis]; };
    p.mask = mask.data();
    p.mask_batch = stride(0), p.mask_head = stride(1), p.mask_query = stride(2);
  }
};

template <class T>
T scale_of(const AttentionParams& params, std::int64_t key_size) {
  return static_cast<T>(params.scale != 0 ? params.scale : 1.0 / std::sqrt(static_cast<double>(key_size)));
}

// delta [B, Tq, H] = sum_d do o; both contiguous [B, Tq, H, Dv].
template <class T>
Tensor<T> row_dots(const Tensor<T>& dout, const Tensor<T>& out) {
  const std::int64_t D = out.size(3), rows = out.numel() / std::max<std::int64_t>(D, 1);
  const Tensor<T> delta = Tensor<T>::empty({out.size(0), out.size(1), out.size(2)});
  parallel_rows(rows, 512, [&](std::int64_t begin, std::int64_t end) {
    kernels<T>().row_dots(end - begin, D, dout.data() + begin * D, out.data() + begin * D, delta.data() + begin);
  });
  return delta;
}

}  // namespace detail

// q [B, Tq, H, Dk], k [B, Tk, J, Dk], v [B, Tk, J, Dv], any strides -> [B, Tq, H, Dv].
template <class T>
Tensor<T> attention(const Tensor<T>& q, const Tensor<T>& k, const Tensor<T>& v, const AttentionParams& params = {}, const Visibility<T>& visibility = {}) {
  check(params, q.shape(), k.shape(), v.shape());
  const Tensor<T> qs = detail::readable(q), ks = detail::readable(k), vs = detail::readable(v);
  const std::int64_t B = q.size(0), Tq = q.size(1), H = q.size(2), Dv = v.size(3);
  detail::Setup<T> setup;
  setup.problem = {.B = B, .Tq = Tq, .Tk = k.size(1), .H = H, .J = k.size(2), .parts = 1, .q = {detail::heads(qs)}, .k = {detail::heads(ks)},
                   .dk = {q.size(3)}, .v = detail::heads(vs), .dv = Dv, .scale = detail::scale_of<T>(params, q.size(3)), .causal = params.causal, .rounded = params.precision != gemm::Precision::native, .window = params.window};
  setup.set_visibility(visibility);
  const Tensor<T> y = Tensor<T>::empty({B, Tq, H, Dv});
  const bool train = autograd::wants_grad(q, k, v);
  const Tensor<T> lse = train ? Tensor<T>::empty({B, Tq, H}) : Tensor<T>();
  run_forward(setup.problem, detail::writable(y), train ? lse.data() : nullptr);
  if (!train) return y;
  autograd::record<T>("attention", {q, k, v}, {y}, [setup, lse, out = y.detach(), sq = autograd::Saved<T>(qs), sk = autograd::Saved<T>(ks),
                                                   sv = autograd::Saved<T>(vs)](autograd::Backward<T>& b) mutable {
    setup.point();
    const Problem<T>& p = setup.problem;
    sq.get(), sk.get(), sv.get();
    const Tensor<T> g = b.grad(0), delta = detail::row_dots(g, out);
    const Tensor<T> dq = Tensor<T>::empty(sq.get().shape()), dk = Tensor<T>::empty(sk.get().shape()), dv = Tensor<T>::empty(sv.get().shape());
    run_backward<T>(p, {.delta = delta.data(), .lse = lse.data(), .dout = detail::heads(g), .dq = {detail::writable(dq)}, .dk = {detail::writable(dk)}, .dv = detail::writable(dv)});
    b.add(0, dq);
    b.add(1, dk);
    b.add(2, dv);
  });
  return y;
}

}  // namespace moelle::attention
