// Compiled once per instruction set; the kernels are in moelle/loss/*_simd.hpp.
#include <moelle/loss/kernels_simd.hpp>

#include "table.hpp"

MOELLE_ISA_TABLES(loss)
