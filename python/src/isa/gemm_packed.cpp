// Compiled once per instruction set; the kernels are in moelle/gemm/*_simd.hpp.
#include <moelle/cpu/isa.hpp>
#include <moelle/gemm/packed_kernels_simd.hpp>

namespace moelle::gemm::MOELLE_ISA {
extern const PackedKernels kPacked;
constinit const PackedKernels kPacked = make_packed_kernels<cpu::Arch>();
}  // namespace moelle::gemm::MOELLE_ISA
