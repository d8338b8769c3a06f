// cuda/moe.cu -- instantiates the kernels of the mixture of experts; holds no algorithm.
#include <moelle/moe/gate.cuh>

namespace moelle::moe::gpu {

int gate(const GateCall& call, void* stream) { return launch_gate(call, static_cast<cudaStream_t>(stream)); }
int gate_grad(const GateGradCall& call, void* stream) { return launch_gate_grad(call, static_cast<cudaStream_t>(stream)); }

}  // namespace moelle::moe::gpu
