// Compiled once per instruction set; the kernels are in moelle/activation/*_simd.hpp.
#include <moelle/activation/kernels_simd.hpp>

#include "table.hpp"

MOELLE_ISA_TABLES(activation)
