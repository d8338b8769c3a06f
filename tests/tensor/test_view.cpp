// tests/tensor/test_view.cpp -- views share storage, follow Python's rules for slices, and pass gradients back.
#include <doctest/doctest.h>

#include <vector>

#include <moelle/tensor/view_op.hpp>
#include <support/compare.hpp>

#include "helpers.hpp"

using namespace moelle;
using namespace moelle::test;
using I = std::int64_t;
using V = std::vector<I>;

namespace {
// Python's own rule for the indices of range(n)[begin:end:step].
V python_slice(I n, I begin, I end, I step) {
  const I low = step > 0 ? 0 : -1, high = step > 0 ? n : n - 1;
  const auto bound = [&](I i, I open) { return i == kOpen ? open : std::min(std::max(i < 0 ? i + n : i, low), high); };
  V r;
  const I first = bound(begin, step > 0 ? low : high), last = bound(end, step > 0 ? high : low);
  for (I i = first; step > 0 ? i < last : i > last; i += step) r.push_back(i);
  return r;
}
}  // namespace

TEST_CASE("a slice takes the elements that Python would, for all bounds and steps") {
  for (I n : {0, 1, 2, 5}) {
    const auto x = Tensor<I>::arange(0, n);
    for (I begin : {kOpen, I{-7}, I{-2}, I{-1}, I{0}, I{1}, I{3}, I{9}})
      for (I end : {kOpen, I{-7}, I{-2}, I{-1}, I{0}, I{1}, I{3}, I{9}})
        for (I step : {I{1}, I{2}, I{7}, I{-1}, I{-2}, I{-9}, I{1} << 62, -(I{1} << 62)}) {
          CAPTURE(n);
          CAPTURE(begin);
          CAPTURE(end);
          CAPTURE(step);
          CHECK(slice(x, 0, begin, end, step).to_vector() == python_slice(n, begin, end, std::clamp<I>(step, -100, 100)));
        }
  }
  CHECK_THROWS_WITH_AS(slice(Tensor<I>::arange(0, 3), 0, 0, 3, 0), "slice: step must not be 0; got step=0", Error);
}

TEST_CASE("views share storage: a change through one is seen through all") {
  const auto x = Tensor<I>::zeros({2, 3, 4});
  slice(x, 2, kOpen, kOpen, -1).at({1, 2, 0}) = 1;      // x[1, 2, 3]
  transpose(x, 0, 2).at({0, 1, 1}) = 2;                 // x[1, 1, 0]
  select(x, 1, -1).at({0, 0}) = 3;                      // x[0, 2, 0]
  reshape(x, {-1}).at({5}) = 4;                         // x[0, 1, 1]
  flatten(x, 0, 1).at({3, 2}) = 5;                      // x[1, 0, 2]
  unflatten(x, 2, {2, -1}).at({0, 0, 1, 1}) = 6;        // x[0, 0, 3]
  squeeze(unsqueeze(x, 1), 1).at({1, 0, 0}) = 7;
  CHECK(x.to_vector() == V{0, 0, 0, 6, 0, 4, 0, 0, 3, 0, 0, 0, 7, 0, 5, 0, 2, 0, 0, 0, 0, 0, 0, 1});
  CHECK(contiguous(x).same(x));
  CHECK(clone(x).data() != x.data());
  CHECK(reshape(transpose(x, 0, 1), {24}).storage() != x.storage());
}

TEST_CASE("permute, transpose, expand and clone place every element where the index says") {
  const auto x = Tensor<I>::arange(0, 24).alias({2, 3, 4});
  CHECK(bitwise_equal(permute(x, {2, 0, -2}), built<I>({4, 2, 3}, [&](const Shape& i) { return x.at({i[1], i[2], i[0]}); })));
  CHECK(bitwise_equal(transpose(x, -1, 0), built<I>({4, 3, 2}, [&](const Shape& i) { return x.at({i[2], i[1], i[0]}); })));
  const auto row = Tensor<I>::arange(0, 3);
  CHECK(bitwise_equal(expand(unsqueeze(row, 1), {2, -1, 4}), built<I>({2, 3, 4}, [&](const Shape& i) { return row.at({i[1]}); })));
  CHECK(bitwise_equal(broadcast_to(Tensor<I>::scalar(5), {2, 0}), Tensor<I>::zeros({2, 0})));
  for (const Shape& shape : small_shapes()) {
    const auto y = scattered(uniform<float>(shape, 1));
    CHECK(bitwise_equal(clone(y), y));
    CHECK(clone(y).is_contiguous());
  }
}

TEST_CASE("copies of strided tensors are right for every combination of axes, large ones too") {
  const auto x = Tensor<std::int32_t>::arange(0, 40 * 50 * 60).alias({40, 50, 60});
  for (const V& dims : {V{0, 1, 2}, V{0, 2, 1}, V{1, 0, 2}, V{1, 2, 0}, V{2, 0, 1}, V{2, 1, 0}}) {
    const auto y = permute(x, dims), z = clone(y);
    bool same = true;
    each_index(y.shape(), [&](const Shape& i) { same = same && y.at(i) == z.at(i); });
    CHECK(same);
  }
}

