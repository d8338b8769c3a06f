// moelle/activation/unary_ref.hpp -- the oracle: the formulas of unary.hpp, one element at a time.
#pragma once
#include <cmath>
#include <numbers>

#include <moelle/activation/unary.hpp>

namespace moelle::activation::ref {

template <class T>
T sigmoid(T x) {
  return x >= 0 ? 1 / (1 + std::exp(-x)) : std::exp(x) / (1 + std::exp(x));
}
template <class T>
T gelu_argument(T x) {
  return std::sqrt(T(2) / std::numbers::pi_v<T>) * (x + T(0.044715) * x * x * x);
}

template <class T>
T unary(Unary f, T x) {
  switch (f) {
    case Unary::sigmoid: return sigmoid(x);
    case Unary::silu: return x * sigmoid(x);
    case Unary::softplus: return x > T(kSoftplusThreshold) ? x : std::log1p(std::exp(x));
    case Unary::gelu: return x * std::erfc(-x / std::numbers::sqrt2_v<T>) / 2;
    case Unary::gelu_tanh: return x * sigmoid(2 * gelu_argument(x));
    case Unary::relu: return x < 0 ? T(0) : x;
  }
  return x;
}

template <class T>
T unary_grad(Unary f, T x) {
  switch (f) {
    case Unary::sigmoid: return sigmoid(x) * sigmoid(-x);
    case Unary::silu: return sigmoid(x) * (1 + x * sigmoid(-x));
    case Unary::softplus: return x > T(kSoftplusThreshold) ? T(1) : sigmoid(x);
    case Unary::gelu:
      return std::erfc(-x / std::numbers::sqrt2_v<T>) / 2 + x * std::exp(-x * x / 2) / std::sqrt(2 * std::numbers::pi_v<T>);
    case Unary::gelu_tanh: {
      const T u = 2 * gelu_argument(x);
      return sigmoid(u) + x * sigmoid(u) * sigmoid(-u) * 2 * std::sqrt(T(2) / std::numbers::pi_v<T>) * (1 + 3 * T(0.044715) * x * x);
    }
    case Unary::relu: return x <= 0 ? T(0) : T(1);
  }
  return x;
}

}  // namespace moelle::activation::ref
