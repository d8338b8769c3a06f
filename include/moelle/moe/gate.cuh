// moelle/moe/gate.cuh -- the gate on a GPU: one warp per token, ranks in registers. See gate.hpp for the contract.
//
// The bodies are written against a Warp (lane, shfl_xor, sync, bits, value), so that the same lines run under a device's warp and,
// in tests, under 32 host threads (tests/support/host_warp.hpp). Given the scores, choice and weights have the oracle's bits.
#pragma once
#include <math.h>

#include <cstddef>
#include <cstdint>

#include <moelle/core/config.hpp>
#include <moelle/moe/gate.hpp>
#include <moelle/moe/gate_cuda.hpp>

namespace moelle::moe::gpu {

template <class Warp>
MOELLE_HD std::uint64_t warp_max(Warp& warp, std::uint64_t key) {
  for (int step = 16; step > 0; step /= 2) {
    const std::uint64_t other = warp.shfl_xor(key, step);
    key = other > key ? other : key;
  }
  return key;
}
template <class Warp>
MOELLE_HD float warp_max(Warp& warp, float v) {  // NaN is passed over
  for (int step = 16; step > 0; step /= 2) {
    const float other = warp.value(static_cast<std::uint32_t>(warp.shfl_xor(warp.bits(v), step)));
    v = other > v ? other : v;
  }
  return v;
}
template <class Warp>
MOELLE_HD float warp_sum(Warp& warp, float v) {  // all lanes get the same bits: each step adds the same two numbers
  for (int step = 16; step > 0; step /= 2) v += warp.value(static_cast<std::uint32_t>(warp.shfl_xor(warp.bits(v), step)));
  return v;
}

MOELLE_HD inline float sigmoid(float x) { return 1.0f / (1.0f + expf(-x)); }
MOELLE_HD inline float sqrt_softplus(float x) {
  if (x > static_cast<float>(kLinearSoftplus)) return sqrtf(x);
  return x < sqrt_softplus_tail<float>() ? expf(0.5f * x) : sqrtf(log1pf(expf(x)));
}

// logits[E] -> scores[E] of one token; lane l owns experts l, l + 32, ...
template <class Warp>
MOELLE_HD void gate_scores(Warp& warp, const float* logits, int E, Score kind, float* scores) {
  if (kind != Score::softmax) {
    for (int e = warp.lane(); e < E; e += 32) scores[e] = kind == Score::sigmoid ? sigmoid(logits[e]) : sqrt_softplus(logits[e]);
    return;
  }
  float top = -INFINITY, sum = 0.0f;
  for (int e = warp.lane(); e < E; e += 32) top = logits[e] > top ? logits[e] : top;
  top = warp_max(warp, top);
  const float shift = top == -INFINITY ? 0.0f : top;
  for (int e = warp.lane(); e < E; e += 32) sum += scores[e] = expf(logits[e] - shift);
  sum = warp_sum(warp, sum);
  for (int e = warp.lane(); e < E; e += 32) scores[e] /= sum == 0.0f ? 1.0f : sum;
}

// What one token's lane knows of the candidates: keys of experts lane, lane + 32, ...; 0 is none. E <= 32 * kPerLane.
template <int kPerLane, class Warp>
struct Candidates {
  Warp& warp;
  int E;
  std::uint64_t key[kPerLane];

