// tests/core/test_random.cpp -- Philox gives the published numbers; distributions have their moments.
#include <doctest/doctest.h>

#include <cmath>
#include <vector>

#include <moelle/core/random.hpp>

using namespace moelle;
using random::Block;
using random::Stream;

TEST_CASE("Philox4x32-10 gives the known answers of its authors") {
  CHECK(random::philox({0, 0, 0, 0}, 0, 0) == Block{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8});
  constexpr std::uint32_t f = 0xffffffff;
  CHECK(random::philox({f, f, f, f}, f, f) == Block{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd});
  CHECK(random::philox({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, 0xa4093822, 0x299f31d0) ==
        Block{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1});
}

TEST_CASE("a number depends on seed, stream and position alone") {
  Stream a(7, "data");
  const Stream b(7, "data");
  std::vector<double> walked;
  for (int i = 0; i < 10; ++i) walked.push_back(a.next_uniform());
  for (std::uint64_t i = 10; i-- > 0;) CHECK(walked[i] == b.uniform(i));
  a.set_counter(3);
  CHECK(a.next_uniform() == b.uniform(3));
  CHECK(a.counter() == 4);
  CHECK(Stream(7, "init").bits(0) != b.bits(0));
  CHECK(Stream(8, "data").bits(0) != b.bits(0));
  CHECK(Stream(7 + (std::uint64_t{1} << 32), "data").bits(0) != b.bits(0));
}

TEST_CASE("uniform numbers lie in [0, 1) with mean 1/2 and variance 1/12, spread evenly over 64 bins") {
  const Stream s(1, "uniform");
  constexpr int n = 200000;
  double sum = 0, squares = 0, lag = 0, before = 0.5;
  std::vector<int> bins(64);
  for (std::uint64_t i = 0; i < n; ++i) {
    const double u = s.uniform(i);
    REQUIRE(u >= 0.0);
    REQUIRE(u < 1.0);
    sum += u;
    squares += (u - 0.5) * (u - 0.5);
    lag += (u - 0.5) * (before - 0.5);
    before = u;
    ++bins[static_cast<std::size_t>(u * 64)];
  }
  // Five standard errors each.
  CHECK(std::abs(sum / n - 0.5) < 5 * std::sqrt(1.0 / 12 / n));
  CHECK(std::abs(squares / n - 1.0 / 12) < 5 * std::sqrt(1.0 / 180 / n));
  CHECK(std::abs(lag / n) < 5 * (1.0 / 12) / std::sqrt(n));
  double chi = 0;
  for (const int b : bins) chi += (b - n / 64.0) * (b - n / 64.0) / (n / 64.0);
  CHECK(chi < 63 + 5 * std::sqrt(2.0 * 63));
  CHECK(chi > 63 - 5 * std::sqrt(2.0 * 63));
}

TEST_CASE("normal numbers have mean 0, variance 1, no skew and kurtosis 3") {
  const Stream s(2, "normal");
  constexpr int n = 200000;
  double m1 = 0, m2 = 0, m3 = 0, m4 = 0;
  for (std::uint64_t i = 0; i < n; ++i) {
    const double z = s.normal(i);
    REQUIRE(std::isfinite(z));
    m1 += z, m2 += z * z, m3 += z * z * z, m4 += z * z * z * z;
  }
  CHECK(std::abs(m1 / n) < 5 / std::sqrt(n));
  CHECK(std::abs(m2 / n - 1) < 5 * std::sqrt(2.0 / n));
  CHECK(std::abs(m3 / n) < 5 * std::sqrt(15.0 / n));
  CHECK(std::abs(m4 / n - 3) < 5 * std::sqrt(96.0 / n));
}

TEST_CASE("whole numbers below n all occur about equally often and never reach n") {
  const Stream s(3, "below");
  constexpr std::uint64_t n = 7;
  std::vector<int> count(n);
  for (std::uint64_t i = 0; i < 70000; ++i) {
    const std::uint64_t v = s.below(i, n);
    REQUIRE(v < n);
    ++count[v];
  }
  for (const int c : count) CHECK(std::abs(c - 10000) < 5 * std::sqrt(70000 * (1.0 / 7) * (6.0 / 7)));
  CHECK(s.below(0, 1) == 0);
  CHECK(s.below(5, ~std::uint64_t{0}) < ~std::uint64_t{0});
  CHECK_THROWS_WITH_AS(s.below(0, 0), "random: n must be positive; got n=0", Error);
}
