// AdamW, Muon and schedules against their definitions.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include <moelle/nn/init.hpp>
#include <moelle/nn/layers.hpp>
#include <moelle/gemm.hpp>
#include <moelle/tensor.hpp>
#include <moelle/training/adamw_ref.hpp>
#include <moelle/training/optimizer.hpp>
#include <moelle/training/schedule.hpp>

#include "support/compare.hpp"
#include "support/random_tensor.hpp"
#include "training/tiny.hpp"

using namespace moelle;
using namespace moelle::training;

TEST_CASE("the AdamW kernel agrees with the oracle, and an element's result does not depend on its place") {
  for (const std::int64_t n : {0, 1, 7, 16, 33, 1000}) {
    const AdamWStep s{.lr = 1e-2, .correction1 = 0.1, .correction2 = 0.05, .grad_scale = 0.5};
    const auto w = test::normal<float>({n}, 1), g = test::normal<float>({n}, 2), m = test::normal<float>({n}, 3), v = test::uniform<float>({n}, 4, 0, 1);
    const auto rw = clone(w), rm = clone(m), rv = clone(v), w1 = clone(w), m1 = clone(m), v1 = clone(v);
    ref::adamw(rw.data(), g.data(), rm.data(), rv.data(), n, s);
    for (std::int64_t i = 0; i < n; ++i) kernels<float>().adamw(w1.data() + i, g.data() + i, m1.data() + i, v1.data() + i, 1, s);
    kernels<float>().adamw(w.data(), g.data(), m.data(), v.data(), n, s);
    CHECK(test::bitwise_equal(w, w1));
    if (n == 0) continue;
    CHECK(test::max_relative_error(w, rw) < 1e-6);  // a dozen roundings of eps / 2
    CHECK(test::max_relative_error(m, rm) < 1e-6);
    CHECK(test::max_relative_error(v, rv) < 1e-6);
  }
}

TEST_CASE("five and ten Newton-Schulz steps make a matrix orthogonal, each to its own accuracy") {
  for (const auto& shape : std::vector<std::pair<std::int64_t, std::int64_t>>{{48, 64}, {64, 48}, {30, 30}, {1, 9}, {200, 16}})
    for (const MuonSteps kind : {MuonSteps::jordan, MuonSteps::deepseek_v4}) {
      const std::int64_t rows = shape.first, cols = shape.second;
      const auto x = test::normal<double>({rows, cols}, 5);
      std::vector<double> scratch(static_cast<std::size_t>(orthogonalize_scratch(rows, cols)));
      orthogonalize(x.data(), rows, cols, newton_schulz_steps(kind), scratch.data());
      const auto gram = rows <= cols ? matmul(x, transpose(x, 0, 1)) : matmul(transpose(x, 0, 1), x);
      double square = 0, worst = 0, off = 0;  // off: sum over singular values of (s^2 - 1)^2
      for (std::int64_t i = 0; i < gram.size(0); ++i) {
        square += gram.at({i, i});
        worst = std::max(worst, std::abs(gram.at({i, i}) - 1.0));
        for (std::int64_t j = 0; j < gram.size(0); ++j) off += std::pow(gram.at({i, j}) - (i == j ? 1.0 : 0.0), 2);
      }
      CAPTURE(std::sqrt(off / static_cast<double>(gram.size(0))));
      CAPTURE(rows);
      CAPTURE(cols);
      if (kind == MuonSteps::deepseek_v4 && rows != cols) {  // singular values 1.00 +- 0.01
        CHECK(worst < 0.03);
        CHECK(off < 0.02 * 0.02 * static_cast<double>(gram.size(0)));
      }
      CHECK(square / static_cast<double>(gram.size(0)) == doctest::Approx(kind == MuonSteps::jordan ? 0.8 : 0.98).epsilon(0.25));
    }
}

