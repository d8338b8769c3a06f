// Compiled once per instruction set; the kernels are in moelle/gemm/*_simd.hpp.
#include <moelle/gemm/kernels_simd.hpp>
#include <moelle/gemm/packed_kernels_simd.hpp>

#include "table.hpp"

MOELLE_ISA_TABLES(gemm)

namespace moelle::gemm::MOELLE_ISA {
extern const PackedKernels kPacked;
extern const RoundedKernels kRounded;
constinit const PackedKernels kPacked = make_packed_kernels<cpu::Arch>();
constinit const RoundedKernels kRounded = make_rounded_kernels<cpu::Arch>();
}  // namespace moelle::gemm::MOELLE_ISA
