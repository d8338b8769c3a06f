// tests/tensor/test_reduce.cpp -- sums in their stated order, extrema with ties and NaN, gradients.
#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <vector>

#include <moelle/tensor/compare_op.hpp>  // logical_not
#include <moelle/tensor/reduce_op.hpp>
#include <support/compare.hpp>

#include "helpers.hpp"

using namespace moelle;
using namespace moelle::test;
using Dims = std::vector<std::int64_t>;

namespace {
constexpr double kNan = std::numeric_limits<double>::quiet_NaN(), kInf = std::numeric_limits<double>::infinity();

// All sets of axes to reduce, as bit masks; 0 is skipped since no axis named means all.
std::vector<Dims> axis_sets(int rank) {
  std::vector<Dims> sets{{}};
  for (int mask = 1; mask < 1 << rank; ++mask) {
    Dims dims;
    for (int d = rank - 1; d >= 0; --d)
      if ((mask >> d & 1) != 0) dims.push_back(d % 2 == 0 ? d : d - rank);
    sets.push_back(dims);
  }
  return sets;
}

// The elements of one output in row-major order, taken with plain loops.
template <class T>
std::vector<T> elements_of(const Tensor<T>& x, const Dims& dims, const Shape& output) {
  std::vector<T> r;
  each_index(x.shape(), [&](const Shape& i) {
    for (int d = 0; d < x.rank(); ++d) {
      bool reduced = dims.empty();
      for (const std::int64_t k : dims) reduced = reduced || (k < 0 ? k + x.rank() : k) == d;
      if (!reduced && i[d] != output[d]) return;
    }
    r.push_back(x.at(i));
  });
  return r;
}

// The order stated in the header, spelled out.
template <class T>
double stated_sum(const std::vector<T>& v) {
  double total = 0;
  for (std::size_t begin = 0; begin < v.size(); begin += 32768) {
    double p[8] = {};
    for (std::size_t k = begin; k < std::min(v.size(), begin + 32768); ++k) p[(k - begin) % 8] += static_cast<double>(v[k]);
    const double chunk = ((p[0] + p[1]) + (p[2] + p[3])) + ((p[4] + p[5]) + (p[6] + p[7]));
    total = begin == 0 ? chunk : total + chunk;
  }
  return total;
}

Shape kept_shape(const Shape& s, const Dims& dims) {
  Shape r = s;
  if (dims.empty()) return Shape(s.rank(), 1);
  for (const std::int64_t k : dims) r[static_cast<int>(k < 0 ? k + s.rank() : k)] = 1;
  return r;
}
}  // namespace

TEST_CASE("a sum has the bits of the stated order, over any axes and strides") {
  std::vector<Shape> shapes = small_shapes();
  shapes.push_back({70, 9, 11});
  shapes.push_back({9, 130});
  for (const Shape& shape : shapes) {
    const auto x = normal<float>(shape, 1);
    for (const Dims& dims : axis_sets(shape.rank())) {
      CAPTURE(shape);
      CAPTURE(Tensor<std::int64_t>::from(dims).to_vector());
      const auto want = built<float>(kept_shape(shape, dims), [&](const Shape& o) { return static_cast<float>(stated_sum(elements_of(x, dims, o))); });
      CHECK(bitwise_equal(sum(x, {.dims = dims, .keepdim = true}), want));
      CHECK(bitwise_equal(sum(scattered(x), {.dims = dims, .keepdim = true}), want));
      CHECK(sum(x, {.dims = dims}).to_vector() == want.to_vector());
    }
  }
}

TEST_CASE("long sums are cut into chunks of fixed size, and come within half an ulp of the exact sum") {
  const auto x = normal<float>({3, 100001}, 2);
  const auto y = sum(x, -1), z = sum(transpose(contiguous(transpose(x, 0, 1)), 0, 1), -1);
  CHECK(bitwise_equal(y, z));
  for (std::int64_t r = 0; r < 3; ++r) {
    const auto row = select(x, 0, r).to_vector();
    CHECK(y.at({r}) == static_cast<float>(stated_sum(row)));
    long double exact = 0, size = 0;
    for (const float v : row) exact += v, size += std::fabs(v);
    const double bound = ulp_bound<float>(0.5, static_cast<double>(exact)) + sum_bound<double>(100001, static_cast<double>(size));
    CHECK(std::fabs(static_cast<double>(y.at({r}) - exact)) <= bound);
  }
}

TEST_CASE("mean divides before it rounds; sums of integers and bool are int64 and exact") {
  const auto x = normal<float>({5, 33}, 3);
  CHECK(mean(x, 1).at({2}) == static_cast<float>(stated_sum(select(x, 0, 2).to_vector()) / 33));
  CHECK(static_cast<float>(mean(Tensor<bfloat16>::full({1000}, bfloat16(0.5f))).item()) == 0.5f);
  CHECK(sum(Tensor<std::int32_t>::full({4}, std::numeric_limits<std::int32_t>::max())).item() == 4 * 2147483647LL);
  CHECK(sum(Tensor<std::int64_t>::from({-5, 3})).item() == -2);
  CHECK(sum(Tensor<std::uint8_t>::full({1000}, 255)).item() == 255000);
  CHECK(sum(Tensor<bool>::ones({3, 3}), 0).to_vector() == Dims{3, 3, 3});
}

