// tests/cuda/test_gate_cuda.cpp -- the gate on a CUDA device against the CPU, where there is a device.
#include <doctest/doctest.h>

#include <activation/helpers.hpp>
#include <moe/tables.hpp>
#include <moelle/autograd/backward.hpp>
#include <moelle/cuda/device.hpp>
#include <moelle/moe/gate_op.hpp>

using namespace moelle;
using namespace moelle::testing;

TEST_CASE("a device is only reported as available by a build that can use it") {
  CHECK((cuda::cuda_built() || !cuda::cuda_available()));
  if (!cuda::cuda_available()) MESSAGE("no CUDA device: the cases that need one are not run");
}

#if defined(MOELLE_CUDA)
TEST_CASE("on a device the gate picks the oracle's experts for its scores, weights have its bits, and the gradient is the CPU's") {
  if (!cuda::cuda_available()) return;
  for (const std::int64_t E : {8, 64, 256, 1024})
    for (const auto score : {moe::Score::sigmoid, moe::Score::softmax, moe::Score::sqrt_softplus}) {
      const moe::GateParams p{.groups = 4, .top_groups = 2, .top_k = 3, .score = score, .scale = 2.5};
      const std::int64_t N = 37;
      const Tensor<float> x = normal<float>({N, E}, 1), b = normal<float>({E}, 2, 0.1), gw = normal<float>({N, 3}, 3), gs = normal<float>({N, E}, 4);
      const Tensor<float> dx = cuda::to_device(x).set_requires_grad(true);
      const auto r = moe::gate(dx, cuda::to_device(b), p);
      const auto scores = cuda::to_host(r.scores.detach()).to_vector(), weights = cuda::to_host(r.weights.detach()).to_vector();
      const auto experts = cuda::to_host(r.experts);
      for (std::int64_t n = 0; n < N; ++n) {
        const Picked<float> want = by_oracle(std::vector<float>(scores.begin() + n * E, scores.begin() + (n + 1) * E), b.to_vector(), p);
        CHECK(rows(experts, n, n + 1).to_vector() == want.experts);
        CHECK(std::vector<float>(weights.begin() + n * 3, weights.begin() + (n + 1) * 3) == want.weights);
      }
      const Tensor<float> host = x.detach().set_requires_grad(true);
      const auto same = moe::gate_given(host, experts, p);
      autograd::backward<float>({same.weights, same.scores}, {gw, gs});
      autograd::backward<float>({r.weights, r.scores}, {cuda::to_device(gw), cuda::to_device(gs)});
      CHECK(relative_error(cuda::to_host(dx.grad()).to_vector(), host.grad().to_vector()) <= 1e-5);
    }
}
#endif
