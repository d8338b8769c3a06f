// What attention promises.
#include <doctest/doctest.h>

#include <limits>
#include <vector>

#include <moelle/core/memory.hpp>
#include <moelle/tensor/ops.hpp>

#include "attention/oracle.hpp"
#include "support/compare.hpp"

using namespace moelle;
using attention::AttentionParams;
using attention::Visibility;
using test::attention_oracle;
using test::normal;
using test::Shapes;

namespace {
// Scores are sums of Dk products, exp amplifies their rounding by |s|: a few eps for the scores met here, times the sum over keys.
constexpr double kFloat = 2e-6, kDouble = 1e-14;

const Shapes kShapes[] = {{2, 5, 5, 2, 2, 3, 4}, {1, 1, 1, 1, 1, 1, 1}, {2, 3, 9, 4, 2, 4, 3}, {1, 1, 200, 2, 1, 48, 32}, {2, 70, 70, 3, 3, 48, 32},
                          {1, 130, 131, 2, 1, 16, 16}, {1, 64, 64, 1, 1, 8, 8}, {1, 2, 65, 2, 2, 300, 5}, {1, 3, 3, 8, 1, 192, 128}};

template <class T>
struct Inputs {
  Tensor<T> q, k, v;
};
template <class T>
Inputs<T> inputs(const Shapes& s, std::uint64_t seed) {
  return {normal<T>({s.B, s.Tq, s.H, s.Dk}, seed), normal<T>({s.B, s.Tk, s.J, s.Dk}, seed + 1), normal<T>({s.B, s.Tk, s.J, s.Dv}, seed + 2)};
}
}  // namespace

TEST_CASE("causal attention agrees with the oracle for every shape of heads") {
  for (const Shapes& s : kShapes) {
    CAPTURE(s);
    const auto d = inputs<double>(s, 1);
    const auto causal = [&](std::int64_t, std::int64_t i, std::int64_t j) { return j <= i + s.Tk - s.Tq; };
    CHECK(test::max_relative_error(attention::attention(d.q, d.k, d.v), attention_oracle(d.q, d.k, d.v, causal)) < kDouble);
    const auto f = inputs<float>(s, 1);
    CHECK(test::max_relative_error(attention::attention(f.q, f.k, f.v), attention_oracle(f.q, f.k, f.v, causal)) < kFloat);
  }
}

TEST_CASE("without a causal mask every query sees every key, also when there are more queries than keys") {
  const auto d = inputs<double>({1, 9, 4, 2, 1, 5, 3}, 2);
  const auto all = [](std::int64_t, std::int64_t, std::int64_t) { return true; };
  CHECK(test::max_relative_error(attention::attention(d.q, d.k, d.v, {.causal = false}), attention_oracle(d.q, d.k, d.v, all)) < kDouble);
}

TEST_CASE("a sliding window, documents and an added mask hide what they should") {
  const Shapes s{2, 80, 80, 2, 2, 6, 5};
  const auto d = inputs<double>(s, 3);
  const auto window = [](std::int64_t, std::int64_t i, std::int64_t j) { return j <= i && j > i - 7; };
  CHECK(test::max_relative_error(attention::attention(d.q, d.k, d.v, {.window = 7}), attention_oracle(d.q, d.k, d.v, window)) < kDouble);

  Tensor<std::int32_t> segments = Tensor<std::int32_t>::empty({2, 80});
  for (std::int64_t i = 0; i < 160; ++i) segments.data()[i] = static_cast<std::int32_t>(i < 80 ? i / 30 : (i > 85) + (i > 140));
  const auto same = [&](std::int64_t b, std::int64_t i, std::int64_t j) { return j <= i && segments.at({b, i}) == segments.at({b, j}); };
  CHECK(test::max_relative_error(attention::attention(d.q, d.k, d.v, {}, {.segments = segments, .mask = {}}), attention_oracle(d.q, d.k, d.v, same)) < kDouble);

  Tensor<double> mask = normal<double>({2, 1, 80, 80}, 9);
  mask.at({0, 0, 5, 2}) = -std::numeric_limits<double>::infinity();
  const auto causal = [](std::int64_t, std::int64_t i, std::int64_t j) { return j <= i; };
  const auto added = [&](std::int64_t b, std::int64_t, std::int64_t i, std::int64_t j) { return mask.at({b, 0, i, j}); };
  CHECK(test::max_relative_error(attention::attention(d.q, d.k, d.v, {}, {.segments = {}, .mask = mask}), attention_oracle(d.q, d.k, d.v, causal, added)) < kDouble);
}

TEST_CASE("a query that sees nothing gives zeros, not NaN, and passes no gradient") {
  const auto d = inputs<double>({1, 3, 3, 1, 1, 2, 2}, 4);
  Tensor<double> mask = Tensor<double>::zeros({1, 1, 3, 3});
  for (std::int64_t j = 0; j < 3; ++j) mask.at({0, 0, 1, j}) = -std::numeric_limits<double>::infinity();
  d.q.set_requires_grad(true);
  const auto y = attention::attention(d.q, d.k, d.v, {}, {.segments = {}, .mask = mask});
  y.backward(Tensor<double>::ones(y.shape()));
  for (std::int64_t c = 0; c < 2; ++c) {
    CHECK(y.at({0, 1, 0, c}) == 0.0);
    CHECK(d.q.grad().at({0, 1, 0, c}) == 0.0);
    CHECK(std::isfinite(d.q.grad().at({0, 2, 0, c})));
  }
}

