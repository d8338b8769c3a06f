// Tensors, a gradient, and a check of it.
#include <cstdio>
#include <iostream>

#include <moelle/autograd.hpp>
#include <moelle/gemm.hpp>
#include <moelle/tensor.hpp>

using namespace moelle;

int main() {
  const auto x = Tensor<double>::from({1, 2, 3, 4, 5, 6}, {2, 3});
  const auto w = Tensor<double>::from({0.5, -1, 2, 1, 0, -0.5}, {3, 2});
  x.set_requires_grad(true);
  w.set_requires_grad(true);

  const auto y = mean(exp(mul(matmul(x, w), 0.1)));
  y.backward();
  std::cout << "y = " << y << "\ndy/dw = " << w.grad() << "\nrow 1, transposed: " << transpose(slice(x, 0, 1, 2), 0, 1) << "\n";

  const auto check = autograd::gradcheck1([](const auto& in) { return mean(exp(mul(matmul(in[0], in[1]), 0.1))); }, {x, w});
  std::printf("gradient against four-point differences: worst relative error %.1e over %d derivatives\n", check.worst, check.compared);
  return check.ok ? 0 : 1;
}
