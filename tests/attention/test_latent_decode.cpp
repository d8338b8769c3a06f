// What decoding over a latent cache in bfloat16 promises.
#include <doctest/doctest.h>

#include <vector>

#include <moelle/attention/cache.hpp>
#include <moelle/attention/mla_op.hpp>

#include "attention/oracle.hpp"

using namespace moelle;
using test::attention_bound;
using test::attention_oracle;
using test::normal;
using test::with_threads;

namespace {

struct Sizes {
  std::int64_t B, Tq, Tk, H, C, R;
};
std::ostream& operator<<(std::ostream& out, const Sizes& s) {
  return out << "B=" << s.B << " Tq=" << s.Tq << " Tk=" << s.Tk << " H=" << s.H << " C=" << s.C << " R=" << s.R;
}
const Sizes kSizes[] = {{1, 1, 1, 1, 1, 1}, {2, 1, 255, 3, 6, 4}, {1, 3, 513, 16, 64, 32}, {1, 2, 300, 20, 33, 3}, {1, 4, 258, 128, 40, 8}, {1, 1, 70, 2, 1100, 4}, {2, 1, 64, 9, 512, 64}};

Tensor<float> rounded(const Tensor<float>& x) { return cast<float>(cast<bfloat16>(x)); }

Tensor<float> decode(const Tensor<float>& q, const Tensor<bfloat16>& rows, std::int64_t C, std::int64_t window = 0) {  // q [B, Tq, H, D], rows [B, Tk, D]
  const std::int64_t D = q.size(3);
  const Tensor<float> out = Tensor<float>::empty({q.size(0), q.size(1), q.size(2), C});
  const attention::Problem<float> p{.B = q.size(0), .Tq = q.size(1), .Tk = rows.size(1), .H = q.size(2), .J = 1, .parts = 1, .q = {attention::detail::heads(q)}, .k = {}, .dk = {D},
                                    .v = {}, .dv = C, .scale = attention::detail::scale_of<float>({}, D), .window = window};
  attention::run_latent_decode(p, {rows.data(), rows.strides()[0], rows.strides()[1], 0}, attention::detail::writable(out));
  return out;
}

}  // namespace

TEST_CASE("a bfloat16 cache and queries that bfloat16 holds: the oracle, but for the rounding of the probabilities") {
  for (const Sizes& s : kSizes) {
    CAPTURE(s);
    const std::int64_t D = s.C + s.R;
    const auto q = rounded(normal<float>({s.B, s.Tq, s.H, D}, 1)), rows = rounded(normal<float>({s.B, s.Tk, D}, 2));
    const auto keys = reshape(rows, {s.B, s.Tk, 1, D}), values = contiguous(narrow(keys, 3, 0, s.C));
    const double largest = test::max_abs_error(values, Tensor<float>::zeros(values.shape()));
    for (const std::int64_t window : {0, 100}) {
      const auto seen = [&](std::int64_t, std::int64_t i, std::int64_t j) {
        const std::int64_t position = i + s.Tk - s.Tq;
        return j <= position && (window == 0 || j > position - window);
      };
      CHECK(test::max_abs_error(decode(q, cast<bfloat16>(rows), s.C, window), attention_oracle(q, keys, values, seen)) <=
            attention_bound(q, keys, values) + test::kUnit<bfloat16> * largest);
    }
  }
}

TEST_CASE("with a bfloat16 cache, too, bits depend on a query and its keys alone") {
  const std::int64_t length = 530, H = 20, C = 48, D = 64;
  const auto q = normal<float>({3, length, H, D}, 3);
  const auto rows = cast<bfloat16>(normal<float>({3, length, D}, 4));
  const auto last = [&](std::int64_t n, std::int64_t end, std::int64_t b0, std::int64_t b1) {
    return decode(contiguous(slice(slice(q, 0, b0, b1), 1, end - n, end)), slice(slice(rows, 0, b0, b1), 1, 0, end), C);
  };
  for (const std::int64_t end : {5, 255, 256, 257, 512, 530}) {
    CAPTURE(end);
    Tensor<float> want;
    with_threads([&] {
      const auto y = last(4, end, 0, 3);
      if (!want.defined()) want = y;
      CHECK(test::bitwise_equal(y, want));
      for (std::int64_t b = 0; b < 3; ++b)
        for (std::int64_t i = 0; i < 4; ++i) CHECK(test::bitwise_equal(last(1, end - 3 + i, b, b + 1), contiguous(slice(slice(want, 0, b, b + 1), 1, i, i + 1))));
    });
  }
}

TEST_CASE("absorbed latent attention over a bfloat16 cache differs from that over the same floats by the rounding of the probabilities") {
  const attention::MlaDims dims{6, 4, 5};
  const std::int64_t B = 2, Tq = 2, Tk = 300, H = 12, C = 32;
  const auto whole = [](const Shape& shape, int most, std::uint64_t seed) {  // small integers: the absorbed query is exact
    const auto x = normal<float>(shape, seed);
    for (std::int64_t i = 0; i < x.numel(); ++i) x.data()[i] = std::clamp(std::round(x.data()[i]), static_cast<float>(-most), static_cast<float>(most));
    return x;
  };
  const auto q = whole({B, Tq, H, 10}, 2, 5), w = whole({H * 11, C}, 1, 6), rows = rounded(normal<float>({B, Tk, C + 4}, 7));
  const double largest = test::max_abs_error(rows, Tensor<float>::zeros(rows.shape()));
  // Of the mixed latents, every channel is wrong by a mean of roundings; W_UV adds up C of them, weighted by at most 1.
  const double bound = static_cast<double>(C) * largest * (test::kUnit<bfloat16> + 1e-4);
  CHECK(test::max_abs_error(contiguous(attention::mla_absorbed(q, cast<bfloat16>(rows), w, dims)), contiguous(attention::mla_absorbed(q, rows, w, dims))) <= bound);
}

TEST_CASE("a bfloat16 cache grows like any other; what it cannot do is refused") {
  attention::LatentCache<bfloat16> cache(1, 100, 6, 2);
  const attention::MlaDims dims{3, 2, 4};
  const auto q = normal<float>({1, 1, 2, 5}, 8), w = normal<float>({14, 6}, 9), rows = normal<float>({1, 90, 8}, 10);
  cache.rows.append(cast<bfloat16>(slice(rows, 1, 0, 70)));
  cache.rows.append(cast<bfloat16>(slice(rows, 1, 70, 90)));
  CHECK(test::bitwise_equal(contiguous(attention::mla_absorbed(q, cache.rows.view(), w, dims)), contiguous(attention::mla_absorbed(q, cast<bfloat16>(rows), w, dims))));
  CHECK(attention::mla_absorbed(normal<float>({0, 1, 2, 5}, 8), Tensor<bfloat16>::empty({0, 3, 8}), w, dims).numel() == 0);
  CHECK_THROWS_AS(attention::mla_absorbed(q, cast<bfloat16>(normal<float>({1, 3, 7}, 11)), w, dims), Error);  // odd
  CHECK_THROWS_AS(attention::mla_absorbed(q, cast<bfloat16>(normal<float>({2, 3, 8}, 12)), w, dims), Error);  // another batch
  CHECK_THROWS_AS(attention::mla_absorbed(normal<float>({1, 4, 2, 5}, 13), cast<bfloat16>(normal<float>({1, 3, 8}, 14)), w, dims), Error);  // more queries than keys
  w.set_requires_grad(true);
  CHECK_THROWS_AS(attention::mla_absorbed(q, cast<bfloat16>(rows), w, dims), Error);
}
