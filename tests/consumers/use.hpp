// What every consumer does: one product, its gradient, and a check of the result.
#pragma once
#include <moelle/gemm.hpp>
#include <moelle/tensor.hpp>

inline double use_moelle() {
  using namespace moelle;
  const auto x = Tensor<float>::from({1, 2, 3, 4}, {2, 2});
  x.set_requires_grad(true);
  const auto y = sum(matmul(x, x));
  y.backward();
  return static_cast<double>(y.item()) + static_cast<double>(x.grad().at({0, 0}));  // 54 + (3 + 4)
}
