// What attention promises for few queries over many keys, and that every way to cut its work gives the same bits.
#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <vector>

#include <moelle/attention/mla_op.hpp>
#include <moelle/core/parallel.hpp>

#include "attention/oracle.hpp"
#include "support/compare.hpp"

using namespace moelle;
using test::attention_bound;
using test::attention_oracle;
using test::normal;
using test::Shapes;
using test::with_threads;

namespace {

constexpr std::int64_t kBlock = attention::kKeyBlock;

template <class T>
struct Inputs {
  Tensor<T> q, k, v;
  Inputs(const Shapes& s, std::uint64_t seed) : q(normal<T>({s.B, s.Tq, s.H, s.Dk}, seed)), k(normal<T>({s.B, s.Tk, s.J, s.Dk}, seed + 1)), v(normal<T>({s.B, s.Tk, s.J, s.Dv}, seed + 2)) {}
};

// Heads that share keys: one, some, as many as are rows at most, more, and many; lengths around a block; sizes that fill vectors, do not, and exceed
// one K block of the product.
const Shapes kShapes[] = {{1, 1, 1, 1, 1, 1, 1},         {2, 1, kBlock - 1, 3, 3, 48, 32},      {1, 1, kBlock, 4, 2, 16, 16},      {3, 1, kBlock + 1, 8, 1, 20, 7},
                          {1, 2, 2 * kBlock, 9, 1, 24, 32}, {2, 4, 2 * kBlock + 9, 6, 2, 5, 3}, {1, 3, 3 * kBlock - 1, 32, 2, 64, 64}, {1, 1, kBlock + 40, 16, 1, 576, 512},
                          {1, 4, 300, 20, 1, 520, 515},  {1, 1, 70, 128, 1, 40, 33},            {1, 1, 2 * kBlock, 2, 2, 1024, 8}};

}  // namespace

TEST_CASE("few queries agree with the oracle within the bound of their roundings") {
  for (const Shapes& s : kShapes) {
    CAPTURE(s);
    const auto causal = [&](std::int64_t, std::int64_t i, std::int64_t j) { return j <= i + s.Tk - s.Tq; };
    const Inputs<float> f(s, 1);
    CHECK(test::max_abs_error(attention::attention(f.q, f.k, f.v), attention_oracle(f.q, f.k, f.v, causal)) <= attention_bound(f.q, f.k, f.v));
    const Inputs<double> d(s, 1);
    CHECK(test::max_abs_error(attention::attention(d.q, d.k, d.v), attention_oracle(d.q, d.k, d.v, causal)) <= attention_bound(d.q, d.k, d.v));
  }
}

TEST_CASE("queries one by one, a few or all at once have the same bits, whichever heads share keys") {
  for (const Shapes& s : {Shapes{1, 600, 600, 3, 3, 48, 32}, {1, 530, 530, 12, 1, 24, 20}, {1, 300, 300, 16, 1, 576, 512}, {2, 280, 280, 8, 2, 16, 16}, {1, 270, 270, 18, 2, 520, 6}}) {
    CAPTURE(s);
    const Inputs<float> f(s, 5);
    const auto whole = attention::attention(f.q, f.k, f.v);
    for (const std::int64_t n : {1, 2, 4, 5})
      for (const std::int64_t end : {n, std::int64_t{17}, kBlock, kBlock + 1, kBlock + 3, s.Tk - 1, s.Tk}) {
        CAPTURE(n);
        CAPTURE(end);
        const auto part = attention::attention(contiguous(slice(f.q, 1, end - n, end)), slice(f.k, 1, 0, end), slice(f.v, 1, 0, end));
        CHECK(test::bitwise_equal(part, contiguous(slice(whole, 1, end - n, end))));
      }
  }
}

TEST_CASE("a window hides whole blocks from few queries and from many alike") {
  const Shapes s{2, 700, 700, 4, 2, 16, 12};
  const Inputs<double> d(s, 6);
  const attention::AttentionParams window{.window = 150};
  const auto seen = [](std::int64_t, std::int64_t i, std::int64_t j) { return j <= i && j > i - 150; };
  const auto whole = attention::attention(d.q, d.k, d.v, window);
  CHECK(test::max_abs_error(whole, attention_oracle(d.q, d.k, d.v, seen)) <= attention_bound(d.q, d.k, d.v));
  for (const std::int64_t end : {160, 256, 300, 520, 700})
    CHECK(test::bitwise_equal(attention::attention(contiguous(slice(d.q, 1, end - 2, end)), slice(d.k, 1, 0, end), slice(d.v, 1, 0, end), window), contiguous(slice(whole, 1, end - 2, end))));
}

TEST_CASE("documents of ragged lengths across blocks agree with the oracle") {
  const Shapes s{2, 620, 620, 2, 1, 12, 9};
  const Inputs<double> d(s, 7);
  Tensor<std::int32_t> segments = Tensor<std::int32_t>::empty({2, 620});
  const std::int64_t ends[2][5] = {{1, 256, 257, 500, 620}, {300, 301, 310, 600, 620}};
  for (std::int64_t b = 0; b < 2; ++b)
    for (std::int64_t t = 0, n = 0; t < 620; ++t) {
      if (t == ends[b][n]) ++n;
      segments.at({b, t}) = static_cast<std::int32_t>(n);
    }
  for (const bool causal : {true, false}) {
    CAPTURE(causal);
    const auto same = [&](std::int64_t b, std::int64_t i, std::int64_t j) { return (j <= i || !causal) && segments.at({b, i}) == segments.at({b, j}); };
    CHECK(test::max_abs_error(attention::attention(d.q, d.k, d.v, {.causal = causal}, {.segments = segments, .mask = {}}), attention_oracle(d.q, d.k, d.v, same)) <=
          attention_bound(d.q, d.k, d.v));
  }
}

