// tests/support/host_warp.hpp -- a warp made of 32 host threads, so that GPU bodies written against the Warp concept run where
// there is no GPU. A body that misses a barrier is a data race that the thread sanitizer sees.
#pragma once
#include <barrier>
#include <bit>
#include <cstdint>
#include <thread>
#include <vector>

namespace moelle::test {

struct HostWarp {
  struct Shared {
    std::uint64_t slot[32] = {};
    std::barrier<> barrier{32};
  };
  Shared& shared;
  int id;

  int lane() const { return id; }
  std::uint32_t bits(float v) const { return std::bit_cast<std::uint32_t>(v); }
  float value(std::uint32_t v) const { return std::bit_cast<float>(v); }
  void sync() { shared.barrier.arrive_and_wait(); }
  std::uint64_t shfl_xor(std::uint64_t v, int mask) {
    shared.slot[id] = v;
    sync();  // everyone has written
    const std::uint64_t got = shared.slot[id ^ mask];
    sync();  // everyone has read
    return got;
  }
};

// Runs body(warp) on 32 lanes and waits for all of them.
template <class Body>
void as_warp(Body body) {
  HostWarp::Shared shared;
  std::vector<std::thread> lanes;
  for (int l = 0; l < 32; ++l)
    lanes.emplace_back([&, l] {
      HostWarp warp{shared, l};
      body(warp);
    });
  for (auto& lane : lanes) lane.join();
}

}  // namespace moelle::test
