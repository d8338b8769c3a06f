// Compiled once per instruction set; the kernels are in moelle/gemm/*_simd.hpp.
#include <moelle/gemm/kernels_simd.hpp>

#include "table.hpp"

MOELLE_ISA_TABLES(gemm)

namespace moelle::gemm::MOELLE_ISA {
extern const RoundedKernels kRounded;
constinit const RoundedKernels kRounded = make_rounded_kernels<cpu::Arch>();
}  // namespace moelle::gemm::MOELLE_ISA
