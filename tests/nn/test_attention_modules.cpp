// Attention modules: latent attention in both forms, multi-head attention with all its options, each against plain loops or itself.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <optional>
#include <vector>

#include <moelle/autograd/mode.hpp>
#include <moelle/nn.hpp>

#include "support/compare.hpp"
#include "support/random_tensor.hpp"

using namespace moelle;

namespace {

template <class T>
std::shared_ptr<nn::Rotary<T>> rotary(std::int64_t dim, rope::Layout layout = rope::Layout::interleaved) {
  return std::make_shared<nn::Rotary<T>>(rope::RopeParams{.dim = dim}, layout, 128);
}
nn::MlaOptions mla_options(bool low_rank_queries, bool bias) {
  nn::MlaOptions o{.hidden_size = 24, .num_attention_heads = 3, .kv_lora_rank = 10, .qk_nope_head_dim = 6, .qk_rope_head_dim = 4, .v_head_dim = 5, .bias = bias};
  if (low_rank_queries) o.q_lora_rank = 7;
  return o;
}
// Every parameter away from its initial value: norms not 1, biases not 0.
template <class T>
void stir(nn::Module<T>& m) {
  std::uint64_t seed = 40;
  for (auto& [name, p] : m.named_parameters()) {
    const auto noise = test::normal<T>(p.shape(), seed++);
    for (std::int64_t i = 0; i < p.numel(); ++i) p.data()[i] += T(0.3) * noise.data()[i];
  }
}
template <class T>
Tensor<T> in_pieces(nn::Attention<T>& a, const Tensor<T>& x, const std::vector<std::int64_t>& pieces) {
  const auto cache = a.make_cache(x.size(0), x.size(1));
  std::vector<Tensor<T>> out;
  std::int64_t done = 0;
  for (const std::int64_t n : pieces) {
    out.push_back(a.attend(contiguous(slice(x, 1, done, done + n)), {.first_position = done, .cache = cache.get()}));
    done += n;
    CHECK(cache->length() == done);
  }
  return concat<T>(out, 1);
}

// Plain loops for one sequence, in double, on rows of `width` elements.
using Rows = std::vector<double>;
std::size_t at(std::int64_t i) { return static_cast<std::size_t>(i); }

Rows apply_linear(nn::Module<double>& module, const Rows& x, std::int64_t in) {
  const auto& l = dynamic_cast<nn::Linear<double>&>(module);
  const std::int64_t out = l.weight.size(0), T = static_cast<std::int64_t>(x.size()) / in;
  Rows y(at(T * out));
  for (std::int64_t t = 0; t < T; ++t)
    for (std::int64_t i = 0; i < out; ++i) {
      y[at(t * out + i)] = l.bias.defined() ? l.bias.data()[i] : 0.0;
      for (std::int64_t d = 0; d < in; ++d) y[at(t * out + i)] += l.weight.data()[i * in + d] * x[at(t * in + d)];
    }
  return y;
}
void normalize(nn::Module<double>& module, Rows& x, std::int64_t width) {
  const auto& n = dynamic_cast<nn::RMSNorm<double>&>(module);
  for (std::size_t r = 0; r < x.size(); r += at(width)) {
    double square = 0;
    for (std::size_t i = 0; i < at(width); ++i) square += x[r + i] * x[r + i];
    for (std::size_t i = 0; i < at(width); ++i) x[r + i] *= n.weight.data()[i] / std::sqrt(square / static_cast<double>(width) + n.eps);
  }
}
// Rows of `heads` vectors of S channels; row t turns by t.
void turn(Rows& x, std::int64_t heads, std::int64_t S, bool interleaved) {
  for (std::int64_t v = 0; v < static_cast<std::int64_t>(x.size()) / S; ++v)
    for (std::int64_t i = 0; i < S / 2; ++i) {
      const double angle = static_cast<double>(v / heads) * std::pow(10000.0, -2.0 * static_cast<double>(i) / static_cast<double>(S));
      double &a = x[at(v * S + (interleaved ? 2 * i : i))], &b = x[at(v * S + (interleaved ? 2 * i + 1 : i + S / 2))];
      const double u = a * std::cos(angle) - b * std::sin(angle), w = a * std::sin(angle) + b * std::cos(angle);
      a = u, b = w;
    }
}
Rows project(const nn::AttentionOptions& o, nn::Module<double>& linear, nn::Module<double>* norm, const Rows& x, std::int64_t heads) {
  Rows y = apply_linear(linear, x, o.hidden_size);
  if (norm != nullptr && o.qk_norm == nn::QkNorm::whole) normalize(*norm, y, heads * o.head_dim);
  if (o.clip_qkv > 0)
    for (double& v : y) v = std::clamp(v, -o.clip_qkv, o.clip_qkv);
  if (norm != nullptr && o.qk_norm == nn::QkNorm::head) normalize(*norm, y, o.head_dim);
  return y;
}
// Token t and head h of `mixed`: values of the keys that it sees, weighed.
void mix(const nn::AttentionOptions& o, const Rows& q, const Rows& k, const Rows& v, std::int64_t t, std::int64_t h, double* mixed) {
  const std::int64_t H = o.num_attention_heads, J = o.num_key_value_heads, S = o.head_dim, j = h / (H / J);
  const std::int64_t from = o.sliding_window > 0 ? std::max<std::int64_t>(0, t - o.sliding_window + 1) : 0;
  Rows p(at(t + 1));
  double sum = 0;
  for (std::int64_t s = from; s <= t; ++s) {
    double dot = 0;
    for (std::int64_t i = 0; i < S; ++i) dot += q[at((t * H + h) * S + i)] * k[at((s * J + j) * S + i)];
    sum += p[at(s)] = std::exp(dot / std::sqrt(static_cast<double>(S)));
  }
  for (std::int64_t s = from; s <= t; ++s)
    for (std::int64_t i = 0; i < S; ++i) mixed[i] += p[at(s)] / sum * v[at((s * J + j) * S + i)];
}
Rows by_definition(nn::MultiHeadAttention<double>& m, const Rows& x, bool interleaved) {
  const auto& o = m.options;
  const std::int64_t T = static_cast<std::int64_t>(x.size()) / o.hidden_size, H = o.num_attention_heads, J = o.num_key_value_heads, S = o.head_dim;
  Rows q = project(o, *m.q_proj, m.q_norm.get(), x, H), k = project(o, *m.k_proj, m.k_norm.get(), x, J), mixed(at(T * H * S));
  const Rows v = project(o, *m.v_proj, nullptr, x, J);
  turn(q, H, S, interleaved);
  turn(k, J, S, interleaved);
  for (std::int64_t t = 0; t < T; ++t)
    for (std::int64_t h = 0; h < H; ++h) mix(o, q, k, v, t, h, mixed.data() + (t * H + h) * S);
  return apply_linear(*m.o_proj, mixed, H * S);
}

struct Variant {
  const char* name;
  nn::AttentionOptions options;
  rope::Layout layout;
};
std::vector<Variant> variants() {
  const nn::AttentionOptions base{.hidden_size = 20, .num_attention_heads = 4, .num_key_value_heads = 4, .head_dim = 6};
  std::vector<Variant> v;
  const auto with = [&](const char* name, auto change, rope::Layout layout = rope::Layout::half_split) {
    nn::AttentionOptions o = base;
    change(o);
    v.push_back({name, o, layout});
  };
  with("multi-head", [](auto&) {});
  with("interleaved rotation", [](auto&) {}, rope::Layout::interleaved);
  with("grouped-query with biases", [](auto& o) { o.num_key_value_heads = 2, o.bias = true; });
  with("multi-query", [](auto& o) { o.num_key_value_heads = 1; });
  with("each head normalised", [](auto& o) { o.num_key_value_heads = 2, o.qk_norm = nn::QkNorm::head; });
  with("heads normalised together, clipped", [](auto& o) { o.qk_norm = nn::QkNorm::whole, o.clip_qkv = 0.4; });
  with("sliding window", [](auto& o) { o.sliding_window = 3; });
  return v;
}

}  // namespace

