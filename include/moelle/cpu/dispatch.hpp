// moelle/cpu/dispatch.hpp -- which instruction set the kernels use.
//
// With compiled kernels (MOELLE_COMPILED_KERNELS: the Python wheel, moelle::kernels in CMake) every table this machine can run
// is at hand. The best one is taken that MOELLE_ISA in the environment allows, if it is set. Header-only, the compiler's flags decide.
#pragma once
#include <string>
#include <vector>

#include <moelle/core/config.hpp>
#if !defined(MOELLE_COMPILED_KERNELS)
#include <moelle/cpu/isa.hpp>
#endif

namespace moelle::cpu {

#if defined(MOELLE_COMPILED_KERNELS)

// The instruction set in use: "baseline", "avx2", "avx2_vnni", "avx512", "avx512_bf16", or "neon".
const char* isa_name();
// Those this machine can run, worst first.
std::vector<std::string> available_isas();
// Takes another one from here on. Not to be called while operations run. An unknown name and one that this CPU lacks are errors.
void set_isa(const std::string& name);

#else

#define MOELLE_TEXT_OF(name) #name
#define MOELLE_VALUE_OF(name) MOELLE_TEXT_OF(name)
inline const char* isa_name() { return MOELLE_VALUE_OF(MOELLE_ISA); }
#undef MOELLE_VALUE_OF
#undef MOELLE_TEXT_OF
inline std::vector<std::string> available_isas() { return {isa_name()}; }

#endif

}  // namespace moelle::cpu
