// tests/rope/test_rope.cpp
#include <doctest/doctest.h>

#include <activation/helpers.hpp>
#include <moelle/autograd/gradcheck.hpp>
#include <moelle/rope.hpp>
#include <moelle/rope/rope_ref.hpp>

using namespace moelle;
using namespace moelle::testing;
using rope::Layout;
using rope::RopeOptions;

namespace {

constexpr Layout kLayouts[] = {Layout::interleaved, Layout::half_split, Layout::deinterleave};

template <class T>
rope::RopeTables<T> tables(std::int64_t dim, std::int64_t positions = 64) {
  return rope::make_tables<T>({.dim = dim, .attention_factor = 1.25}, positions);
}

struct Case {
  Shape x;  // [..., T, H, D]
  std::int64_t dim, offset;
};
const Case kCases[] = {{{1, 1, 2}, 2, 0},        {{5, 2, 8}, 4, 2},      {{3, 4, 64}, 64, 0}, {{2, 7, 2, 48}, 32, 16},
                       {{2, 3, 5, 1, 36}, 36, 0}, {{4, 3, 192}, 64, 128}, {{6, 1, 71}, 70, 1}};

Tensor<std::int64_t> positions_of(const Shape& x, bool per_token) {
  Shape shape = x;
  shape.erase(x.rank() - 1);
  shape.erase(x.rank() - 2);
  return integers<std::int64_t>(per_token ? shape : Shape{shape.back()}, 7, 64);
}

// The contract, token by token.
template <class T>
std::vector<T> oracle(const Tensor<T>& x, const Tensor<std::int64_t>& pos, const rope::RopeTables<T>& t, const RopeOptions& o) {
  const std::int64_t D = x.size(-1), H = x.size(-2), R = 2 * t.cos.size(-1);
  std::vector<T> in = x.to_vector(), out(in.size());
  for (std::int64_t i = 0; i < x.numel() / D; ++i) {
    const std::int64_t at = pos.data()[i / H % pos.numel()] * R / 2;
    rope::ref::rope(o, in.data() + i * D, t.cos.data() + at, t.sin.data() + at, D, R, out.data() + i * D);
  }
  return out;
}

}  // namespace

TEST_CASE_TEMPLATE("rope gives the oracle's bits for every layout, slice, direction and kind of positions", T, float, double) {
  for (const Case& c : kCases)
    for (const Layout layout : kLayouts)
      for (const bool inverse : {false, true})
        for (const bool per_token : {false, true}) {
          const RopeOptions o{.layout = layout, .offset = c.offset, .inverse = inverse};
          const Tensor<T> x = normal<T>(c.x, 1);
          const auto pos = positions_of(c.x, per_token);
          const auto t = tables<T>(c.dim);
          INFO("x=", str(c.x), " layout=", static_cast<int>(layout), " inverse=", inverse, " per_token=", per_token);
          const Tensor<T> y = rope::rope(x, pos, t, o);
          CHECK(same_bits(y, Tensor<T>::from(oracle(x, pos, t, o), c.x)));
          CHECK(same_bits(rope::rope(scattered(x), pos, t, o), y));
        }
}

TEST_CASE("rope passes gradcheck in every layout and both directions") {
  for (const Case& c : {kCases[0], kCases[1], Case{{2, 3, 2, 6}, 4, 0}, Case{{2, 1, 36}, 36, 0}, Case{{1, 2, 20}, 18, 2}})
    for (const Layout layout : kLayouts)
      for (const bool inverse : {false, true}) {
        const auto pos = positions_of(c.x, true);
        const auto t = tables<double>(c.dim);
        const auto f = [&](const auto& in) { return rope::rope(in[0], pos, t, {.layout = layout, .offset = c.offset, .inverse = inverse}); };
        CHECK(autograd::gradcheck1(f, {leaf(c.x, 2)}).ok);
      }
}

TEST_CASE("inverse undoes the rotation when the tables are not scaled, and position 0 turns nothing") {
  const auto t = rope::make_tables<double>({.dim = 32}, 100);
  const Tensor<double> x = normal<double>({10, 3, 40}, 3);
  const auto pos = integers<std::int32_t>({10}, 4, 100);
  for (const Layout layout : kLayouts) {
    const Tensor<double> y = rope::rope(x, pos, t, {.layout = layout, .offset = 5});
    CHECK(relative_error(rope::rope(y, pos, t, {.layout = layout, .offset = 5, .inverse = true}).to_vector(), x.to_vector()) < 1e-15);
  }
  const auto zero = Tensor<std::int32_t>::zeros({10});
  CHECK(same_bits(rope::rope(x, zero, t, {.layout = Layout::half_split}), x));
}

