// tests/moe/tables.hpp -- the kernels of every instruction set that this test was compiled for.
#pragma once
#include <cstdint>
#include <vector>

#include <moelle/core/random.hpp>
#include <moelle/moe/gate_ref.hpp>
#include <moelle/moe/kernels.hpp>

namespace moelle::testing {

template <class T>
struct Table {
  const char* isa;
  moe::Kernels<T> kernels;
};

template <class T>
std::vector<Table<T>> tables() {
#if defined(MOELLE_COMPILED_KERNELS)
  return {{"compiled", moe::kernels<T>()}};
#else
  std::vector<Table<T>> all{{"native", moe::kernels<T>()}};
#if defined(__x86_64__)
  all.push_back({"sse2", moe::make_kernels<xsimd::sse2, T>()});
#endif
#if defined(__AVX2__) && defined(__FMA__)
  all.push_back({"avx2", moe::make_kernels<xsimd::fma3<xsimd::avx2>, T>()});
#endif
#if defined(__AVX512BW__) && defined(__AVX512DQ__)
  all.push_back({"avx512", moe::make_kernels<xsimd::avx512bw, T>()});
#endif
  return all;
#endif
}

// What a token is sent to.
template <class T>
struct Picked {
  std::vector<std::int32_t> experts;
  std::vector<T> weights;
};

// scores and bias (empty: none) -> choice and weights, by the oracle.
template <class T>
Picked<T> by_oracle(const std::vector<T>& scores, const std::vector<T>& bias, const moe::GateParams& p) {
  Picked<T> r{std::vector<std::int32_t>(static_cast<std::size_t>(p.top_k)), std::vector<T>(static_cast<std::size_t>(p.top_k))};
  moe::ref::gate_select(scores.data(), bias.empty() ? nullptr : bias.data(), static_cast<int>(scores.size()), p, r.experts.data());
  moe::ref::gate_weights(scores.data(), p, r.experts.data(), r.weights.data());
  return r;
}

// The same by a table's kernels.
template <class T>
Picked<T> by_kernels(const moe::Kernels<T>& k, const std::vector<T>& scores, const std::vector<T>& bias, const moe::GateParams& p) {
  Picked<T> r{std::vector<std::int32_t>(static_cast<std::size_t>(p.top_k), -1), std::vector<T>(static_cast<std::size_t>(p.top_k))};
  std::vector<T> scratch(scores.size());
  const auto E = static_cast<std::int64_t>(scores.size());
  k.gate_select(scores.data(), bias.empty() ? nullptr : bias.data(), E, p, scratch.data(), r.experts.data(), 0, 1);
  k.gate_weights(scores.data(), E, p, r.experts.data(), r.weights.data(), 0, 1);
  return r;
}

// Values on a grid of 2 levels + 1 points in [-1, 1]: few levels make ties.
template <class T>
std::vector<T> on_grid(std::size_t n, int levels, const random::Stream& stream) {
  std::vector<T> v(n);
  for (std::size_t i = 0; i < n; ++i)
    v[i] = static_cast<T>(static_cast<int>(stream.below(i, static_cast<std::uint64_t>(2 * levels + 1))) - levels) / static_cast<T>(levels);
  return v;
}

// f(E, params, levels, seed) for every meaningful combination of sizes and rules.
template <class F>
void for_gates(const std::vector<int>& sizes, F f) {
  std::uint64_t seed = 0;
  for (const int E : sizes)
    for (const int G : {1, 2, 3, 8})
      for (const int top : {1, 2, 4})
        for (const int K : {1, 2, 6, 8, 33})
          for (const auto rule : {moe::GroupScore::max, moe::GroupScore::top2_sum})
            for (const int levels : {2, 5, 1 << 20}) {
              const moe::GateParams p{.groups = G, .top_groups = top, .top_k = K, .group_score = rule, .scale = 2.5};
              try {
                moe::check(p, E);
              } catch (const Error&) {
                continue;
              }
              f(E, p, levels, ++seed);
            }
}

}  // namespace moelle::testing
