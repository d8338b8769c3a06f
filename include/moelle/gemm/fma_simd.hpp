// moelle/gemm/fma_simd.hpp -- cpu/fma_simd.hpp under the name that the products use.
#pragma once
#include <moelle/cpu/fma_simd.hpp>

namespace moelle::gemm::simd {
using moelle::simd::fused_multiply_add;
}  // namespace moelle::gemm::simd
