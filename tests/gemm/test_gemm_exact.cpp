// Products of small integers are exact in any order: every element is compared bit for bit.
#include <doctest/doctest.h>

#include <cstdint>
#include <limits>
#include <vector>

#include <moelle/gemm/gemm_ref.hpp>
#include <moelle/gemm/products.hpp>

#include "matrices.hpp"

using namespace gemm_test;
using moelle::gemm::GemmArgs;
using moelle::gemm::Kernels;

namespace {

struct Case {
  std::int64_t m, n, k;
  Order a = Order::plain, b = Order::plain;
  bool accumulate = false, bias = false;
  std::int64_t pad = 3;
};

// C is framed by a value that no product writes; elements that are to be overwritten begin as NaN.
template <class T>
struct Output {
  static constexpr T kFrame = T(12345);
  std::int64_t m, n, ld;
  std::vector<T> storage;
  Output(std::int64_t rows, std::int64_t cols, std::int64_t pad, bool accumulate)
      : m(rows), n(cols), ld(cols + pad), storage(static_cast<std::size_t>((rows + 2) * ld + pad), kFrame) {
    for (std::int64_t i = 0; i < m; ++i)
      for (std::int64_t j = 0; j < n; ++j) data()[i * ld + j] = accumulate ? static_cast<T>((i + 2 * j) % 7) : std::numeric_limits<T>::quiet_NaN();
  }
  T* data() { return storage.data() + ld; }
};

template <class T, class Unit>
bool matches_oracle(const Case& c, const Kernels<T, Unit>& table) {
  Operand<T> a(c.m, c.k, c.a, c.pad), b(c.k, c.n, c.b, c.pad), bias(1, c.n, Order::plain, 0);
  a.fill_integers(1);
  b.fill_integers(2);
  bias.fill_integers(3);
  Output<T> got(c.m, c.n, c.pad, c.accumulate), expected = got;
  GemmArgs<T> args{.m = c.m, .n = c.n, .k = c.k, .a = a.view, .b = b.view, .c = got.data(), .ldc = got.ld, .accumulate = c.accumulate,
                   .bias = c.bias ? bias.view.data : nullptr};
  const std::vector<moelle::gemm::Problem<T>> one{{args.a.data, args.b.data, args.c, c.m, c.n, c.k}};
  const auto layout = moelle::gemm::detail::layout_of(args);
  moelle::gemm::detail::Driver<T, Unit>(one, layout, table).run();
  args.c = expected.data();
  moelle::gemm::ref::gemm(args);
  const bool equal = got.storage == expected.storage;  // NaN anywhere makes this false
  if (!equal)
    MESSAGE("m=", c.m, " n=", c.n, " k=", c.k, " a=", static_cast<int>(c.a), " b=", static_cast<int>(c.b), " accumulate=", c.accumulate,
            " bias=", c.bias, " nr=", table.nr);
  return equal;
}

constexpr Order kOrders[] = {Order::plain, Order::transposed, Order::strided};

template <class T, class Unit>
void sweep(const Kernels<T, Unit>& table) {
  int cases = 0;
  for (std::int64_t m = 0; m <= 30; ++m)
    for (std::int64_t n : {0, 1, 2, 3, 4, 7, 8, 9, 15, 16, 17, 31, 32, 33, 48, 63, 65})
      for (std::int64_t k : {0, 1, 5, 16, 33}) {
        const auto pick = static_cast<std::size_t>(m + n + k);
        CHECK(matches_oracle({m, n, k, kOrders[pick % 3], kOrders[pick / 3 % 3], pick % 2 == 0, pick % 5 == 0, static_cast<std::int64_t>(pick % 4)}, table));
        ++cases;
      }
  CHECK(cases > 2000);
}

template <class T, class Unit>
void blocks(const Kernels<T, Unit>& table) {
  for (const Case& c : {Case{169, 33, 257}, Case{170, 520, 30}, Case{13, 300, 600}, Case{337, 70, 1025}, Case{200, 1030, 8}, Case{5, 5, 2000}})
    for (Order a : kOrders)
      for (Order b : kOrders)
        for (bool accumulate : {false, true}) CHECK(matches_oracle({c.m, c.n, c.k, a, b, accumulate, accumulate, 1}, table));
}

}  // namespace

TEST_CASE("every tail of rows, columns and terms gives the exact product of integers, in float and double") {
  sweep(moelle::gemm::kernels<float>());
  sweep(moelle::gemm::kernels<double>());
  sweep(moelle::gemm::rounded_kernels());
}

TEST_CASE("shapes that cross the blocking give the exact product in all orders of both operands") {
  blocks(moelle::gemm::kernels<float>());
  blocks(moelle::gemm::kernels<double>());
  blocks(moelle::gemm::rounded_kernels());
}

TEST_CASE("every K block and every round of a long product is added once") {
  const std::int64_t round = moelle::gemm::detail::kRoundBlocks * moelle::gemm::kBlockK;
  CHECK(matches_oracle({180, 40, round + 300, Order::transposed, Order::plain, true}, moelle::gemm::kernels<float>()));
  CHECK(matches_oracle({3, 40, round + 300, Order::plain, Order::transposed, false}, moelle::gemm::kernels<float>()));
  CHECK(matches_oracle({180, 40, 2 * round + 301, Order::plain, Order::transposed, true}, moelle::gemm::rounded_kernels()));
}

TEST_CASE("B larger than the shared buffer is multiplied in rounds with the same exact result") {
  CHECK(matches_oracle({171, 2600, 2048, Order::plain, Order::plain, true, true, 0}, moelle::gemm::kernels<float>()));
}

#if !defined(MOELLE_COMPILED_KERNELS) && defined(__x86_64__)
TEST_CASE("the kernels of every narrower instruction set give the same exact products") {
  sweep(moelle::gemm::make_kernels<xsimd::sse2, float>());
  blocks(moelle::gemm::make_kernels<xsimd::sse2, double>());
#if defined(__AVX2__) && defined(__FMA__)
  sweep(moelle::gemm::make_kernels<xsimd::fma3<xsimd::avx2>, float>());
  sweep(moelle::gemm::make_kernels<xsimd::fma3<xsimd::avx2>, double>());
  blocks(moelle::gemm::make_kernels<xsimd::fma3<xsimd::avx2>, float>());
#endif
}
#endif
