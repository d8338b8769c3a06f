// tests/moe/test_experts.cpp -- the fused experts against the oracle, against the same layer composed of small operations, and
// against differences.
#include <doctest/doctest.h>

#include <limits>
#include <string>
#include <vector>

#include <activation/helpers.hpp>
#include <moelle/activation/swiglu_op.hpp>
#include <moelle/autograd/gradcheck.hpp>
#include <moelle/gemm/grouped_op.hpp>
#include <moelle/moe/experts_op.hpp>
#include <moelle/moe/experts_ref.hpp>

using namespace moelle;
using namespace moelle::testing;

namespace {
enum class Load { random, one_expert, first_half };

struct Case {
  std::int64_t N, K, E, D, F;
  Load load = Load::random;
};
const Case kCases[] = {{1, 1, 1, 1, 1}, {5, 2, 3, 4, 3}, {6, 3, 7, 9, 5, Load::one_expert}, {4, 2, 8, 3, 17, Load::first_half}, {3, 4, 4, 6, 8}, {0, 2, 4, 5, 3}};

Tensor<std::int32_t> choice_of(const Case& c) {
  if (c.load == Load::one_expert) return Tensor<std::int32_t>::full({c.N, c.K}, static_cast<std::int32_t>(c.E / 2));
  return integers<std::int32_t>({c.N, c.K}, 1, static_cast<std::uint64_t>(c.load == Load::random ? c.E : c.E / 2));
}

template <class T>
struct Layer {
  Tensor<T> x, w, gate_up, down;
  explicit Layer(const Case& c)
      : x(normal<T>({c.N, c.D}, 2)), w(normal<T>({c.N, c.K}, 3)), gate_up(normal<T>({c.E, 2 * c.F, c.D}, 4)), down(normal<T>({c.E, c.D, c.F}, 5)) {}
  std::vector<Tensor<T>> all() const { return {x, w, gate_up, down}; }
  void require_grad() const {
    for (const auto& t : all()) t.set_requires_grad(true);
  }
};

// The same layer, one operation after the other.
template <class T>
Tensor<T> composed(const std::vector<Tensor<T>>& in, const Tensor<std::int32_t>& choice, const activation::SwigluParams& params) {
  const auto p = moe::make_permutation(choice, in[2].size(0));
  const Tensor<T> h = gemm::grouped_linear(moe::permute(in[0], p), in[2], p.offsets);
  return moe::unpermute(gemm::grouped_linear(activation::swiglu_packed(h, params), in[3], p.offsets), in[1], p);
}

template <class T>
std::vector<double> wide(const Tensor<T>& t) {
  const auto v = t.to_vector();
  return {v.begin(), v.end()};
}
std::string text(const Case& c) { return str("N=", c.N, " K=", c.K, " E=", c.E, " D=", c.D, " F=", c.F, " load=", static_cast<int>(c.load)); }
}  // namespace

TEST_CASE_TEMPLATE("the experts follow the oracle, with experts that get no token and one that gets all", T, float, double) {
  for (const Case& c : kCases)
    for (const double limit : {std::numeric_limits<double>::infinity(), 0.5}) {
      const Layer<T> l(c);
      const auto choice = choice_of(c);
      const Tensor<T> y = moe::experts(l.x, choice, l.w, l.gate_up, l.down, {.limit = limit});
      const moe::ExpertSizes s{c.N, c.K, c.E, c.D, c.F};
      INFO(text(c), " limit=", limit);
      CHECK(relative_error(wide(y), moe::ref::experts(s, l.x.data(), choice.data(), l.w.data(), l.gate_up.data(), l.down.data(), limit)) <=
            32 * std::numeric_limits<T>::epsilon());
    }
}

TEST_CASE_TEMPLATE("output and all gradients agree with the layer composed of permute, grouped_linear, swiglu and unpermute", T, float, double) {
  const double eps = std::numeric_limits<T>::epsilon();
  for (const Case& c : {Case{40, 3, 8, 24, 20}, Case{40, 3, 8, 24, 20, Load::one_expert}, Case{17, 2, 5, 33, 7, Load::first_half}, Case{1, 4, 9, 64, 16}})
    for (const double limit : {std::numeric_limits<double>::infinity(), 2.0}) {
      const Layer<T> a(c), b(c);
      a.require_grad();
      b.require_grad();
      const auto choice = choice_of(c);
      const Tensor<T> dy = normal<T>({c.N, c.D}, 6), ya = moe::experts(a.x, choice, a.w, a.gate_up, a.down, {.limit = limit}),
                      yb = composed(b.all(), choice, {.limit = limit});
      INFO(text(c), " limit=", limit);
      CHECK(same_bits(ya, yb));  // the same products in the same order
      ya.backward(dy);
      yb.backward(dy);
      for (std::size_t i = 0; i < 4; ++i) {
        INFO("input ", i);
        CHECK(relative_error(wide(a.all()[i].grad()), wide(b.all()[i].grad())) <= 64 * eps);
      }
    }
}

