// moelle/training/muon.hpp -- the Muon update: momentum, made orthogonal by a Newton-Schulz iteration.
//
//   M <- mu M + G;   U = G + mu M (Nesterov);   X0 = U / |U|_F;   X <- a X + b (X X^T) X + c (X X^T)^2 X, on the shorter side
//   W <- W - lr ( rms sqrt(max(rows, cols)) X + decay W )
// An orthogonal matrix has elements of root mean square 1 / sqrt(max(rows, cols)), so the update's is lr * rms whatever the
// shape, and the learning rate and decay of AdamW can be kept.
// Sources: Jordan et al., "Muon" (2024), five steps; Liu et al., "Muon is scalable for LLM training" (arXiv:2502.16982), scale and
// decay; DeepSeek-V4 (arXiv:2606.19348), section 2.4: eight steps of Jordan's polynomial and two of (2, -1.5, 0.5), rms 0.18.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <utility>
#include <vector>

#include <moelle/core/error.hpp>
#include <moelle/gemm/products.hpp>

namespace moelle::training {

enum class MuonSteps : std::uint8_t { deepseek_v4, jordan };

struct MuonOptions {
  MuonSteps steps = MuonSteps::deepseek_v4;
  double momentum = 0.95;
  bool nesterov = true;
  double rms = 0.18;  // of the update per unit of learning rate; 0.2 in Moonlight
  gemm::Precision precision = gemm::Precision::bf16;  // of the iteration's operands, as in Jordan's own code; native: T throughout
};

struct Polynomial {
  double a, b, c;
};

inline std::vector<Polynomial> newton_schulz_steps(MuonSteps kind) {
  std::vector<Polynomial> steps(kind == MuonSteps::jordan ? 5 : 8, {3.4445, -4.7750, 2.0315});
  if (kind == MuonSteps::deepseek_v4) steps.insert(steps.end(), 2, {2.0, -1.5, 0.5});
  return steps;
}

// Elements of scratch that orthogonalize needs for an [rows, cols] matrix.
inline std::int64_t orthogonalize_scratch(std::int64_t rows, std::int64_t cols) {
  const std::int64_t side = std::min(rows, cols);
  return rows * cols + 2 * side * side;
}

// x [rows, cols] in place; a zero matrix stays zero. The products run on the pool, or serially inside a task.
template <class T>
void orthogonalize(T* x, std::int64_t rows, std::int64_t cols, const std::vector<Polynomial>& steps, T* scratch,
                   gemm::Precision precision = gemm::Precision::native) {
  const std::int64_t side = std::min(rows, cols), n = rows * cols;
  double square = 0.0;
  for (std::int64_t i = 0; i < n; ++i) square += static_cast<double>(x[i]) * static_cast<double>(x[i]);
  const auto scale = static_cast<T>(1.0 / (std::sqrt(square) + 1e-20));
  for (std::int64_t i = 0; i < n; ++i) x[i] *= scale;

  const bool wide = rows <= cols;
  T* from = x;
  T* to = scratch;
  T* gram = scratch + n;              // X X^T or X^T X: the smaller
  T* poly = gram + side * side;       // b A + c A^2
  for (const Polynomial& p : steps) {
    const auto plain = gemm::plain<T>(from, cols);
    const auto turned = gemm::transposed<T>(from, cols);
    gemm::gemm<T>({.m = side, .n = side, .k = wide ? cols : rows, .a = wide ? plain : turned, .b = wide ? turned : plain, .c = gram, .ldc = side,
                   .precision = precision});
    gemm::gemm<T>({.m = side, .n = side, .k = side, .a = gemm::plain<T>(gram, side), .b = gemm::plain<T>(gram, side), .c = poly, .ldc = side, .precision = precision});
    for (std::int64_t i = 0; i < side * side; ++i) poly[i] = static_cast<T>(p.b) * gram[i] + static_cast<T>(p.c) * poly[i];
    for (std::int64_t i = 0; i < side; ++i) poly[i * side + i] += static_cast<T>(p.a);
    const auto by = gemm::plain<T>(poly, side);
    gemm::gemm<T>({.m = rows, .n = cols, .k = side, .a = wide ? by : plain, .b = wide ? plain : by, .c = to, .ldc = cols, .precision = precision});
    std::swap(from, to);
  }
  if (from != x) std::copy(from, from + n, x);
}

}  // namespace moelle::training
