// An element of a product depends on its row, its column and K alone: everything else leaves its bits unchanged.
#include <doctest/doctest.h>

#include <cstdint>
#include <cstring>
#include <vector>

#include <moelle/core/parallel.hpp>
#include <moelle/gemm/products.hpp>

#include "matrices.hpp"

using namespace gemm_test;
using moelle::gemm::GemmArgs;
using moelle::gemm::plain;

namespace {

struct Sizes {
  std::int64_t m, n, k;
};
constexpr Sizes kSizes[] = {{1, 7, 300}, {20, 65, 64}, {200, 130, 520}, {512, 600, 100}, {400, 33, 9000}};

template <class T>
std::vector<T> product(const Sizes& s, const Matrix<T>& a, const Matrix<T>& b, bool accumulate = false) {
  std::vector<T> c(static_cast<std::size_t>(s.m * s.n), T(1) / T(3));
  moelle::gemm::gemm(GemmArgs<T>{.m = s.m, .n = s.n, .k = s.k, .a = a, .b = b, .c = c.data(), .ldc = s.n, .accumulate = accumulate});
  return c;
}

template <class T>
bool same_bits(const T* x, const T* y, std::int64_t n) {
  return std::memcmp(x, y, static_cast<std::size_t>(n) * sizeof(T)) == 0;
}

template <class T>
struct Pair {
  Operand<T> a, b;
  explicit Pair(const Sizes& s, Order oa = Order::plain, Order ob = Order::plain) : a(s.m, s.k, oa, 1), b(s.k, s.n, ob, 2) {
    a.fill_uniform(11);
    b.fill_uniform(12);
  }
};

struct Threads {
  int before = moelle::num_threads();
  ~Threads() { moelle::set_num_threads(before); }
};

}  // namespace

TEST_CASE_TEMPLATE("1, 2, 3 and 7 threads give the same bits", T, float, double) {
  const Threads restore;
  for (const Sizes& s : kSizes)
    for (bool accumulate : {false, true}) {
      const Pair<T> p(s, Order::transposed, Order::transposed);
      moelle::set_num_threads(1);
      const auto one = product(s, p.a.view, p.b.view, accumulate);
      for (int threads : {2, 3, 7}) {
        CAPTURE(threads);
        CAPTURE(s.m);
        moelle::set_num_threads(threads);
        const auto many = product(s, p.a.view, p.b.view, accumulate);
        CHECK(same_bits(one.data(), many.data(), s.m * s.n));
      }
    }
}

TEST_CASE_TEMPLATE("a row multiplied alone has the bits of the row in a batch", T, float, double) {
  for (const Sizes& s : kSizes) {
    const Pair<T> p(s, Order::plain, Order::transposed);
    const auto all = product(s, p.a.view, p.b.view);
    for (std::int64_t i : {std::int64_t{0}, s.m / 2, s.m - 1}) {
      Matrix<T> row = p.a.view;
      row.data += i * row.row_stride;
      CAPTURE(s.m);
      CAPTURE(i);
      CHECK(same_bits(product({1, s.n, s.k}, row, p.b.view).data(), all.data() + i * s.n, s.n));
    }
  }
}

TEST_CASE_TEMPLATE("a column multiplied alone has the bits of the column in a wide product", T, float, double) {
  for (const Sizes& s : kSizes) {
    const Pair<T> p(s);
    const auto all = product(s, p.a.view, p.b.view);
    const std::int64_t j = s.n / 2;
    Matrix<T> column = p.b.view;
    column.data += j;
    const auto alone = product({s.m, 1, s.k}, p.a.view, column);
    for (std::int64_t i = 0; i < s.m; ++i) CHECK(same_bits(&alone[static_cast<std::size_t>(i)], &all[static_cast<std::size_t>(i * s.n + j)], 1));
  }
}

TEST_CASE_TEMPLATE("the order in which operands are stored leaves the bits unchanged", T, float, double) {
  for (const Sizes& s : kSizes) {
    const Pair<T> p(s);
    const auto expected = product(s, p.a.view, p.b.view);
    for (Order a : {Order::transposed, Order::strided})
      for (Order b : {Order::transposed, Order::strided}) {
        const Pair<T> q(s, a, b);
        CHECK(same_bits(product(s, q.a.view, q.b.view).data(), expected.data(), s.m * s.n));
      }
  }
}

TEST_CASE("a product inside a task and a serial product give the bits of the parallel one") {
  const Sizes s{300, 200, 400};
  const Pair<float> p(s);
  const auto expected = product(s, p.a.view, p.b.view);
  std::vector<std::vector<float>> inside(4);
  moelle::parallel_for(4, [&](std::int64_t t) { inside[static_cast<std::size_t>(t)] = product(s, p.a.view, p.b.view); });
  for (const auto& c : inside) CHECK(same_bits(c.data(), expected.data(), s.m * s.n));
  std::vector<float> serial(expected.size());
  moelle::gemm::gemm_serial(GemmArgs<float>{.m = s.m, .n = s.n, .k = s.k, .a = p.a.view, .b = p.b.view, .c = serial.data(), .ldc = s.n});
  CHECK(same_bits(serial.data(), expected.data(), s.m * s.n));
}

TEST_CASE("batched problems have the bits of single ones, shared operands included") {
  const Sizes s{40, 24, 70};
  const std::int64_t count = 9;
  Operand<float> a(s.m * count, s.k, Order::plain, 0), b(s.k, s.n, Order::plain, 0);
  a.fill_uniform(5);
  b.fill_uniform(6);
  std::vector<float> c(static_cast<std::size_t>(count * s.m * s.n));
  moelle::gemm::batched(moelle::gemm::BatchedArgs<float>{
      .first = {.m = s.m, .n = s.n, .k = s.k, .a = a.view, .b = b.view, .c = c.data(), .ldc = s.n}, .count = count, .stride_a = s.m * s.k, .stride_c = s.m * s.n});
  for (std::int64_t g = 0; g < count; ++g)
    CHECK(same_bits(product(s, plain(a.view.data + g * s.m * s.k, s.k), b.view).data(), c.data() + g * s.m * s.n, s.m * s.n));
}