TEST_CASE("multi-head attention computes its definition for every option") {
  for (const Variant& v : variants()) {
    CAPTURE(v.name);
    nn::MultiHeadAttention<double> m(v.options, rotary<double>(v.options.head_dim, v.layout));
    stir(m);
    const auto x = test::normal<double>({1, 9, 20}, 2);
    const auto want = Tensor<double>::from(by_definition(m, x.to_vector(), v.layout == rope::Layout::interleaved), {1, 9, 20});
    CHECK(test::max_relative_error(m(x).detach(), want) < 1e-12);  // exp and sums of 9 in double
  }
}

TEST_CASE("multi-head attention with a cache, in pieces, agrees with one pass for every option") {
  const autograd::NoGrad guard;
  for (const Variant& v : variants()) {
    CAPTURE(v.name);
    nn::MultiHeadAttention<float> m(v.options, rotary<float>(v.options.head_dim, v.layout));
    stir(m);
    const auto x = test::normal<float>({2, 20, 20}, 2), whole = m(x);
    CHECK(test::max_relative_error(in_pieces<float>(m, x, {20}), whole) < 1e-6);
    CHECK(test::max_relative_error(in_pieces<float>(m, x, {7, 1, 1, 8, 3}), whole) < 1e-6);
  }
}

TEST_CASE("latent attention from its cache, absorbed or expanded, agrees with one pass") {
  const autograd::NoGrad guard;
  for (const bool low_rank : {false, true})
    for (const bool bias : {false, true})
      for (const std::optional<std::int64_t> absorb_up_to : {std::optional<std::int64_t>(), std::optional<std::int64_t>(0), std::optional<std::int64_t>(4), std::optional<std::int64_t>(100)}) {
        CAPTURE(low_rank);
        CAPTURE(bias);
        CAPTURE(absorb_up_to.value_or(-1));
        nn::MLA<double> m(mla_options(low_rank, bias), rotary<double>(4));
        stir(m);
        m.options.absorb_up_to = absorb_up_to;
        const auto x = test::normal<double>({2, 13, 24}, 3), whole = m(x);
        CHECK(test::max_relative_error(in_pieces<double>(m, x, {13}), whole) < 1e-12);
        CHECK(test::max_relative_error(in_pieces<double>(m, x, {5, 1, 1, 4, 2}), whole) < 1e-12);
      }
}

