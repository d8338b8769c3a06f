// set_precision: which operands the products of a model see, and that training goes on as well with them.
#include <doctest/doctest.h>

#include <cmath>
#include <cstdint>
#include <string>

#include <moelle/gemm/simulated_fp8.hpp>
#include <moelle/nn/layers.hpp>
#include <moelle/nn/moe.hpp>

#include "support/compare.hpp"
#include "support/random_tensor.hpp"
#include "support/tolerance.hpp"

using namespace moelle;
using gemm::Precision;

namespace {

// Elements rounded as an operand of the product would be.
Tensor<float> rounded(const Tensor<float>& x, Precision p, std::int64_t tile_rows, std::int64_t tile_cols) {
  const Tensor<float> y = clone(x.detach());
  if (p == Precision::bf16)
    for (std::int64_t i = 0; i < y.numel(); ++i) y.data()[i] = static_cast<float>(bfloat16(y.data()[i]));
  if (p == Precision::fp8) gemm::round_to_fp8_tiles(y.data(), y.size(0), y.size(1), tile_rows, tile_cols);
  return y;
}

}  // namespace

TEST_CASE("a layer in bf16 or fp8 is the layer in floats on rounded operands, forward and in both gradients") {
  for (Precision p : {Precision::bf16, Precision::fp8}) {
    const std::int64_t N = 150, K = 200, M = 140;
    const auto x = test::leaf(test::normal<float>({M, K}, 1)), w = test::leaf(test::normal<float>({N, K}, 2)), dy = test::normal<float>({M, N}, 3);
    const auto y = linear(x, w, {}, p);
    autograd::backward<float>({y}, {dy});
    const std::int64_t tile = 128;
    const auto product = [](const Tensor<float>& a, const Tensor<float>& b) { return linear(a, b); };  // a b^T
    const auto turned = [](const Tensor<float>& t) { return contiguous(transpose(t, 0, 1)); };
    CHECK(test::max_relative_error(y, product(rounded(x, p, 1, tile), rounded(w, p, tile, tile))) < test::kFloatAgainstDouble);
    CHECK(test::max_relative_error(x.grad(), product(rounded(dy, p, 1, tile), turned(rounded(w, p, tile, tile)))) < test::kFloatAgainstDouble);
    CHECK(test::max_relative_error(w.grad(), product(turned(rounded(dy, p, tile, 1)), turned(rounded(x, p, tile, 1)))) < test::kFloatAgainstDouble);
  }
}

// Relative rounding errors of 2^-9 (bf16) and 2^-4 (e4m3), independent: a sum of K products with both operands rounded is off by about
// sqrt(2) u of its own size, two layers by about twice that. Tenfold of the mean of |error|^2 is not reached by chance.
TEST_CASE("experts in lower precision are close to those in floats, and differ from them") {
  nn::MoE<float> layer(std::make_shared<nn::TopKGate<float>>(64, 8, moe::GateParams{.top_k = 2}, false), std::make_shared<nn::Experts<float>>(8, 64, 96));
  const auto x = test::normal<float>({40, 64}, 4);
  const auto exact = layer.forward(x);
  layer.set_precision(Precision::bf16);
  CHECK(layer.experts->precision() == Precision::bf16);
  const double bf16 = test::calc_diff(layer.forward(x), exact);
  CHECK(bf16 > 0);
  CHECK(bf16 < 1e-4);
  layer.set_precision(Precision::fp8);
  const double fp8 = test::calc_diff(layer.forward(x), exact);
  CHECK(fp8 > bf16);
  CHECK(fp8 < 1e-2);
  layer.set_precision(Precision::native);
  CHECK(test::bitwise_equal(layer.forward(x), exact));
}

TEST_CASE("a name that is no precision is an error that says which there are") {
  CHECK(gemm::precision_of("bf16") == Precision::bf16);
  CHECK_THROWS_WITH_AS(gemm::precision_of("fp16"), doctest::Contains("must be f32, bf16 or fp8; got precision=fp16"), moelle::Error);
}
