// tests/tensor/test_inplace.cpp -- changes in place: what they do, what they refuse, that they are counted.
#include <doctest/doctest.h>

#include <memory>
#include <vector>

#include <moelle/tensor/inplace_op.hpp>
#include <moelle/tensor/view_op.hpp>
#include <support/compare.hpp>

#include "helpers.hpp"

using namespace moelle;
using namespace moelle::test;
using F = std::vector<float>;

TEST_CASE("fill, copy, add and multiply change the elements seen through every view, and no others") {
  const auto x = Tensor<float>::from({1, 2, 3, 4, 5, 6}, {2, 3});
  fill_(select(x, 1, 0), 9);
  CHECK(x.to_vector() == F{9, 2, 3, 9, 5, 6});
  copy_(slice(x, 1, 1, 3), Tensor<float>::from({7, 8}));
  CHECK(x.to_vector() == F{9, 7, 8, 9, 7, 8});
  add_(transpose(x, 0, 1), Tensor<float>::from({1, 2}), 0.5);
  CHECK(x.to_vector() == F{9.5f, 7.5f, 8.5f, 10, 8, 9});
  mul_(slice(x, 1, kOpen, kOpen, 2), 2);
  CHECK(x.to_vector() == F{19, 7.5f, 17, 20, 8, 18});
  zero_(x);
  CHECK(x.to_vector() == F{0, 0, 0, 0, 0, 0});
}

TEST_CASE("source and target may overlap: the source is read as it was") {
  const auto x = Tensor<float>::from({1, 2, 3, 4});
  copy_(slice(x, 0, 1, 4), slice(x, 0, 0, 3));
  CHECK(x.to_vector() == F{1, 1, 2, 3});
  copy_(x, slice(x, 0, kOpen, kOpen, -1));
  CHECK(x.to_vector() == F{3, 2, 1, 1});
  add_(slice(x, 0, 1, 4), slice(x, 0, 0, 3));
  CHECK(x.to_vector() == F{3, 5, 3, 2});
  add_(x, x);
  CHECK(x.to_vector() == F{6, 10, 6, 4});
  add_(x, select(x, 0, 0));
  CHECK(x.to_vector() == F{12, 16, 12, 10});
}

TEST_CASE("tensors that require gradients are refused while gradients are recorded, views of them too") {
  const auto x = leaf(Tensor<float>::ones({2}));
  CHECK_THROWS_WITH_AS(fill_(x, 1), "fill_: a tensor that requires a gradient must only be changed under NoGrad; got shape=[2]", Error);
  CHECK_THROWS_AS(copy_(slice(x, 0, 0, 1), Tensor<float>::ones({1})), Error);
  CHECK_THROWS_AS(add_(x + x, x), Error);
  CHECK_THROWS_AS(mul_(x, 2), Error);
  const autograd::NoGrad guard;
  add_(x, Tensor<float>::ones({2}), -0.5);
  CHECK(x.to_vector() == F{0.5f, 0.5f});
}

TEST_CASE("every change is counted, so that a stale gradient is an error") {
  const auto x = leaf(Tensor<float>::ones({2})), w = Tensor<float>::ones({2});
  for (const auto& change : std::vector<std::function<void()>>{[&] { fill_(w, 1); }, [&] { copy_(w, w); }, [&] { add_(w, w); }, [&] { mul_(w, 1); }}) {
    const auto y = x * w;
    change();
    CHECK_THROWS_AS(y.backward(w), Error);
  }
}

TEST_CASE("read-only storage and views that repeat elements are refused") {
  const auto owner = std::make_shared<F>(F{1, 2});
  const auto fixed = Tensor<float>::external(owner->data(), {2}, {1}, owner, Device::cpu, false);
  CHECK_THROWS_WITH_AS(fill_(fixed, 0), "fill_: tensor must not be read-only; got shape=[2]", Error);
  CHECK_THROWS_AS(add_(slice(fixed, 0, 0, 1), Tensor<float>::ones({1})), Error);
  CHECK((*owner)[0] == 1);
  CHECK_THROWS_AS(fill_(expand(Tensor<float>::ones({1}), {3}), 0), Error);
  CHECK_THROWS_WITH_AS(copy_(Tensor<float>::ones({2}), Tensor<float>::ones({3})), "copy_: shapes must broadcast; got a=[3] b=[2]", Error);
  CHECK_THROWS_AS(add_(Tensor<float>::ones({1}), Tensor<float>::ones({2})), Error);
}

TEST_CASE("in-place results are the same bits for 1, 2, 3 and 7 threads, and as the plain operation") {
  const auto a = normal<float>({200, 301}, 1), b = normal<float>({301}, 2);
  for_thread_counts([&](int n) {
    CAPTURE(n);
    const auto x = clone(a);
    add_(x, b, 0.3f);
    CHECK(bitwise_equal(x, a + b * 0.3f));
  });
}