TEST_CASE("any strides give the bits of contiguous tensors") {
  const auto q = normal<float>({2, 4, 70, 12}, 5), k = normal<float>({2, 2, 70, 12}, 6), v = normal<float>({70, 2, 2, 8}, 7);
  const auto tq = transpose(q, 1, 2), tk = transpose(k, 1, 2), tv = permute(v, {1, 0, 2, 3});
  CHECK(test::bitwise_equal(attention::attention(tq, tk, tv), attention::attention(contiguous(tq), contiguous(tk), contiguous(tv))));
}

TEST_CASE("one query at a time with the keys so far gives the bits of one pass, and so does any chunk") {
  const auto f = inputs<float>({2, 200, 200, 3, 3, 48, 32}, 8);
  const auto whole = attention::attention(f.q, f.k, f.v);
  for (const auto& chunk : std::vector<std::pair<std::int64_t, std::int64_t>>{{0, 1}, {1, 2}, {63, 64}, {64, 65}, {199, 200}, {0, 50}, {50, 130}, {130, 200}}) {
    const std::int64_t begin = chunk.first, end = chunk.second;
    CAPTURE(begin);
    const auto part = attention::attention(contiguous(slice(f.q, 1, begin, end)), slice(f.k, 1, 0, end), slice(f.v, 1, 0, end));
    CHECK(test::bitwise_equal(part, contiguous(slice(whole, 1, begin, end))));
  }
}

TEST_CASE("a row of a batch gives the bits of the row alone") {
  const auto f = inputs<float>({5, 90, 90, 4, 2, 16, 16}, 10);
  const auto whole = attention::attention(f.q, f.k, f.v);
  for (std::int64_t b = 0; b < 5; ++b)
    CHECK(test::bitwise_equal(attention::attention(slice(f.q, 0, b, b + 1), slice(f.k, 0, b, b + 1), slice(f.v, 0, b, b + 1)), contiguous(slice(whole, 0, b, b + 1))));
}

TEST_CASE("results and gradients have the same bits for 1, 2, 3 and 7 threads") {
  Tensor<float> want, want_q, want_k, want_v;
  const int before = num_threads();
  for (const int threads : {1, 2, 3, 7}) {
    set_num_threads(threads);
    const auto f = inputs<float>({3, 100, 100, 4, 2, 24, 16}, 11);
    f.q.set_requires_grad(true), f.k.set_requires_grad(true), f.v.set_requires_grad(true);
    const auto y = attention::attention(f.q, f.k, f.v);
    y.backward(normal<float>(y.shape(), 12));
    if (!want.defined()) want = y.detach(), want_q = f.q.grad(), want_k = f.k.grad(), want_v = f.v.grad();
    CAPTURE(threads);
    CHECK(test::bitwise_equal(y.detach(), want));
    CHECK(test::bitwise_equal(f.q.grad(), want_q));
    CHECK(test::bitwise_equal(f.k.grad(), want_k));
    CHECK(test::bitwise_equal(f.v.grad(), want_v));
  }
  set_num_threads(before);
}

TEST_CASE("memory grows linearly with length, forward and backward") {
  const auto peak = [](std::int64_t T) {
    const auto f = inputs<float>({1, T, T, 1, 1, 16, 16}, 13);
    f.q.set_requires_grad(true);
    reset_peak_memory();
    const auto before = memory_stats().live_bytes;
    attention::attention(f.q, f.k, f.v).backward(normal<float>({1, T, 1, 16}, 14));
    return memory_stats().peak_bytes - before;
  };
  peak(4096);  // scratch of the threads is kept
  const auto small = peak(1024), large = peak(4096);
  MESSAGE("bytes at 1024: " << small << ", at 4096: " << large);
  CHECK(large < 6 * small);
  CHECK(large < 4096 * 4096 / 4);  // a quarter of one byte-sized score per pair
}

TEST_CASE("empty inputs are legal and impossible ones are refused with their shapes") {
  const auto q = normal<float>({0, 3, 2, 4}, 15);
  CHECK(attention::attention(q, q, q).shape() == Shape({0, 3, 2, 4}));
  const auto none = normal<float>({1, 0, 2, 4}, 15);
  CHECK(attention::attention(none, none, none).numel() == 0);
  const auto a = normal<float>({1, 3, 3, 4}, 16), b = normal<float>({1, 3, 2, 4}, 17), c = normal<float>({1, 2, 3, 4}, 18);
  CHECK_THROWS_WITH_AS(attention::attention(a, b, b), "attention: query heads must be a multiple of key heads; got q=[1, 3, 3, 4] k=[1, 3, 2, 4] v=[1, 3, 2, 4]", Error);
  CHECK_THROWS_AS(attention::attention(a, c, c), Error);
  CHECK_THROWS_AS(attention::attention(a, a, a, AttentionParams{.window = -1}), Error);
  CHECK_THROWS_AS(attention::attention(a, a, a, AttentionParams{.scale = std::numeric_limits<double>::quiet_NaN()}), Error);
  CHECK_THROWS_AS(attention::attention(a, a, a, {}, Visibility<float>{.segments = Tensor<std::int32_t>::zeros({1, 2}), .mask = {}}), Error);
}
