// Experts' products against one product per expert.
#include <doctest/doctest.h>

#include <cstdint>
#include <cstring>
#include <limits>
#include <vector>

#include <moelle/core/parallel.hpp>
#include <moelle/gemm/gemm_ref.hpp>
#include <moelle/gemm/products.hpp>

#include "matrices.hpp"

using namespace gemm_test;
using moelle::gemm::GroupedArgs;
using moelle::gemm::GroupedGradArgs;
using moelle::gemm::Matrix;

namespace {

const std::vector<std::vector<int>> kLoads = {{0, 0, 0},           {5},           {0, 7, 0, 1, 0}, {16, 16, 16, 16}, {300, 0, 1, 0, 2},
                                              {0, 0, 0, 400, 0, 0}, {1, 2, 3, 4, 5}, {}};

std::vector<std::int32_t> offsets_of(const std::vector<int>& load) {
  std::vector<std::int32_t> o{0};
  for (int rows : load) o.push_back(o.back() + rows);
  return o;
}

template <class T>
Matrix<T> expert_matrix(const std::vector<T>& w, std::int64_t k, std::int64_t n, bool transposed) {
  return transposed ? moelle::gemm::transposed(w.data(), k) : moelle::gemm::plain(w.data(), n);
}

template <class T>
std::vector<T> integers(std::int64_t n, std::uint64_t seed) {
  Operand<T> o(1, n, Order::plain, 0);
  o.fill_integers(seed);
  return {o.view.data, o.view.data + n};
}

}  // namespace

TEST_CASE_TEMPLATE("rows of each expert are multiplied by its own matrix, exactly", T, float, double) {
  const std::int64_t n = 37, k = 50;
  for (const auto& load : kLoads)
    for (bool transposed : {false, true})
      for (bool accumulate : {false, true}) {
        const auto offsets = offsets_of(load);
        const std::int64_t groups = static_cast<std::int64_t>(load.size()), rows = offsets.back();
        const auto x = integers<T>(rows * k, 1), w = integers<T>(groups * k * n, 2);
        auto got = integers<T>(rows * n, 3), expected = got;
        GroupedArgs<T> args{.groups = groups, .offsets = offsets.data(), .rows = rows, .n = n, .k = k, .a = moelle::gemm::plain(x.data(), k),
                            .b = expert_matrix(w, k, n, transposed), .stride_b = k * n, .c = got.data(), .ldc = n, .accumulate = accumulate};
        moelle::gemm::grouped(args);
        args.c = expected.data();
        moelle::gemm::ref::grouped(args);
        CAPTURE(rows);
        CHECK(got == expected);
      }
}

TEST_CASE_TEMPLATE("the weight gradient sums the rows of each expert; without rows it is zero, or untouched when accumulating", T, float, double) {
  const std::int64_t m = 21, n = 34;
  for (const auto& load : kLoads)
    for (bool accumulate : {false, true}) {
      const auto offsets = offsets_of(load);
      const std::int64_t groups = static_cast<std::int64_t>(load.size()), rows = offsets.back();
      const auto dy = integers<T>(rows * m, 1), x = integers<T>(rows * n, 2);
      std::vector<T> got = accumulate ? integers<T>(groups * m * n, 3) : std::vector<T>(static_cast<std::size_t>(groups * m * n), std::numeric_limits<T>::quiet_NaN());
      std::vector<T> expected = got;
      GroupedGradArgs<T> args{.groups = groups, .offsets = offsets.data(), .rows = rows, .m = m, .n = n, .a = moelle::gemm::plain(dy.data(), m),
                              .b = moelle::gemm::plain(x.data(), n), .c = got.data(), .ldc = n, .stride_c = m * n, .accumulate = accumulate};
      moelle::gemm::grouped_grad(args);
      args.c = expected.data();
      moelle::gemm::ref::grouped_grad(args);
      CHECK(got == expected);
    }
}

TEST_CASE("skewed loads give the bits of one product per expert on 1, 2, 3 and 7 threads") {
  const int before = moelle::num_threads();
  const auto offsets = offsets_of({700, 3, 0, 150, 1, 40, 0, 106});
  const std::int64_t groups = 8, rows = offsets.back(), n = 96, k = 300;
  Operand<float> x(rows, k, Order::plain, 0), w(groups * n, k, Order::plain, 0);
  x.fill_uniform(1);
  w.fill_uniform(2);
  std::vector<float> alone(static_cast<std::size_t>(rows * n));
  for (std::int64_t g = 0; g < groups; ++g) {
    const std::int64_t begin = offsets[static_cast<std::size_t>(g)], count = offsets[static_cast<std::size_t>(g) + 1] - begin;
    moelle::gemm::gemm(moelle::gemm::GemmArgs<float>{.m = count, .n = n, .k = k, .a = moelle::gemm::plain(x.view.data + begin * k, k),
                                                     .b = moelle::gemm::transposed(w.view.data + g * n * k, k), .c = alone.data() + begin * n, .ldc = n});
  }
  for (int threads : {1, 2, 3, 7}) {
    moelle::set_num_threads(threads);
    std::vector<float> got(alone.size());
    moelle::gemm::grouped(GroupedArgs<float>{.groups = groups, .offsets = offsets.data(), .rows = rows, .n = n, .k = k, .a = x.view,
                                             .b = moelle::gemm::transposed(w.view.data, k), .stride_b = n * k, .c = got.data(), .ldc = n});
    CAPTURE(threads);
    CHECK(std::memcmp(got.data(), alone.data(), got.size() * sizeof(float)) == 0);
  }
  moelle::set_num_threads(before);
}

TEST_CASE("offsets that do not partition the rows are refused with the offending values") {
  const auto refuses = [](std::vector<std::int32_t> offsets, const char* message) {
    float x[8] = {}, w[8] = {}, y[8] = {};
    CHECK_THROWS_WITH_AS(moelle::gemm::grouped(GroupedArgs<float>{.groups = 2, .offsets = offsets.data(), .rows = 4, .n = 2, .k = 2,
                                                                  .a = moelle::gemm::plain<float>(x, 2), .b = moelle::gemm::plain<float>(w, 2),
                                                                  .stride_b = 4, .c = y, .ldc = 2}),
                         message, moelle::Error);
  };
  refuses({1, 2, 4}, "grouped: offsets must start at 0; got offsets[0]=1");
  refuses({0, 5, 4}, "grouped: offsets must not decrease; got offsets[1]=5 offsets[2]=4");
  refuses({0, 2, 3}, "grouped: offsets must end at the number of rows; got offsets[2]=3 rows=4");
}
