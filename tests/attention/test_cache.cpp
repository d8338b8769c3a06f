// The caches: growth, limits, and what they cost.
#include <doctest/doctest.h>

#include <moelle/attention/cache.hpp>

#include "support/compare.hpp"
#include "support/random_tensor.hpp"

using namespace moelle;

TEST_CASE("what was appended is what is read, across growth") {
  attention::TokenBuffer<float> buffer(2, 300, {3, 4});
  const auto all = test::normal<float>({2, 300, 3, 4}, 1);
  std::int64_t at = 0;
  for (const std::int64_t n : {1, 0, 62, 2, 100, 135}) {
    buffer.append(contiguous(slice(all, 1, at, at + n)));
    at += n;
    CHECK(buffer.length() == at);
    CHECK(test::bitwise_equal(contiguous(buffer.view()), contiguous(slice(all, 1, 0, at))));
  }
  CHECK(buffer.bytes() == 2 * 300 * 12 * 4);
}

TEST_CASE("a full cache refuses to grow and keeps what it holds") {
  attention::LatentCache<float> cache(1, 5, 4, 2);
  cache.rows.append(test::normal<float>({1, 4, 6}, 2));
  CHECK_THROWS_WITH_AS(cache.rows.append(test::normal<float>({1, 2, 6}, 3)), "cache: capacity must hold all tokens; got length=4 new=2 capacity=5", Error);
  CHECK(cache.rows.length() == 4);
  cache.rows.truncate(1);
  CHECK(test::bitwise_equal(contiguous(cache.rows.view()), contiguous(slice(test::normal<float>({1, 4, 6}, 2), 1, 0, 1))));
  CHECK_THROWS_AS(cache.rows.truncate(2), Error);
}

TEST_CASE("rows of another shape are refused") {
  attention::KvCache<float> cache(2, 8, 3, 4, 5);
  CHECK_THROWS_AS(cache.keys.append(test::normal<float>({2, 1, 3, 5}, 4)), Error);
  CHECK_THROWS_AS(cache.values.append(test::normal<float>({1, 1, 3, 5}, 4)), Error);
  CHECK_THROWS_AS(attention::KvCache<float>(0, 8, 1, 1, 1), Error);
  CHECK(cache.keys.view().shape() == Shape({2, 0, 3, 4}));
}
