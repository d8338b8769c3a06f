// tests/support/random_tensor.hpp -- inputs for tests: a function of the seed alone.
#pragma once
#include <cstdint>
#include <limits>

#include <moelle/autograd/record.hpp>
#include <moelle/core/random.hpp>
#include <moelle/core/tensor.hpp>

namespace moelle::test {

// Uniform in [low, high).
template <class T>
Tensor<T> uniform(const Shape& shape, std::uint64_t seed, double low = -1.0, double high = 1.0) {
  const random::Stream stream(seed, "test/uniform");
  const Tensor<T> x = Tensor<T>::empty(shape);
  for (std::int64_t i = 0; i < x.numel(); ++i)
    x.data()[i] = static_cast<T>(low + (high - low) * stream.uniform(static_cast<std::uint64_t>(i)));
  return x;
}

// Standard normal.
template <class T>
Tensor<T> normal(const Shape& shape, std::uint64_t seed) {
  const random::Stream stream(seed, "test/normal");
  const Tensor<T> x = Tensor<T>::empty(shape);
  for (std::int64_t i = 0; i < x.numel(); ++i) x.data()[i] = static_cast<T>(stream.normal(static_cast<std::uint64_t>(i)));
  return x;
}

// Whole numbers in [low, high]: products and short sums of them are exact in every order.
template <class T>
Tensor<T> integers(const Shape& shape, std::uint64_t seed, std::int64_t low, std::int64_t high) {
  const random::Stream stream(seed, "test/integers");
  const Tensor<T> x = Tensor<T>::empty(shape);
  const auto n = static_cast<std::uint64_t>(high - low + 1);
  for (std::int64_t i = 0; i < x.numel(); ++i) {
    const std::int64_t v = low + static_cast<std::int64_t>(stream.below(static_cast<std::uint64_t>(i), n));
    if constexpr (std::is_same_v<T, bfloat16>) x.data()[i] = bfloat16(static_cast<float>(v));
    else x.data()[i] = static_cast<T>(v);
  }
  return x;
}

// Distinct values at least 0.1 apart in random order: for operations that choose (max, sort), whose differences would be
// wrong if two elements changed places.
template <class T>
Tensor<T> distinct(const Shape& shape, std::uint64_t seed) {
  const random::Stream stream(seed, "test/distinct");
  const Tensor<T> x = Tensor<T>::empty(shape);
  const std::int64_t n = x.numel();
  for (std::int64_t i = 0; i < n; ++i) x.data()[i] = static_cast<T>(0.1 * static_cast<double>(i - n / 2) + 0.03);
  for (std::int64_t i = n - 1; i > 0; --i)
    std::swap(x.data()[i], x.data()[stream.below(static_cast<std::uint64_t>(i), static_cast<std::uint64_t>(i + 1))]);
  return x;
}

// The same tensor, asking for a gradient.
template <class T>
Tensor<T> leaf(const Tensor<T>& x) {
  x.set_requires_grad(true);
  return x;
}

// The same elements behind other strides: axes laid out in reverse order, two elements apart, what lies between poisoned.
template <class T>
Tensor<T> scattered(const Tensor<T>& x) {
  if (x.rank() == 0) return x;
  Strides strides(x.rank(), 2);
  for (int d = 1; d < x.rank(); ++d) strides[d] = strides[d - 1] * std::max<std::int64_t>(x.shape()[d - 1], 1);
  const std::int64_t room = 2 * x.numel() + 2;
  T poison = T(1);
  if constexpr (std::numeric_limits<T>::has_quiet_NaN) poison = std::numeric_limits<T>::quiet_NaN();
  const Tensor<T> base = Tensor<T>::full({room}, poison);
  const Tensor<T> y = base.alias(x.shape(), strides, x.numel() > 0 ? 1 : 0);
  std::int64_t i = 0;
  x.each([&](T v) {
    std::int64_t at = 0, rest = i++;
    for (int d = x.rank() - 1; d >= 0; --d) {
      at += rest % x.shape()[d] * strides[d];
      rest /= x.shape()[d];
    }
    y.data()[at] = v;
  });
  return y;
}

}  // namespace moelle::test