TEST_CASE("the experts pass gradcheck with respect to tokens, weights and both matrices") {
  for (const Case& c : kCases) {
    if (c.N == 0) continue;
    const auto choice = choice_of(c);
    const Layer<double> l(c);
    l.require_grad();
    const auto r = autograd::gradcheck1([&](const auto& in) { return moe::experts(in[0], choice, in[1], in[2], in[3]); }, l.all());
    INFO(text(c), " ", r.where);
    CHECK(r.ok);
  }
}

TEST_CASE("with a limit, and inside a larger graph, gradients still pass gradcheck") {
  const Case c{4, 2, 3, 5, 4};
  const auto choice = choice_of(c);
  const Layer<double> l(c);
  l.require_grad();
  const auto r = autograd::gradcheck1(
      [&](const auto& in) { return moe::experts(moe::experts(in[0], choice, in[1], in[2], in[3], {.limit = 1.5}), choice, in[1], in[2], in[3]); }, l.all());
  INFO(r.where);
  CHECK(r.ok);
}

TEST_CASE("gate and experts together pass gradcheck with respect to the logits") {
  const Case c{5, 3, 6, 4, 3};
  const Layer<double> l(c);
  const Tensor<double> logits = leaf({c.N, c.E}, 7);
  const moe::GateParams p{.top_k = 3, .score = moe::Score::softmax, .scale = 2.5};
  const auto chosen = moe::gate(logits, Tensor<double>(), p).experts;
  const auto r = autograd::gradcheck1([&](const auto& in) { return moe::experts(l.x, moe::gate_given(in[0], chosen, p), l.gate_up, l.down); }, {logits});
  INFO(r.where);
  CHECK(r.ok);
}

TEST_CASE("gradients of two micro-batches add up in the parameters, and experts without tokens get zeros") {
  const Case c{4, 2, 8, 3, 5, Load::first_half};
  const Layer<double> l(c);
  l.require_grad();
  const auto choice = choice_of(c);
  const auto run = [&] { moe::experts(l.x, choice, l.w, l.gate_up, l.down).backward(Tensor<double>::ones({c.N, c.D})); };
  run();
  const std::vector<double> once = l.gate_up.grad().to_vector(), down_once = l.down.grad().to_vector();
  for (std::int64_t e = 4; e < 8; ++e)
    for (std::int64_t i = 0; i < 2 * c.F * c.D; ++i) CHECK(once[static_cast<std::size_t>(e * 2 * c.F * c.D + i)] == 0.0);
  run();
  for (std::size_t i = 0; i < once.size(); ++i) CHECK(l.gate_up.grad().data()[i] == doctest::Approx(2 * once[i]));
  for (std::size_t i = 0; i < down_once.size(); ++i) CHECK(l.down.grad().data()[i] == doctest::Approx(2 * down_once[i]));
}

TEST_CASE("only the gradients that are wanted are computed") {
  const Case c{4, 2, 3, 5, 4};
  const auto choice = choice_of(c);
  for (std::size_t only = 0; only < 4; ++only) {
    const Layer<double> l(c), whole(c);
    whole.require_grad();
    l.all()[only].set_requires_grad(true);
    for (const auto* m : {&l, &whole}) moe::experts(m->x, choice, m->w, m->gate_up, m->down).backward(Tensor<double>::ones({c.N, c.D}));
    for (std::size_t i = 0; i < 4; ++i) CHECK(l.all()[i].grad().defined() == (i == only));
    CHECK(same_bits(l.all()[only].grad(), whole.all()[only].grad()));
  }
}

TEST_CASE("any number of threads gives the same bits, forward and backward") {
  const Case c{150, 3, 12, 40, 24};
  const Layer<float> l(c);
  const auto choice = choice_of(c);
  const Tensor<float> dy = normal<float>({c.N, c.D}, 8);
  CHECK(same_for_all_threads<float>([&] {
    const Layer<float> in(c);
    in.require_grad();
    const Tensor<float> y = moe::experts(in.x, choice, in.w, in.gate_up, in.down);
    y.backward(dy);
    return std::vector<Tensor<float>>{y, in.x.grad(), in.w.grad(), in.gate_up.grad(), in.down.grad()};
  }));
}

