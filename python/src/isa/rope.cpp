// Compiled once per instruction set; the kernels are in moelle/rope/*_simd.hpp.
#include <moelle/rope/kernels_simd.hpp>

#include "table.hpp"

MOELLE_ISA_TABLES(rope)
