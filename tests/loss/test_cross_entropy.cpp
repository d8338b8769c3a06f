// tests/loss/test_cross_entropy.cpp
#include <doctest/doctest.h>

#include <activation/helpers.hpp>
#include <moelle/autograd/gradcheck.hpp>
#include <moelle/loss.hpp>
#include <moelle/loss/cross_entropy_ref.hpp>

using namespace moelle;
using namespace moelle::testing;
using loss::CrossEntropyParams;
using loss::Reduction;

namespace {

struct Case {
  std::int64_t N, V;
  CrossEntropyParams params;
  bool weighted, ignore;
};
const Case kCases[] = {{1, 1, {}, false, false},
                       {1, 7, {}, false, false},
                       {5, 16, {.reduction = Reduction::sum}, false, true},
                       {4, 33, {.z_loss = 1e-2}, true, true},
                       {9, 100, {.z_loss = 1e-1, .normalizer = 37.0}, false, true},
                       {3, 1000, {.reduction = Reduction::sum, .z_loss = 1e-4}, true, false},
                       {6, 5, {.ignore_index = 2}, true, true}};

Tensor<std::int64_t> labels_of(const Case& c) {
  auto y = integers<std::int64_t>({c.N}, 3, static_cast<std::uint64_t>(c.V));
  if (c.ignore) y.data()[c.N / 2] = c.params.ignore_index;
  return y;
}
template <class T>
Tensor<T> label_weight_of(const Case& c) {
  Tensor<T> w = c.weighted ? normal<T>({c.V}, 4) : Tensor<T>();
  if (c.weighted)
    for (std::int64_t i = 0; i < c.V; ++i) w.data()[i] = std::abs(w.data()[i]);
  return w;
}
template <class T>
std::vector<double> wide(const Tensor<T>& t) {
  const auto v = t.to_vector();
  return {v.begin(), v.end()};
}

}  // namespace

TEST_CASE_TEMPLATE("cross_entropy and its gradient follow the oracle for every option", T, float, double) {
  for (const Case& c : kCases) {
    const auto labels = labels_of(c);
    const Tensor<T> x = normal<T>({c.N, c.V}, 5, 4.0).set_requires_grad(true), w = label_weight_of<T>(c);
    const Tensor<T> y = loss::cross_entropy(x, labels, c.params, w);
    y.backward();
    const std::vector<double> in = wide(x), weights = c.weighted ? wide(w) : std::vector<double>();
    std::vector<double> dx(in.size());
    const double want = loss::ref::cross_entropy(c.params, in.data(), labels.data(), c.weighted ? weights.data() : nullptr, c.N, c.V, dx.data());
    INFO("N=", c.N, " V=", c.V);
    const double eps = std::numeric_limits<T>::epsilon();
    CHECK(y.shape() == Shape{});
    CHECK(std::abs(static_cast<double>(y.item()) - want) <= 4 * eps * (1 + std::abs(want)));
    if (c.V > 1) CHECK(relative_error(wide(x.grad()), dx) <= 16 * eps);
  }
}

TEST_CASE("cross_entropy and token_log_probs pass gradcheck") {
  for (const Case& c : kCases) {
    if (c.V > 100) continue;
    const auto labels = labels_of(c);
    const Tensor<double> w = label_weight_of<double>(c);
    const auto r = autograd::gradcheck1([&](const auto& in) { return loss::cross_entropy(in[0], labels, c.params, w); }, {leaf({c.N, c.V}, 6)});
    INFO("N=", c.N, " V=", c.V, " ", r.where);
    CHECK(r.ok);
    CHECK(autograd::gradcheck1([&](const auto& in) { return loss::token_log_probs(in[0], labels, c.params.ignore_index); }, {leaf({c.N, c.V}, 7)}).ok);
  }
}

TEST_CASE("the mean of the negated log-probabilities of the targets is the loss") {
  const Tensor<double> x = normal<double>({2, 3, 17}, 8);
  auto labels = integers<std::int32_t>({2, 3}, 9, 17);
  labels.data()[4] = -100;
  const Tensor<double> lp = loss::token_log_probs(x, labels);
  CHECK(lp.shape() == Shape{2, 3});
  CHECK(lp.data()[4] == 0.0);
  double sum = 0;
  lp.each([&](double v) { sum += v; });
  CHECK(-sum / 5 == doctest::Approx(loss::cross_entropy(x, labels).item()).epsilon(1e-14));
  CHECK(loss::count_targets(labels) == 5);
}

