// Rounding stays within the bound of the summation that gemm.hpp states; NaN and infinities go where arithmetic sends them.
#include <doctest/doctest.h>

#if defined(__GNUC__) && !defined(__clang__)  // g++ 12 misreads its own AVX-512 intrinsics, see moelle/cpu/xsimd.hpp
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"
#endif
#include <Eigen/Core>
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic pop
#endif

#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include <moelle/gemm/products.hpp>

#include "matrices.hpp"

using namespace gemm_test;
using moelle::gemm::GemmArgs;
using moelle::gemm::kBlockK;

namespace {

template <class T>
using Rows = Eigen::Matrix<T, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

// Chains of at most kBlockK roundings, then one for each block: |error| <= (kBlockK + blocks + 1) u sum |a||b| / (1 - ...), with u
// half an epsilon (Higham, Accuracy and Stability of Numerical Algorithms, section 3.1). Doubled for products that are not fused.
template <class T>
double bound(std::int64_t k) {
  const double roundings = static_cast<double>(std::min(k, kBlockK) + k / kBlockK + 2);
  return 2.0 * roundings * 0.5 * static_cast<double>(std::numeric_limits<T>::epsilon());
}

template <class T>
void against_float64(std::int64_t m, std::int64_t n, std::int64_t k, double spread) {
  Operand<T> a(m, k, Order::plain, 0), b(k, n, Order::transposed, 0);
  a.fill_uniform(static_cast<std::uint64_t>(m));
  b.fill_uniform(static_cast<std::uint64_t>(n + 7));
  for (std::int64_t i = 0; i < m; ++i)  // terms of very different size, which cancel
    for (std::int64_t p = 0; p < k; ++p) a.at(i, p) *= static_cast<T>(std::exp2(spread * std::sin(static_cast<double>(i + p))));
  Rows<T> c(m, n);
  moelle::gemm::gemm(GemmArgs<T>{.m = m, .n = n, .k = k, .a = a.view, .b = b.view, .c = c.data(), .ldc = n});
  const Rows<double> x = Eigen::Map<const Rows<T>>(a.view.data, m, k).template cast<double>();
  const Eigen::MatrixXd y = Eigen::Map<const Eigen::Matrix<T, Eigen::Dynamic, Eigen::Dynamic>>(b.view.data, k, n).template cast<double>();
  const Rows<double> exact = x * y, size = x.cwiseAbs() * y.cwiseAbs();
  const double worst = ((c.template cast<double>() - exact).cwiseAbs().array() / size.array()).maxCoeff();
  CAPTURE(k);
  // In double the reference itself is rounded: twice the bound.
  CHECK(worst <= bound<T>(k) * (std::is_same_v<T, double> ? 2.0 : 1.0));
  if (std::is_same_v<T, float>) CHECK((c.template cast<double>() - exact).squaredNorm() <= 1e-11 * (c.template cast<double>().squaredNorm() + exact.squaredNorm()));
}

}  // namespace

TEST_CASE("errors stay within the derived bound of float64, for even and for widely spread terms") {
  for (std::int64_t k : {1, 17, 256, 257, 1000, 4096, 8192})
    for (double spread : {0.0, 8.0}) {
      against_float64<float>(33, 29, k, spread);
      against_float64<double>(9, 17, k, spread);
    }
}

TEST_CASE("Eigen's product is met to rounding") {
  const std::int64_t n = 150;
  Operand<float> a(n, n, Order::plain, 0), b(n, n, Order::plain, 0);
  a.fill_uniform(1);
  b.fill_uniform(2);
  Rows<float> c(n, n);
  moelle::gemm::gemm(GemmArgs<float>{.m = n, .n = n, .k = n, .a = a.view, .b = b.view, .c = c.data(), .ldc = n});
  const Rows<float> theirs = Eigen::Map<const Rows<float>>(a.view.data, n, n) * Eigen::Map<const Rows<float>>(b.view.data, n, n);
  CHECK((c - theirs).cwiseAbs().maxCoeff() <= 2.0 * bound<float>(n) * static_cast<double>(n));
}

TEST_CASE("NaN and infinities reach their own row and column and nothing else") {
  const std::int64_t m = 20, n = 37, k = 300;
  Operand<float> a(m, k, Order::plain, 0), b(k, n, Order::plain, 0);
  a.fill_uniform(3);
  b.fill_uniform(4);
  a.at(7, 290) = std::numeric_limits<float>::quiet_NaN();
  b.at(12, 33) = std::numeric_limits<float>::infinity();
  std::vector<float> c(static_cast<std::size_t>(m * n));
  moelle::gemm::gemm(GemmArgs<float>{.m = m, .n = n, .k = k, .a = a.view, .b = b.view, .c = c.data(), .ldc = n});
  for (std::int64_t i = 0; i < m; ++i)
    for (std::int64_t j = 0; j < n; ++j) {
      const float v = c[static_cast<std::size_t>(i * n + j)];
      if (i == 7)
        CHECK(std::isnan(v));
      else if (j == 33)
        CHECK(std::isinf(v));
      else
        CHECK(std::isfinite(v));
    }
}