// Each of the last steps rounds X and its polynomial to 8 bits, relative 2^-9 per element and independent: singular values move by a few
// of 2^-9, far less than the 0.01 that the polynomial itself leaves.
TEST_CASE("the iteration in bfloat16 ends as orthogonal as in double") {
  const auto exact = test::normal<double>({48, 64}, 5);
  const auto x = cast<float>(exact);
  std::vector<double> wide(static_cast<std::size_t>(orthogonalize_scratch(48, 64)));
  std::vector<float> scratch(wide.size());
  orthogonalize(exact.data(), 48, 64, newton_schulz_steps(MuonSteps::deepseek_v4), wide.data());
  orthogonalize(x.data(), 48, 64, newton_schulz_steps(MuonSteps::deepseek_v4), scratch.data(), gemm::Precision::bf16);
  const auto gram = matmul(x, transpose(x, 0, 1));
  double off = 0;
  for (std::int64_t i = 0; i < 48; ++i)
    for (std::int64_t j = 0; j < 48; ++j) off += std::pow(static_cast<double>(gram.at({i, j})) - (i == j ? 1.0 : 0.0), 2);
  CHECK(off < 0.04 * 0.04 * 48);
  CHECK(test::calc_diff(x, exact) < 2e-3);
}

TEST_CASE_TEMPLATE("a matrix made orthogonal by one thread has the bits of the one made by all", T, float, double) {
  for (const auto& shape : std::vector<std::pair<std::int64_t, std::int64_t>>{{48, 64}, {64, 48}, {1, 9}, {97, 130}, {130, 97}, {40, 1100}, {1100, 40}})
    for (const auto precision : {gemm::Precision::native, gemm::Precision::bf16}) {
      const std::int64_t rows = shape.first, cols = shape.second;
      const auto all = test::normal<T>({rows, cols}, 5), own = test::normal<T>({rows, cols}, 5);
      std::vector<T> scratch(static_cast<std::size_t>(orthogonalize_scratch(rows, cols)));
      orthogonalize(all.data(), rows, cols, newton_schulz_steps(MuonSteps::deepseek_v4), scratch.data(), precision, MuonThreads::all);
      orthogonalize(own.data(), rows, cols, newton_schulz_steps(MuonSteps::deepseek_v4), scratch.data(), precision, MuonThreads::own);
      CAPTURE(rows);
      CAPTURE(cols);
      CHECK(test::bitwise_equal(all, own));
    }
}

TEST_CASE("a Muon update has the promised size, whatever the shape, and decays the weight") {
  struct Two : nn::Module<float> {
    Tensor<float> a, b, gain;
    Two() {
      register_parameter("a", a, Tensor<float>::zeros({24, 80}));
      register_parameter("b", b, Tensor<float>::ones({80, 24}));
      register_parameter("gain", gain, Tensor<float>::ones({24}));
    }
  } m;
  const OptimizerOptions o{.weight_decay = 0.1};
  Optimizer<float> optimizer(make_groups(m, o), o);
  m.a.set_grad(test::normal<float>({24, 80}, 6));
  optimizer.step(0.5);
  double square = 0;
  m.a.each([&](float v) { square += static_cast<double>(v) * static_cast<double>(v); });
  CHECK(std::sqrt(square / (24 * 80)) == doctest::Approx(0.5 * 0.18).epsilon(0.02));
  CHECK(m.b.data()[0] == 1.0f);  // no gradient, no update, no decay
  CHECK(m.gain.data()[0] == 1.0f);
  m.b.set_grad(Tensor<float>::zeros({80, 24}));
  m.gain.set_grad(Tensor<float>::zeros({24}));
  optimizer.step(0.5);
  CHECK(m.b.data()[0] == doctest::Approx(0.95f));  // 1 - lr * decay
  CHECK(m.gain.data()[0] == 1.0f);                 // vectors do not decay
}

TEST_CASE("three AdamW steps take the values of the algorithm, bias corrections and decay included") {
  nn::Linear<double> layer(1, 1, true);
  layer.weight.data()[0] = 2.0;
  const OptimizerOptions o{.method = Method::adamw, .weight_decay = 0.1, .beta1 = 0.9, .beta2 = 0.95, .eps = 1e-8};
  Optimizer<double> optimizer(make_groups(layer, o), o);
  double w = 2.0, b = 0.0, m = 0.0, v = 0.0;
  for (int t = 1; t <= 3; ++t) {
    const double g = 0.5 * t - 1.2, lr = 0.01 * t;
    layer.weight.set_grad(Tensor<double>::full({1, 1}, 4 * g));  // four times too large, clipped by grad_scale
    layer.bias.set_grad(Tensor<double>::full({1}, 4 * g));
    optimizer.step(lr, 0.25);
    m = 0.9 * m + 0.1 * g;
    v = 0.95 * v + 0.05 * g * g;
    const double update = m / (1 - std::pow(0.9, t)) / (std::sqrt(v / (1 - std::pow(0.95, t))) + 1e-8);
    w -= lr * (update + 0.1 * w);
    b -= lr * update;  // a bias does not decay
    CHECK(layer.weight.data()[0] == doctest::Approx(w).epsilon(1e-13));
    CHECK(layer.bias.data()[0] == doctest::Approx(b).epsilon(1e-13));
  }
  CHECK(optimizer.steps() == 3);
  CHECK_THROWS_AS(optimizer.step(std::nan("")), Error);
  CHECK_THROWS_AS(optimizer.step(-1.0), Error);
}

