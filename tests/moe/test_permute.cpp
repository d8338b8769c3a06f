// tests/moe/test_permute.cpp -- rows into the order of their experts and back.
#include <doctest/doctest.h>

#include <limits>
#include <string>
#include <vector>

#include <activation/helpers.hpp>
#include <moe/tables.hpp>
#include <moelle/autograd/gradcheck.hpp>
#include <moelle/moe/permute_op.hpp>
#include <moelle/moe/permute_ref.hpp>

using namespace moelle;
using namespace moelle::testing;
using Ids = std::vector<std::int32_t>;

namespace {
struct Case {
  std::int64_t N, K, E, D;
};
const Case kCases[] = {{1, 1, 1, 1}, {4, 2, 3, 5}, {7, 3, 8, 16}, {5, 1, 40, 33}, {64, 4, 6, 70}, {3, 5, 5, 8}, {0, 2, 4, 3}, {6, 2, 4, 0}};

template <class T>
std::vector<double> wide(const Tensor<T>& t) {
  const auto v = t.to_vector();
  return {v.begin(), v.end()};
}
}  // namespace

TEST_CASE("the worked example: rows are grouped by expert, in order of token and slot") {
  const Tensor<std::int32_t> choice = Tensor<std::int32_t>::from({2, 0,  0, 2,  2, 3}, {3, 2});
  const auto p = moe::make_permutation(choice, 5);
  CHECK(p.offsets.to_vector() == Ids{0, 2, 2, 5, 6, 6});
  CHECK(p.slot.to_vector() == Ids{1, 2, 0, 3, 4, 5});
  CHECK(p.row.to_vector() == Ids{2, 0, 1, 3, 4, 5});
  CHECK(p.counts() == std::vector<std::int64_t>{2, 0, 3, 1, 0});
  CHECK(moe::count_experts(choice, 5) == p.counts());
  const Tensor<float> x = Tensor<float>::from({10, 20, 30}, {3, 1});
  CHECK(moe::permute(x, p).to_vector() == std::vector<float>{10, 20, 10, 20, 30, 30});
  const Tensor<float> y = Tensor<float>::from({1, 2, 3, 4, 5, 6}, {6, 1}), w = Tensor<float>::from({1, 10, 1, 10, 1, 10}, {3, 2});
  CHECK(moe::unpermute(y, w, p).to_vector() == std::vector<float>{13, 42, 65});
}

TEST_CASE("the order is that of a stable sort, row is the inverse of slot, and every row is somebody's") {
  for (const Case& c : kCases) {
    const auto choice = integers<std::int32_t>({c.N, c.K}, 1, static_cast<std::uint64_t>(c.E));
    const auto p = moe::make_permutation(choice, c.E);
    CHECK(p.slot.to_vector() == moe::ref::sorted_slots(choice.to_vector()));
    for (std::int64_t r = 0; r < p.rows(); ++r) CHECK(p.row.data()[p.slot.data()[r]] == r);
    for (std::int64_t e = 0; e < c.E; ++e)
      for (std::int64_t r = p.offsets.data()[e]; r < p.offsets.data()[e + 1]; ++r) CHECK(choice.data()[p.slot.data()[r]] == e);
    CHECK(p.offsets.data()[c.E] == c.N * c.K);
    const Tensor<std::int32_t> host = Tensor<std::int32_t>::full({c.N, 2 * c.K}, -7), every_other = host.alias({c.N, c.K}, {2 * c.K, 2});
    for (std::int64_t i = 0; i < choice.numel(); ++i) every_other.at({i / c.K, i % c.K}) = choice.data()[i];
    const auto strided = moe::make_permutation(every_other, c.E);
    CHECK(strided.slot.to_vector() == p.slot.to_vector());
  }
}

TEST_CASE_TEMPLATE("permute copies bits and unpermute follows the oracle", T, float, double) {
  for (const Case& c : kCases) {
    const auto choice = integers<std::int32_t>({c.N, c.K}, 2, static_cast<std::uint64_t>(c.E));
    const auto p = moe::make_permutation(choice, c.E);
    const Tensor<T> x = normal<T>({c.N, c.D}, 3), y = normal<T>({c.N * c.K, c.D}, 4), w = normal<T>({c.N, c.K}, 5);
    const auto K = static_cast<std::size_t>(c.K), D = static_cast<std::size_t>(c.D);
    CHECK(moe::permute(x, p).to_vector() == moe::ref::permute(x.to_vector(), p.slot.to_vector(), K, D));
    CHECK(relative_error(wide(moe::unpermute(y, w, p)), moe::ref::unpermute(y.to_vector(), w.to_vector(), p.slot.to_vector(), K, D)) <=
          static_cast<double>(c.K) * std::numeric_limits<T>::epsilon());
  }
}

