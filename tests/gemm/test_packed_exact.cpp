// Products with packed weights of numbers that every format keeps exactly: bit for bit, in more than 2,000 shapes per format.
#include <doctest/doctest.h>

#include <cstdint>
#include <vector>

#include <moelle/gemm/packed_ref.hpp>

#include "packed_cases.hpp"

using namespace gemm_test;
using moelle::random::Stream;

namespace {

constexpr float kGuard = -12345.5f;  // no product of integers

// Rows of x and y begin `shift` floats behind a cache line and lie `pad` apart; what no product may write is kGuard.
struct Frame {
  std::int64_t m, n, ld, shift;
  std::vector<float> storage;
  Frame(std::int64_t rows, std::int64_t cols, std::int64_t pad, std::int64_t shift_) : m(rows), n(cols), ld(cols + pad), shift(shift_) {
    storage.assign(static_cast<std::size_t>((m + 2) * ld + 64), kGuard);
  }
  float* data() { return storage.data() + 16 + shift; }
  bool guarded() const {
    std::size_t kept = 0;
    for (float v : storage) kept += v == kGuard;
    return kept == storage.size() - static_cast<std::size_t>(m * n);
  }
};

bool exact(Format f, std::int64_t m, std::int64_t n, std::int64_t k, std::uint64_t seed) {
  std::vector<float> x, w;
  fill_exact(f, m, n, k, seed, &x, &w);
  const auto shift = static_cast<std::int64_t>(seed % 16), pad = static_cast<std::int64_t>(seed % 5);
  Frame in(m, k, pad, shift), out(m, n, pad, (shift * 7) % 16);
  for (std::int64_t i = 0; i < m; ++i)
    for (std::int64_t t = 0; t < k; ++t) in.data()[i * in.ld + t] = x[static_cast<std::size_t>(i * k + t)];
  multiply(packed(f, n, k, w), in.data(), in.ld, m, out.data(), out.ld);
  bool equal = out.guarded();
  for (std::int64_t i = 0; i < m; ++i)
    for (std::int64_t j = 0; j < n; ++j) {
      std::int64_t sum = 0;
      for (std::int64_t t = 0; t < k; ++t) sum += static_cast<std::int64_t>(x[static_cast<std::size_t>(i * k + t)]) * static_cast<std::int64_t>(w[static_cast<std::size_t>(j * k + t)]);
      equal = equal && out.data()[i * out.ld + j] == static_cast<float>(sum);
    }
  if (!equal) MESSAGE(std::string(name(f)), " m=", m, " n=", n, " k=", k, " seed=", seed);
  return equal;
}

}  // namespace

TEST_CASE("integers come out exactly in 2,000 small shapes of every format, at every offset, and nothing beside them is touched") {
  const std::int64_t nr = moelle::gemm::packed_kernels().nr;
  for (Format f : kAllFormats) {
    int wrong = 0, shapes = 0;
    const Stream stream(static_cast<std::uint64_t>(f), "shapes");
    for (std::uint64_t i = 0; i < 2000; ++i, ++shapes) {
      const auto m = static_cast<std::int64_t>(stream.below(3 * i, 13)), n = static_cast<std::int64_t>(stream.below(3 * i + 1, static_cast<std::uint64_t>(2 * nr + 2)));
      wrong += !exact(f, m, n, static_cast<std::int64_t>(stream.below(3 * i + 2, 80)), i);
    }
    CHECK(shapes == 2000);
    CHECK(wrong == 0);
  }
}

TEST_CASE("every tail of K from 0 to two units' worth of vectors is exact, for one row and for many") {
  for (Format f : kAllFormats)
    for (std::int64_t k = 0; k <= 140; ++k)
      for (std::int64_t m : {1, 5, 11}) CHECK(exact(f, m, 7, k, static_cast<std::uint64_t>(k)));
}

TEST_CASE("large shapes with several blocks of K and of rows are exact") {
  for (Format f : kAllFormats) {
    CHECK(exact(f, 37, 101, 2500, 1));
    CHECK(exact(f, 400, 70, 300, 2));
    CHECK(exact(f, 3, 300, 1030, 3));
    CHECK(exact(f, 1, 1000, 640, 4));
  }
}

TEST_CASE("the gated product is SwiGLU of both halves, and bias and residual are added") {
  for (Format f : kAllFormats)
    for (std::int64_t F : {1, 30, 48, 77, 130}) {
      const std::int64_t m = 6, k = 130;
      std::vector<float> x, w;
      fill_exact(f, m, 2 * F, k, 9, &x, &w);
      const auto both = multiply(packed(f, 2 * F, k, w), x, m), gated = multiply(packed(f, 2 * F, k, w, true), x, m);
      std::vector<float> expected(gated.size()), sum(both.size(), 2.0f), bias(static_cast<std::size_t>(2 * F), 3.0f), with_bias(both.size());
      for (std::int64_t i = 0; i < m; ++i)
        moelle::activation::kernels<float>().swiglu({both.data() + i * 2 * F, 0, both.data() + i * 2 * F + F, 0, F, std::numeric_limits<float>::infinity()},
                                                    expected.data() + i * F, 0, 1);
      CHECK(same_floats(gated, expected));
      multiply(packed(f, 2 * F, k, w), x.data(), k, m, sum.data(), 2 * F, nullptr, nullptr, true);
      multiply(packed(f, 2 * F, k, w), x.data(), k, m, with_bias.data(), 2 * F, nullptr, bias.data());
      for (std::size_t i = 0; i < both.size(); ++i) {
        CHECK(sum[i] == both[i] + 2.0f);
        CHECK(with_bias[i] == both[i] + 3.0f);
      }
    }
}
