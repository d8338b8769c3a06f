// moelle/core/random.hpp -- counter-based random numbers: Philox4x32-10 with named streams.
//
// A number is a pure function of (seed, stream name, counter): it depends on no state, no thread and no order of calls,
// so data order, initialisation and sampling can be recomputed, resumed and split at will.
// Source: Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3" (SC 2011).
#pragma once
#include <array>
#include <cmath>
#include <cstdint>
#include <numbers>
#include <string_view>

#include <moelle/core/error.hpp>

namespace moelle::random {

using Block = std::array<std::uint32_t, 4>;

// Ten rounds of Philox4x32.
constexpr Block philox(Block counter, std::uint32_t key0, std::uint32_t key1) {
  for (int round = 0; round < 10; ++round) {
    const std::uint64_t a = std::uint64_t{0xD2511F53u} * counter[0];
    const std::uint64_t b = std::uint64_t{0xCD9E8D57u} * counter[2];
    counter = {static_cast<std::uint32_t>(b >> 32) ^ counter[1] ^ key0, static_cast<std::uint32_t>(b),
               static_cast<std::uint32_t>(a >> 32) ^ counter[3] ^ key1, static_cast<std::uint32_t>(a)};
    key0 += 0x9E3779B9u;
    key1 += 0xBB67AE85u;
  }
  return counter;
}

// FNV-1a, so that a stream is named by what it is for: "init/model.embed_tokens.weight", "data", "sampling".
constexpr std::uint64_t hash_name(std::string_view name) {
  std::uint64_t h = 0xcbf29ce484222325u;
  for (const char c : name) h = (h ^ static_cast<unsigned char>(c)) * 0x100000001b3u;
  return h;
}

// One named stream of one seed. at(i) gives its i-th number; next*() walks along.
class Stream {
 public:
  Stream(std::uint64_t seed, std::string_view name) : seed_(seed), stream_(hash_name(name)) {}

  // The i-th 32-bit number.
  std::uint32_t bits(std::uint64_t i) const { return block(i / 4)[i % 4]; }
  // Uniform in [0, 1), multiples of 2^-53; takes numbers 2i and 2i+1.
  double uniform(std::uint64_t i) const {
    const Block b = block(i / 2);
    const std::size_t j = 2 * (i % 2);
    return static_cast<double>((std::uint64_t{b[j]} << 21) ^ (b[j + 1] >> 11)) * 0x1p-53;
  }
  // Standard normal (Box-Muller on two uniforms of block i).
  double normal(std::uint64_t i) const {
    const double u = 1.0 - uniform(2 * i), v = uniform(2 * i + 1);
    return std::sqrt(-2.0 * std::log(u)) * std::cos(2.0 * std::numbers::pi * v);
  }
  // Uniform integer in [0, n), without bias worth speaking of: 64 bits times n.
  std::uint64_t below(std::uint64_t i, std::uint64_t n) const {
    MOELLE_REQUIRE("random", n > 0, str("n must be positive; got n=", n));
    const Block b = block(i);
    const auto x = (std::uint64_t{b[0]} << 32) | b[1];
    return static_cast<std::uint64_t>((static_cast<unsigned __int128>(x) * n) >> 64);
  }

  double next_uniform() { return uniform(counter_++); }
  double next_normal() { return normal(counter_++); }
  std::uint64_t counter() const { return counter_; }
  void set_counter(std::uint64_t c) { counter_ = c; }

 private:
  Block block(std::uint64_t i) const {
    return philox({static_cast<std::uint32_t>(i), static_cast<std::uint32_t>(i >> 32), static_cast<std::uint32_t>(stream_),
                   static_cast<std::uint32_t>(stream_ >> 32)},
                  static_cast<std::uint32_t>(seed_), static_cast<std::uint32_t>(seed_ >> 32));
  }
  std::uint64_t seed_, stream_, counter_ = 0;
};

}  // namespace moelle::random