TEST_CASE("a token alone has the bits it has among others, and strided operands those of contiguous ones") {
  const Case c{30, 3, 6, 40, 24};
  const Layer<float> l(c);
  const auto choice = choice_of(c);
  const Tensor<float> y = moe::experts(l.x, choice, l.w, l.gate_up, l.down);
  for (const std::int64_t n : {0, 13, 29})
    CHECK(same_bits(moe::experts(rows(l.x, n, n + 1), rows(choice, n, n + 1), rows(l.w, n, n + 1), l.gate_up, l.down), rows(y, n, n + 1)));
  CHECK(same_bits(moe::experts(scattered(l.x), choice, scattered(l.w), scattered(l.gate_up), scattered(l.down)), y));
}

TEST_CASE("impossible requests are refused with the shapes in the message") {
  const Layer<float> l({4, 2, 3, 5, 4});
  const auto choice = Tensor<std::int32_t>::zeros({4, 2});
  const auto refuse = [&](const Tensor<float>& x, const Tensor<std::int32_t>& c, const Tensor<float>& w, const Tensor<float>& up, const Tensor<float>& down) {
    return message_of([&] { moe::experts(x, c, w, up, down); });
  };
  CHECK(contains(refuse(l.x, choice, l.w, l.gate_up, l.gate_up), "experts: gate_up must be [E, 2F, D] and down [E, D, F] with the D of x; got x="));
  CHECK(contains(refuse(Tensor<float>::zeros({4, 6}), choice, l.w, l.gate_up, l.down), "experts: gate_up must be"));
  CHECK(contains(refuse(l.x, Tensor<std::int32_t>::zeros({3, 2}), l.w, l.gate_up, l.down), "experts: choice and weights must be [N, K]"));
  CHECK(contains(refuse(l.x, choice, Tensor<float>::zeros({4, 3}), l.gate_up, l.down), "experts: choice and weights must be [N, K]"));
  CHECK(contains(refuse(Tensor<float>::zeros({4}), choice, l.w, l.gate_up, l.down), "experts: x must be [N, D]"));
  CHECK(contains(refuse(l.x, Tensor<std::int32_t>::full({4, 2}, 3), l.w, l.gate_up, l.down), "experts must be in [0, 3); got expert=3"));
  CHECK(contains(refuse(Tensor<float>(), choice, l.w, l.gate_up, l.down), "experts: x, choice, weights, gate_up and down must be given"));
  CHECK(contains(message_of([&] { moe::experts(l.x, choice, l.w, l.gate_up, l.down, {.limit = 0.0}); }), "experts: limit must be positive"));
}

// An expert with a large part of the rows is cut among threads; one with more rows than a chain of a sum has terms gets its gradient piece by piece.
TEST_CASE("1, 2, 3 and 7 threads give the same bits forward and in all gradients, however the rows are spread") {
  const int before = num_threads();
  for (const Case& c : {Case{900, 3, 6, 20, 12}, Case{900, 3, 6, 20, 12, Load::one_expert}, Case{150, 2, 5, 33, 7, Load::first_half}})
    for (const auto precision : {gemm::Precision::native, gemm::Precision::bf16, gemm::Precision::fp8}) {
      const auto choice = choice_of(c);
      const Tensor<float> dy = normal<float>({c.N, c.D}, 6);
      std::vector<Tensor<float>> first;
      for (const int threads : {1, 2, 3, 7}) {
        set_num_threads(threads);
        const Layer<float> l(c);
        l.require_grad();
        const Tensor<float> y = moe::experts(l.x, choice, l.w, l.gate_up, l.down, {}, precision);
        y.backward(dy);
        std::vector<Tensor<float>> now{y.detach()};
        for (const auto& t : l.all()) now.push_back(t.grad());
        if (first.empty()) first = now;
        INFO(text(c), " precision=", name(precision), " threads=", threads);
        for (std::size_t i = 0; i < now.size(); ++i) CHECK_MESSAGE(same_bits(now[i], first[i]), "output or input ", i);
      }
    }
  set_num_threads(before);
}

TEST_CASE_TEMPLATE("gradients of experts with more rows than a chain of a sum has terms agree with the layer composed of small operations", T, float, double) {
  const Case c{1200, 2, 3, 6, 5, Load::one_expert};
  const Layer<T> a(c), b(c);
  a.require_grad();
  b.require_grad();
  const auto choice = choice_of(c);
  const Tensor<T> dy = normal<T>({c.N, c.D}, 6);
  moe::experts(a.x, choice, a.w, a.gate_up, a.down).backward(dy);
  composed(b.all(), choice, {}).backward(dy);
  for (std::size_t i = 0; i < 4; ++i) CHECK(relative_error(wide(a.all()[i].grad()), wide(b.all()[i].grad())) <= 64 * std::numeric_limits<T>::epsilon());
}
