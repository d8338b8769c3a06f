// Models whose weights of products are packed: the same weights however they came there, close to the float model, and for inference only.
#include <doctest/doctest.h>

#include <cmath>
#include <cstdint>
#include <string>

#include <moelle/autograd/mode.hpp>
#include <moelle/generation/generate.hpp>
#include <moelle/models/causal_lm.hpp>
#include <moelle/models/presets.hpp>

#include "support/compare.hpp"

using namespace moelle;
using gemm::Format;

namespace {

models::Config tiny() {
  models::Config c = models::preset("pilot");
  c.num_hidden_layers = 3;
  c.num_nextn_predict_layers = 0;
  return c;
}

Tensor<std::int32_t> ids(std::int64_t n) {
  const Tensor<std::int32_t> t = Tensor<std::int32_t>::empty({1, n});
  for (std::int64_t i = 0; i < n; ++i) t.data()[i] = static_cast<std::int32_t>((i * 37 + 11) % 256);
  return t;
}

// Prompt at once, then token by token on the cache: expanded and absorbed attention.
Tensor<float> logits_of(models::CausalLM<float>& model) {
  const autograd::NoGrad guard;
  auto cache = model.make_cache(1, 24);
  Tensor<float> all = model.logits(ids(20), &cache);
  for (std::int64_t i = 0; i < 4; ++i) all = concat<float>({all, model.logits(slice(ids(24), 1, 20 + i, 21 + i), &cache)}, 1);
  return all;
}

}  // namespace

TEST_CASE("a model packed as it is built equals one that is packed afterwards, to the bit, in every format") {
  for (Format f : {Format::f32, Format::bf16, Format::fp8, Format::int8, Format::int4}) {
    CAPTURE(std::string(gemm::name(f)));
    models::CausalLM<float> after(tiny(), 7), at_once(tiny(), 7, f);
    after.pack(f);
    CHECK(after.packed_bytes() == at_once.packed_bytes());
    CHECK(test::bitwise_equal(logits_of(after), logits_of(at_once)));
  }
}

// Relative noise of the weights (tests/gemm/test_packed_bits.cpp) and of the activations' int8 (1e-4) passes about 25 products in three
// layers and adds up; the bounds leave a factor of about ten for what softmax and routing make of it.
TEST_CASE("logits of packed models are as close to the float model's as their formats allow") {
  models::CausalLM<float> exact(tiny(), 7);
  const Tensor<float> expected = logits_of(exact);
  const auto difference = [&](Format f) {
    models::CausalLM<float> model(tiny(), 7, f);
    return test::calc_diff(logits_of(model), expected);
  };
  CHECK(difference(Format::f32) < 1e-11);
  CHECK(difference(Format::bf16) < 1e-3);
  CHECK(difference(Format::int8) < 5e-3);
  CHECK(difference(Format::fp8) < 2e-2);
  CHECK(difference(Format::int4) < 2e-1);
}

TEST_CASE("packed weights leave parameters and state dict, take less memory, and generate") {
  models::CausalLM<float> model(tiny(), 3), packed(tiny(), 3, Format::int4);
  CHECK(packed.num_parameters() < model.num_parameters() / 4);
  CHECK(packed.packed_bytes() < 4 * (model.num_parameters() - packed.num_parameters()) / 5);  // K is filled up to 128
  const auto out = generation::generate(packed, ids(5), {.max_new_tokens = 6});
  CHECK(out.shape() == Shape{1, 11});
  CHECK_THROWS_WITH_AS(packed.pack(Format::int8), doctest::Contains("must not be packed twice"), moelle::Error);
  models::LossInput in{ids(8), ids(8)};
  CHECK_THROWS_WITH_AS(packed.loss(in), doctest::Contains("packed weights are for inference"), moelle::Error);
  const autograd::NoGrad guard;
  CHECK(std::isfinite(packed.loss(in).loss.item()));
}
