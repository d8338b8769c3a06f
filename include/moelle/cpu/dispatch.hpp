// moelle/cpu/dispatch.hpp -- which instruction set the kernels use.
//
// With compiled kernels (MOELLE_COMPILED_KERNELS: the Python wheel, moelle::kernels in CMake) every table this machine can run
// is at hand. The best one is taken that MOELLE_ISA in the environment allows, if it is set. Header-only, the compiler's flags decide.
#pragma once
#include <string>
#include <vector>

#include <moelle/core/config.hpp>

namespace moelle::cpu {

#if defined(MOELLE_COMPILED_KERNELS)

// The instruction set in use: "baseline", "avx2", "avx2_vnni", "avx512", "avx512_bf16", or "neon".
const char* isa_name();
// Those this machine can run, worst first.
std::vector<std::string> available_isas();
// Takes another one from here on. Not to be called while operations run. An unknown name and one that this CPU lacks are errors.
void set_isa(const std::string& name);

#else

inline const char* isa_name() {
#if defined(__AVX512BF16__) && defined(__AVX512VNNI__) && defined(__AVX512VBMI__) && defined(__GFNI__) && defined(__AVX512BW__) && defined(__AVX512DQ__) && defined(__AVX512VL__)
  return "avx512_bf16";
#elif defined(__AVX512BW__) && defined(__AVX512DQ__) && defined(__AVX512VL__)
  return "avx512";
#elif defined(__AVX2__) && defined(__FMA__) && defined(__AVXVNNI__)
  return "avx2_vnni";
#elif defined(__AVX2__) && defined(__FMA__)
  return "avx2";
#elif defined(__aarch64__)
  return "neon";
#else
  return "baseline";
#endif
}
inline std::vector<std::string> available_isas() { return {isa_name()}; }

#endif

}  // namespace moelle::cpu
