// An element of a product with packed weights depends on its row and its column alone; and it is as close to the exact one as its format allows.
#include <doctest/doctest.h>

#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include <moelle/core/parallel.hpp>
#include <moelle/gemm/packed_op.hpp>
#include <moelle/gemm/packed_ref.hpp>
#include <moelle/gemm/products.hpp>
#include <moelle/quant/fp8.hpp>

#include "packed_cases.hpp"
#include "support/tolerance.hpp"

using namespace gemm_test;
using moelle::Tensor;

namespace {

struct Sizes {
  std::int64_t m, n, k;
};

struct Operands {
  std::vector<float> x, w;
  Operands(std::int64_t m, std::int64_t n, std::int64_t k) {
    fill_normal(m * k, 1, &x);
    fill_normal(n * k, 2, &w);
  }
};

struct Threads {
  int before = moelle::num_threads();
  ~Threads() { moelle::set_num_threads(before); }
};

}  // namespace

TEST_CASE("1, 2, 3 and 7 threads give the same bits, and so does a row alone") {
  const Threads restore;
  for (Format f : kAllFormats)
    for (const Sizes& s : {Sizes{1, 500, 700}, {40, 130, 1300}, {300, 200, 96}, {5, 777, 2100}}) {
      const std::int64_t m = s.m, n = s.n, k = s.k;  // lambdas of older clang capture no structured bindings
      const Operands o(m, n, k);
      const auto w = packed(f, n, k, o.w);
      moelle::set_num_threads(1);
      const auto one = multiply(w, o.x, m);
      for (int threads : {2, 3, 7}) {
        moelle::set_num_threads(threads);
        CAPTURE(std::string(name(f)));
        CAPTURE(m);
        CHECK(same_floats(multiply(w, o.x, m), one));
      }
      for (std::int64_t i : {std::int64_t{0}, m / 2, m - 1}) {
        const std::vector<float> row(o.x.begin() + i * k, o.x.begin() + (i + 1) * k), expected(one.begin() + i * n, one.begin() + (i + 1) * n);
        CHECK(same_floats(multiply(w, row, 1), expected));
      }
    }
}

TEST_CASE("packed floats give the bits of gemm") {
  const std::int64_t m = 50, n = 150, k = 1100;
  const Operands o(m, n, k);
  std::vector<float> c(static_cast<std::size_t>(m * n));
  moelle::gemm::gemm<float>({.m = m, .n = n, .k = k, .a = moelle::gemm::plain<float>(o.x.data(), k), .b = moelle::gemm::transposed<float>(o.w.data(), k), .c = c.data(), .ldc = n});
  CHECK(same_floats(multiply(packed(Format::f32, n, k, o.w), o.x, m), c));
}

TEST_CASE("experts' products have the bits of single ones: even, skewed and empty experts, gated or not") {
  const std::int64_t E = 6, n = 96, k = 160;
  for (Format f : kAllFormats)
    for (const std::vector<std::int32_t>& offsets : {std::vector<std::int32_t>{0, 5, 10, 15, 20, 25, 30}, {0, 0, 100, 101, 101, 103, 103}, {0, 0, 0, 0, 0, 0, 1}, {0, 0, 0, 0, 0, 0, 0}})
      for (bool gated : {false, true}) {
        const std::int64_t rows = offsets.back(), out = gated ? n / 2 : n;
        const Operands o(rows, E * n, k);
        const auto all = multiply(packed(f, n, k, o.w, gated, E), o.x, rows, offsets.data());
        for (std::int64_t e = 0; e < E; ++e) {
          const std::int64_t begin = offsets[static_cast<std::size_t>(e)], end = offsets[static_cast<std::size_t>(e + 1)];
          const std::vector<float> w(o.w.begin() + e * n * k, o.w.begin() + (e + 1) * n * k), x(o.x.begin() + begin * k, o.x.begin() + end * k);
          CHECK(same_floats(multiply(packed(f, n, k, w, gated), x, end - begin), {all.begin() + begin * out, all.begin() + end * out}));
        }
      }
}

// Sums in float: at most block + blocks + 4 roundings of each term (chain, scale, addition of blocks); vdpbf16ps rounds twice for two terms.
// Integers: the sum is exact; converting it, the product of the scales and the last product round once each.
TEST_CASE("errors against the exact product of what the format keeps are within the bounds of their roundings") {
  for (Format f : kAllFormats)
    for (const Sizes& s : {Sizes{3, 60, 2000}, {12, 100, 333}}) {
      const std::int64_t m = s.m, n = s.n, k = s.k;
      const Operands o(m, n, k);
      std::vector<double> magnitude;
      const auto exact = moelle::gemm::ref::packed_product(f, o.x, o.w, m, n, k, &magnitude);
      const auto got = multiply(packed(f, n, k, o.w), o.x, m);
      const std::int64_t block = f == Format::fp8 ? moelle::gemm::kScaleBlock : 1024;
      double worst = 0;
      for (std::size_t i = 0; i < got.size(); ++i) {
        const double bound = is_integer(f) ? moelle::test::gamma<float>(4) * std::fabs(exact[i]) : moelle::test::gamma<float>(std::min(k, block) + k / block + 4) * magnitude[i];
        worst = std::fmax(worst, std::fabs(static_cast<double>(got[i]) - exact[i]) / (bound + 1e-30));
      }
      CAPTURE(std::string(name(f)));
      CHECK(worst <= 1.0);
    }
}