TEST_CASE("few queries have the same bits for 1, 2, 3 and 7 threads, and a row of a batch those of the row alone") {
  for (const Shapes& s : {Shapes{3, 1, 1200, 4, 2, 24, 16}, {5, 2, 700, 16, 1, 80, 64}, {1, 1, 100, 8, 8, 24, 16}}) {
    CAPTURE(s);
    const Inputs<float> f(s, 8);
    Tensor<float> want;
    with_threads([&] {
      const auto y = attention::attention(f.q, f.k, f.v);
      if (!want.defined()) want = y;
      CHECK(test::bitwise_equal(y, want));
      for (std::int64_t b = 0; b < s.B; ++b)
        CHECK(test::bitwise_equal(attention::attention(slice(f.q, 0, b, b + 1), slice(f.k, 0, b, b + 1), slice(f.v, 0, b, b + 1)), contiguous(slice(want, 0, b, b + 1))));
    });
  }
}

TEST_CASE("gradients have the same bits for any number of threads, also where key heads are fewer") {
  for (const Shapes& s : {Shapes{1, 300, 300, 1, 1, 24, 16}, {1, 290, 290, 4, 2, 20, 18}, {1, 3, 400, 6, 1, 24, 16}, {2, 130, 270, 2, 1, 8, 8}}) {
    CAPTURE(s);
    std::vector<Tensor<float>> want;
    with_threads([&] {
      const Inputs<float> f(s, 9);
      f.q.set_requires_grad(true), f.k.set_requires_grad(true), f.v.set_requires_grad(true);
      const auto y = attention::attention(f.q, f.k, f.v);
      y.backward(normal<float>(y.shape(), 12));
      const std::vector<Tensor<float>> got{y.detach(), f.q.grad(), f.k.grad(), f.v.grad()};
      if (want.empty()) want = got;
      for (std::size_t n = 0; n < got.size(); ++n) CHECK(test::bitwise_equal(got[n], want[n]));
    });
  }
}

TEST_CASE("absorbed latent attention: chunks of queries have the bits of one pass, and any number of threads") {
  const attention::MlaDims dims{12, 8, 10};
  const std::int64_t H = 20, C = 32, length = 300;
  const auto q = normal<float>({2, length, H, 20}, 1), cache = normal<float>({2, length, C + 8}, 2), w = normal<float>({H * 22, C}, 3);
  const auto whole = contiguous(attention::mla_absorbed(q, cache, w, dims));
  with_threads([&] {
    for (const std::int64_t n : {1, 3, 4, 7})
      for (const std::int64_t end : {n, std::int64_t{256}, std::int64_t{259}, length}) {
        const auto part = attention::mla_absorbed(contiguous(slice(q, 1, end - n, end)), slice(cache, 1, 0, end), w, dims);
        CHECK(test::bitwise_equal(contiguous(part), contiguous(slice(whole, 1, end - n, end))));
      }
  });
}

TEST_CASE("without keys the result is 0, and hidden blocks leave no trace") {
  for (const std::int64_t Tq : {1, 9}) {
    const Inputs<float> f({2, Tq, 0, 3, 1, 4, 5}, 10);
    const auto y = attention::attention(f.q, f.k, f.v, {.causal = false});
    CHECK(test::bitwise_equal(y, Tensor<float>::zeros({2, Tq, 3, 5})));
  }
  const Shapes s{1, 300, 300, 1, 1, 4, 5};
  const Inputs<double> d(s, 11);
  Tensor<double> mask = Tensor<double>::zeros({1, 1, 300, 300});
  for (std::int64_t j = 0; j < 300; ++j) {
    if (j < kBlock) mask.at({0, 0, 290, j}) = -std::numeric_limits<double>::infinity();  // the first block of keys
    mask.at({0, 0, 291, j}) = -std::numeric_limits<double>::infinity();                  // all of them
  }
  const auto y = attention::attention(d.q, d.k, d.v, {}, {.segments = {}, .mask = mask});
  const auto visible = [&](std::int64_t, std::int64_t i, std::int64_t j) { return j <= i && mask.at({0, 0, i, j}) == 0; };
  CHECK(test::max_abs_error(y, attention_oracle(d.q, d.k, d.v, visible)) <= attention_bound(d.q, d.k, d.v));
  CHECK(y.at({0, 0 + 291, 0, 0}) == 0.0);
}

TEST_CASE("a score that is NaN makes its queries NaN and no others") {
  for (const std::int64_t H : {1, 12})
    for (const std::int64_t Tq : {1, 280}) {
      CAPTURE(H);
      CAPTURE(Tq);
      const Inputs<float> f({1, Tq, 280, H, 1, 4, 5}, 12);
      f.q.at({0, Tq - 1, 0, 1}) = std::numeric_limits<float>::quiet_NaN();
      const auto y = attention::attention(f.q, f.k, f.v);
      for (std::int64_t i = 0; i < Tq; ++i)
        for (std::int64_t h = 0; h < H; ++h) CHECK(std::isnan(y.at({0, i, h, 0})) == (i == Tq - 1 && h == 0));
    }
}
