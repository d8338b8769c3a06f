// moelle/moe/gate_op.hpp -- the gate on tensors.
#pragma once
#include <algorithm>
#include <cstdint>
#include <vector>

#include <moelle/autograd/record.hpp>
#include <moelle/core/parallel.hpp>
#include <moelle/core/tensor.hpp>
#include <moelle/moe/gate.hpp>
#include <moelle/moe/gate_ref.hpp>
#include <moelle/tensor/view_op.hpp>  // contiguous

namespace moelle::moe {

// Where each token goes. All routers, Python's among them, return this.
template <class T>
struct Routing {
  Tensor<std::int32_t> experts;  // [N, K], best first
  Tensor<T> weights;             // [N, K]
  Tensor<T> scores;              // [N, E]; undefined if the router has none to show: balance losses then have nothing to act on
};

namespace detail {

template <class T>
void select_rows(const Tensor<T>& scores, const Tensor<T>& bias, const GateParams& p, const Tensor<std::int32_t>& experts) {
  const std::int64_t N = scores.size(0), E = scores.size(1);
  parallel_rows(N, 16, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t n = begin; n < end; ++n)
      ref::gate_select(scores.data() + n * E, bias.defined() ? bias.data() : nullptr, static_cast<int>(E), p, experts.data() + n * p.top_k);
  });
}

}  // namespace detail

// logits[N, E] with the choice given: scores and weights as the gate would give them. For replaying a choice, and for
// gradient checks, where a choice must not flip.
template <class T>
Routing<T> gate_given(const Tensor<T>& logits, const Tensor<std::int32_t>& experts, const GateParams& p) {
  MOELLE_REQUIRE("gate", logits.rank() == 2, str("logits must be [N, E]; got shape=", logits.shape()));
  const std::int64_t N = logits.size(0), E = logits.size(1);
  check(p, E);
  MOELLE_REQUIRE("gate", experts.shape() == Shape({N, p.top_k}), str("experts must be [N, top_k]; got shape=", experts.shape(), " N=", N, " top_k=", p.top_k));
  experts.each([&](std::int32_t e) { MOELLE_REQUIRE("gate", e >= 0 && e < E, str("experts must be in [0, ", E, "); got expert=", e)); });
  const Tensor<T> x = contiguous(logits.detach());
  const Tensor<std::int32_t> chosen = contiguous(experts);
  Routing<T> r{chosen, Tensor<T>::empty({N, p.top_k}), Tensor<T>::empty({N, E})};
  parallel_rows(N, 64, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t n = begin; n < end; ++n) {
      ref::gate_scores(x.data() + n * E, static_cast<int>(E), p.score, r.scores.data() + n * E);
      ref::gate_weights(r.scores.data() + n * E, p, chosen.data() + n * p.top_k, r.weights.data() + n * p.top_k);
    }
  });
  if (!autograd::wants_grad(logits)) return r;
  autograd::record<T>("gate", {logits}, {r.weights, r.scores}, [p, x = autograd::Saved<T>(x), s = r.scores.detach(), chosen](autograd::Backward<T>& b) {
    const Tensor<T> gw = b.grad(0), gs = b.has_grad(1) ? b.grad(1) : Tensor<T>(), dx = Tensor<T>::empty(s.shape());
    const std::int64_t experts_count = s.size(1);
    parallel_rows(s.size(0), 64, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t n = begin; n < end; ++n)
        ref::gate_backward(x.get().data() + n * experts_count, s.data() + n * experts_count, static_cast<int>(experts_count), p, chosen.data() + n * p.top_k,
                           gw.data() + n * p.top_k, gs.defined() ? gs.data() + n * experts_count : nullptr, dx.data() + n * experts_count);
    });
    b.add(0, dx);
  });
  return r;
}

// logits[N, E], bias[E] or undefined.
template <class T>
Routing<T> gate(const Tensor<T>& logits, const Tensor<T>& bias, const GateParams& p) {
  MOELLE_REQUIRE("gate", logits.rank() == 2, str("logits must be [N, E]; got shape=", logits.shape()));
  const std::int64_t N = logits.size(0), E = logits.size(1);
  check(p, E);
  MOELLE_REQUIRE("gate", !bias.defined() || bias.shape() == Shape({E}), str("bias must be [E]; got shape=", bias.defined() ? bias.shape() : Shape(), " E=", E));
  const Tensor<T> x = contiguous(logits.detach()), scores = Tensor<T>::empty({N, E});
  parallel_rows(N, 64, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t n = begin; n < end; ++n) ref::gate_scores(x.data() + n * E, static_cast<int>(E), p.score, scores.data() + n * E);
  });
  const Tensor<std::int32_t> experts = Tensor<std::int32_t>::empty({N, p.top_k});
  detail::select_rows(scores, bias.defined() ? contiguous(bias.detach()) : bias, p, experts);
  return gate_given(logits, experts, p);
}

}  // namespace moelle::moe
