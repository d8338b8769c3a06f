// tests/embedding/test_embedding.cpp
#include <doctest/doctest.h>

#include <activation/helpers.hpp>
#include <moelle/autograd/gradcheck.hpp>
#include <moelle/embedding.hpp>
#include <moelle/embedding/embedding_ref.hpp>

using namespace moelle;
using namespace moelle::testing;

TEST_CASE_TEMPLATE("embedding copies rows and scatters gradients exactly as the oracle does", T, float, double) {
  for (const Shape& shape : {Shape{1}, Shape{}, Shape{3, 4}, Shape{2, 0}, Shape{5, 2, 3}, Shape{200}})
    for (const std::int64_t D : {1, 3, 64, 130}) {
      const std::int64_t V = 11;
      const auto ids = integers<std::int32_t>(shape, 1, 11);
      const Tensor<T> w = normal<T>({V, D}, 2).set_requires_grad(true);
      Shape out = shape;
      out.push_back(D);
      const Tensor<T> y = embedding::embedding(ids, w), dy = normal<T>(out, 3);
      REQUIRE(y.shape() == out);
      y.backward(dy);
      Tensor<T> want = Tensor<T>::empty(out), dw = Tensor<T>::zeros({V, D});
      embedding::ref::embedding(ids.data(), w.data(), ids.numel(), D, want.data());
      embedding::ref::embedding_grad({}, ids.data(), dy.data(), ids.numel(), D, dw.data());
      CHECK(same_bits(y, want));
      CHECK(same_bits(w.grad(), dw));
    }
}

TEST_CASE("embedding passes gradcheck, repeated ids included") {
  for (const Shape& shape : {Shape{1}, Shape{6}, Shape{2, 3}, Shape{1, 9}, Shape{2, 2, 2}})
    CHECK(autograd::gradcheck1([&](const auto& in) { return embedding::embedding(integers<std::int64_t>(shape, 4, 3), in[0]); }, {leaf({3, 4}, 5)}).ok);
}

TEST_CASE("gradients are added to what the buffer holds, and two lookups in one graph both arrive") {
  const Tensor<float> w = Tensor<float>::ones({3, 2}).set_requires_grad(true);
  const auto ids = Tensor<std::int64_t>::from({0, 2, 2});
  for (int i = 1; i <= 2; ++i) {
    embedding::embedding(ids, w).backward(Tensor<float>::ones({3, 2}));
    const auto f = static_cast<float>(i);
    CHECK(w.grad().to_vector() == std::vector<float>{f, f, 0, 0, 2 * f, 2 * f});
  }
  autograd::backward<float>({embedding::embedding(ids, w), embedding::embedding(ids, w)}, {Tensor<float>::ones({3, 2}), Tensor<float>::ones({3, 2})});
  CHECK(w.grad().to_vector() == std::vector<float>{4, 4, 0, 0, 8, 8});
}

TEST_CASE("padding_idx is looked up but not trained") {
  const Tensor<float> w = normal<float>({4, 3}, 6).set_requires_grad(true);
  const auto ids = Tensor<std::int64_t>::from({1, 2, 1});
  const Tensor<float> y = embedding::embedding(ids, w, {.padding_idx = 1});
  CHECK(same_bits(rows(y, 0, 1), rows(w, 1, 2)));
  y.backward(Tensor<float>::ones({3, 3}));
  CHECK(w.grad().to_vector() == std::vector<float>{0, 0, 0, 0, 0, 0, 1, 1, 1, 0, 0, 0});
}

TEST_CASE("embedding has the same bits for every number of threads and any strides") {
  const auto ids = integers<std::int32_t>({2000}, 7, 5);
  const Tensor<float> w = normal<float>({5, 300}, 8), dy = normal<float>({2000, 300}, 9);
  CHECK(same_for_all_threads<float>([&] {
    const Tensor<float> v = w.detach().set_requires_grad(true);
    const Tensor<float> y = embedding::embedding(ids, v);
    y.backward(dy);
    return std::vector<Tensor<float>>{y, v.grad()};
  }));
  CHECK(same_bits(embedding::embedding(ids.alias({1000}, {-2}, 1998), scattered(w)), embedding::embedding(Tensor<std::int32_t>::from(ids.alias({1000}, {-2}, 1998).to_vector()), w)));
}

TEST_CASE("an id outside the table is named with its position") {
  const Tensor<float> w = Tensor<float>::ones({4, 2});
  CHECK(contains(message_of([&] { embedding::embedding(Tensor<std::int32_t>::from({0, 3, 4}), w); }), "embedding: ids must be in [0, V); got ids[2]=4 V=4"));
  CHECK(contains(message_of([&] { embedding::embedding(Tensor<std::int64_t>::from({-1}), w); }), "got ids[0]=-1"));
  CHECK(contains(message_of([&] { embedding::embedding(Tensor<std::int64_t>::from({0}), Tensor<float>::ones({4})); }), "got weight=[4]"));
  CHECK(contains(message_of([&] { embedding::embedding(Tensor<std::int64_t>::from({0}), w, {.padding_idx = 4}); }), "got padding_idx=4 V=4"));
}
