// Compiled once per instruction set; the kernels are in moelle/gemm/*_simd.hpp.
#include <moelle/gemm/kernels_simd.hpp>

#include "table.hpp"

MOELLE_ISA_TABLES(gemm)
