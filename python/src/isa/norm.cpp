// Compiled once per instruction set; the kernels are in moelle/norm/*_simd.hpp.
#include <moelle/norm/kernels_simd.hpp>

#include "table.hpp"

MOELLE_ISA_TABLES(norm)