TEST_CASE("scores depend on the distance of positions only, and deinterleave permutes channels without changing scores") {
  const auto t = rope::make_tables<double>({.dim = 16}, 100);
  const Tensor<double> q = normal<double>({1, 1, 16}, 5), k = normal<double>({1, 1, 16}, 6);
  const auto score = [&](Layout layout, std::int32_t i, std::int32_t j) {
    const auto a = rope::rope(q, Tensor<std::int32_t>::from({i}), t, {.layout = layout}).to_vector();
    const auto b = rope::rope(k, Tensor<std::int32_t>::from({j}), t, {.layout = layout}).to_vector();
    double s = 0;
    for (std::size_t c = 0; c < 16; ++c) s += a[c] * b[c];
    return s;
  };
  for (const Layout layout : kLayouts) CHECK(score(layout, 9, 4) == doctest::Approx(score(layout, 77, 72)).epsilon(1e-12));
  CHECK(score(Layout::deinterleave, 9, 4) == doctest::Approx(score(Layout::interleaved, 9, 4)).epsilon(1e-12));
  CHECK(score(Layout::half_split, 9, 4) != doctest::Approx(score(Layout::interleaved, 9, 4)).epsilon(1e-3));
}

TEST_CASE("rope has the same bits for every number of threads, and a token alone those of the token in the batch") {
  const Tensor<float> x = normal<float>({211, 3, 48}, 7), dy = normal<float>({211, 3, 48}, 8);
  const auto pos = integers<std::int64_t>({211}, 9, 64);
  const auto t = tables<float>(32);
  CHECK(same_for_all_threads<float>([&] {
    const Tensor<float> v = x.detach().set_requires_grad(true);
    const Tensor<float> y = rope::rope(v, pos, t, {.offset = 16});
    y.backward(dy);
    return std::vector<Tensor<float>>{y, v.grad()};
  }));
  CHECK(same_bits(rope::rope(rows(x, 100, 101), rows(pos, 100, 101), t, {.offset = 16}), rows(rope::rope(x, pos, t, {.offset = 16}), 100, 101)));
}

TEST_CASE("NaN stays within its pair and unrotated channels are copied exactly") {
  const auto t = tables<float>(8);
  Tensor<float> x = normal<float>({1, 1, 12}, 10);
  x.at({0, 0, 4}) = x.at({0, 0, 0}) = static_cast<float>(kNaN);
  const auto y = rope::rope(x, Tensor<std::int32_t>::from({5}), t, {.offset = 2}).to_vector();
  for (std::size_t j = 0; j < 12; ++j) CHECK(std::isnan(y[j]) == (j == 0 || j == 4 || j == 5));
  CHECK(y[1] == x.data()[1]);
  CHECK(y[11] == x.data()[11]);
}

TEST_CASE("rope accepts empty tensors and names what is wrong with its arguments") {
  const auto t = tables<float>(8);
  const auto at = [](std::int64_t n) { return Tensor<std::int64_t>::zeros({n}); };
  CHECK(rope::rope(Tensor<float>::empty({0, 2, 8}), at(0), t).shape() == Shape{0, 2, 8});
  CHECK(rope::rope(Tensor<float>::empty({3, 0, 8}), at(3), t).shape() == Shape{3, 0, 8});
  const Tensor<float> x = Tensor<float>::ones({3, 2, 8});
  CHECK(contains(message_of([&] { rope::rope(x, at(4), t); }), "rope: positions must be [T] or [..., T]; got positions=[4] x=[3, 2, 8]"));
  CHECK(contains(message_of([&] { rope::rope(x, at(3), t, {.offset = 1}); }), "got offset=1 dim=8 head size=8"));
  CHECK(contains(message_of([&] { rope::rope(x, Tensor<std::int64_t>::from({0, 64, 0}), t); }), "got positions[1]=64 rows=64"));
  CHECK(contains(message_of([&] { rope::rope(x, Tensor<std::int32_t>::from({0, 1, -1}), t); }), "got positions[2]=-1"));
  CHECK(contains(message_of([&] { rope::rope(Tensor<float>::ones({3, 8}), at(3), t); }), "got x=[3, 8]"));
  CHECK(contains(message_of([&] { rope::rope(x, at(3), t.cos, Tensor<float>::ones({64, 3})); }), "got cos=[64, 4] sin=[64, 3]"));
}
