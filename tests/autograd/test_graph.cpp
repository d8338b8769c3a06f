// tests/autograd/test_graph.cpp -- what the graph promises: accumulation, freeing, modes, errors, long chains.
#include <doctest/doctest.h>

#include <vector>

#include <moelle/autograd/backward.hpp>
#include <moelle/tensor/ops.hpp>
#include <support/compare.hpp>
#include <support/random_tensor.hpp>

using namespace moelle;
using autograd::backward;
using T = Tensor<double>;

namespace {
T leaf(double v) { return T::scalar(v).set_requires_grad(true); }

// y = x, counting how often its backward runs and dies.
T probe(const T& x, int* runs, std::shared_ptr<int> life = nullptr) {
  const T y = clone(x.detach());
  autograd::record<double>("probe", {x}, {y}, [runs, life](autograd::Backward<double>& b) {
    ++*runs;
    b.add(0, b.grad(0));
  });
  return y;
}
}  // namespace

TEST_CASE("gradients add up over uses in one graph and over backward calls") {
  const T x = leaf(3);
  (x * x + x).backward();
  CHECK(x.grad().item() == 7);
  (x * x).backward();
  CHECK(x.grad().item() == 13);
  x.zero_grad();
  CHECK_FALSE(x.grad().defined());
}

TEST_CASE("in a diamond each operation runs once, after all that depends on it") {
  const T x = leaf(2);
  int runs = 0;
  const T a = probe(x * x, &runs);
  const T y = a * a + mul(a, 5.0);
  y.backward();
  CHECK(runs == 1);
  CHECK(x.grad().item() == (2 * 4 + 5) * 4);
}

TEST_CASE("several outputs with given gradients run backward in one pass") {
  const T x = leaf(2);
  int runs = 0;
  const T a = probe(x, &runs);
  const T p = a * a, q = exp(a);
  backward<double>({p, q}, {T::scalar(10), T::scalar(0)});
  CHECK(runs == 1);
  CHECK(x.grad().item() == 40);
  CHECK_THROWS_AS(backward<double>({x}, {T(), T()}), Error);
}

TEST_CASE("a tensor used twice by one operation gets both gradients") {
  const T x = leaf(3);
  mul(x, x).backward();
  CHECK(x.grad().item() == 6);
}

TEST_CASE("a second backward through a freed graph is an error; retain_graph allows it") {
  const T x = leaf(3);
  const T y = x * x;
  backward<double>({y}, {T()}, true);
  backward<double>({y}, {T()});
  CHECK(x.grad().item() == 12);
  CHECK_THROWS_WITH_AS(y.backward(), "backward: the graph was freed by an earlier backward; pass retain_graph to keep it; got node=mul", Error);
  CHECK(x.grad().item() == 12);
}

TEST_CASE("a freed graph lets go of what it saved, a dropped one too") {
  const auto life = std::make_shared<int>();
  int runs = 0;
  const T x = leaf(1);
  {
    const T y = probe(x, &runs, life);
    CHECK(life.use_count() == 2);
    y.backward();
    CHECK(life.use_count() == 1);
  }
  probe(x, &runs, life);
  CHECK(life.use_count() == 1);
  CHECK(runs == 1);
}

TEST_CASE("under NoGrad nothing is recorded, and the mode comes back after the scope") {
  const T x = leaf(3);
  {
    const autograd::NoGrad guard;
    CHECK_FALSE((x * x).requires_grad());
    const autograd::EnableGrad again;
    CHECK((x * x).requires_grad());
  }
  CHECK((x * x).requires_grad());
  CHECK_FALSE((x.detach() * x.detach()).requires_grad());
}

TEST_CASE("detach cuts the graph: no gradient passes") {
  const T x = leaf(3);
  (x * (x * x).detach()).backward();
  CHECK(x.grad().item() == 9);
}

