// Compiled once per instruction set; the kernels are in moelle/moe/*_simd.hpp.
#include <moelle/moe/kernels_simd.hpp>

#include "table.hpp"

MOELLE_ISA_TABLES(moe)