// Column by column an e4m3 number of a magnitude below 16 for each term, and 448 where x is 0, so that the scale is 1: sums of 2^-9 times less than 2^23 are
// exact. From none to all of them are zero or denormal.
TEST_CASE("fp8 multiplies every kind of number exactly, normal or not, by any number of rows") {
  const std::int64_t k = 404;
  for (std::int64_t n : {16, 40, 48, 112})
    for (int small : {0, 1, 30, 100}) {  // in a hundred
      std::vector<float> w(static_cast<std::size_t>(n * k)), x(static_cast<std::size_t>(40 * k));
      std::uint32_t state = 1;
      const auto next = [&] { return (state = state * 1664525u + 1013904223u) >> 8; };
      for (std::size_t i = 0; i < w.size(); ++i) {
        const std::uint32_t magnitude = next() % 100 < static_cast<std::uint32_t>(small) ? next() % 8 : 8 + next() % 80, sign = next() % 2 * 0x80;
        w[i] = i % k % moelle::gemm::kScaleBlock == 0 ? 448.0f : moelle::quant::from_e4m3(static_cast<std::uint8_t>(magnitude | sign));
      }
      for (std::size_t i = 0; i < x.size(); ++i) x[i] = i % k % moelle::gemm::kScaleBlock == 0 ? 0.0f : static_cast<float>(next() % 5) - 2.0f;
      const auto matrix = packed(Format::fp8, n, k, w);
      for (std::int64_t m : {1, 2, 3, 4, 5, 8, 40}) {
        const std::vector<float> rows(x.begin(), x.begin() + m * k);
        const auto exact = moelle::gemm::ref::packed_product(Format::fp8, rows, w, m, n, k);
        CAPTURE(n);
        CAPTURE(small);
        CAPTURE(m);
        CHECK(same_floats(multiply(matrix, rows, m), std::vector<float>(exact.begin(), exact.end())));
      }
    }
}

// Uniform rounding of step d has a mean square error of d^2 / 12, where the numbers are not clipped. Normal weights: int8 of 512 (largest about
// 3 sigma, d = 3 / 127): 4.7e-5 of the variance; int4 in groups of 32 (step about 2.07 sigma / 7, rounded to fifteenths of the largest): about 8e-3;
// e4m3 with 3 mantissa bits: relative steps of 2^-4 to 2^-3, uniform in between: about 7e-4; bf16: 2^-9 to 2^-8, about 2.8e-6.
TEST_CASE("the formats keep normal weights as well as their bits allow") {
  const std::int64_t k = 512, n = 64;
  std::vector<float> w;
  fill_normal(n * k, 3, &w);
  const auto noise = [&](Format f) {
    double error = 0, power = 0;
    for (std::int64_t j = 0; j < n; ++j) {
      const auto kept = moelle::gemm::ref::stored_weights(f, w.data() + j * k, k);
      for (std::size_t t = 0; t < kept.size(); ++t) {
        const double x = static_cast<double>(w[static_cast<std::size_t>(j * k) + t]);
        error += (kept[t] - x) * (kept[t] - x), power += x * x;
      }
    }
    return error / power;
  };
  CHECK(noise(Format::f32) == 0.0);
  CHECK(noise(Format::bf16) < 4e-6);
  CHECK(noise(Format::fp8) < 9e-4);
  CHECK(noise(Format::int8) < 7e-5);
  CHECK(noise(Format::int4) < 9e-3);
}

TEST_CASE("a row with NaN or infinity gives NaN, other rows are untouched by it; not-finite weights are refused where they cannot be kept") {
  const std::int64_t n = 20, k = 70;
  const float inf = std::numeric_limits<float>::infinity(), nan = std::numeric_limits<float>::quiet_NaN();
  Operands o(3, n, k);
  for (Format f : kAllFormats) {
    const auto clean = multiply(packed(f, n, k, o.w), o.x, 3);
    for (float bad : {inf, -inf, nan}) {
      auto x = o.x;
      x[static_cast<std::size_t>(k + 3)] = bad;
      const auto y = multiply(packed(f, n, k, o.w), x, 3);
      for (std::int64_t j = 0; j < n; ++j) {
        CHECK(!std::isfinite(y[static_cast<std::size_t>(n + j)]));
        CHECK(y[static_cast<std::size_t>(j)] == clean[static_cast<std::size_t>(j)]);
        CHECK(y[static_cast<std::size_t>(2 * n + j)] == clean[static_cast<std::size_t>(2 * n + j)]);
      }
    }
    auto w = o.w;
    w[7] = nan;
    if (f != Format::f32 && f != Format::bf16) CHECK_THROWS_WITH_AS(packed(f, n, k, w), doctest::Contains("weights must be finite"), moelle::Error);
  }
}

TEST_CASE("wrong arguments are errors that name them") {
  const auto weight = Tensor<float>::zeros({6, 8});
  const auto w = moelle::gemm::pack(weight, Format::int8);
  CHECK_THROWS_WITH_AS(moelle::gemm::linear(Tensor<float>::zeros({2, 7}), w), doctest::Contains("got x=[2, 7] in=8"), moelle::Error);
  CHECK_THROWS_WITH_AS(moelle::gemm::linear(Tensor<float>::zeros({2, 8}), w, Tensor<float>::zeros({5})), doctest::Contains("bias must be [6]"), moelle::Error);
  CHECK_THROWS_WITH_AS(moelle::gemm::pack(Tensor<float>::zeros({5, 8}), Format::int4, true), doctest::Contains("n=5"), moelle::Error);
  CHECK_THROWS_WITH_AS(moelle::gemm::pack(Tensor<float>::zeros({1, 65537}), Format::int8), doctest::Contains("k=65537"), moelle::Error);
  CHECK_THROWS_WITH_AS(moelle::gemm::format_of("int3"), doctest::Contains("format=int3"), moelle::Error);
  const auto x = Tensor<float>::zeros({2, 8});
  x.set_requires_grad(true);
  CHECK_THROWS_WITH_AS(moelle::gemm::linear(x, w), doctest::Contains("inference"), moelle::Error);
}
