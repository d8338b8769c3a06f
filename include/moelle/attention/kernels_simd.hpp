// moelle/attention/kernels_simd.hpp -- fills the table for one Arch.
#pragma once
#include <moelle/attention/bf16_simd.hpp>
#include <moelle/attention/decode_simd.hpp>
#include <moelle/attention/kernels.hpp>
#include <moelle/attention/product_simd.hpp>
#include <moelle/attention/softmax_simd.hpp>

namespace moelle::attention {

template <class Arch, class T>
constexpr Kernels<T> make_kernels() {
  using Dot = gemm::simd::Multiply<Arch, T>;
  Bf16Kernels bf16{};
  if constexpr (sizeof(T) == sizeof(float)) bf16 = simd::make_bf16_kernels<Arch>();
  return {.product = &simd::product<Arch, Dot, false>,
          .product_turned = &simd::product<Arch, Dot, true>,
          .softmax_row = &simd::softmax_row<Arch, T>,
          .softmax_grad_row = &simd::softmax_grad_row<Arch, T>,
          .merge_row = &simd::merge_row<Arch, T>,
          .finish_row = &simd::finish_row<Arch, T>,
          .row_dots = &simd::row_dots<Arch, T>,
          .few_scores = &simd::few_scores<Arch, T>,
          .few_weighted = &simd::few_weighted<Arch, T>,
          .softmax_columns = &simd::softmax_columns<Arch, T>,
          .bf16 = bf16};
}

}  // namespace moelle::attention
