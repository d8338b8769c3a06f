// bench/headers/operations.hpp -- the operations that are compiled twice. direct.cpp gives the namespace moelle another name, so that both
// copies fit into one program.
#pragma once
#include <cstdint>
#include <functional>
#include <vector>

#include <moelle/attention/attention_op.hpp>
#include <moelle/core/parallel.hpp>
#include <moelle/gemm/packed_op.hpp>
#include <moelle/gemm/products.hpp>
#include <moelle/moe/gate_op.hpp>
#include <moelle/norm/rms_norm_op.hpp>

namespace headers_bench {

struct Operation {
  const char* name;
  double flops, bytes;
  std::function<void()> call;
};
std::vector<Operation> direct(int threads);
std::vector<Operation> dispatched(int threads);

}  // namespace headers_bench

namespace moelle::headers_bench {

inline Tensor<float> filled(const Shape& shape) {
  const Tensor<float> x = Tensor<float>::empty(shape);
  for (std::int64_t i = 0; i < x.numel(); ++i) x.data()[i] = static_cast<float>(i * 7 % 97) * 0.02f - 0.97f;
  return x;
}

inline std::vector<::headers_bench::Operation> operations(int threads) {
  set_num_threads(threads);
  std::vector<::headers_bench::Operation> out;
  const auto flops = [](std::int64_t m, std::int64_t n, std::int64_t k) { return 2.0 * static_cast<double>(m * n) * static_cast<double>(k); };
  struct Product {
    const char *gemm, *f32, *bf16, *int8;
    std::int64_t m, n, k;
  };
  for (const Product& p : {Product{"gemm 512 x 512 x 512", "packed f32 512 x 512 x 512", "packed bf16 512 x 512 x 512", "packed int8 512 x 512 x 512", 512, 512, 512},
                           Product{"gemm 32 x 2816 x 2048", "packed f32 32 x 2816 x 2048", "packed bf16 32 x 2816 x 2048", "packed int8 32 x 2816 x 2048", 32, 2816, 2048},
                           Product{"gemm 1 x 1024 x 512", "packed f32 1 x 1024 x 512", "packed bf16 1 x 1024 x 512", "packed int8 1 x 1024 x 512", 1, 1024, 512}}) {
    const Tensor<float> x = filled({p.m, p.k}), w = filled({p.n, p.k}), y = Tensor<float>::empty({p.m, p.n});
    const double work = flops(p.m, p.n, p.k);
    out.push_back({p.gemm, work, 0, [=] {
      gemm::gemm<float>({.m = p.m, .n = p.n, .k = p.k, .a = gemm::plain<float>(x.data(), p.k), .b = gemm::transposed<float>(w.data(), p.k), .c = y.data(), .ldc = p.n});
    }});
    for (auto [name, format] : {std::pair{p.f32, gemm::Format::f32}, {p.bf16, gemm::Format::bf16}, {p.int8, gemm::Format::int8}})
      out.push_back({name, work, 0, [x, packed = gemm::pack(w, format)] { gemm::linear(x, packed); }});
  }
  const Tensor<float> x = filled({512, 2048}), w = filled({2048});
  out.push_back({"RMSNorm 512 x 2048", 0, 8.0 * static_cast<double>(x.numel()), [=] { norm::rms_norm(x, w, 1e-6); }});
  const Tensor<float> q = filled({1, 256, 8, 128});
  out.push_back({"attention, 256 positions, 8 heads of 128", flops(256, 256, 128) * 8, 0, [=] { attention::attention(q, q, q); }});
  const Tensor<float> logits = filled({512, 256}), bias = filled({256});
  out.push_back({"gate of DeepSeek-V3, 512 tokens", 0, 4.0 * static_cast<double>(logits.numel()), [=] { moe::gate(logits, bias, moe::noaux_tc(8, 4, 8, 2.5)); }});
  return out;
}

}  // namespace moelle::headers_bench
