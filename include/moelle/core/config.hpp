// moelle/core/config.hpp -- the only file that looks at the compiler.
#pragma once

#define MOELLE_VERSION_MAJOR 0
#define MOELLE_VERSION_MINOR 1
#define MOELLE_VERSION_PATCH 0
#define MOELLE_VERSION "0.1.0"

#if defined(__FAST_MATH__)
#error "moelle: do not compile with -ffast-math: masks, routing and the loss guard rely on NaN and infinity"
#endif

#if defined(__CUDACC__)
#define MOELLE_HD __host__ __device__
#else
#define MOELLE_HD
#endif

// Whatever a per-ISA object can reach is either a template on Arch or MOELLE_INLINE.
#define MOELLE_INLINE inline __attribute__((always_inline))
#define MOELLE_RESTRICT __restrict__
