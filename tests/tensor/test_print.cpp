// tests/tensor/test_print.cpp -- tensors as text.
#include <doctest/doctest.h>

#include <limits>
#include <sstream>
#include <string>

#include <moelle/autograd/record.hpp>
#include <moelle/tensor/print_op.hpp>

using namespace moelle;

TEST_CASE("numbers share one format, rows stand below each other, shape and type follow") {
  CHECK(to_string(Tensor<float>::from({1, 2.5f, -3, 4}, {2, 2})) ==
        "tensor([[ 1.0000,  2.5000],\n"
        "        [-3.0000,  4.0000]], shape=[2, 2], dtype=float32)");
  CHECK(to_string(Tensor<double>::from({1, 20})) == "tensor([ 1., 20.], shape=[2], dtype=float64)");
  CHECK(to_string(Tensor<std::int64_t>::from({1, -20})) == "tensor([  1, -20], shape=[2], dtype=int64)");
  CHECK(to_string(Tensor<bool>::from({true, false})) == "tensor([ true, false], shape=[2], dtype=bool)");
  CHECK(to_string(Tensor<std::uint8_t>::from({65})) == "tensor([65], shape=[1], dtype=uint8)");
  CHECK(to_string(Tensor<bfloat16>::arange(0, 2)) == "tensor([0., 1.], shape=[2], dtype=bfloat16)");
}

TEST_CASE("scalars, empty and undefined tensors, special values, and tensors that require gradients") {
  CHECK(to_string(Tensor<float>::scalar(2.5f)) == "tensor(2.5000, shape=[], dtype=float32)");
  CHECK(to_string(Tensor<float>::zeros({0, 3})) == "tensor([], shape=[0, 3], dtype=float32)");
  CHECK(to_string(Tensor<float>()) == "tensor(undefined)");
  const float inf = std::numeric_limits<float>::infinity();
  CHECK(to_string(Tensor<float>::from({inf, -inf, inf - inf, 1})) == "tensor([ inf, -inf,  nan,   1.], shape=[4], dtype=float32)");
  CHECK(to_string(Tensor<float>::ones({1}).set_requires_grad(true)) == "tensor([1.], shape=[1], dtype=float32, requires_grad=true)");
}

TEST_CASE("numbers that span far, or are very large or small, are shown in scientific notation") {
  CHECK(to_string(Tensor<double>::from({1e-7, 2})) == "tensor([1.0000e-07, 2.0000e+00], shape=[2], dtype=float64)");
  CHECK(to_string(Tensor<double>::from({1e300})) == "tensor([1.0000e+300], shape=[1], dtype=float64)");
  CHECK(to_string(Tensor<double>::from({0.5}), {.precision = 1}) == "tensor([0.5], shape=[1], dtype=float64)");
}

TEST_CASE("large tensors show their edges, at any strides") {
  const auto x = Tensor<std::int32_t>::arange(0, 2000);
  CHECK(to_string(x) == "tensor([   0,    1,    2, ..., 1997, 1998, 1999], shape=[2000], dtype=int32)");
  const auto m = Tensor<std::int32_t>::arange(0, 49).alias({7, 7}, {1, 7});
  CHECK(to_string(m, {.edge_items = 1, .threshold = 10}) ==
        "tensor([[ 0, ..., 42],\n"
        "        ...,\n"
        "        [ 6, ..., 48]], shape=[7, 7], dtype=int32)");
}

TEST_CASE("matrices of matrices are set apart by an empty line, long rows are broken") {
  CHECK(to_string(Tensor<std::int32_t>::arange(0, 4).alias({2, 1, 2})) ==
        "tensor([[[0, 1]],\n\n"
        "        [[2, 3]]], shape=[2, 1, 2], dtype=int32)");
  std::ostringstream out;
  out << Tensor<std::int32_t>::arange(100, 160);
  std::istringstream lines(out.str());
  std::string line;
  int count = 0;
  while (std::getline(lines, line)) {
    CHECK(line.size() <= 82);  // the width and a comma or bracket
    if (++count == 1) CHECK(line.substr(0, 16) == "tensor([100, 101");
    if (count == 3) break;
  }
  CHECK(count == 3);
}
