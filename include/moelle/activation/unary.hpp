// moelle/activation/unary.hpp -- functions of one element: the contract.
//
// y = f(x) element by element, any shape; the gradient is dx = dy f'(x), recomputed from x.
//
//   sigmoid    1 / (1 + e^-x)                       s (1 - s)
//   silu       x s                                  s (1 + x (1 - s))
//   softplus   log(1 + e^x), x above 20             s, 1 above 20
//   gelu       x Phi(x) = x (1 + erf(x/sqrt 2))/2   Phi(x) + x phi(x)
//   gelu_tanh  x sigmoid(2u), which is              s + 2 x s (1 - s) u'(x)
//              x (1 + tanh u)/2,
//              u = sqrt(2/pi) (x + 0.044715 x^3)
//   relu       max(x, 0)                            1 where x > 0, else 0
//
// with s the sigmoid of x (of 2u for gelu_tanh). SiLU: Elfwing et al. (arXiv:1702.03118); GELU and its tanh form:
// Hendrycks and Gimpel (arXiv:1606.08415), section 2; the threshold 20 of softplus is PyTorch's.
//
// Error of the CPU kernels, eps being the distance from 1 to the next number: sigmoid 4 eps |y|, silu 4 eps |y|, softplus
// 4 eps |y|, relu exact; gelu 4 eps |x| in float and 64 eps |x| in double (xsimd's erf); gelu_tanh 8 eps |x|. Results below
// 1e-35 (float) may be flushed to zero. NaN gives NaN (relu included). Finite input never gives NaN; infinities give the
// limit, except that silu, gelu and gelu_tanh of -infinity are NaN (0 times infinity, as in PyTorch). relu(-0) is -0.
#pragma once
#include <cstdint>

#include <moelle/core/config.hpp>

namespace moelle::activation {

enum class Unary : std::uint8_t { sigmoid, silu, softplus, gelu, gelu_tanh, relu };
inline constexpr int kUnaryCount = 6;
inline constexpr double kSoftplusThreshold = 20.0;

inline const char* name(Unary f) {
  constexpr const char* kNames[kUnaryCount] = {"sigmoid", "silu", "softplus", "gelu", "gelu_tanh", "relu"};
  return kNames[static_cast<int>(f)];
}

}  // namespace moelle::activation
