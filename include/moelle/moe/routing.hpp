// moelle/moe/routing.hpp -- where each token goes. All routers, those written in Python among them, return this.
#pragma once
#include <cstdint>

#include <moelle/core/tensor.hpp>

namespace moelle::moe {

template <class T>
struct Routing {
  Tensor<std::int32_t> experts;  // [N, K], best first
  Tensor<T> weights;             // [N, K]
  Tensor<T> scores;              // [N, E]; undefined if the router has none to show: balance losses then have nothing to act on
};

}  // namespace moelle::moe