TEST_CASE("impossible views are refused with the numbers in the message") {
  const auto x = Tensor<I>::zeros({2, 3});
  CHECK_THROWS_WITH_AS(reshape(x, {4}), "reshape: shape must hold as many elements; got shape=[4] for x=[2, 3]", Error);
  CHECK_THROWS_AS(reshape(x, {-1, -1}), Error);
  CHECK_THROWS_AS(reshape(x, {-1, 4}), Error);
  CHECK_THROWS_AS(reshape(Tensor<I>::zeros({0}), {-1, 0}), Error);
  CHECK_THROWS_AS(reshape(x, {-2, 3}), Error);
  CHECK_THROWS_AS(permute(x, {0, 0}), Error);
  CHECK_THROWS_AS(permute(x, {0}), Error);
  CHECK_THROWS_WITH_AS(select(x, 1, 3), "select: index must be in [-3, 3); got index=3", Error);
  CHECK_THROWS_AS(narrow(x, 0, 1, 2), Error);
  CHECK_THROWS_AS(narrow(x, 0, std::numeric_limits<I>::max(), 1), Error);
  CHECK_THROWS_AS(narrow(x, 0, 0, -1), Error);
  CHECK_THROWS_AS(squeeze(x, 0), Error);
  CHECK_THROWS_AS(expand(x, {3, 3}), Error);
  CHECK_THROWS_AS(expand(x, {3}), Error);
  CHECK_THROWS_AS(unsqueeze(Tensor<I>::zeros({1, 1, 1, 1, 1, 1}), 0), Error);
  CHECK_THROWS_AS(flatten(x, 1, 0), Error);
  CHECK_THROWS_AS(unflatten(x, 1, {2, -1}), Error);
}

TEST_CASE("gradients of views") {
  for (const Shape& shape : small_shapes()) {
    CAPTURE(shape);
    const auto x = leaf(uniform<double>(shape, 1));
    CHECK(gradient_error([](const Doubles& in) { return clone(in[0]); }, {x}) == "");
    CHECK(gradient_error([](const Doubles& in) { return contiguous(in[0]); }, {x}) == "");
    CHECK(gradient_error([](const Doubles& in) { return reshape(in[0], {in[0].numel()}); }, {x}) == "");
    CHECK(gradient_error([](const Doubles& in) { return flatten(in[0]); }, {x}) == "");
    CHECK(gradient_error([](const Doubles& in) { return unsqueeze(in[0], -1); }, {x}) == "");
    CHECK(gradient_error([](const Doubles& in) { return squeeze(unsqueeze(in[0], 0), 0); }, {x}) == "");
    Shape larger = shape;
    larger.insert(0, 2);
    CHECK(gradient_error([larger](const Doubles& in) { return expand(in[0], larger); }, {x}) == "");
    if (shape.rank() == 0) continue;
    CHECK(gradient_error([](const Doubles& in) { return transpose(in[0], 0, -1); }, {x}) == "");
    CHECK(gradient_error([](const Doubles& in) { return unflatten(in[0], 0, {1, in[0].size(0)}); }, {x}) == "");
    CHECK(gradient_error([](const Doubles& in) { return slice(in[0], -1, 1, kOpen, 2); }, {x}) == "");
    CHECK(gradient_error([](const Doubles& in) { return slice(in[0], 0, kOpen, kOpen, -2); }, {x}) == "");
    if (shape[0] > 0) CHECK(gradient_error([](const Doubles& in) { return select(in[0], 0, -1); }, {x}) == "");
    if (shape.rank() == 3) CHECK(gradient_error([](const Doubles& in) { return permute(in[0], {2, 0, 1}); }, {x}) == "");
    if (shape[0] == 1) CHECK(gradient_error([](const Doubles& in) { return expand(in[0], Shape(1, 4)); }, {leaf(uniform<double>({1}, 2))}) == "");
  }
}

TEST_CASE("overlapping parts of one tensor add up in its gradient, whatever else uses it") {
  const auto x = leaf(uniform<double>({6, 2}, 1));
  const Op f = [](const Doubles& in) {
    const auto a = slice(in[0], 0, 0, 4), b = slice(in[0], 0, 2, 6), c = select(in[0], 0, 3);
    const Tensor<double> y = clone(a);
    autograd::record<double>("mix", {a, b, c, in[0]}, {y}, [](autograd::Backward<double>& n) {
      n.add(0, n.grad(0));
      n.add(1, n.grad(0));
      n.add(2, contiguous(select(n.grad(0), 0, 1)));
      n.add(3, Tensor<double>::ones({6, 2}));
    });
    return y;
  };
  f({x}).backward(Tensor<double>::ones({4, 2}));
  CHECK(x.grad().to_vector() == std::vector<double>{2, 2, 2, 2, 3, 3, 4, 4, 2, 2, 2, 2});
}
