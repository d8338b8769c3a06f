// Attention whose products take bfloat16 operands.
#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <vector>

#include <moelle/attention/mla_op.hpp>
#include <moelle/tensor/ops.hpp>

#include "attention/oracle.hpp"
#include "support/compare.hpp"

using namespace moelle;
using attention::AttentionParams;
using test::normal;
using test::Shapes;

namespace {
constexpr double kRound = 0x1p-9;  // the most that rounding to bfloat16 changes a number, relatively
constexpr AttentionParams kBf16{.precision = gemm::Precision::bf16};

// Odd lengths and sizes leave half a unit; the rest crosses register tiles, query and key blocks and panels.
const Shapes kShapes[] = {{1, 1, 1, 1, 1, 1, 1}, {2, 5, 5, 2, 2, 3, 5}, {1, 3, 9, 4, 2, 7, 3}, {1, 1, 201, 2, 1, 48, 32}, {2, 71, 71, 2, 1, 48, 32}, {1, 130, 131, 2, 2, 17, 49},
                          {1, 65, 300, 2, 1, 64, 64}, {1, 2, 65, 2, 2, 301, 5}, {1, 150, 150, 2, 2, 192, 128}, {1, 40, 40, 1, 1, 1100, 600}};

Tensor<float> rounded(const Tensor<float>& x) { return cast<float>(cast<bfloat16>(x)); }

struct Inputs {
  Tensor<float> q, k, v, dout;
};
Inputs inputs(const Shapes& s, std::uint64_t seed) {  // that bfloat16 holds exactly
  return {rounded(normal<float>({s.B, s.Tq, s.H, s.Dk}, seed)), rounded(normal<float>({s.B, s.Tk, s.J, s.Dk}, seed + 1)), rounded(normal<float>({s.B, s.Tk, s.J, s.Dv}, seed + 2)),
          rounded(normal<float>({s.B, s.Tq, s.H, s.Dv}, seed + 3))};
}
struct Results {
  Tensor<float> y, dq, dk, dv;
};
Results run(const Inputs& in, const AttentionParams& params) {
  const Tensor<float> q = in.q.detach(), k = in.k.detach(), v = in.v.detach();
  q.set_requires_grad(true), k.set_requires_grad(true), v.set_requires_grad(true);
  const Tensor<float> y = attention::attention(q, k, v, params);
  y.backward(in.dout);
  return {y.detach(), q.grad(), k.grad(), v.grad()};
}
double norm(const Tensor<float>& x, const Tensor<float>& minus) {
  double sum = 0;
  for (std::int64_t i = 0; i < x.numel(); ++i) sum += std::pow(static_cast<double>(x.data()[i]) - static_cast<double>(minus.data()[i]), 2);
  return std::sqrt(sum);
}
double norm(const Tensor<float>& x) { return norm(x, Tensor<float>::zeros(x.shape())); }
bool same(const Results& a, const Results& b) {
  return test::bitwise_equal(a.y, b.y) && test::bitwise_equal(a.dq, b.dq) && test::bitwise_equal(a.dk, b.dk) && test::bitwise_equal(a.dv, b.dv);
}
}  // namespace

TEST_CASE("rounding the probabilities is all that changes a result whose inputs are bfloat16 already") {
  for (const Shapes& s : kShapes) {
    CAPTURE(s);
    const Inputs in = inputs(s, 1);
    for (const std::int64_t window : {0, 7}) {
      const auto visible = [&](std::int64_t, std::int64_t i, std::int64_t j) { return j <= i + s.Tk - s.Tq && (window == 0 || j > i + s.Tk - s.Tq - window); };
      const Tensor<float> want = test::attention_oracle(in.q, in.k, in.v, visible), got = attention::attention(in.q, in.k, in.v, {.window = window, .precision = gemm::Precision::bf16});
      const double most = test::max_abs_error(in.v, Tensor<float>::zeros(in.v.shape()));
      CHECK(test::max_abs_error(got, want) <= test::attention_bound(in.q, in.k, in.v) + kRound * most);
    }
  }
}

