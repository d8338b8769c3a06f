// tests/autograd/test_gradcheck.cpp -- the judge is judged: gradcheck accepts right gradients and catches wrong ones.
#include <doctest/doctest.h>

#include <limits>
#include <vector>

#include <moelle/autograd/gradcheck.hpp>
#include <moelle/tensor/ops.hpp>
#include <support/random_tensor.hpp>
#include <support/tolerance.hpp>

using namespace moelle;
using autograd::gradcheck1;
using T = Tensor<double>;

namespace {
// y = x^3 with dx = slope * x^2 g, wrong unless slope is 3; `spoil` is added to one element of the gradient.
T cube(const T& x, double slope, double spoil = 0.0, bool forget = false) {
  const T y = x.detach() * x.detach() * x.detach();
  autograd::record<double>("cube", {x}, {y}, [=, x = autograd::Saved<double>(x)](autograd::Backward<double>& b) {
    if (forget) return;
    const T dx = mul(x.get() * x.get(), slope) * b.grad(0);
    dx.data()[dx.numel() - 1] += spoil;
    b.add(0, dx);
  });
  return y;
}
T input() { return test::leaf(test::uniform<double>({3, 2}, 5)); }
}  // namespace

TEST_CASE("a right gradient passes with room to spare") {
  const auto r = gradcheck1([](const std::vector<T>& x) { return cube(x[0], 3.0); }, {input()});
  CHECK(r.ok);
  CHECK(r.compared == 6);
  CHECK(r.worst < test::kGradcheck / 100);
}

TEST_CASE("a wrong factor, one wrong element, a forgotten gradient and NaN are all caught") {
  CHECK_FALSE(gradcheck1([](const std::vector<T>& x) { return cube(x[0], 3.0 + 1e-5); }, {input()}).ok);
  const auto spoiled = gradcheck1([](const std::vector<T>& x) { return cube(x[0], 3.0, 1e-5); }, {input()});
  CHECK_FALSE(spoiled.ok);
  CHECK(spoiled.where.find("input 0 element 5") == 0);
  CHECK_FALSE(gradcheck1([](const std::vector<T>& x) { return cube(x[0], 3.0, 0.0, true); }, {input()}).ok);
  const double nan = std::numeric_limits<double>::quiet_NaN();
  CHECK_FALSE(gradcheck1([&](const std::vector<T>& x) { return cube(x[0], 3.0, nan); }, {input()}).ok);
}

TEST_CASE("a gradient that is right for the sum of the outputs only is caught") {
  const auto swapped = [](const std::vector<T>& in) {
    const T y = clone(in[0].detach());
    autograd::record<double>("swap", {in[0]}, {y}, [](autograd::Backward<double>& b) {
      b.add(0, contiguous(slice(b.grad(0), 0, kOpen, kOpen, -1)));
    });
    return y;
  };
  CHECK_FALSE(gradcheck1(swapped, {input()}).ok);
}

TEST_CASE("every input that requires a gradient is checked, the others are left alone") {
  const T a = input(), b = test::uniform<double>({3, 2}, 6);
  const auto before = b.to_vector();
  const auto r = gradcheck1([](const std::vector<T>& x) { return x[0] * x[1]; }, {a, b});
  CHECK(r.ok);
  CHECK(r.compared == 6);
  CHECK(b.to_vector() == before);
  CHECK_FALSE(gradcheck1([](const std::vector<T>& x) { return x[0] * x[0].detach(); }, {a}).ok);
}

TEST_CASE("nothing to compare is not a pass") {
  CHECK_FALSE(gradcheck1([](const std::vector<T>& x) { return x[0] * x[0]; }, {test::leaf(T::empty({0}))}).ok);
}
