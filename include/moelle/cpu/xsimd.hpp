// moelle/cpu/xsimd.hpp -- the one place that includes xsimd.
//
// g++ 12 reports its own AVX-512 intrinsics as reading an uninitialised register (_mm512_undefined_ps is meant to be one).
#pragma once
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"
#endif
#include <xsimd/xsimd.hpp>
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic pop
#endif
