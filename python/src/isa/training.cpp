// Compiled once per instruction set; the kernels are in moelle/training/*_simd.hpp.
#include <moelle/training/kernels_simd.hpp>

#include "table.hpp"

MOELLE_ISA_TABLES(training)