TEST_CASE("the sum of nothing is 0, its mean NaN, and its maximum an error") {
  const auto none = Tensor<float>::zeros({2, 0});
  CHECK(sum(none, 1).to_vector() == std::vector<float>{0, 0});
  CHECK(std::isnan(mean(none).item()));
  CHECK(sum(none, 0).numel() == 0);
  CHECK(max(none, 0).numel() == 0);
  CHECK(argmax(none, 0).shape() == Shape{0});
  CHECK_THROWS_WITH_AS(max(none, 1), "max: there must be an element to choose from; got shape=[2, 0]", Error);
  CHECK_THROWS_AS(argmin(none), Error);
  CHECK_FALSE(any(Tensor<bool>::ones({0})).item());
  CHECK(all(Tensor<bool>::zeros({0})).item());
}

TEST_CASE("maxima and minima equal plain loops, over any axes and strides") {
  for (const Shape& shape : small_shapes()) {
    const auto x = integers<std::int32_t>(shape, 4, -3, 3);
    if (x.numel() == 0) continue;
    for (const Dims& dims : axis_sets(shape.rank())) {
      CAPTURE(shape);
      const Over over{.dims = dims, .keepdim = true};
      const auto best = [&](const Shape& o, auto better) {
        const auto v = elements_of(x, dims, o);
        std::size_t k = 0;
        for (std::size_t i = 1; i < v.size(); ++i)
          if (better(v[i], v[k])) k = i;
        return std::pair<std::int32_t, std::int64_t>{v[k], static_cast<std::int64_t>(k)};
      };
      const auto more = [](int a, int b) { return a > b; };
      const auto less = [](int a, int b) { return a < b; };
      for (const auto& y : {x, scattered(x)}) {
        each_index(kept_shape(shape, dims), [&](const Shape& o) {
          CHECK(max(y, over).at(o) == best(o, more).first);
          CHECK(argmax(y, over).at(o) == best(o, more).second);
          CHECK(min(y, over).at(o) == best(o, less).first);
          CHECK(argmin(y, over).at(o) == best(o, less).second);
        });
      }
    }
  }
}

TEST_CASE("of equal elements the first wins, NaN before all, across chunks too") {
  const auto x = Tensor<double>::from({-kInf, 3, kNan, 3, kNan});
  CHECK(argmax(x).item() == 2);
  CHECK(argmin(x).item() == 2);
  CHECK(std::isnan(max(x).item()));
  CHECK(argmax(Tensor<double>::from({1, 3, 3})).item() == 1);
  CHECK(argmin(Tensor<double>::from({0.0, -0.0})).item() == 0);
  CHECK(argmax(Tensor<double>::full({3}, -kInf)).item() == 0);
  const auto long_one = Tensor<float>::zeros({100000});
  CHECK(argmax(long_one).item() == 0);
  long_one.at({40000}) = long_one.at({70000}) = 1;
  CHECK(argmax(long_one).item() == 40000);
  long_one.at({99999}) = static_cast<float>(kNan);
  CHECK(argmin(long_one).item() == 99999);
}

TEST_CASE("any and all over axes") {
  const auto x = Tensor<bool>::from({false, true, true, true}, {2, 2});
  CHECK(any(x).item());
  CHECK_FALSE(all(x).item());
  CHECK(all(x, {.dims = {0}}).to_vector() == std::vector<bool>{false, true});
  CHECK(any(logical_not(x), {.dims = {1}}).to_vector() == std::vector<bool>{true, false});
}

TEST_CASE("gradients of reductions, over any axes") {
  for (const Shape& shape : small_shapes()) {
    const auto x = leaf(distinct<double>(shape, 5));
    for (const Dims& dims : axis_sets(shape.rank())) {
      CAPTURE(shape);
      for (const bool keepdim : {false, true}) {
        const Over over{.dims = dims, .keepdim = keepdim};
        CHECK(gradient_error([&](const Doubles& in) { return sum(in[0], over); }, {x}) == "");
        if (x.numel() == 0) continue;
        CHECK(gradient_error([&](const Doubles& in) { return mean(in[0], over); }, {x}) == "");
        CHECK(gradient_error([&](const Doubles& in) { return max(in[0], over); }, {x}) == "");
        CHECK(gradient_error([&](const Doubles& in) { return min(in[0], over); }, {x}) == "");
      }
    }
  }
  const auto tied = leaf(Tensor<double>::from({2, 5, 5}));
  max(tied).backward();
  CHECK(tied.grad().to_vector() == std::vector<double>{0, 1, 0});
}

TEST_CASE("an axis named twice or out of range is refused") {
  const auto x = Tensor<float>::zeros({2, 3});
  CHECK_THROWS_WITH_AS(sum(x, {.dims = {1, -1}}), "sum: dims must name an axis once; got dim=-1 twice", Error);
  CHECK_THROWS_WITH_AS(argmax(x, 2), "argmax: dim must be in [-2, 2); got dim=2", Error);
}

TEST_CASE("sums and extrema are the same bits for 1, 2, 3 and 7 threads, and a row as in the batch") {
  const auto x = normal<float>({37, 70001}, 6);
  Tensor<float> rows, columns, everything;
  Tensor<std::int64_t> where;
  for_thread_counts([&](int n) {
    CAPTURE(n);
    if (n == 1) rows = sum(x, 1), columns = sum(x, 0), everything = sum(x), where = argmax(x, 1);
    CHECK(bitwise_equal(sum(x, 1), rows));
    CHECK(bitwise_equal(sum(x, 0), columns));
    CHECK(bitwise_equal(sum(x), everything));
    CHECK(bitwise_equal(argmax(x, 1), where));
  });
  CHECK(sum(select(x, 0, 5)).item() == rows.at({5}));
  CHECK(sum(select(x, 1, 5)).item() == columns.at({5}));
}
