// moelle/moe/gate_cuda.hpp -- the gate on a GPU as host code sees it: cuda/moe.cu defines the two functions.
#pragma once
#include <cstdint>

#include <moelle/moe/gate.hpp>

namespace moelle::moe::gpu {

inline constexpr int kMaxExperts = 1024;  // 32 lanes with 32 keys each

// Device pointers; shapes as in gate.hpp.
struct GateCall {
  const float* logits;  // [N, E]
  const float* bias;    // [E] or null
  std::int64_t N, E;
  GateParams params;
  float* scores;          // [N, E]
  std::int32_t* experts;  // [N, K]
  float* weights;         // [N, K]
};
struct GateGradCall {
  const float *logits, *scores;  // [N, E]
  std::int64_t N, E;
  GateParams params;
  const std::int32_t* experts;  // [N, K]
  const float* grad_weights;    // [N, K] or null
  const float* grad_scores;     // [N, E] or null
  float* grad_logits;           // [N, E]
};

// Return the status of the launch, 0 for success; `stream` is a cudaStream_t.
int gate(const GateCall& call, void* stream);
int gate_grad(const GateGradCall& call, void* stream);

}  // namespace moelle::moe::gpu

#if defined(MOELLE_CUDA)
#include <moelle/autograd/record.hpp>
#include <moelle/core/tensor.hpp>
#include <moelle/cuda/device.hpp>
#include <moelle/moe/routing.hpp>

namespace moelle::moe::detail {

// gate() for tensors on a CUDA device; the default stream.
inline Routing<float> gate_cuda(const Tensor<float>& logits, const Tensor<float>& bias, const GateParams& p) {
  const std::int64_t N = logits.size(0), E = logits.size(1);
  MOELLE_REQUIRE("gate", logits.is_contiguous() && (!bias.defined() || bias.is_contiguous()), "tensors on a CUDA device must be contiguous; got strided ones");
  MOELLE_REQUIRE("gate", E <= gpu::kMaxExperts, str("experts must be at most ", gpu::kMaxExperts, " on a CUDA device; got experts=", E));
  const Routing<float> r{cuda::empty<std::int32_t>({N, p.top_k}), cuda::empty<float>({N, p.top_k}), cuda::empty<float>({N, E})};
  cuda::check_status("gate", gpu::gate({logits.data(), bias.defined() ? bias.data() : nullptr, N, E, p, r.scores.data(), r.experts.data(), r.weights.data()}, nullptr));
  if (!autograd::wants_grad(logits)) return r;
  autograd::record<float>("gate", {logits}, {r.weights, r.scores},
                          [p, x = autograd::Saved<float>(logits), s = autograd::Saved<float>(r.scores), chosen = r.experts](autograd::Backward<float>& b) {
    const Tensor<float> in = x.get(), none, gw = b.has_grad(0) ? b.grad(0) : none, gs = b.has_grad(1) ? b.grad(1) : none;
    const Tensor<float> dx = cuda::empty<float>(in.shape());
    cuda::check_status("gate", gpu::gate_grad({in.data(), s.get().data(), in.size(0), in.size(1), p, chosen.data(), gw.defined() ? gw.data() : nullptr,
                                               gs.defined() ? gs.data() : nullptr, dx.data()}, nullptr));
    b.add(0, dx);
  });
  return r;
}
template <class T>
Routing<T> gate_cuda(const Tensor<T>&, const Tensor<T>&, const GateParams&) {
  moelle::detail::fail("gate", str("element type must be float32 on a CUDA device; got ", dtype_of<T>));
}

}  // namespace moelle::moe::detail
#endif
