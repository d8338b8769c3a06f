// tests/tensor/test_random.cpp -- random tensors depend on seed, stream and position alone, and have their moments.
#include <doctest/doctest.h>

#include <cmath>
#include <vector>

#include <moelle/tensor/elementwise_op.hpp>
#include <moelle/tensor/random_op.hpp>
#include <moelle/tensor/reduce_op.hpp>
#include <moelle/tensor/view_op.hpp>
#include <support/compare.hpp>

#include "helpers.hpp"

using namespace moelle;
using namespace moelle::test;
constexpr std::int64_t kMany = 100000;

TEST_CASE("an element does not depend on shape, threads or how many were drawn") {
  const Seed seed{7, "test"};
  const auto x = randn<float>({100, 50}, seed);
  for_thread_counts([&](int n) {
    CAPTURE(n);
    CHECK(bitwise_equal(randn<float>({100, 50}, seed), x));
  });
  CHECK(bitwise_equal(randn<float>({10}, seed), slice(reshape(x, {-1}), 0, 0, 10)));
  CHECK_FALSE(bitwise_equal(randn<float>({100, 50}, {8, "test"}), x));
  CHECK_FALSE(bitwise_equal(randn<float>({100, 50}, {7, "other"}), x));
  CHECK(rand<float>({0}, seed).numel() == 0);
}

TEST_CASE("uniform and normal numbers have the mean and the spread asked for") {
  const auto u = rand<double>({kMany}, {1, "u"}, -2, 4);
  CHECK(min(u).item() >= -2);
  CHECK(max(u).item() < 4);
  CHECK(std::abs(mean(u).item() - 1) < 5 * 6 / std::sqrt(12.0 * kMany));
  const auto z = randn<double>({kMany}, {1, "n"}, 3, 0.5);
  CHECK(std::abs(mean(z).item() - 3) < 5 * 0.5 / std::sqrt(kMany));
  const auto centred = z - 3;
  CHECK(std::abs(mean(centred * centred).item() - 0.25) < 5 * 0.25 * std::sqrt(2.0 / kMany));
}

TEST_CASE("whole numbers cover their range, its lower end included and its upper excluded") {
  const auto x = randint<std::int32_t>({kMany}, {1, "i"}, -3, 4);
  CHECK(min(x).item() == -3);
  CHECK(max(x).item() == 3);
  CHECK(std::abs(static_cast<double>(sum(x).item()) / kMany) < 5 * 2 / std::sqrt(kMany));
  CHECK(randint<std::int64_t>({3}, {}, 5, 6).to_vector() == std::vector<std::int64_t>{5, 5, 5});
}

TEST_CASE("truncated normal numbers stay within the bound and have the truncated variance") {
  const auto x = truncated_normal<double>({kMany}, {1, "t"}, {.mean = 1, .stddev = 2, .bound = 2});
  CHECK(min(x).item() >= -3);
  CHECK(max(x).item() <= 5);
  CHECK(max(x).item() > 4.9);
  CHECK(std::abs(mean(x).item() - 1) < 5 * 2 / std::sqrt(kMany));
  // variance of a normal cut at +-b: 1 - 2 b phi(b) / (2 Phi(b) - 1)
  const double phi = std::exp(-2.0) / std::sqrt(2 * 3.14159265358979), inside = std::erf(std::sqrt(2.0));
  const auto centred = x - 1;
  CHECK(std::abs(mean(centred * centred).item() / 4 - (1 - 4 * phi / inside)) < 0.02);
}

TEST_CASE("impossible parameters are refused") {
  CHECK_THROWS_WITH_AS(randint<std::int32_t>({1}, {}, 2, 2), "randint: low must be below high; got low=2 high=2", Error);
  CHECK_THROWS_AS(rand<float>({1}, {}, 1, 0), Error);
  CHECK_THROWS_AS(randn<float>({1}, {}, 0, -1), Error);
  CHECK_THROWS_AS(truncated_normal<float>({1}, {}, {.bound = 0.1}), Error);
  CHECK_THROWS_AS(rand<float>({1}, {}, std::nan(""), 1), Error);
}