TEST_CASE("the form of latent attention follows from the work") {
  const attention::MlaDims lite{128, 64, 128};  // DeepSeek-V2-Lite, C = 512
  CHECK(!attention::absorbing_is_cheaper(512, 512, 512, lite));   // a prompt: as many keys as queries
  CHECK(attention::absorbing_is_cheaper(1, 4096, 512, lite));     // decoding
  CHECK(attention::absorbing_is_cheaper(128, 4096, 512, lite));   // a chunk of a long prompt
  CHECK(!attention::absorbing_is_cheaper(1024, 4096, 512, lite));
  CHECK(!attention::absorbing_is_cheaper(128, 4096, 512, lite, 4));  // once projecting is fast, fewer queries pay
  // where both cost the same: (Tk - Tq) C (N + V) = pairs (2 C - N - V)
  std::int64_t last = 0;
  for (std::int64_t Tq = 1; Tq <= 4096; ++Tq)
    if (attention::absorbing_is_cheaper(Tq, 4096, 512, lite)) last = Tq;
  const double pairs = static_cast<double>(last) * (4096 - static_cast<double>(last - 1) / 2);
  CHECK(static_cast<double>(4096 - last) * 512 * 256 == doctest::Approx(pairs * 768).epsilon(0.01));
}

TEST_CASE("the latent cache holds rank plus rotary numbers per token, forgets what is truncated and refuses more than fits") {
  const autograd::NoGrad guard;
  nn::MLA<double> m(mla_options(true, false), rotary<double>(4));
  const auto cache = m.make_cache(1, 6);
  const auto x = test::normal<double>({1, 5, 24}, 3), other = test::normal<double>({1, 2, 24}, 4);
  m.attend(x, {.cache = cache.get()});
  const auto again = [&](std::int64_t first, const Tensor<double>& y) { return m.attend(y, {.first_position = first, .cache = cache.get()}); };
  CHECK(cache->capacity() == 6);
  CHECK(cache->bytes() % ((10 + 4) * 8) == 0);
  const auto last = contiguous(slice(x, 1, 3, 5));
  cache->truncate(3);
  const auto want = again(3, last);
  cache->truncate(3);
  again(3, other);
  cache->truncate(3);
  CHECK(test::bitwise_equal(again(3, last), want));
  CHECK_THROWS_WITH_AS(again(5, other), doctest::Contains("length=5 new=2 capacity=6"), Error);
  CHECK(cache->length() == 5);
}

TEST_CASE("a cache of another kind and positions beyond the limit are refused") {
  const autograd::NoGrad guard;
  nn::MLA<float> latent(mla_options(true, false), rotary<float>(4));
  nn::MultiHeadAttention<float> plain(variants()[0].options, rotary<float>(6));
  const auto mine = latent.make_cache(1, 4), its = plain.make_cache(1, 4);
  CHECK_THROWS_WITH_AS(latent.attend(Tensor<float>::ones({1, 1, 24}), {.cache = its.get()}), doctest::Contains("make_cache"), Error);
  CHECK_THROWS_WITH_AS(plain.attend(Tensor<float>::ones({1, 1, 20}), {.cache = mine.get()}), doctest::Contains("make_cache"), Error);
  CHECK_THROWS_WITH_AS(plain(Tensor<float>::ones({1, 129, 20})), doctest::Contains("last position 128 max_position_embeddings=128"), Error);
  CHECK_THROWS_AS(plain(Tensor<float>::ones({3, 20})), Error);
}
