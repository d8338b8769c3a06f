// moelle/attention/attention.hpp -- scaled dot-product attention in one pass: the contract.
//
// Axes: B sequences, Tq queries, Tk keys, H query heads, J key heads (H a multiple of J: head h reads key head h / (H/J)),
// Dk and Dv sizes of a key and a value.
//   q [B, Tq, H, Dk]   k [B, Tk, J, Dk]   v [B, Tk, J, Dv]   ->   o [B, Tq, H, Dv]
// Query i stands at position i + Tk - Tq: the keys before are a cached prefix. It sees key j if
//   j <= position (causal), j > position - window (window > 0), and both are in one document (segments given).
//   s_ij = scale q_i.k_j + mask_ij     p_ij = exp(s_ij - lse_i)     o_i = sum_j p_ij v_j
// A query that sees no key gives 0 and lse = -infinity.
// Gradient, with D_i = sum_d do_id o_id:  dv_j = sum_i p_ij do_i   ds_ij = p_ij (do_i.v_j - D_i)   dq_i = scale sum_j ds_ij k_j
// dk_j = scale sum_i ds_ij q_i. Only lse is kept; p is computed again, so memory is linear in length.
//
// Keys are taken in blocks of kKeyBlock at fixed positions; each block has its own maximum, sum and weighted values, which are merged in
// order (Milakov and Gimelshein, arXiv:1805.02867; Dao et al., arXiv:2205.14135 and, for blocks on several threads, "Flash-Decoding", 2023).
// What a query sees of a block depends on positions alone, so its result does not depend on the other queries, the number of queries per
// call, the batch or the threads: decoding step by step with a cache gives the bits of one full pass. Gradients of keys and values add up
// over the query heads of a group, then over query blocks.
//
// In bfloat16 (AttentionParams::precision) q, k, v, p, do and ds are rounded where a product takes them; sums, softmax and gradients stay float.
#pragma once
#include <cmath>
#include <cstdint>

#include <moelle/core/error.hpp>
#include <moelle/core/shape.hpp>
#include <moelle/gemm/gemm.hpp>

namespace moelle::attention {

inline constexpr std::int64_t kKeyBlock = 256;   // of the forward pass: part of the result's definition
inline constexpr std::int64_t kQueryBlock = 64;  // of both passes
inline constexpr std::int64_t kFewRows = 8;       // heads up to which turning keys in registers costs less than a tile of keys by heads

struct AttentionParams {
  double scale = 0.0;       // 0: Dk^-1/2
  bool causal = true;
  std::int64_t window = 0;  // 0: no limit
  gemm::Precision precision = gemm::Precision::native;  // of the operands of all products, if they are float; fp8 counts as bf16 (DeepSeek-V3, section 3.3.1)
};

inline void check(const AttentionParams& p, const Shape& q, const Shape& k, const Shape& v) {
  const auto got = [&] { return str("; got q=", q, " k=", k, " v=", v); };
  MOELLE_REQUIRE("attention", q.rank() == 4 && k.rank() == 4 && v.rank() == 4, "q, k, v must be [B, T, H, D]" + got());
  MOELLE_REQUIRE("attention", q[0] == k[0] && k[0] == v[0] && k[1] == v[1] && k[2] == v[2] && q[3] == k[3],
                 "q [B, Tq, H, Dk], k [B, Tk, J, Dk] and v [B, Tk, J, Dv] must agree" + got());
  MOELLE_REQUIRE("attention", k[2] > 0 && q[2] % k[2] == 0, "query heads must be a multiple of key heads" + got());
  MOELLE_REQUIRE("attention", q[3] > 0 && v[3] > 0, "head sizes must be positive" + got());
  MOELLE_REQUIRE("attention", !p.causal || q[1] <= k[1], "a causal query must have its own key: Tq <= Tk" + got());
  MOELLE_REQUIRE("attention", std::isfinite(p.scale) && p.scale >= 0, str("scale must be finite and not negative; got scale=", p.scale));
  MOELLE_REQUIRE("attention", p.window >= 0, str("window must not be negative; got window=", p.window));
}

}  // namespace moelle::attention
