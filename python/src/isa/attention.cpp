// Compiled once per instruction set; the kernels are in moelle/attention/*_simd.hpp.
#include <moelle/attention/kernels_simd.hpp>

#include "table.hpp"

MOELLE_ISA_TABLES(attention)
