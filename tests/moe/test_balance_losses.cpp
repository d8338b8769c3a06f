// tests/moe/test_balance_losses.cpp -- the balance losses by hand, by their oracle and by differences.
#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <vector>

#include <activation/helpers.hpp>
#include <moelle/autograd/gradcheck.hpp>
#include <moelle/moe/balance_op.hpp>
#include <moelle/moe/balance_ref.hpp>
#include <moelle/moe/gate_op.hpp>

using namespace moelle;
using namespace moelle::testing;

namespace {
struct Case {
  std::int64_t B, T, E, K;
};
const Case kCases[] = {{1, 1, 1, 1}, {1, 7, 4, 2}, {3, 5, 6, 2}, {2, 9, 3, 3}, {5, 1, 8, 1}, {2, 40, 16, 4}};

template <class T>
Tensor<T> positive(const Shape& shape, std::uint64_t seed) {
  Tensor<T> t = normal<T>(shape, seed);
  for (std::int64_t i = 0; i < t.numel(); ++i) t.data()[i] = std::abs(t.data()[i]) + T(0.05);
  return t;
}
template <class T>
std::vector<double> wide(const Tensor<T>& t) {
  const auto v = t.to_vector();
  return {v.begin(), v.end()};
}
}  // namespace

TEST_CASE("the worked example: two sequences of two tokens, two experts, one choice each") {
  const Tensor<double> s = Tensor<double>::from({.6, .2,  .4, .4,  .1, .3,  .5, .5}, {4, 2});
  const auto choice = Tensor<std::int32_t>::from({0, 0, 1, 0}, {4, 1});
  // sequence 0: f = (2, 0), P = (.625, .375); sequence 1: f = (1, 1), P = (.375, .625)
  CHECK(moe::sequence_balance_loss(s, choice, 2).item() == doctest::Approx((2 * .625 + 1) / 2));
  // together: f = 2/4 (3, 1), P = (.5, .5)
  CHECK(moe::expert_balance_loss(s, choice).item() == doctest::Approx(1.0));
  // Switch: 2 (3/4 .4 + 1/4 .35), scores as they are
  CHECK(moe::switch_balance_loss(s, choice).item() == doctest::Approx(2 * (.75 * .4 + .25 * .35)));
}

TEST_CASE_TEMPLATE("the losses follow their oracles", T, float, double) {
  for (const Case& c : kCases) {
    const std::int64_t N = c.B * c.T;
    const Tensor<T> s = positive<T>({N, c.E}, 1), x = normal<T>({N, c.E}, 2, 2.0);
    const auto choice = integers<std::int32_t>({N, c.K}, 3, static_cast<std::uint64_t>(c.E));
    const auto E = static_cast<std::size_t>(c.E), K = static_cast<std::size_t>(c.K), B = static_cast<std::size_t>(c.B);
    const double eps = 2 * std::numeric_limits<T>::epsilon() + 1e-14;
    const auto near = [&](const Tensor<T>& got, double want) { return std::abs(static_cast<double>(got.item()) - want) <= eps * std::abs(want); };
    INFO("B=", c.B, " T=", c.T, " E=", c.E, " K=", c.K);
    CHECK(near(moe::sequence_balance_loss(s, choice, c.B), moe::ref::sequence_balance_loss(wide(s), choice.to_vector(), E, K, B)));
    CHECK(near(moe::expert_balance_loss(s, choice), moe::ref::sequence_balance_loss(wide(s), choice.to_vector(), E, K, 1)));
    CHECK(near(moe::switch_balance_loss(s, choice), moe::ref::switch_balance_loss(wide(s), choice.to_vector(), E, K)));
    CHECK(near(moe::router_z_loss(x), moe::ref::router_z_loss(wide(x), E)));
  }
}

TEST_CASE("all losses pass gradcheck") {
  for (const Case& c : kCases) {
    const std::int64_t N = c.B * c.T;
    const auto choice = integers<std::int32_t>({N, c.K}, 4, static_cast<std::uint64_t>(c.E));
    const Tensor<double> s = positive<double>({N, c.E}, 5).set_requires_grad(true), x = leaf({N, c.E}, 6);
    const autograd::GradcheckOptions fine{.step = 1e-4};
    INFO("B=", c.B, " T=", c.T, " E=", c.E, " K=", c.K);
    CHECK(autograd::gradcheck1([&](const auto& in) { return moe::sequence_balance_loss(in[0], choice, c.B); }, {s}, fine).ok);
    CHECK(autograd::gradcheck1([&](const auto& in) { return moe::switch_balance_loss(in[0], choice); }, {s}, fine).ok);
    CHECK(autograd::gradcheck1([&](const auto& in) { return moe::router_z_loss(in[0]); }, {x}).ok);
  }
}