  MOELLE_HD Candidates(Warp& w, const float* scores, const float* bias, int experts) : warp(w), E(experts) {
    for (int i = 0; i < kPerLane; ++i) {
      const int e = warp.lane() + 32 * i;
      key[i] = e < E ? rank_key<float>(warp.bits(bias != nullptr ? scores[e] + bias[e] : scores[e]), e) : 0;
    }
  }
  // The best key strictly below `bar` among experts [first, last), over the whole warp.
  MOELLE_HD std::uint64_t best_below(std::uint64_t bar, int first, int last) const {
    std::uint64_t k = 0;
    for (int i = 0; i < kPerLane; ++i) {
      const int e = warp.lane() + 32 * i;
      if (e >= first && e < last && key[i] < bar && key[i] > k) k = key[i];
    }
    return warp_max(warp, k);
  }
  // Drops the experts of groups that `chosen` does not name.
  MOELLE_HD void keep(std::uint32_t chosen, int size) {
    for (int i = 0; i < kPerLane; ++i) {
      const int e = warp.lane() + 32 * i;
      if (e < E && (chosen >> (e / size) & 1u) == 0) key[i] = 0;
    }
  }
};

inline constexpr std::uint64_t kNoBar = ~std::uint64_t{0};

template <int kPerLane, class Warp>
MOELLE_HD std::uint32_t chosen_groups(const Candidates<kPerLane, Warp>& c, const float* scores, const float* bias, const GateParams& p) {
  const int size = c.E / p.groups;
  const bool two = p.group_score == GroupScore::top2_sum && size > 1;
  // The biased score is computed again rather than shuffled: one addition, the same bits.
  const auto biased = [&](int e) { return bias != nullptr ? scores[e] + bias[e] : scores[e]; };
  std::uint64_t group = 0;  // lane g holds the key of group g
  for (int g = 0; g < p.groups; ++g) {
    const std::uint64_t first = c.best_below(kNoBar, g * size, (g + 1) * size);
    float s = biased(index_of(first));
    if (two) s += biased(index_of(c.best_below(first, g * size, (g + 1) * size)));
    if (c.warp.lane() == g) group = rank_key<float>(c.warp.bits(s), g);
  }
  std::uint32_t chosen = 0;
  for (int r = 0; r < p.top_groups; ++r) {
    const std::uint64_t top = warp_max(c.warp, group);
    chosen |= 1u << index_of(top);
    if (group == top) group = 0;
  }
  return chosen;
}

// scores[E], bias[E] or null -> experts[K], weights[K] of one token.
template <int kPerLane, class Warp>
MOELLE_HD void gate_select(Warp& warp, const float* scores, const float* bias, int E, const GateParams& p, std::int32_t* experts,
                           float* weights) {
  Candidates<kPerLane, Warp> c(warp, scores, bias, E);
  if (p.groups > 1) c.keep(chosen_groups(c, scores, bias, p), E / p.groups);
  float sum = 0.0f;
  std::uint64_t bar = kNoBar;
  for (int r = 0; r < p.top_k; ++r) {  // every lane keeps the sum; lane r % 32 keeps the r-th expert
    bar = c.best_below(bar, 0, E);
    sum += scores[index_of(bar)];
    if (warp.lane() == r % 32) experts[r] = index_of(bar);
  }
  sum += static_cast<float>(kNormEps);
  for (int r = warp.lane(); r < p.top_k; r += 32) {
    const float s = scores[experts[r]];
    weights[r] = (p.normalize ? s / sum : s) * static_cast<float>(scale_of(p));
  }
}

// grad_weights[K], grad_scores[E] (either null: none) -> grad_logits[E] of one token, overwritten.
template <class Warp>
MOELLE_HD void gate_grad(Warp& warp, const float* logits, const float* scores, int E, const GateParams& p, const std::int32_t* experts,
                         const float* grad_weights, const float* grad_scores, float* grad_logits) {
  const int K = grad_weights != nullptr ? p.top_k : 0;
  const float scale = static_cast<float>(scale_of(p));
  float sum = static_cast<float>(kNormEps), dot = 0.0f, inner = 0.0f;
  for (int r = 0; r < K; ++r) {
    sum += scores[experts[r]];
    dot += grad_weights[r] * scores[experts[r]];
  }
  for (int e = warp.lane(); e < E; e += 32) {
    float d = grad_scores != nullptr ? grad_scores[e] : 0.0f;
    for (int r = 0; r < K; ++r)
      if (experts[r] == e) d += scale * (p.normalize ? (grad_weights[r] - dot / sum) / sum : grad_weights[r]);
    inner += d * scores[e];
    grad_logits[e] = d;
  }
  if (p.score == Score::softmax) inner = warp_sum(warp, inner);
  for (int e = warp.lane(); e < E; e += 32) {
    const float d = grad_logits[e], s = scores[e], x = logits[e];
    if (p.score == Score::softmax) grad_logits[e] = s * (d - inner);
    if (p.score == Score::sigmoid) grad_logits[e] = d * (s * (1.0f - s));
    if (p.score == Score::sqrt_softplus)
      grad_logits[e] = d * (x < sqrt_softplus_tail<float>() ? 0.5f * s : (x > static_cast<float>(kLinearSoftplus) ? 1.0f : sigmoid(x)) / (2.0f * s));
  }
}

#if defined(__CUDACC__)
struct DeviceWarp {
  __device__ int lane() const { return static_cast<int>(threadIdx.x % 32); }
  __device__ std::uint64_t shfl_xor(std::uint64_t v, int mask) const {
    return __shfl_xor_sync(0xffffffffu, static_cast<unsigned long long>(v), mask);
  }
  __device__ void sync() const { __syncwarp(); }
  __device__ std::uint32_t bits(float v) const { return __float_as_uint(v); }
  __device__ float value(std::uint32_t v) const { return __uint_as_float(v); }
};

inline constexpr int kWarpsPerBlock = 4;

// This warp's token. Whole warps leave together: the kernels have no barrier across a block.
__device__ inline std::int64_t token_of_warp() { return std::int64_t{blockIdx.x} * kWarpsPerBlock + threadIdx.x / 32; }

template <int kPerLane>
__global__ void gate_kernel(GateCall c) {
  const std::int64_t n = token_of_warp();
  if (n >= c.N) return;
  DeviceWarp warp;
  const int E = static_cast<int>(c.E);
  float* scores = c.scores + n * c.E;
  gate_scores(warp, c.logits + n * c.E, E, c.params.score, scores);
  warp.sync();  // every lane reads scores that others wrote
  gate_select<kPerLane>(warp, scores, c.bias, E, c.params, c.experts + n * c.params.top_k, c.weights + n * c.params.top_k);
}

template <Score kScore>
__global__ void gate_grad_kernel(GateGradCall c) {
  const std::int64_t n = token_of_warp();
  if (n >= c.N) return;
  DeviceWarp warp;
  c.params.score = kScore;
  const std::int64_t K = c.params.top_k;
  gate_grad(warp, c.logits + n * c.E, c.scores + n * c.E, static_cast<int>(c.E), c.params, c.experts + n * K,
            c.grad_weights != nullptr ? c.grad_weights + n * K : nullptr, c.grad_scores != nullptr ? c.grad_scores + n * c.E : nullptr,
            c.grad_logits + n * c.E);
}

inline dim3 grid_of(std::int64_t tokens) { return dim3(static_cast<unsigned>((tokens + kWarpsPerBlock - 1) / kWarpsPerBlock)); }

// Launch on `stream` and return the status of the launch. The caller has checked the parameters.
inline cudaError_t launch_gate(const GateCall& c, cudaStream_t stream) {
  if (c.N == 0) return cudaSuccess;
  const auto launch = [&](auto kernel) {
    kernel<<<grid_of(c.N), 32 * kWarpsPerBlock, 0, stream>>>(c);
    return cudaGetLastError();
  };
  if (c.E <= 64) return launch(gate_kernel<2>);
  if (c.E <= 256) return launch(gate_kernel<8>);
  if (c.E <= kMaxExperts) return launch(gate_kernel<kMaxExperts / 32>);
  return cudaErrorInvalidValue;
}
inline cudaError_t launch_gate_grad(const GateGradCall& c, cudaStream_t stream) {
  if (c.N == 0) return cudaSuccess;
  const auto launch = [&](auto kernel) {
    kernel<<<grid_of(c.N), 32 * kWarpsPerBlock, 0, stream>>>(c);
    return cudaGetLastError();
  };
  if (c.params.score == Score::softmax) return launch(gate_grad_kernel<Score::softmax>);
  if (c.params.score == Score::sigmoid) return launch(gate_grad_kernel<Score::sigmoid>);
  return launch(gate_grad_kernel<Score::sqrt_softplus>);
}
#endif

}  // namespace moelle::moe::gpu
