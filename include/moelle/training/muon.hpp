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

// The three products of a step, on all threads. side: the shorter side; X [rows, cols].
template <class T>
class PoolProducts {
 public:
  PoolProducts(std::int64_t rows, std::int64_t cols, gemm::Precision precision) : rows_(rows), cols_(cols), side_(std::min(rows, cols)), precision_(precision) {}

  // X X^T, or X^T X if that is smaller.
  void gram(const T* x, T* to) const {
    const auto plain = gemm::plain<T>(x, cols_), turned = gemm::transposed<T>(x, cols_);
    run(side_, side_, std::max(rows_, cols_), wide() ? plain : turned, wide() ? turned : plain, to);
  }
  void square(const T* a, T* to) const { run(side_, side_, side_, gemm::plain<T>(a, side_), gemm::plain<T>(a, side_), to); }
  // P X or X P.
  void apply(const T* p, const T* x, T* to) const {
    const auto by = gemm::plain<T>(p, side_), plain = gemm::plain<T>(x, cols_);
    run(rows_, cols_, side_, wide() ? by : plain, wide() ? plain : by, to);
  }

 private:
  bool wide() const { return rows_ <= cols_; }
  void run(std::int64_t m, std::int64_t n, std::int64_t k, gemm::Matrix<T> a, gemm::Matrix<T> b, T* c) const {
    gemm::gemm<T>({.m = m, .n = n, .k = k, .a = a, .b = b, .c = c, .ldc = n, .precision = precision_});
  }
  std::int64_t rows_, cols_, side_;
  gemm::Precision precision_;
};

// The same on one thread, its operands in near caches, of symmetric results one half. The same bits.
template <class T, class Product>
class ThreadProducts {
  using Unit = typename Product::unit_type;

 public:
  ThreadProducts(const Product& product, std::int64_t rows, std::int64_t cols)
      : product_(product), rows_(rows), cols_(cols), side_(std::min(rows, cols)), depth_(std::max(rows, cols)) {
    const std::int64_t a = std::max({product.size_a(side_, depth_), product.size_a(side_, side_), product.size_a(rows, side_)});
    const std::int64_t b = std::max({product.size_b(depth_, side_), product.size_b(side_, side_), product.size_b(side_, cols)});
    thread_local gemm::Buffer left, right;
    a_ = left.template reserve<Unit>(a), b_ = right.template reserve<Unit>(b);
  }

  void gram(const T* x, T* to) const {
    const auto plain = gemm::plain<T>(x, cols_), turned = gemm::transposed<T>(x, cols_);
    symmetric(depth_, wide() ? plain : turned, wide() ? turned : plain, to);
  }
  void square(const T* a, T* to) const { symmetric(side_, gemm::plain<T>(a, side_), gemm::plain<T>(a, side_), to); }
  void apply(const T* p, const T* x, T* to) const {
    const auto by = gemm::plain<T>(p, side_), plain = gemm::plain<T>(x, cols_);
    product_.pack_a(wide() ? by : plain, rows_, side_, a_);
    product_.pack_b(wide() ? plain : by, side_, cols_, b_);
    product_.run(rows_, cols_, side_, a_, b_, to, cols_);
  }

 private:
  bool wide() const { return rows_ <= cols_; }
  void symmetric(std::int64_t k, const gemm::Matrix<T>& a, const gemm::Matrix<T>& b, T* to) const {
    product_.pack_a(a, side_, k, a_);
    product_.pack_b(b, k, side_, b_);
    product_.run_symmetric(side_, k, a_, b_, to);
  }
  const Product& product_;
  std::int64_t rows_, cols_, side_, depth_;
  Unit *a_, *b_;
};

template <class T, class Products>
void iterate(T* x, std::int64_t rows, std::int64_t cols, const std::vector<Polynomial>& steps, T* scratch, const Products& products) {
  const std::int64_t side = std::min(rows, cols), n = rows * cols;
  T* from = x;
  T* to = scratch;
  T* gram = scratch + n;              // X X^T or X^T X: the smaller
  T* poly = gram + side * side;       // a + b A + c A^2
  for (const Polynomial& p : steps) {
    products.gram(from, gram);
    products.square(gram, poly);
    for (std::int64_t i = 0; i < side * side; ++i) poly[i] = static_cast<T>(p.b) * gram[i] + static_cast<T>(p.c) * poly[i];
    for (std::int64_t i = 0; i < side; ++i) poly[i * side + i] += static_cast<T>(p.a);
    products.apply(poly, from, to);
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
  if (threads == MuonThreads::all) return detail::iterate(x, rows, cols, steps, scratch, detail::PoolProducts<T>(rows, cols, precision));
  gemm::with_block_product<T>(precision, [&](const auto& product) {
    detail::iterate(x, rows, cols, steps, scratch, detail::ThreadProducts<T, std::decay_t<decltype(product)>>(product, rows, cols));
  });
}

}  // namespace moelle::training