TEST_CASE("only leaves keep their gradients, others on request") {
  const T x = leaf(3);
  const T kept = x * x, other = kept * kept;
  kept.retain_grad();
  (other * other).backward();
  CHECK(kept.grad().item() == 4 * 9 * 9 * 9);
  CHECK_FALSE(other.grad().defined());
  CHECK_THROWS_AS(x.detach().retain_grad(), Error);
}

TEST_CASE("a saved tensor changed in place before backward is an error, not a wrong gradient") {
  const T x = leaf(3), w = T::scalar(2);
  const T y = x * w;
  fill_(w, 5);
  CHECK_THROWS_WITH_AS(y.backward(), "backward: a tensor needed for the gradient must not be changed in place before backward; got shape=[]", Error);
  CHECK_FALSE(x.grad().defined());
}

TEST_CASE("only leaves can be asked to require a gradient, and roots must be scalars or given gradients") {
  const T x = leaf(3);
  const T y = x * x;
  CHECK_THROWS_AS(y.set_requires_grad(false), Error);
  CHECK_THROWS_AS(x.detach().backward(), Error);
  const T v = T::ones({3}).set_requires_grad(true);
  CHECK_THROWS_AS((v * v).backward(), Error);
  CHECK_THROWS_AS((v * v).backward(T::ones({2})), Error);
  CHECK_THROWS_AS(v.set_grad(T::ones({2})), Error);
  (v * v).backward(T::full({3}, 0.5));
  CHECK(v.grad().to_vector() == std::vector<double>{1, 1, 1});
}

TEST_CASE("backward of a leaf gives it the gradient itself") {
  const T x = leaf(3);
  x.backward();
  CHECK(x.grad().item() == 1);
}

TEST_CASE("after an exception in backward no half-collected gradients stay in the graph") {
  const T x = leaf(2), w = leaf(2);
  const T inner = x * x;
  const T y = inner * w + w;
  fill_(inner.detach(), 4);  // same value, but counted as a change
  CHECK_THROWS_AS(y.backward(), Error);
  CHECK_FALSE(inner.grad().defined());
  CHECK_FALSE(y.grad().defined());
}

TEST_CASE("gradients shared between two inputs are not changed through one of them") {
  const T a = test::leaf(test::uniform<double>({4}, 1)), b = test::leaf(test::uniform<double>({4}, 2));
  const T y = a + b;  // both inputs get the same tensor
  (sum(y) + sum(a)).backward();
  CHECK(b.grad().to_vector() == std::vector<double>{1, 1, 1, 1});
  CHECK(a.grad().to_vector() == std::vector<double>{2, 2, 2, 2});
  sum(b).backward();
  CHECK(a.grad().to_vector() == std::vector<double>{2, 2, 2, 2});
  CHECK(b.grad().to_vector() == std::vector<double>{2, 2, 2, 2});
}

TEST_CASE("a gradient the caller gives is not changed by the accumulation") {
  const T x = test::leaf(test::uniform<double>({3}, 1)), g = T::ones({3});
  clone(x).backward(g);
  clone(x).backward(g);
  CHECK(g.to_vector() == std::vector<double>{1, 1, 1});
  CHECK(x.grad().to_vector() == std::vector<double>{2, 2, 2});
}

TEST_CASE("chains of 200,000 operations run backward and are destroyed without overflowing the stack") {
  const T x = leaf(1);
  {
    T y = x;
    for (int i = 0; i < 200000; ++i) y = add(y, 0.0);
    y.backward();
  }
  CHECK(x.grad().item() == 1);
  T y = x;
  for (int i = 0; i < 200000; ++i) y = add(y, x);
  y = T();  // never run: dropped as a whole
  CHECK(x.grad().item() == 1);
}

TEST_CASE("the order of accumulation is fixed: two runs give the same bits") {
  const auto run = [] {
    const Tensor<float> x = test::leaf(test::normal<float>({100}, 3));
    Tensor<float> y = x;
    for (int i = 0; i < 5; ++i) y = y * x + exp(y) + x;
    sum(y).backward();
    return x.grad();
  };
  CHECK(test::bitwise_equal(run(), run()));
}
