// tests/gemm/matrices.hpp -- operands in every layout, with poison around what a product may touch.
#pragma once
#include <cstdint>
#include <limits>
#include <vector>

#include <moelle/core/random.hpp>
#include <moelle/gemm/gemm.hpp>

namespace gemm_test {

using moelle::gemm::Matrix;
using moelle::random::Stream;

enum class Order { plain, transposed, strided };

// A matrix [rows, cols] in storage that is larger than it: what lies around it is NaN, so that reading it shows.
template <class T>
struct Operand {
  std::vector<T> storage;
  std::int64_t rows, cols;
  Matrix<T> view;

  Operand(std::int64_t r, std::int64_t c, Order order, std::int64_t pad) : rows(r), cols(c) {
    const std::int64_t inner = order == Order::transposed ? r : c, outer = order == Order::transposed ? c : r;
    const std::int64_t step = order == Order::strided ? 2 : 1, ld = inner * step + pad;
    storage.assign(static_cast<std::size_t>(outer * ld + pad + 1), std::numeric_limits<T>::quiet_NaN());
    view = {storage.data() + pad, order == Order::transposed ? 1 : ld, order == Order::transposed ? ld : step};
  }
  Operand(const Operand&) = delete;

  T& at(std::int64_t i, std::int64_t j) { return storage[static_cast<std::size_t>(view.data - storage.data() + i * view.row_stride + j * view.col_stride)]; }
  // Small integers: every sum of them is exact, in any order.
  void fill_integers(std::uint64_t seed) {
    const Stream stream(seed, "integers");
    each(stream, [](double u) { return static_cast<T>(static_cast<int>(u * 9.0) - 4); });
  }
  void fill_uniform(std::uint64_t seed) {
    const Stream stream(seed, "uniform");
    each(stream, [](double u) { return static_cast<T>(2.0 * u - 1.0); });
  }

 private:
  template <class F>
  void each(const Stream& stream, F f) {
    std::uint64_t n = 0;
    for (std::int64_t i = 0; i < rows; ++i)
      for (std::int64_t j = 0; j < cols; ++j) at(i, j) = f(stream.uniform(n++));
  }
};

}  // namespace gemm_test
