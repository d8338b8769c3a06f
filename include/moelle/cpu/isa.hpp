// moelle/cpu/isa.hpp -- names the instruction set this translation unit is compiled for.
//
// Kernels are templates on an xsimd Arch tag. In the wheel each kernel domain is compiled once per instruction set, with
// the macro `xsimd` defined as xsimd_<isa>, so that every symbol it emits carries the instruction set in its name and the
// linker cannot fold an AVX-512 copy into the baseline (tests/check_isa_symbols.py proves it). Never name default_arch in
// a kernel, never define a function there that is neither a template on Arch nor MOELLE_INLINE.
#pragma once
#include <moelle/cpu/xsimd.hpp>

#if defined(__AVX512BF16__) && defined(__AVX512VNNI__) && defined(__AVX512VBMI__) && defined(__GFNI__) && defined(__AVX512BW__) && defined(__AVX512DQ__) && defined(__AVX512VL__)
#define MOELLE_ISA avx512_bf16
#define MOELLE_AVX512_BF16 1
namespace moelle::cpu { using Arch = xsimd::avx512bw; }
#elif defined(__AVX512BW__) && defined(__AVX512DQ__) && defined(__AVX512VL__)
#define MOELLE_ISA avx512
namespace moelle::cpu { using Arch = xsimd::avx512bw; }
#elif defined(__AVX2__) && defined(__FMA__) && defined(__AVXVNNI__)
#define MOELLE_ISA avx2_vnni
namespace moelle::cpu { using Arch = xsimd::fma3<xsimd::avx2>; }
#elif defined(__AVX2__) && defined(__FMA__)
#define MOELLE_ISA avx2
namespace moelle::cpu { using Arch = xsimd::fma3<xsimd::avx2>; }
#elif defined(__aarch64__)
#define MOELLE_ISA neon
namespace moelle::cpu { using Arch = xsimd::neon64; }
#else
#define MOELLE_ISA baseline
namespace moelle::cpu { using Arch = xsimd::sse2; }
#endif
