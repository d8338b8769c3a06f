// moelle/attention/mla_op.hpp -- multi-head latent attention, expanded and absorbed.
//
// Axes: B sequences, Tq queries, Tk keys, H heads, N = qk_nope_head_dim, R = qk_rope_head_dim, V = v_head_dim, C = kv_lora_rank.
//   q [B, Tq, H, N + R], its last R channels rotated      latent [B, Tk, C], normalised      k_rope [B, Tk, R], rotated, shared by all heads
//   kv_b [H (N + V), C]: per head N rows of W_UK, then V rows of W_UV
// Expanded (training, long prompts): k = W_UK c, v = W_UV c per head; scores q_n.k_n + q_r.k_r.
// Absorbed (decoding): q' = W_UK^T q_n in the latent space, scores q'.c + q_r.k_r, the weighted latent goes through W_UV: one key of
// C + R channels serves all heads, and the cache is all that is read. Equal in exact arithmetic; absorbing_is_cheaper() compares the work.
// Source: DeepSeek-V2 (arXiv:2405.04434), sections 2.1.2, 2.1.3 and appendix C.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>

#include <moelle/attention/attention_op.hpp>
#include <moelle/attention/latent_decode.hpp>
#include <moelle/gemm/linear_op.hpp>
#include <moelle/gemm/matmul_op.hpp>
#include <moelle/tensor/ops.hpp>

