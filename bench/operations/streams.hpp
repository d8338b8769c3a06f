// bench/operations/streams.hpp -- what memory allows an operation: a plain loop over as many arrays read and written as the operation has.
#pragma once
#include <array>
#include <cstddef>
#include <cstdint>

#include <moelle/core/parallel.hpp>
#include <moelle/core/tensor.hpp>

#include "samples.hpp"

namespace moelle::bench {

using F = Tensor<float>;

// out[..][i] = in[0][i] ^ in[1][i] ^ ... on the bits of the first n elements: integers, so that the compiler may add up in any order. On the
// pool's threads. An array may be both read and written.
template <std::size_t R, std::size_t W>
void stream(std::int64_t n, const std::array<F, R>& in, const std::array<F, W>& out) {
  const float* from[R + 1] = {};  // an array of none is not C++
  float* to[W + 1] = {};
  for (std::size_t r = 0; r < R; ++r) from[r] = in[r].data();
  for (std::size_t w = 0; w < W; ++w) to[w] = out[w].data();
  parallel_rows(n, 1 << 15, [=](std::int64_t begin, std::int64_t end) {
    std::uint32_t all = 0;
#pragma GCC ivdep
    for (std::int64_t i = begin; i < end; ++i) {
      std::uint32_t v = 0;
      for (std::size_t r = 0; r < R; ++r) v ^= __builtin_bit_cast(std::uint32_t, from[r][i]);
      for (std::size_t w = 0; w < W; ++w) to[w][i] = __builtin_bit_cast(float, v);
      if constexpr (W == 0) all ^= v;
    }
    keep(all);
  });
}

}  // namespace moelle::bench
