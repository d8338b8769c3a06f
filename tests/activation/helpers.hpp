// tests/activation/helpers.hpp -- what the tests of the small operations share.
#pragma once
#include <cmath>
#include <cstdint>
#include <cstring>
#include <functional>
#include <limits>
#include <string>
#include <vector>

#include <moelle/core/parallel.hpp>
#include <moelle/core/random.hpp>
#include <moelle/core/tensor.hpp>

namespace moelle::testing {

inline constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
inline constexpr double kInf = std::numeric_limits<double>::infinity();

// Normal numbers times `scale`; float and double hold the same values.
template <class T>
Tensor<T> normal(const Shape& shape, std::uint64_t seed, double scale = 1.0) {
  const random::Stream stream(seed, "test");
  Tensor<T> t = Tensor<T>::empty(shape);
  for (std::int64_t i = 0; i < t.numel(); ++i) t.data()[i] = static_cast<T>(static_cast<float>(scale * stream.normal(static_cast<std::uint64_t>(i))));
  return t;
}
inline Tensor<double> leaf(const Shape& shape, std::uint64_t seed, double scale = 1.0) {
  return normal<double>(shape, seed, scale).set_requires_grad(true);
}
template <class Index>
Tensor<Index> integers(const Shape& shape, std::uint64_t seed, std::uint64_t below) {
  const random::Stream stream(seed, "integers");
  Tensor<Index> t = Tensor<Index>::empty(shape);
  for (std::int64_t i = 0; i < t.numel(); ++i) t.data()[i] = static_cast<Index>(stream.below(static_cast<std::uint64_t>(i), below));
  return t;
}

// Whether both hold the same bits (NaN equals NaN of the same bits, +0 differs from -0).
template <class T>
bool same_bits(const Tensor<T>& a, const Tensor<T>& b) {
  if (!a.defined() || !b.defined()) return a.defined() == b.defined();
  if (!(a.shape() == b.shape())) return false;
  const std::vector<T> x = a.to_vector(), y = b.to_vector();
  return x.empty() || std::memcmp(x.data(), y.data(), x.size() * sizeof(T)) == 0;
}

// max |got - want| / max |want|: the relative error of a whole result. NaN anywhere gives infinity.
template <class A, class B>
double relative_error(const std::vector<A>& got, const std::vector<B>& want) {
  if (got.size() != want.size()) return kInf;
  double worst = 0.0, largest = 0.0;
  for (std::size_t i = 0; i < got.size(); ++i) {
    const double d = std::abs(static_cast<double>(got[i]) - static_cast<double>(want[i]));
    if (!(d <= worst)) worst = std::isnan(d) ? kInf : d;
    largest = std::max(largest, std::abs(static_cast<double>(want[i])));
  }
  return worst == 0.0 ? 0.0 : worst / largest;
}

// A view of x with the same elements in other places: every axis twice as far apart, the last one reversed.
template <class T>
Tensor<T> scattered(const Tensor<T>& x) {
  Shape big = x.shape();
  for (int i = 0; i < big.rank(); ++i) big[i] *= 2;
  const Tensor<T> host = Tensor<T>::full(big, static_cast<T>(kNaN));
  Strides strides = host.strides();
  for (int i = 0; i < strides.rank(); ++i) strides[i] *= 2;
  const int last = x.rank() - 1;
  const std::int64_t first = x.numel() == 0 ? 0 : (x.size(-1) - 1) * strides[last];
  strides[last] = -strides[last];
  const Tensor<T> view = host.alias(x.shape(), strides, first);
  std::vector<T> values = x.to_vector();
  std::size_t k = 0;
  Shape index(x.rank(), 0);
  for (std::int64_t i = 0; i < x.numel(); ++i) {
    view.at(index) = values[k++];
    for (int a = last; a >= 0 && ++index[a] == x.shape()[a]; --a) index[a] = 0;
  }
  return view;
}

// Rows [begin, end) of the first axis.
template <class T>
Tensor<T> rows(const Tensor<T>& x, std::int64_t begin, std::int64_t end) {
  Shape shape = x.shape();
  shape[0] = end - begin;
  return x.alias(shape, x.strides(), begin * x.strides()[0]);
}

// f() with 1, 2, 3 and 7 threads, twice each: all results must have the same bits.
template <class T>
bool same_for_all_threads(const std::function<std::vector<Tensor<T>>()>& f) {
  const int before = num_threads();
  std::vector<Tensor<T>> first;
  bool same = true;
  for (const int threads : {1, 2, 3, 7, 7}) {
    set_num_threads(threads);
    const std::vector<Tensor<T>> got = f();
    if (first.empty()) first = got;
    for (std::size_t i = 0; i < got.size(); ++i) same = same && same_bits(got[i], first[i]);
  }
  set_num_threads(before);
  return same && !first.empty();
}

// The message of the Error that f() throws; empty if it throws none.
inline std::string message_of(const std::function<void()>& f) {
  try {
    f();
  } catch (const Error& e) {
    return e.what();
  }
  return "";
}
inline bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

}  // namespace moelle::testing