TEST_CASE("gradients differ from those of float operands by the roundings of p, dS and, through o, of delta") {
  for (const Shapes& s : kShapes) {
    CAPTURE(s);
    const Inputs in = inputs(s, 5);
    for (const std::int64_t window : {0, 7}) {
      const Results want = run(in, {.window = window}), got = run(in, {.window = window, .precision = gemm::Precision::bf16});
      // dS = p (dP - delta), where delta is wrong by a rounding of p: against the size of p dP, which is that of dS unless there is one key.
      const double scores = s.Tk == 1 ? 1e-6 : 3 * kRound;
      CHECK(norm(got.dv, want.dv) <= kRound * norm(want.dv) * 1.01);
      CHECK(norm(got.dq, want.dq) <= scores * norm(want.dq) + 1e-6);
      CHECK(norm(got.dk, want.dk) <= scores * norm(want.dk) + 1e-6);
    }
  }
}

TEST_CASE("inputs are rounded, to nearest") {
  const Shapes s{1, 33, 33, 2, 1, 20, 12};
  const Tensor<float> q = normal<float>({s.B, s.Tq, s.H, s.Dk}, 20), k = normal<float>({s.B, s.Tk, s.J, s.Dk}, 21), v = normal<float>({s.B, s.Tk, s.J, s.Dv}, 22), g = normal<float>({s.B, s.Tq, s.H, s.Dv}, 23);
  const Results raw = run({q, k, v, g}, kBf16), exact = run({rounded(q), rounded(k), rounded(v), g}, kBf16);
  CHECK(same(raw, exact));
  CHECK(same(run({q, k, v, g}, {.precision = gemm::Precision::fp8}), raw));
}

TEST_CASE("chunks, single queries, batches and threads give the bits of one pass") {
  const Inputs in = inputs({2, 201, 201, 4, 2, 48, 32}, 30);
  const Tensor<float> whole = attention::attention(in.q, in.k, in.v, kBf16);
  for (const auto& [begin, end] : std::vector<std::pair<std::int64_t, std::int64_t>>{{0, 1}, {1, 2}, {63, 65}, {200, 201}, {0, 51}, {51, 130}, {130, 201}})
    CHECK(test::bitwise_equal(attention::attention(contiguous(slice(in.q, 1, begin, end)), slice(in.k, 1, 0, end), slice(in.v, 1, 0, end), kBf16), contiguous(slice(whole, 1, begin, end))));
  for (std::int64_t b = 0; b < 2; ++b)
    CHECK(test::bitwise_equal(attention::attention(slice(in.q, 0, b, b + 1), slice(in.k, 0, b, b + 1), slice(in.v, 0, b, b + 1), kBf16), contiguous(slice(whole, 0, b, b + 1))));
  Results want;
  test::with_threads([&] {
    const Results got = run(in, kBf16);
    if (!want.y.defined()) want = got;
    CHECK(same(got, want));
  });
}

TEST_CASE("a query that sees nothing gives zeros and passes no gradient") {
  const Inputs in = inputs({1, 3, 3, 1, 1, 4, 4}, 40);
  const Tensor<float> mask = Tensor<float>::zeros({1, 1, 3, 3});
  for (std::int64_t j = 0; j < 3; ++j) mask.at({0, 0, 1, j}) = -std::numeric_limits<float>::infinity();
  in.q.set_requires_grad(true);
  const Tensor<float> y = attention::attention(in.q, in.k, in.v, kBf16, {.segments = {}, .mask = mask});
  y.backward(in.dout);
  for (std::int64_t c = 0; c < 4; ++c) {
    CHECK(y.at({0, 1, 0, c}) == 0.0f);
    CHECK(in.q.grad().at({0, 1, 0, c}) == 0.0f);
    CHECK(std::isfinite(in.q.grad().at({0, 2, 0, c})));
  }
}

TEST_CASE("latent attention takes the same way: equal to plain attention on concatenated keys") {
  const attention::MlaDims dims{32, 16, 32};
  const Tensor<float> q = normal<float>({2, 70, 3, 48}, 50), kv = normal<float>({2, 70, 3, 64}, 51), rope = normal<float>({2, 70, 16}, 52);
  const Tensor<float> keys = concat<float>({narrow(kv, 3, 0, 32), contiguous(expand(unsqueeze(rope, 2), {2, 70, 3, 16}))}, 3);
  const Tensor<float> plain = attention::attention(q, keys, contiguous(narrow(kv, 3, 32, 32)), kBf16), got = attention::shared_rope_attention(q, kv, rope, dims, kBf16);
  // The two parts of a score are added once more in float; a probability that this moves may round to its neighbour.
  CHECK(norm(got, plain) <= kRound * norm(plain));
}

TEST_CASE("double operands stay double") {
  const auto q = normal<double>({1, 9, 2, 4}, 60);
  CHECK(test::bitwise_equal(attention::attention(q, q, q, kBf16), attention::attention(q, q, q)));
}