TEST_CASE("through the gate's scores, each score function's losses pass gradcheck with respect to the logits") {
  for (const auto score : {moe::Score::sigmoid, moe::Score::softmax, moe::Score::sqrt_softplus}) {
    const moe::GateParams p{.top_k = 2, .score = score};
    const Tensor<double> x = leaf({6, 5}, 7);
    const auto chosen = moe::gate(x, Tensor<double>(), p).experts;
    const auto r = autograd::gradcheck1([&](const auto& in) { return moe::sequence_balance_loss(moe::gate_given(in[0], chosen, p).scores, chosen, 2); }, {x});
    INFO("score=", static_cast<int>(score), " ", r.where);
    CHECK(r.ok);
  }
}

TEST_CASE("an even load has loss 1, and the gradient of an uneven one lowers the scores of the overloaded expert") {
  const auto even = Tensor<std::int32_t>::from({0, 1, 2, 3}, {4, 1});
  const Tensor<double> s = Tensor<double>::full({4, 4}, .5).set_requires_grad(true);
  CHECK(moe::sequence_balance_loss(s, even, 1).item() == doctest::Approx(1.0));
  CHECK(moe::switch_balance_loss(Tensor<double>::full({4, 4}, .25), even).item() == doctest::Approx(1.0));
  moe::sequence_balance_loss(s, Tensor<std::int32_t>::from({0, 0, 0, 1}, {4, 1}), 1).backward();
  for (std::int64_t t = 0; t < 4; ++t) {
    CHECK(s.grad().at({t, 0}) > 0);
    CHECK(s.grad().at({t, 2}) < 0);
  }
}

TEST_CASE("the Switch form is K times DeepSeek's for softmax scores") {
  const auto r = moe::gate(normal<double>({10, 6}, 8), Tensor<double>(), moe::greedy(3));
  CHECK(moe::switch_balance_loss(r.scores, r.experts).item() == doctest::Approx(3 * moe::expert_balance_loss(r.scores, r.experts).item()).epsilon(1e-12));
}

TEST_CASE("any number of threads gives the same bits, and strided operands those of contiguous ones") {
  const Tensor<float> s = positive<float>({1200, 24}, 9);
  const auto choice = integers<std::int32_t>({1200, 3}, 10, 24);
  CHECK(same_for_all_threads<float>([&] {
    const Tensor<float> a = s.detach().set_requires_grad(true), z = s.detach().set_requires_grad(true);
    const Tensor<float> l = moe::sequence_balance_loss(a, choice, 4), m = moe::router_z_loss(z);
    l.backward();
    m.backward();
    return std::vector<Tensor<float>>{l, m, a.grad(), z.grad()};
  }));
  CHECK(same_bits(moe::switch_balance_loss(scattered(s), choice), moe::switch_balance_loss(s, choice)));
}

TEST_CASE("no tokens cost nothing, and wrong arguments are refused with their shapes") {
  const Tensor<float> none = Tensor<float>::empty({0, 4});
  CHECK(moe::sequence_balance_loss(none, Tensor<std::int32_t>::empty({0, 2}), 3).item() == 0.0f);
  CHECK(moe::router_z_loss(none).item() == 0.0f);
  const Tensor<float> s = Tensor<float>::ones({6, 4});
  const auto c = Tensor<std::int32_t>::zeros({6, 2});
  CHECK(contains(message_of([&] { moe::sequence_balance_loss(s, c, 4); }), "balance: tokens must divide into the sequences; got tokens=6 sequences=4"));
  CHECK(contains(message_of([&] { moe::sequence_balance_loss(s, c, 0); }), "balance: tokens must divide"));
  CHECK(contains(message_of([&] { moe::switch_balance_loss(s, Tensor<std::int32_t>::zeros({5, 2})); }), "balance: scores must be [N, E] and choice [N, K]"));
  CHECK(contains(message_of([&] { moe::switch_balance_loss(s, Tensor<std::int32_t>::full({6, 2}, 4)); }), "balance: experts must be in [0, 4); got expert=4"));
  CHECK(contains(message_of([&] { moe::router_z_loss(Tensor<float>::ones({4})); }), "router_z_loss: logits must be [N, E]"));
}
