// tests/core/test_memory.cpp -- blocks are reused, statistics tell the truth.
#include <doctest/doctest.h>

#include <cstdint>
#include <vector>

#include <moelle/core/tensor.hpp>

using namespace moelle;

TEST_CASE("a freed block serves the next request of its size") {
  const void* first = nullptr;
  {
    const auto x = Tensor<float>::empty({1000});
    first = x.data();
  }
  const auto y = Tensor<float>::empty({1000});
  CHECK(static_cast<const void*>(y.data()) == first);
}

TEST_CASE("every block starts on a cache line") {
  for (std::int64_t n : {0, 1, 17, 1000, 100000, 1 << 20}) {
    const auto x = Tensor<std::uint8_t>::empty({n});
    CHECK(reinterpret_cast<std::uintptr_t>(x.data()) % 64 == 0);
  }
}

TEST_CASE("the peak is the largest amount in use at once, and reuse does not raise it") {
  trim_memory();
  reset_peak_memory();
  const std::int64_t before = memory_stats().live_bytes;
  {
    const auto a = Tensor<float>::empty({1 << 16});  // 256 KiB
    const auto b = Tensor<float>::empty({1 << 16});
  }
  const std::int64_t peak = memory_stats().peak_bytes;
  CHECK(peak - before == 2 * (1 << 18));
  for (int i = 0; i < 10; ++i) Tensor<float>::empty({1 << 16});
  CHECK(memory_stats().peak_bytes == peak);
  CHECK(memory_stats().live_bytes == before);
  CHECK(memory_stats().cached_bytes == 2 * (1 << 18));
}

TEST_CASE("at most a quarter of a block is unused") {
  for (std::int64_t n = 65; n < 1 << 20; n = n * 9 / 8 + 1) {
    const std::int64_t before = memory_stats().live_bytes;
    const auto x = Tensor<std::uint8_t>::empty({n});
    const std::int64_t given = memory_stats().live_bytes - before;
    CHECK(given >= n);
    CHECK(given <= n + std::max<std::int64_t>(n / 4, 64));
  }
}

TEST_CASE("kept and used blocks together exceed the most ever in use by a quarter at most, and trimming returns the kept ones") {
  for (std::int64_t size : {997, 1499, 1733}) {  // each round has sizes of its own, all of which would be more than that
    std::vector<Tensor<float>> held;
    for (std::int64_t i = 1; i <= 64; ++i) held.push_back(Tensor<float>::empty({i * size}));
  }
  const MemoryStats after = memory_stats();
  CHECK(after.live_bytes + after.cached_bytes <= after.peak_bytes + after.peak_bytes / 4);
  CHECK(after.cached_bytes > 0);
  trim_memory();
  CHECK(memory_stats().cached_bytes == 0);
}

TEST_CASE("sizes that are no longer asked for make room for those that are") {
  trim_memory();
  { const auto large = Tensor<float>::empty({1 << 26}); }  // more than ever before, so that it fills what may be kept but for a quarter
  REQUIRE(memory_stats().cached_bytes == 1 << 28);
  for (int i = 0; i < 64; ++i) Tensor<float>::empty({1 << 25});
  const std::int64_t fresh = memory_stats().fresh_bytes;
  for (int i = 0; i < 64; ++i) Tensor<float>::empty({1 << 25});
  CHECK(memory_stats().fresh_bytes == fresh);
}

TEST_CASE("blocks between small and huge lie beside one another, and all of them are returned") {
  trim_memory();
  std::vector<Tensor<std::uint8_t>> held;
  for (int round = 0; round < 3; ++round) {
    for (std::int64_t size = 1 << 16; size < 1 << 21; size = size * 5 / 4) {
      for (int i = 0; i < 20; ++i) held.push_back(Tensor<std::uint8_t>::full({size}, static_cast<std::uint8_t>(held.size())));
    }
    for (std::size_t i = 0; i < held.size(); ++i) {
      const std::uint8_t* x = held[i].data();
      CHECK((x[0] == static_cast<std::uint8_t>(i) && x[held[i].numel() - 1] == static_cast<std::uint8_t>(i)));  // nobody else wrote there
    }
    held.clear();
    trim_memory();
    CHECK(memory_stats().cached_bytes == 0);
  }
}
