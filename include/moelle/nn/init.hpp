// moelle/nn/init.hpp -- initial values of parameters: functions of (seed, name, element), so that they do not depend on the
// order in which a model is built nor on what else it holds.
#pragma once
#include <cmath>
#include <cstdint>
#include <optional>
#include <string>

#include <moelle/core/parallel.hpp>
#include <moelle/core/random.hpp>
#include <moelle/core/tensor.hpp>
#include <moelle/gemm/format.hpp>

namespace moelle::nn {

// How a layer fills its weights when it is built. A model fills its layers itself (by full name) and passes none.
struct Init {
  enum class Kind : std::uint8_t { none, normal, uniform };
  Kind kind = Kind::uniform;  // uniform: U(-1/sqrt(in), 1/sqrt(in)), PyTorch's default for linear layers
  double std = 0.02;          // of Kind::normal
  std::uint64_t seed = 0;
  std::optional<gemm::Format> format = std::nullopt;  // weights of products are packed from the start and filled in by Module::fill_packed
};

// `t` holds the elements from `first` on of the parameter of that name.
template <class T>
void fill_normal(const Tensor<T>& t, double std, std::uint64_t seed, const std::string& name, std::int64_t first = 0) {
  const random::Stream stream(seed, "init/" + name);
  T* p = t.data();
  parallel_rows(t.numel(), 4096, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) p[i] = static_cast<T>(std * stream.normal(static_cast<std::uint64_t>(first + i)));
  });
}

template <class T>
void fill_uniform(const Tensor<T>& t, double bound, std::uint64_t seed, const std::string& name) {
  const random::Stream stream(seed, "init/" + name);
  T* p = t.data();
  parallel_rows(t.numel(), 4096, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i)
      p[i] = static_cast<T>(bound * (2.0 * stream.uniform(static_cast<std::uint64_t>(i)) - 1.0));
  });
}

// A new weight whose rows are sums over `fan_in` inputs.
template <class T>
Tensor<T> make_weight(const Shape& shape, std::int64_t fan_in, const Init& init, const std::string& name) {
  const Tensor<T> w = Tensor<T>::empty(shape);
  if (init.kind == Init::Kind::normal) fill_normal(w, init.std, init.seed, name);
  if (init.kind == Init::Kind::uniform) fill_uniform(w, 1.0 / std::sqrt(static_cast<double>(fan_in)), init.seed, name);
  return w;
}

}  // namespace moelle::nn
