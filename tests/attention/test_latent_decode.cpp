// What decoding over a latent cache in bfloat16 promises.
#include <doctest/doctest.h>

#include <memory>
#include <utility>
#include <vector>

#include <moelle/attention/cache.hpp>
#include <moelle/attention/mla_op.hpp>
#include <moelle/autograd/mode.hpp>
#include <moelle/nn/mla.hpp>

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

TEST_CASE("many queries over a bfloat16 cache have the bits of each alone") {
  const attention::MlaDims dims{8, 4, 6};
  const auto q = normal<float>({2, 11, 3, 12}, 5), kv_b = normal<float>({3 * 14, 16}, 6);
  const auto cache = cast<bfloat16>(normal<float>({2, 300, 20}, 7));
  for (const std::int64_t window : {0, 100}) {
    const Tensor<float> whole = contiguous(attention::mla_absorbed(q, cache, kv_b, dims, {.window = window}));
    for (std::int64_t i = 0; i < 11; ++i) {
      const Tensor<float> alone = attention::mla_absorbed(contiguous(narrow(q, 1, i, 1)), contiguous(narrow(cache, 1, 0, 290 + i)), kv_b, dims, {.window = window});
      CHECK(test::bitwise_equal(contiguous(alone), contiguous(narrow(whole, 1, i, 1))));
    }
  }
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

TEST_CASE("the module attends over a bfloat16 cache of half the bytes") {
  const nn::MlaOptions native{.hidden_size = 24, .num_attention_heads = 3, .kv_lora_rank = 10, .qk_nope_head_dim = 6, .qk_rope_head_dim = 4, .v_head_dim = 5};
  nn::MlaOptions rounded = native;
  rounded.cache_storage = nn::LatentStorage::bfloat16;
  const auto x = normal<float>({2, 20, 24}, 15);
  const auto rotary = std::make_shared<nn::Rotary<float>>(rope::RopeParams{.dim = 4}, rope::Layout::interleaved, 128);
  nn::MLA<float> a(native, rotary), b(rounded, rotary);
  const auto from = a.named_parameters();
  auto to = b.named_parameters();
  for (std::size_t i = 0; i < from.size(); ++i)
    for (std::int64_t e = 0; e < from[i].second.numel(); ++e) to[i].second.data()[e] = from[i].second.data()[e];
  const auto run = [&](nn::MLA<float>& m) {
    const auto cache = m.make_cache(2, 20);
    std::vector<Tensor<float>> out;
    for (const auto& [begin, end] : std::vector<std::pair<std::int64_t, std::int64_t>>{{0, 9}, {9, 10}, {10, 14}, {14, 20}})
      out.push_back(m.attend(contiguous(slice(x, 1, begin, end)), {.first_position = begin, .cache = cache.get()}));
    return std::make_pair(concat<float>(out, 1), cache->bytes());
  };
  for (const bool grad : {true, false}) {  // with a gradient wanted, rows are made floats again
    CAPTURE(grad);
    const auto mode = grad ? nullptr : std::make_unique<autograd::NoGrad>();
    const auto want = run(a), got = run(b);
    CHECK(got.second * 2 == want.second);
    // Rows, queries and probabilities each lose at most 2^-8 of their size; scores are of the order of 1.
    CHECK(test::max_relative_error(got.first, want.first) < 4 * test::kUnit<bfloat16>);
    CHECK_FALSE(test::bitwise_equal(got.first, want.first));
  }
}
