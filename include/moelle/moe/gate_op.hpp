// moelle/moe/gate_op.hpp -- the gate on tensors.
#pragma once
#include <algorithm>
#include <cstdint>
#include <vector>

#include <moelle/autograd/record.hpp>
#include <moelle/core/parallel.hpp>
#include <moelle/core/tensor.hpp>
#include <moelle/cuda/device.hpp>
#include <moelle/moe/gate.hpp>
#include <moelle/moe/kernels.hpp>
#include <moelle/moe/routing.hpp>
#include <moelle/tensor/view_op.hpp>  // contiguous
#if defined(MOELLE_CUDA)
#include <moelle/moe/gate_cuda.hpp>
#endif

namespace moelle::moe {

namespace detail {

inline constexpr std::int64_t kGateGrain = 32;   // tokens worth a task of their own
inline constexpr std::int64_t kGateBlock = 64;   // tokens whose scores stay in the nearest caches until the choice is made

// f(begin, end) over blocks of tokens, on all threads.
template <class F>
void gate_blocks(std::int64_t N, F f) {
  parallel_rows(N, kGateGrain, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t b = begin; b < end; b += kGateBlock) f(b, std::min(b + kGateBlock, end));
  });
}

template <class T>
void check_gate(const Tensor<T>& logits, const GateParams& p) {
  MOELLE_REQUIRE("gate", logits.defined() && logits.rank() == 2, str("logits must be [N, E]; got shape=", logits.defined() ? logits.shape() : Shape()));
  check(p, logits.size(1));
}

// Makes weights and scores functions of the logits; x is the contiguous form of the logits.
template <class T>
void record_gate(const Tensor<T>& logits, const Tensor<T>& x, const Routing<T>& r, const GateParams& p) {
  if (!autograd::wants_grad(logits)) return;
  autograd::record<T>("gate", {logits}, {r.weights, r.scores},
                      [p, x = autograd::Saved<T>(x), s = autograd::Saved<T>(r.scores), chosen = autograd::Saved<std::int32_t>(r.experts)](autograd::Backward<T>& b) {
    const Tensor<T> scores = s.get(), in = x.get(), none, gw = b.has_grad(0) ? b.grad(0) : none, gs = b.has_grad(1) ? b.grad(1) : none;
    const Tensor<T> dx = Tensor<T>::empty(scores.shape());
    const T *from_weights = gw.defined() ? gw.data() : nullptr, *from_scores = gs.defined() ? gs.data() : nullptr;
    const std::int32_t* experts = chosen.get().data();
    parallel_rows(scores.size(0), kGateGrain, [&](std::int64_t begin, std::int64_t end) {
      kernels<T>().gate_grad(in.data(), scores.data(), scores.size(1), p, experts, from_weights, from_scores, dx.data(), begin, end);
    });
    b.add(0, dx);
  });
}

}  // namespace detail

// logits[N, E], bias[E] or undefined -> experts, weights and scores. Gradients reach the logits through weights and scores.
template <class T>
Routing<T> gate(const Tensor<T>& logits, const Tensor<T>& bias, const GateParams& p) {
  detail::check_gate(logits, p);
  const std::int64_t N = logits.size(0), E = logits.size(1);
  MOELLE_REQUIRE("gate", !bias.defined() || bias.shape() == Shape({E}), str("bias must be [E]; got shape=", bias.defined() ? bias.shape() : Shape(), " E=", E));
  if (cuda::common_device("gate", logits, bias) == Device::cuda) {
#if defined(MOELLE_CUDA)
    return detail::gate_cuda(logits, bias, p);
#endif
  }
  const Tensor<T> x = contiguous(logits.detach()), b = bias.defined() ? contiguous(bias.detach()) : bias;
  const Routing<T> r{Tensor<std::int32_t>::empty({N, p.top_k}), Tensor<T>::empty({N, p.top_k}), Tensor<T>::empty({N, E})};
  const T* steer = b.defined() ? b.data() : nullptr;
  detail::gate_blocks(N, [&](std::int64_t begin, std::int64_t end) {
    const Kernels<T>& k = kernels<T>();
    thread_local std::vector<T> scratch;
    if (steer != nullptr && static_cast<std::int64_t>(scratch.size()) < E) scratch.resize(static_cast<std::size_t>(E));
    k.gate_scores(x.data(), E, p.score, r.scores.data(), begin, end);
    k.gate_select(r.scores.data(), steer, E, p, scratch.data(), r.experts.data(), begin, end);
    k.gate_weights(r.scores.data(), E, p, r.experts.data(), r.weights.data(), begin, end);
  });
  detail::record_gate(logits, x, r, p);
  return r;
}

// The same with the choice given, experts[N, K]: for replaying a choice, and for gradient checks, where it must not flip.
template <class T>
Routing<T> gate_given(const Tensor<T>& logits, const Tensor<std::int32_t>& experts, const GateParams& p) {
  detail::check_gate(logits, p);
  const std::int64_t N = logits.size(0), E = logits.size(1);
  MOELLE_REQUIRE("gate", experts.defined() && experts.shape() == Shape({N, p.top_k}),
                 str("experts must be [N, top_k]; got shape=", experts.defined() ? experts.shape() : Shape(), " N=", N, " top_k=", p.top_k));
  MOELLE_REQUIRE("gate", cuda::common_device("gate", logits, experts) == Device::cpu, "a given choice must be on the CPU; got device=cuda");
  experts.each([&](std::int32_t e) { MOELLE_REQUIRE("gate", e >= 0 && e < E, str("experts must be in [0, ", E, "); got expert=", e)); });
  const Tensor<T> x = contiguous(logits.detach());
  const Routing<T> r{contiguous(experts), Tensor<T>::empty({N, p.top_k}), Tensor<T>::empty({N, E})};
  detail::gate_blocks(N, [&](std::int64_t begin, std::int64_t end) {
    const Kernels<T>& k = kernels<T>();
    k.gate_scores(x.data(), E, p.score, r.scores.data(), begin, end);
    k.gate_weights(r.scores.data(), E, p, r.experts.data(), r.weights.data(), begin, end);
  });
  detail::record_gate(logits, x, r, p);
  return r;
}

}  // namespace moelle::moe
