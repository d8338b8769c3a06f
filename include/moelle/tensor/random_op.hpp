// moelle/tensor/random_op.hpp -- tensors of random numbers: element i (in row-major order) is a function of the seed, the
// stream's name and i alone, so neither threads nor other draws change it. See core/random.hpp.
#pragma once
#include <algorithm>
#include <cstdint>
#include <string_view>

#include <moelle/core/random.hpp>
#include <moelle/tensor/cast_op.hpp>

namespace moelle {

// Which numbers: streams of different names are independent.
struct Seed {
  std::uint64_t seed = 0;
  std::string_view stream = "";
};

namespace detail {
// Calls draw(stream, i) for every element.
template <class T, class F>
Tensor<T> drawn(const Shape& shape, const Seed& seed, F draw) {
  const random::Stream stream(seed.seed, seed.stream);
  const Tensor<T> x = Tensor<T>::empty(shape);
  parallel_rows(x.numel(), 1 << 10, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) x.data()[i] = draw(stream, static_cast<std::uint64_t>(i));
  });
  return x;
}
}  // namespace detail

// Uniform in [low, high). The double is rounded to T, which may give high itself for float and bfloat16.
template <class T>
Tensor<T> rand(const Shape& shape, const Seed& seed, double low = 0.0, double high = 1.0) {
  MOELLE_REQUIRE("rand", low <= high, str("low must not exceed high; got low=", low, " high=", high));
  return detail::drawn<T>(shape, seed, [=](const random::Stream& s, std::uint64_t i) { return convert<T>(low + (high - low) * s.uniform(i)); });
}

// Normal.
template <class T>
Tensor<T> randn(const Shape& shape, const Seed& seed, double mean = 0.0, double stddev = 1.0) {
  MOELLE_REQUIRE("randn", stddev >= 0, str("stddev must not be negative; got stddev=", stddev));
  return detail::drawn<T>(shape, seed, [=](const random::Stream& s, std::uint64_t i) { return convert<T>(mean + stddev * s.normal(i)); });
}

// Whole numbers, uniform in [low, high).
template <class T>
Tensor<T> randint(const Shape& shape, const Seed& seed, std::int64_t low, std::int64_t high) {
  MOELLE_REQUIRE("randint", low < high, str("low must be below high; got low=", low, " high=", high));
  const auto n = static_cast<std::uint64_t>(high) - static_cast<std::uint64_t>(low);
  return detail::drawn<T>(shape, seed, [=](const random::Stream& s, std::uint64_t i) {
    return convert<T>(static_cast<std::int64_t>(static_cast<std::uint64_t>(low) + s.below(i, n)));
  });
}

struct TruncatedNormal {
  double mean = 0.0;
  double stddev = 1.0;
  double bound = 2.0;  // in standard deviations, both sides
};

// Normal, redrawn while further than bound * stddev from the mean. 64 draws per element suffice for any bound >= 0.5
// (all fail with probability below 1e-13); the last is then moved to the bound.
template <class T>
Tensor<T> truncated_normal(const Shape& shape, const Seed& seed, const TruncatedNormal& p) {
  MOELLE_REQUIRE("truncated_normal", p.stddev >= 0 && p.bound >= 0.5,
                 str("stddev must not be negative, bound at least 0.5; got stddev=", p.stddev, " bound=", p.bound));
  return detail::drawn<T>(shape, seed, [=](const random::Stream& s, std::uint64_t i) {
    double z = 0.0;
    for (std::uint64_t draw = 0; draw < 64; ++draw) {
      z = s.normal(i * 64 + draw);
      if (std::abs(z) <= p.bound) break;
    }
    return convert<T>(p.mean + p.stddev * std::clamp(z, -p.bound, p.bound));
  });
}

}  // namespace moelle
