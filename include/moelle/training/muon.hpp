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
#include <type_traits>
#include <utility>
#include <vector>

#include <moelle/core/error.hpp>
#include <moelle/gemm/block_product.hpp>
#include <moelle/gemm/products.hpp>
#include <moelle/gemm/workspace.hpp>

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

namespace detail {

// C[m, n] = A B on all threads.
template <class T>
struct PoolProducts {
  gemm::Precision precision;

  void multiply(std::int64_t m, std::int64_t n, std::int64_t k, const gemm::Matrix<T>& a, const gemm::Matrix<T>& b, T* c) const {
    gemm::gemm<T>({.m = m, .n = n, .k = k, .a = a, .b = b, .c = c, .ldc = n, .precision = precision});
  }
  void symmetric(std::int64_t m, std::int64_t k, const gemm::Matrix<T>& a, const gemm::Matrix<T>& b, T* c) const { multiply(m, m, k, a, b, c); }
};

// The same on one thread, its operands in near caches, of symmetric results one half. The same bits.
template <class T, class Product>
struct ThreadProducts {
  using Unit = typename Product::unit_type;
  const Product& product;

  void multiply(std::int64_t m, std::int64_t n, std::int64_t k, const gemm::Matrix<T>& a, const gemm::Matrix<T>& b, T* c) const {
    const auto [left, right] = packed(m, n, k, a, b);
    product.run(m, n, k, left, right, c, n);
  }
  void symmetric(std::int64_t m, std::int64_t k, const gemm::Matrix<T>& a, const gemm::Matrix<T>& b, T* c) const {
    const auto [left, right] = packed(m, m, k, a, b);
    product.run_symmetric(m, k, left, right, c);
  }

 private:
  std::pair<Unit*, Unit*> packed(std::int64_t m, std::int64_t n, std::int64_t k, const gemm::Matrix<T>& a, const gemm::Matrix<T>& b) const {
    Unit* left = gemm::workspace().left.template reserve<Unit>(product.size_a(m, k));
    Unit* right = gemm::workspace().right.template reserve<Unit>(product.size_b(k, n));
    product.pack_a(a, m, k, left);
    product.pack_b(b, k, n, right);
    return {left, right};
  }
};

template <class T, class Products>
void iterate(T* x, std::int64_t rows, std::int64_t cols, const std::vector<Polynomial>& steps, T* scratch, const Products& products) {
  const std::int64_t side = std::min(rows, cols), n = rows * cols;
  const bool wide = rows <= cols;
  T* from = x;
  T* to = scratch;
  T* gram = scratch + n;              // X X^T or X^T X: the smaller
  T* poly = gram + side * side;       // a + b A + c A^2
  for (const Polynomial& p : steps) {
    const auto plain = gemm::plain<T>(from, cols), turned = gemm::transposed<T>(from, cols), square = gemm::plain<T>(gram, side), by = gemm::plain<T>(poly, side);
    products.symmetric(side, wide ? cols : rows, wide ? plain : turned, wide ? turned : plain, gram);
    products.symmetric(side, side, square, square, poly);
    for (std::int64_t i = 0; i < side * side; ++i) poly[i] = static_cast<T>(p.b) * gram[i] + static_cast<T>(p.c) * poly[i];
    for (std::int64_t i = 0; i < side; ++i) poly[i * side + i] += static_cast<T>(p.a);
    products.multiply(rows, cols, side, wide ? by : plain, wide ? plain : by, to);
    std::swap(from, to);
  }
  if (from != x) std::copy(from, from + n, x);
}

}  // namespace detail

// Elements of scratch that orthogonalize needs for an [rows, cols] matrix.
inline std::int64_t orthogonalize_scratch(std::int64_t rows, std::int64_t cols) {
  const std::int64_t side = std::min(rows, cols);
  return rows * cols + 2 * side * side;
}

enum class MuonThreads : std::uint8_t { all, own };

// x [rows, cols] in place; a zero matrix stays zero. On all threads, or on the calling one: faster for a matrix that fits its caches. The bits are the same.
template <class T>
void orthogonalize(T* x, std::int64_t rows, std::int64_t cols, const std::vector<Polynomial>& steps, T* scratch,
                   gemm::Precision precision = gemm::Precision::native, MuonThreads threads = MuonThreads::all) {
  const std::int64_t n = rows * cols;
  double squares[8] = {};
  for (std::int64_t i = 0; i < n; ++i) squares[i % 8] += static_cast<double>(x[i]) * static_cast<double>(x[i]);
  double square = 0.0;
  for (const double s : squares) square += s;
  const auto scale = static_cast<T>(1.0 / (std::sqrt(square) + 1e-20));
  for (std::int64_t i = 0; i < n; ++i) x[i] *= scale;
  if (threads == MuonThreads::all) return detail::iterate(x, rows, cols, steps, scratch, detail::PoolProducts<T>{precision});
  gemm::with_block_product<T>(precision, [&](const auto& product) {
    detail::iterate(x, rows, cols, steps, scratch, detail::ThreadProducts<T, std::decay_t<decltype(product)>>{product});
  });
}

}  // namespace moelle::training