TEST_CASE("a confident model's small loss keeps its digits in float") {
  const Tensor<float> x = Tensor<float>::from({30.0f, 18.0f, 17.0f}, {1, 3});
  const double want = std::log1p(std::exp(-12.0) + std::exp(-13.0));
  CHECK(static_cast<double>(loss::cross_entropy(x, Tensor<std::int64_t>::from({0})).item()) == doctest::Approx(want).epsilon(0.02));
}

TEST_CASE("without targets the loss and its gradient are zero") {
  const Tensor<float> x = normal<float>({3, 5}, 10).set_requires_grad(true);
  const Tensor<float> y = loss::cross_entropy(x, Tensor<std::int64_t>::full({3}, -100));
  y.backward();
  CHECK(y.item() == 0.0f);
  CHECK(x.grad().to_vector() == std::vector<float>(15, 0.0f));
  CHECK(loss::cross_entropy(Tensor<float>::empty({0, 5}), Tensor<std::int64_t>::empty({0})).item() == 0.0f);
}

TEST_CASE("NaN in an ignored row changes nothing; elsewhere it shows") {
  const Tensor<float> x = normal<float>({3, 20}, 11), bad = Tensor<float>::from(x.to_vector(), x.shape());
  const auto labels = Tensor<std::int64_t>::from({1, -100, 2});
  bad.at({1, 7}) = static_cast<float>(kNaN);
  const auto run = [&](const Tensor<float>& in) {
    in.zero_grad();
    const Tensor<float> y = loss::cross_entropy(in.set_requires_grad(true), labels);
    y.backward();
    return y;
  };
  CHECK(same_bits(run(x), run(bad)));
  CHECK(same_bits(x.grad(), bad.grad()));
  bad.at({0, 19}) = static_cast<float>(kNaN);
  CHECK(std::isnan(loss::cross_entropy(bad, labels).item()));
}

TEST_CASE("cross_entropy has the same bits for every number of threads, strides, and for a row alone") {
  const Tensor<float> x = normal<float>({203, 130}, 12, 3.0);
  const auto labels = integers<std::int32_t>({203}, 13, 130);
  CHECK(same_for_all_threads<float>([&] {
    const Tensor<float> v = x.detach().set_requires_grad(true);
    const Tensor<float> y = loss::cross_entropy(v, labels, {.z_loss = 1e-3});
    y.backward(Tensor<float>::scalar(3.0f));
    return std::vector<Tensor<float>>{y, v.grad()};
  }));
  CHECK(same_bits(loss::cross_entropy(scattered(x), labels), loss::cross_entropy(x, labels)));
  CHECK(same_bits(loss::token_log_probs(rows(x, 7, 8), rows(labels, 7, 8)), rows(loss::token_log_probs(x, labels), 7, 8)));
}

TEST_CASE("cross_entropy names what is wrong with its arguments") {
  const Tensor<float> x = Tensor<float>::ones({2, 4});
  const auto labels = Tensor<std::int64_t>::from({0, 4});
  CHECK(contains(message_of([&] { loss::cross_entropy(x, labels); }), "cross_entropy: labels must be in [0, V) or ignore_index; got labels[1]=4 V=4"));
  CHECK(contains(message_of([&] { loss::cross_entropy(x, Tensor<std::int64_t>::from({0, -1})); }), "got labels[1]=-1"));
  CHECK(contains(message_of([&] { loss::cross_entropy(x, Tensor<std::int64_t>::from({0})); }), "got input=[2, 4] labels=[1]"));
  CHECK(contains(message_of([&] { loss::cross_entropy(x, labels, {.z_loss = -1}); }), "got z_loss=-1"));
  CHECK(contains(message_of([&] { loss::cross_entropy(x, labels, {.normalizer = kNaN}); }), "got normalizer=nan"));
  CHECK(contains(message_of([&] { loss::cross_entropy(x, labels, {.reduction = Reduction::sum, .normalizer = 2}); }), "got normalizer=2"));
  CHECK(contains(message_of([&] { loss::cross_entropy(x, labels, {}, Tensor<float>::ones({3})); }), "got label_weight=[3] V=4"));
  CHECK(contains(message_of([&] { loss::token_log_probs(x, labels); }), "token_log_probs: labels"));
}
