// moelle/training/adamw.hpp -- the AdamW update: the contract.
//
//   m <- b1 m + (1 - b1) g        v <- b2 v + (1 - b2) g^2
//   w <- w - lr ( m / (1 - b1^t) / (sqrt(v / (1 - b2^t)) + eps) + decay w )
// Source: Loshchilov and Hutter, arXiv:1711.05101, algorithm 2, with the decay scaled by the learning rate as in PyTorch.
#pragma once
#include <cstdint>

namespace moelle::training {

// Everything but the tensors; bias corrections already taken.
struct AdamWStep {
  double lr = 1e-3;
  double beta1 = 0.9;
  double beta2 = 0.95;
  double eps = 1e-8;
  double decay = 0.1;
  double correction1 = 1.0;  // 1 - beta1^t
  double correction2 = 1.0;  // 1 - beta2^t
  double grad_scale = 1.0;   // multiplies g: clipping
};

}  // namespace moelle::training