namespace moelle::attention {

struct MlaDims {
  std::int64_t nope = 0, rope = 0, value = 0;
};

// Which form takes less time for Tq new tokens over Tk keys, these among them: multiply-adds per head, those with kv_b divided by how many
// times as fast they are. Expanding pays C (N + V) for every key, absorbing for every query, and then for each pair 2 C + R instead of N + R + V.
inline bool absorbing_is_cheaper(std::int64_t Tq, std::int64_t Tk, std::int64_t C, const MlaDims& d, double projection_speed = 1) {
  const double pairs = static_cast<double>(Tq) * (static_cast<double>(Tk) - static_cast<double>(Tq - 1) / 2), projection = static_cast<double>(C * (d.nope + d.value)) / projection_speed;
  return static_cast<double>(Tq) * projection + pairs * static_cast<double>(2 * C + d.rope) <=
         static_cast<double>(Tk) * projection + pairs * static_cast<double>(d.nope + d.rope + d.value);
}

namespace detail {
template <class T>
void check_mla(const Tensor<T>& q, const Tensor<T>& latent, const Tensor<T>& k_rope, const Tensor<T>& kv_b, const MlaDims& d) {
  const auto got = [&] { return str("; got q=", q.shape(), " latent=", latent.shape(), " k_rope=", k_rope.shape(), " kv_b=", kv_b.shape(), " nope=", d.nope, " rope=", d.rope, " value=", d.value); };
  MOELLE_REQUIRE("mla", q.rank() == 4 && latent.rank() == 3 && k_rope.rank() == 3 && kv_b.rank() == 2 && d.nope > 0 && d.rope > 0 && d.value > 0,
                 "q must be [B, Tq, H, N + R], latent [B, Tk, C], k_rope [B, Tk, R], kv_b [H (N + V), C]" + got());
  MOELLE_REQUIRE("mla", q.size(3) == d.nope + d.rope && k_rope.size(2) == d.rope && kv_b.size(0) == q.size(2) * (d.nope + d.value) && kv_b.size(1) == latent.size(2) &&
                            q.size(0) == latent.size(0) && latent.size(0) == k_rope.size(0) && latent.size(1) == k_rope.size(1),
                 "shapes must agree" + got());
}

// [B, Tq, H, n] x [H, n, m] -> [B, Tq, H, m]
template <class T>
Tensor<T> by_head(const Tensor<T>& x, const Tensor<T>& w) {
  const Tensor<T> rows = reshape(transpose(x, 1, 2), {x.size(0), x.size(2), x.size(1), x.size(3)});
  return transpose(matmul(rows, w), 1, 2);
}
// The parts of kv_b: W_UK [H, N, C] and W_UV [H, V, C].
template <class T>
Tensor<T> up_projection(const Tensor<T>& kv_b, std::int64_t H, const MlaDims& d, bool values) {
  const Tensor<T> weights = reshape(kv_b, {H, d.nope + d.value, kv_b.size(1)});
  return values ? narrow(weights, 1, d.nope, d.value) : narrow(weights, 1, 0, d.nope);
}
// The query in the space of the cache's rows, [B, Tq, H, C + R].
template <class T>
Tensor<T> absorb(const Tensor<T>& q, const Tensor<T>& kv_b, const MlaDims& d) {
  return concat<T>({by_head(narrow(q, 3, 0, d.nope), up_projection(kv_b, q.size(2), d, false)), narrow(q, 3, d.nope, d.rope)}, 3);
}
inline AttentionParams mla_scale(AttentionParams params, const MlaDims& d) {
  if (params.scale == 0) params.scale = 1.0 / std::sqrt(static_cast<double>(d.nope + d.rope));
  return params;
}
}  // namespace detail

// q [B, Tq, H, N + R], kv [B, Tk, H, N + V] (each head's key, then its value), k_rope [B, Tk, R] -> [B, Tq, H, V].
// The rotary key is read where it lies, once for all heads; its gradient is the sum over heads, in order.
template <class T>
Tensor<T> shared_rope_attention(const Tensor<T>& q, const Tensor<T>& kv, const Tensor<T>& k_rope, const MlaDims& dims, const AttentionParams& params = {},
                                const Visibility<T>& visibility = {}) {
  const auto got = [&] { return str("; got q=", q.shape(), " kv=", kv.shape(), " k_rope=", k_rope.shape()); };
  MOELLE_REQUIRE("mla", q.rank() == 4 && kv.rank() == 4 && k_rope.rank() == 3 && q.size(3) == dims.nope + dims.rope && kv.size(3) == dims.nope + dims.value &&
                            k_rope.size(2) == dims.rope && kv.size(2) == q.size(2) && kv.size(1) == k_rope.size(1) && q.size(0) == kv.size(0) && kv.size(0) == k_rope.size(0),
                 "q [B, Tq, H, N + R], kv [B, Tk, H, N + V] and k_rope [B, Tk, R] must agree" + got());
  MOELLE_REQUIRE("mla", !params.causal || q.size(1) <= kv.size(1), "a causal query must have its own key: Tq <= Tk" + got());
  const Tensor<T> qs = detail::readable(q), ks = detail::readable(kv), rs = detail::readable(k_rope);
  const std::int64_t B = q.size(0), Tq = q.size(1), Tk = kv.size(1), H = q.size(2);
  const Heads<const T> shared{rs.data(), rs.strides()[0], rs.strides()[1], 0};
  detail::Setup<T> setup;
  setup.problem = {.B = B, .Tq = Tq, .Tk = Tk, .H = H, .J = H, .parts = 2, .q = {detail::heads(qs), detail::heads(qs, dims.nope)}, .k = {detail::heads(ks), shared},
                   .dk = {dims.nope, dims.rope}, .v = detail::heads(ks, dims.nope), .dv = dims.value, .scale = detail::scale_of<T>(params, q.size(3)),
                   .causal = params.causal, .rounded = params.precision != gemm::Precision::native, .window = params.window};
  setup.set_visibility(visibility);
  const Tensor<T> y = Tensor<T>::empty({B, Tq, H, dims.value});
  const bool train = autograd::wants_grad(q, kv, k_rope);
  const Tensor<T> lse = train ? Tensor<T>::empty({B, Tq, H}) : Tensor<T>();
  run_forward(setup.problem, detail::writable(y), train ? lse.data() : nullptr);
  if (!train) return y;
  autograd::record<T>("mla", {q, kv, k_rope}, {y}, [setup, dims, lse, out = y.detach(), sq = autograd::Saved<T>(qs), sk = autograd::Saved<T>(ks),
                                                   sr = autograd::Saved<T>(rs)](autograd::Backward<T>& b) mutable {
    setup.point();
    const Problem<T>& p = setup.problem;
    sr.get();
    const Tensor<T> g = b.grad(0), delta = detail::row_dots(g, out);
    const Tensor<T> dq = Tensor<T>::empty(sq.get().shape()), dkv = Tensor<T>::empty(sk.get().shape()), per_head = Tensor<T>::empty({p.B, p.Tk, p.J, dims.rope});
    run_backward<T>(p, {.delta = delta.data(), .lse = lse.data(), .dout = detail::heads(g), .dq = {detail::writable(dq), detail::writable(dq, dims.nope)},
                        .dk = {detail::writable(dkv), detail::writable(per_head)}, .dv = detail::writable(dkv, dims.nope)});
    b.add(0, dq);
    b.add(1, dkv);
    if (!b.needs(2)) return;
    const Tensor<T> dr = Tensor<T>::zeros({p.B, p.Tk, dims.rope});
    parallel_rows(p.B * p.Tk, 256, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t t = begin; t < end; ++t)
        for (std::int64_t h = 0; h < p.J; ++h)
          for (std::int64_t d = 0; d < dims.rope; ++d) dr.data()[t * dims.rope + d] += per_head.data()[(t * p.J + h) * dims.rope + d];
    });
    b.add(2, dr);
  });
  return y;
}

template <class T>
Tensor<T> mla_expanded(const Tensor<T>& q, const Tensor<T>& latent, const Tensor<T>& k_rope, const Tensor<T>& kv_b, const MlaDims& dims,
                       const AttentionParams& params = {}, const Visibility<T>& visibility = {}) {
  detail::check_mla(q, latent, k_rope, kv_b, dims);
  const Tensor<T> kv = reshape(linear(latent, kv_b, {}, params.precision), {latent.size(0), latent.size(1), q.size(2), dims.nope + dims.value});
  return shared_rope_attention(q, kv, k_rope, dims, params, visibility);
}

