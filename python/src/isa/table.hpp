// The kernel tables of one domain for the instruction set this file is compiled for; constant-initialised, no code of its own.
#pragma once
#include <moelle/cpu/isa.hpp>

#define MOELLE_ISA_TABLES(domain)                                                \
  namespace moelle::domain::MOELLE_ISA {                                         \
  extern const Kernels<float> kFloat;                                            \
  extern const Kernels<double> kDouble;                                          \
  constinit const Kernels<float> kFloat = make_kernels<cpu::Arch, float>();      \
  constinit const Kernels<double> kDouble = make_kernels<cpu::Arch, double>();   \
  }
