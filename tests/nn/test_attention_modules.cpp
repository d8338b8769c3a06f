// Attention modules: latent attention in both forms, multi-head attention with all its options, each against plain loops or itself.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <memory>
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
  std::int64_t at = 0;
  for (const std::int64_t n : pieces) {
    out.push_back(a.attend(contiguous(slice(x, 1, at, at + n)), {.first_position = at, .cache = cache.get()}));
    at += n;
    CHECK(cache->length() == at);
  }
  return concat<T>(out, 1);
}

// One sequence x[T, D] by the definition, token by token, in double.
std::vector<double> by_definition(nn::MultiHeadAttention<double>& m, const Tensor<double>& x, rope::Layout layout) {
  const auto& o = m.options;
  const std::int64_t T = x.size(1), D = x.size(2), H = o.num_attention_heads, J = o.num_key_value_heads, S = o.head_dim;
  const auto project = [&](nn::Module<double>& linear_, nn::Module<double>* norm, std::int64_t heads, bool turn) {
    const auto& l = dynamic_cast<nn::Linear<double>&>(linear_);
    std::vector<double> y(static_cast<std::size_t>(T * heads * S));
    for (std::int64_t t = 0; t < T; ++t)
      for (std::int64_t i = 0; i < heads * S; ++i) {
        double sum = l.bias.defined() ? l.bias.data()[i] : 0.0;
        for (std::int64_t d = 0; d < D; ++d) sum += l.weight.data()[i * D + d] * x.data()[t * D + d];
        y[static_cast<std::size_t>(t * heads * S + i)] = sum;
      }
    const auto normalize = [&](std::int64_t size) {
      const auto& w = dynamic_cast<nn::RMSNorm<double>&>(*norm);
      for (std::int64_t r = 0; r < T * heads * S / size; ++r) {
        double square = 0;
        for (std::int64_t i = 0; i < size; ++i) square += y[static_cast<std::size_t>(r * size + i)] * y[static_cast<std::size_t>(r * size + i)];
        for (std::int64_t i = 0; i < size; ++i) y[static_cast<std::size_t>(r * size + i)] *= w.weight.data()[i] / std::sqrt(square / static_cast<double>(size) + w.eps);
      }
    };
    if (norm != nullptr && o.qk_norm == nn::QkNorm::whole) normalize(heads * S);
    if (o.clip_qkv > 0)
      for (double& v : y) v = std::clamp(v, -o.clip_qkv, o.clip_qkv);
    if (norm != nullptr && o.qk_norm == nn::QkNorm::head) normalize(S);
    for (std::int64_t t = 0; turn && t < T; ++t)
      for (std::int64_t h = 0; h < heads; ++h)
        for (std::int64_t i = 0; i < S / 2; ++i) {
          const double angle = static_cast<double>(t) * std::pow(10000.0, -2.0 * static_cast<double>(i) / static_cast<double>(S));
          const std::int64_t base = (t * heads + h) * S, first = layout == rope::Layout::interleaved ? 2 * i : i, second = layout == rope::Layout::interleaved ? 2 * i + 1 : i + S / 2;
          double &a = y[static_cast<std::size_t>(base + first)], &b = y[static_cast<std::size_t>(base + second)];
          const double u = a * std::cos(angle) - b * std::sin(angle), v = a * std::sin(angle) + b * std::cos(angle);
          a = u, b = v;
        }
    return y;
  };
  const auto q = project(*m.q_proj, m.q_norm.get(), H, true), k = project(*m.k_proj, m.k_norm.get(), J, true), v = project(*m.v_proj, nullptr, J, false);
  std::vector<double> mixed(static_cast<std::size_t>(T * H * S)), out(static_cast<std::size_t>(T * D));
  for (std::int64_t t = 0; t < T; ++t)
    for (std::int64_t h = 0; h < H; ++h) {
      const std::int64_t j = h / (H / J), from = o.sliding_window > 0 ? std::max<std::int64_t>(0, t - o.sliding_window + 1) : 0;
      std::vector<double> p(static_cast<std::size_t>(t + 1));
      double sum = 0;
      for (std::int64_t s = from; s <= t; ++s) {
        double dot = 0;
        for (std::int64_t i = 0; i < S; ++i) dot += q[static_cast<std::size_t>((t * H + h) * S + i)] * k[static_cast<std::size_t>((s * J + j) * S + i)];
        sum += p[static_cast<std::size_t>(s)] = std::exp(dot / std::sqrt(static_cast<double>(S)));
      }
      for (std::int64_t s = from; s <= t; ++s)
        for (std::int64_t i = 0; i < S; ++i)
          mixed[static_cast<std::size_t>((t * H + h) * S + i)] += p[static_cast<std::size_t>(s)] / sum * v[static_cast<std::size_t>((s * J + j) * S + i)];
    }
  const auto& l = dynamic_cast<nn::Linear<double>&>(*m.o_proj);
  for (std::int64_t t = 0; t < T; ++t)
    for (std::int64_t d = 0; d < D; ++d) {
      double sum = l.bias.defined() ? l.bias.data()[d] : 0.0;
      for (std::int64_t i = 0; i < H * S; ++i) sum += l.weight.data()[d * H * S + i] * mixed[static_cast<std::size_t>(t * H * S + i)];
      out[static_cast<std::size_t>(t * D + d)] = sum;
    }
  return out;
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
    const auto want = Tensor<double>::from(by_definition(m, x, v.layout), {1, 9, 20});
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
      for (const std::int64_t absorb_up_to : {0, 4, 100}) {
        CAPTURE(low_rank);
        CAPTURE(absorb_up_to);
        nn::MLA<double> m(mla_options(low_rank, bias), rotary<double>(4));
        stir(m);
        m.options.absorb_up_to = absorb_up_to;
        const auto x = test::normal<double>({2, 13, 24}, 3), whole = m(x);
        CHECK(test::max_relative_error(in_pieces<double>(m, x, {13}), whole) < 1e-12);
        CHECK(test::max_relative_error(in_pieces<double>(m, x, {5, 1, 1, 4, 2}), whole) < 1e-12);
      }
}

TEST_CASE("the latent cache holds rank plus rotary numbers per token, forgets what is truncated and refuses more than fits") {
  const autograd::NoGrad guard;
  nn::MLA<double> m(mla_options(true, false), rotary<double>(4));
  const auto cache = m.make_cache(1, 6);
  const auto x = test::normal<double>({1, 5, 24}, 3), other = test::normal<double>({1, 2, 24}, 4);
  m.attend(x, {.cache = cache.get()});
  const auto again = [&](std::int64_t at, const Tensor<double>& y) { return m.attend(y, {.first_position = at, .cache = cache.get()}); };
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