namespace detail {

// Absorbed queries [B, Tq, H, C + R] over the rows of a cache [B, Tk, C + R] -> the weighted latents [B, Tq, H, C].
template <class T>
Tensor<T> mix_latents(const Tensor<T>& absorbed, const Tensor<T>& cache, const MlaDims& dims, const AttentionParams& params, const Visibility<T>& visibility = {}) {
  const Tensor<T> keys = reshape(cache, {cache.size(0), cache.size(1), 1, cache.size(2)});
  return attention(absorbed, keys, narrow(keys, 3, 0, cache.size(2) - dims.rope), mla_scale(params, dims), visibility);
}
// The same over a cache in bfloat16 (latent_decode.hpp): no gradient.
inline Tensor<float> mix_latents(const Tensor<float>& absorbed, const Tensor<bfloat16>& cache, const MlaDims& dims, const AttentionParams& params) {
  const std::int64_t B = absorbed.size(0), Tq = absorbed.size(1), H = absorbed.size(2), D = cache.size(2), C = D - dims.rope, Tk = cache.size(1);
  const Tensor<bfloat16> rows = cache.strides()[2] == 1 && cache.strides()[0] % 2 == 0 && cache.strides()[1] % 2 == 0 ? cache : contiguous(cache);
  const Tensor<float> q = readable(absorbed), mixed = Tensor<float>::empty({B, Tq, H, C});
  const AttentionParams scaled = mla_scale(params, dims);
  check(scaled, {B, Tq, H, D}, {B, Tk, 1, D}, {B, Tk, 1, C});
  const std::int64_t step = scaled.causal ? kDecodeQueries : std::max<std::int64_t>(Tq, 1);  // what blocks of keys contribute is kept until they are merged
  for (std::int64_t first = 0; first < Tq; first += step) {
    const std::int64_t last = std::min(first + step, Tq), hidden = scaled.causal ? Tq - last : 0;
    const Tensor<float> part = narrow(q, 1, first, last - first), out = narrow(mixed, 1, first, last - first);
    const Problem<float> problem{.B = B, .Tq = last - first, .Tk = Tk - hidden, .H = H, .J = 1, .parts = 1, .q = {heads(part)}, .k = {}, .dk = {D}, .v = {}, .dv = C,
                                 .scale = scale_of<float>(scaled, D), .causal = scaled.causal, .window = scaled.window};
    run_latent_decode(problem, {rows.data(), rows.strides()[0], rows.strides()[1], 0}, writable(out));
  }
  return mixed;
}

}  // namespace detail

// `cache` [B, Tk, C + R] holds latent and rotary key side by side, as the latent cache does.
template <class T>
Tensor<T> mla_absorbed(const Tensor<T>& q, const Tensor<T>& cache, const Tensor<T>& kv_b, const MlaDims& dims, const AttentionParams& params = {},
                       const Visibility<T>& visibility = {}) {
  MOELLE_REQUIRE("mla", cache.rank() == 3 && cache.size(2) > dims.rope, str("cache must be [B, Tk, C + R]; got cache=", cache.shape(), " rope=", dims.rope));
  const std::int64_t C = cache.size(2) - dims.rope;
  detail::check_mla(q, narrow(cache.detach(), 2, 0, C), narrow(cache.detach(), 2, C, dims.rope), kv_b, dims);
  const Tensor<T> mixed = detail::mix_latents(detail::absorb(q, kv_b, dims), cache, dims, params, visibility);
  return detail::by_head(mixed, transpose(detail::up_projection(kv_b, q.size(2), dims, true), 1, 2));
}

// The same over a cache in bfloat16, for decoding: no gradient.
inline Tensor<float> mla_absorbed(const Tensor<float>& q, const Tensor<bfloat16>& cache, const Tensor<float>& kv_b, const MlaDims& dims, const AttentionParams& params = {}) {
  MOELLE_REQUIRE("mla", cache.rank() == 3 && cache.size(2) > dims.rope && cache.size(2) % 2 == 0,
                 str("a bfloat16 cache must be [B, Tk, C + R], C + R even; got cache=", cache.shape(), " rope=", dims.rope));
  const std::int64_t D = cache.size(2), C = D - dims.rope;
  MOELLE_REQUIRE("mla", !autograd::wants_grad(q, kv_b), "a bfloat16 cache passes no gradient: call it without requires_grad or under NoGrad");
  const Tensor<float> stand_in = Tensor<float>::empty({1}).alias({cache.size(0), cache.size(1), D}, {0, 0, 0});  // for its shape
  detail::check_mla(q, narrow(stand_in, 2, 0, C), narrow(stand_in, 2, C, dims.rope), kv_b, dims);
  const Tensor<float> mixed = detail::mix_latents(detail::absorb(q, kv_b, dims), cache, dims, params);
  return detail::by_head(mixed, transpose(detail::up_projection(kv_b, q.size(2), dims, true), 1, 2));
}

}  // namespace moelle::attention
