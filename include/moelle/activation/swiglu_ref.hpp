// moelle/activation/swiglu_ref.hpp -- the oracle: swiglu.hpp element by element.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>

#include <moelle/activation/swiglu.hpp>
#include <moelle/activation/unary_ref.hpp>

namespace moelle::activation::ref {

template <class T>
T swiglu(T gate, T up, T limit) {
  if (std::isnan(gate) || std::isnan(up)) return gate + up;
  return unary(Unary::silu, std::min(gate, limit)) * std::clamp(up, -limit, limit);
}

template <class T>
struct SwigluGrad {
  T gate, up;
};
template <class T>
SwigluGrad<T> swiglu_grad(T gate, T up, T limit, T dy) {
  const T g = std::min(gate, limit), u = std::clamp(up, -limit, limit);
  return {gate <= limit ? dy * u * unary_grad(Unary::silu, g) : T(0), std::abs(up) <= limit ? dy * unary(Unary::silu, g) : T(0)};
}

}  // namespace moelle::activation::ref