TEST_CASE_TEMPLATE("every instruction set with fused multiply-add gives the same sums to the bit, and all follow the oracle", T, float, double) {
  const Case c{9, 3, 4, 37};
  const auto p = moe::make_permutation(integers<std::int32_t>({c.N, c.K}, 6, 4), c.E);
  const Tensor<T> y = normal<T>({c.N * c.K, c.D}, 7), w = normal<T>({c.N, c.K}, 8), g = normal<T>({c.N, c.D}, 9);
  const auto want = moe::ref::unpermute(y.to_vector(), w.to_vector(), p.slot.to_vector(), 3, 37);
  Tensor<T> first;
  for (const auto& t : tables<T>()) {
    const Tensor<T> out = Tensor<T>::empty({c.N, c.D}), dy = Tensor<T>::empty(y.shape()), dw = Tensor<T>::empty(w.shape());
    t.kernels.combine_rows(y.data(), c.D, w.data(), p.row.data(), c.K, out.data(), false, 0, c.N);
    INFO(std::string(t.isa));
    CHECK(relative_error(wide(out), want) <= 3 * std::numeric_limits<T>::epsilon());
    if (std::string(t.isa) != "sse2") {
      if (!first.defined()) first = out;
#if defined(__FMA__)
      CHECK(same_bits(out, first));
#endif
    }
    t.kernels.combine_grad(g.data(), y.data(), c.D, w.data(), p.slot.data(), c.K, dy.data(), dw.data(), 0, p.rows());
    for (std::int64_t r = 0; r < p.rows(); ++r) {
      const std::int64_t slot = p.slot.data()[r];
      double dot = 0;
      for (std::int64_t d = 0; d < c.D; ++d) {
        const T from = g.data()[slot / c.K * c.D + d];
        dot += static_cast<double>(from) * static_cast<double>(y.data()[r * c.D + d]);
        CHECK(dy.data()[r * c.D + d] == w.data()[slot] * from);
      }
      CHECK(static_cast<double>(dw.data()[slot]) == doctest::Approx(dot).epsilon(64 * std::numeric_limits<T>::epsilon()).scale(10));
    }
  }
}

TEST_CASE("permute and unpermute pass gradcheck") {
  for (const Case& c : kCases) {
    if (c.N * c.D == 0 || c.N > 10) continue;
    const auto p = moe::make_permutation(integers<std::int32_t>({c.N, c.K}, 10, static_cast<std::uint64_t>(c.E)), c.E);
    const auto there = autograd::gradcheck1([&](const auto& in) { return moe::permute(in[0], p); }, {leaf({c.N, c.D}, 11)});
    INFO("N=", c.N, " K=", c.K, " E=", c.E, " D=", c.D, " ", there.where);
    CHECK(there.ok);
    const auto back = autograd::gradcheck1([&](const auto& in) { return moe::unpermute(in[0], in[1], p); },
                                           {leaf({c.N * c.K, c.D}, 12), leaf({c.N, c.K}, 13)});
    INFO(back.where);
    CHECK(back.ok);
  }
}

TEST_CASE("any number of threads gives the same bits, and a token alone those it has among others") {
  const std::int64_t N = 300, K = 3, E = 8, D = 130;
  const auto choice = integers<std::int32_t>({N, K}, 14, E);
  const auto p = moe::make_permutation(choice, E);
  const Tensor<float> x = normal<float>({N, D}, 15), y = normal<float>({N * K, D}, 16), w = normal<float>({N, K}, 17), g = normal<float>({N, D}, 18);
  CHECK(same_for_all_threads<float>([&] {
    const Tensor<float> a = x.detach().set_requires_grad(true), b = y.detach().set_requires_grad(true), v = w.detach().set_requires_grad(true);
    const Tensor<float> rows_ = moe::permute(a, p), out = moe::unpermute(b, v, p);
    rows_.backward(y);
    out.backward(g);
    return std::vector<Tensor<float>>{rows_, out, a.grad(), b.grad(), v.grad()};
  }));
  const auto alone = moe::make_permutation(rows(choice, 40, 41), E);
  const Tensor<float> mine = Tensor<float>::empty({K, D});
  for (std::int64_t k = 0; k < K; ++k)
    std::copy_n(y.data() + p.row.at({40, k}) * D, D, mine.data() + alone.row.at({0, k}) * D);
  CHECK(same_bits(moe::unpermute(mine, rows(w, 40, 41), alone), rows(moe::unpermute(y, w, p), 40, 41)));
}

TEST_CASE("impossible requests are refused with the numbers in the message") {
  const auto choice = Tensor<std::int32_t>::from({0, 3, 1, -1}, {2, 2});
  CHECK(message_of([&] { moe::make_permutation(choice, 3); }) == "permute: experts must be in [0, 3); got expert=3");
  CHECK(message_of([&] { moe::make_permutation(choice, 4); }) == "permute: experts must be in [0, 4); got expert=-1");
  CHECK(contains(message_of([&] { moe::count_experts(choice, 4); }), "count_experts: experts must be in [0, 4); got expert=-1"));
  CHECK(contains(message_of([&] { moe::make_permutation(Tensor<std::int32_t>::zeros({2}), 4); }), "permute: choice must be [N, K]"));
  const auto p = moe::make_permutation(Tensor<std::int32_t>::zeros({2, 2}), 4);
  CHECK(contains(message_of([&] { moe::permute(Tensor<float>::zeros({3, 4}), p); }), "permute: x must be [N, D]; got shape="));
  CHECK(contains(message_of([&] { moe::unpermute(Tensor<float>::zeros({3, 4}), Tensor<float>::zeros({2, 2}), p); }), "unpermute: y must be [R, D]"));
  CHECK(contains(message_of([&] { moe::unpermute(Tensor<float>::zeros({4, 4}), Tensor<float>::zeros({2, 3}), p); }), "unpermute: weights must be [N, K]"));
}