TEST_CASE("Muon is for hidden matrices: tables, routers of every family, norms and biases take AdamW, and only matrices decay") {
  for (const char* family : {"deepseek_v3", "mixtral"}) {
    models::Config c = family[0] == 'd' ? test::tiny_config() : models::Config::defaults(family);
    if (family[0] == 'm') {
      c.vocab_size = c.hidden_size = 16;
      c.num_attention_heads = c.num_key_value_heads = c.num_hidden_layers = 2;
      c.intermediate_size = c.moe_intermediate_size = 8;
    }
    models::CausalLM<float> model(c);
    const auto groups = make_groups(model, OptimizerOptions{});
    std::size_t listed = 0;
    for (const auto& g : groups)
      for (const auto& p : g.parameters) {
        CAPTURE(p.name);
        ++listed;
        const auto has = [&](const char* part) { return p.name.find(part) != std::string::npos; };
        const bool table = has("embed_tokens") || has("lm_head") || has(".gate."), vector = has("norm");
        CHECK((g.method == Method::adamw) == (table || vector));
        CHECK((g.weight_decay > 0) == !vector);
      }
    CHECK(listed == model.named_parameters().size());
  }
}

TEST_CASE("a large matrix is updated with the same bits by any number of threads") {
  std::vector<float> want;
  const int before = num_threads();
  for (const int threads : {1, 3}) {
    set_num_threads(threads);
    nn::Linear<float> layer(530, 500);
    const OptimizerOptions o{.muon = {.steps = MuonSteps::jordan}};
    Optimizer<float> optimizer(make_groups(layer, o), o);
    layer.weight.set_grad(test::normal<float>({500, 530}, 8));
    optimizer.step(0.1);
    if (want.empty()) want = layer.weight.to_vector();
    CHECK(layer.weight.to_vector() == want);
  }
  set_num_threads(before);
}

TEST_CASE("fused weights are taken apart before they are made orthogonal") {
  nn::SwiGLU<float> mlp(16, 12);
  const OptimizerOptions o;
  const auto groups = make_groups(mlp, o);
  REQUIRE(groups[0].parameters.size() == 2);
  CHECK(groups[0].parameters[0].count == 2);
  CHECK(groups[0].parameters[0].rows == 12);
  CHECK(groups[0].parameters[1].count == 1);
}

TEST_CASE("schedules warm up, hold and decay as defined") {
  const Schedule cosine{.total_steps = 100, .warmup_steps = 10, .min_ratio = 0.1};
  CHECK(rate_at(cosine, 0) == doctest::Approx(0.1));
  CHECK(rate_at(cosine, 9) == doctest::Approx(1.0));
  CHECK(rate_at(cosine, 10) == doctest::Approx(1.0));
  CHECK(rate_at(cosine, 55) == doctest::Approx(0.55));
  CHECK(rate_at(cosine, 100) == doctest::Approx(0.1));
  const Schedule wsd{.kind = ScheduleKind::wsd, .total_steps = 100, .min_ratio = 0.0, .decay_fraction = 0.2};
  CHECK(rate_at(wsd, 79) == 1.0);
  CHECK(rate_at(wsd, 85) == doctest::Approx(0.5));
  CHECK(rate_at(wsd, 100) == doctest::Approx(0.0));
  const Schedule v3{.kind = ScheduleKind::deepseek_v3, .total_steps = 14800};
  CHECK(rate_at(v3, 9999) == 1.0);
  CHECK(rate_at(v3, 12150) == doctest::Approx(0.55));
  CHECK(rate_at(v3, 14400) == doctest::Approx(0.1));
  CHECK(rate_at(v3, 14700) == doctest::Approx(7.3e-6 / 2.2e-4));
  CHECK_THROWS_AS(rate_at({.total_steps = 10, .warmup_steps = 11}, 0), Error);
}
