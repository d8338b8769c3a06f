// tests/cuda/test_device.cpp -- what is said when CUDA is asked for and not there.
#include <doctest/doctest.h>

#include <activation/helpers.hpp>
#include <moelle/cuda/device.hpp>
#include <moelle/moe/gate_op.hpp>

using namespace moelle;
using namespace moelle::testing;

TEST_CASE("the CPU can always be asked for") { CHECK(message_of([] { cuda::require(Device::cpu); }).empty()); }

TEST_CASE("a device that is not there is refused in one sentence that says what to do") {
  if (cuda::cuda_available()) return;  // nothing to refuse
  const std::string said = message_of([] { cuda::require(Device::cuda); });
  if (cuda::cuda_built())
    CHECK(said == "cuda: this machine must have a CUDA device; got none for device=cuda");
  else
    CHECK(said == "cuda: this build has no CUDA support; rebuild with -DMOELLE_CUDA=ON and a CUDA toolkit; got device=cuda");
}

TEST_CASE("an operation refuses tensors of a device that is not there, and tensors of two devices, without touching them") {
  if (cuda::cuda_available()) return;
  const Tensor<float> host = Tensor<float>::zeros({2, 4});
  float nothing = 0;
  const Tensor<float> device = Tensor<float>::external(&nothing, {2, 4}, {4, 1}, nullptr, Device::cuda);
  CHECK(contains(message_of([&] { moe::gate(device, Tensor<float>(), {}); }), "cuda: this "));
  CHECK(contains(message_of([&] { moe::gate(host, Tensor<float>::external(&nothing, {4}, {1}, nullptr, Device::cuda), {}); }),
                 "gate: tensors must be on one device; got cpu and another"));
}
