// tests/core/test_tensor.cpp -- the handle: creation, views within bounds, error messages.
#include <doctest/doctest.h>

#include <limits>
#include <memory>
#include <new>
#include <vector>

#include <moelle/autograd/meta.hpp>
#include <moelle/core/tensor.hpp>

using namespace moelle;
using I = std::int64_t;

TEST_CASE("copies are handles on one tensor, detach shares the elements") {
  const auto x = Tensor<float>::zeros({2, 2});
  const auto y = x;
  y.at({0, 1}) = 3;
  CHECK(x.at({0, 1}) == 3);
  CHECK(x.same(y));
  CHECK_FALSE(x.same(x.detach()));
  CHECK(x.detach().data() == x.data());
}

TEST_CASE("arange counts as Python's range does, at the ends of 64 bits too") {
  CHECK(Tensor<I>::arange(2, 9, 3).to_vector() == std::vector<I>{2, 5, 8});
  CHECK(Tensor<I>::arange(3, -2, -2).to_vector() == std::vector<I>{3, 1, -1});
  CHECK(Tensor<I>::arange(3, 3).numel() == 0);
  CHECK(Tensor<I>::arange(4, 1).numel() == 0);
  constexpr I low = std::numeric_limits<I>::min(), high = std::numeric_limits<I>::max();
  CHECK(Tensor<I>::arange(low, high, high).to_vector() == std::vector<I>{low, -1, high - 1});
  CHECK(Tensor<I>::arange(0, low, low).to_vector() == std::vector<I>{0});
  CHECK_THROWS_AS(Tensor<I>::arange(low, high), Error);
  CHECK_THROWS_WITH_AS(Tensor<I>::arange(0, 1, 0), "arange: step must not be 0; got step=0", Error);
  CHECK(static_cast<float>(Tensor<bfloat16>::arange(0, 3).at({2})) == 2.0f);
}

TEST_CASE("a tensor too large for memory fails cleanly and leaves no trace in the statistics") {
  const MemoryStats before = memory_stats();
  CHECK_THROWS_AS(Tensor<float>::empty({std::int64_t{1} << 62}), Error);            // bytes overflow
  CHECK_THROWS_AS(Tensor<float>::empty({std::int64_t{1} << 60}), std::bad_alloc);   // 4 EiB
  CHECK_THROWS_AS(Tensor<std::uint8_t>::empty({std::numeric_limits<I>::max()}), std::bad_alloc);
  CHECK(memory_stats().live_bytes == before.live_bytes);
  CHECK(memory_stats().peak_bytes == before.peak_bytes);
}

TEST_CASE("empty tensors are legal in every shape, even where other sizes overflow") {
  CHECK(Tensor<float>::empty({0, std::int64_t{1} << 40, std::int64_t{1} << 40}).numel() == 0);
  CHECK(Tensor<float>::empty({3, 0}).is_contiguous());
  CHECK(Tensor<float>::empty({3, 0}).to_vector().empty());
}

TEST_CASE("an alias reaches only elements of its storage") {
  const auto x = Tensor<int>::arange(0, 12);
  CHECK(x.alias({3, 4}, {4, 1}).at({2, 3}) == 11);
  CHECK(x.alias({4, 3}, {1, 4}).at({1, 2}) == 9);
  CHECK(x.alias({12}, {-1}, 11).at({0}) == 11);
  CHECK(x.alias({5, 5}, {0, 0}, 7).at({4, 4}) == 7);
  CHECK_THROWS_WITH_AS(x.alias({3, 4}, {4, 1}, 1), "alias: view must lie inside the storage; got shape=[3, 4] strides=[4, 1] offset=1 elements=12", Error);
}

TEST_CASE("an alias outside the storage is refused, overflow included") {
  const auto owner = std::make_shared<std::vector<int>>(12);
  const auto x = Tensor<int>::external(owner->data(), {12}, {1}, owner);
  constexpr I high = std::numeric_limits<I>::max(), low = std::numeric_limits<I>::min();
  CHECK_THROWS_AS(x.alias({13}, {1}), Error);
  CHECK_THROWS_AS(x.alias({12}, {-1}, 10), Error);
  CHECK_THROWS_AS(x.alias({1}, {1}, -1), Error);
  CHECK_THROWS_AS(x.alias({1}, {1}, 12), Error);
  CHECK_THROWS_AS(x.alias({3}, {high}), Error);
  CHECK_THROWS_AS(x.alias({2}, {low}, low), Error);
  CHECK_THROWS_AS(x.alias({2, 2}, {high, high}), Error);
  CHECK_THROWS_AS(x.alias({1}, {1}, high), Error);
  CHECK_THROWS_AS(x.alias({2}, {1, 1}), Error);
  CHECK(x.alias({0}, {1}, 0).numel() == 0);
  CHECK(x.alias({12}).numel() == 12);
  CHECK_THROWS_AS(x.alias({13}), Error);
}

TEST_CASE("external memory with negative strides is addressed from its first element and kept alive by its owner") {
  auto owner = std::make_shared<std::vector<int>>(std::vector<int>{1, 2, 3, 4});
  std::weak_ptr<std::vector<int>> watch = owner;
  auto x = Tensor<int>::external(owner->data() + 3, {4}, {-1}, owner);
  owner.reset();
  CHECK(x.to_vector() == std::vector<int>{4, 3, 2, 1});
  CHECK_FALSE(watch.expired());
  x = Tensor<int>();
  CHECK(watch.expired());
}

TEST_CASE("questions to an undefined tensor are errors") {
  const Tensor<float> none;
  CHECK_FALSE(none.defined());
  CHECK_FALSE(none.requires_grad());
  CHECK_THROWS_WITH_AS(none.shape(), "tensor: tensor must be defined; got an empty handle", Error);
  CHECK_FALSE(none.detach().defined());
}

TEST_CASE("indices and items are checked") {
  const auto x = Tensor<float>::zeros({2, 3});
  CHECK_THROWS_WITH_AS(x.at({2, 0}), "at: index must lie in the shape; got index=[2, 0] shape=[2, 3]", Error);
  CHECK_THROWS_AS(x.at({0}), Error);
  CHECK_THROWS_AS(x.at({0, -1}), Error);
  CHECK_THROWS_WITH_AS(x.item(), "item: tensor must have one element; got shape=[2, 3]", Error);
  CHECK_THROWS_AS(Tensor<float>::from({1, 2, 3}, {2, 2}), Error);
  CHECK(Tensor<float>::scalar(2.0f).item() == 2.0f);
}
