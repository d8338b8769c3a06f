// tests/moe/test_gate_kernels.cpp -- every instruction set against the oracle.
#include <doctest/doctest.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include <moe/tables.hpp>
#include <moelle/cpu/isa.hpp>
#include <moelle/moe/top_k_rows_simd.hpp>
#include <moelle/moe/top_k_simd.hpp>

using namespace moelle;
using namespace moelle::testing;
using moe::GateParams;

namespace {
template <class T>
bool same_or_both_nan(const std::vector<T>& a, const std::vector<T>& b) {
  for (std::size_t i = 0; i < a.size(); ++i)
    if (std::isnan(a[i]) != std::isnan(b[i]) || (!std::isnan(a[i]) && std::memcmp(&a[i], &b[i], sizeof(T)) != 0)) return false;
  return a.size() == b.size();
}
template <class T>
const std::vector<T>& special_values() {
  using L = std::numeric_limits<T>;
  static const std::vector<T> v{L::quiet_NaN(), -L::quiet_NaN(), -L::infinity(), -L::max(), T(-1), -L::min(), -L::denorm_min(), T(-0.0),
                                T(0), L::denorm_min(), L::min(), T(1), std::nextafter(T(1), T(2)), L::max(), L::infinity()};
  return v;
}
}  // namespace

TEST_CASE_TEMPLATE("keys order any two candidates exactly as ranks_before does, and are never 0", T, float, double) {
  using Bits = typename moe::Rank<T>::Bits;
  const auto& v = special_values<T>();
  for (const T a : v)
    for (const T b : v)
      for (const int i : {0, 1, 7, 2147483646})
        for (const int j : {0, 1, 7, 2147483646}) {
          const auto ka = moe::rank_key<T>(std::bit_cast<Bits>(a), i), kb = moe::rank_key<T>(std::bit_cast<Bits>(b), j);
          if (i != j) REQUIRE((ka > kb) == moe::ranks_before(a, i, b, j));
          REQUIRE(ka != 0);
          REQUIRE(moe::index_of(ka) == i);
        }
}

TEST_CASE_TEMPLATE("every instruction set returns the oracle's experts and the bits of its weights", T, float, double) {
  int cases = 0;
  const auto all = tables<T>();
  for_gates({1, 2, 6, 8, 30, 64, 72, 160, 256, 384, 1024}, [&](int E, const GateParams& p, int levels, std::uint64_t seed) {
    const auto n = static_cast<std::size_t>(E);
    for (const bool with_bias : {false, true}) {
      std::vector<T> s = on_grid<T>(n, levels, random::Stream(seed, "scores")), b;
      if (with_bias) b = on_grid<T>(n, levels, random::Stream(seed, "bias"));
      if (levels == 5)
        for (std::size_t i = 0; i < special_values<T>().size() && 3 + i < n; ++i) s[3 + i] = special_values<T>()[i];
      const Picked<T> want = by_oracle(s, b, p);
      for (const auto& t : all) {
        const Picked<T> got = by_kernels(t.kernels, s, b, p);
        INFO(std::string(t.isa), " E=", E, " groups=", p.groups, " top_groups=", p.top_groups, " top_k=", p.top_k, " levels=", levels, " seed=", seed);
        REQUIRE(got.experts == want.experts);
        REQUIRE(same_or_both_nan(got.weights, want.weights));
        ++cases;
      }
    }
  });
  CHECK(cases >= 1000);
}

TEST_CASE_TEMPLATE("any number of tokens at once get the oracle's experts, ties, NaN and infinities beside ordinary rows", T, float, double) {
  int cases = 0;
  const auto all = tables<T>();
  for_gates({1, 2, 6, 8, 30, 64, 72, 160, 256, 384}, [&](int E, const GateParams& p, int levels, std::uint64_t seed) {
    if (levels == 5) return;
    const auto n = static_cast<std::size_t>(E), K = static_cast<std::size_t>(p.top_k);
    constexpr std::int64_t kTokens = 37;
    const random::Stream stream(seed, "rows");
    std::vector<T> s = on_grid<T>(n * kTokens, levels, stream), scratch(n);
    const std::vector<T> bias = on_grid<T>(n, levels, random::Stream(seed, "bias"));
    for (std::size_t r = 0; r < kTokens; r += 3)
      for (std::size_t i = 0; i < 1 + r % 4; ++i)
        s[r * n + stream.below(100 * r + i, n)] = special_values<T>()[stream.below(10000 + 100 * r + i, special_values<T>().size())];
    for (const auto& t : all)
      for (const T* b : {static_cast<const T*>(nullptr), bias.data()})
        for (const auto& range : {std::pair<std::int64_t, std::int64_t>{0, kTokens}, {3, 5}, {7, 10}, {20, 35}}) {
          const std::int64_t begin = range.first, end = range.second;
          std::vector<std::int32_t> got(K * kTokens, -1), want(got);
          t.kernels.gate_select(s.data(), b, E, p, scratch.data(), got.data(), begin, end);
          for (auto r = static_cast<std::size_t>(begin); r < static_cast<std::size_t>(end); ++r) moe::ref::gate_select(s.data() + r * n, b, E, p, want.data() + r * K);
          INFO(std::string(t.isa), " E=", E, " groups=", p.groups, " top_groups=", p.top_groups, " top_k=", p.top_k, " levels=", levels, " seed=", seed, " bias=", b != nullptr, " end=", end);
          REQUIRE(got == want);  // -1 outside the range
          ++cases;
        }
  });
  CHECK(cases >= 1000);
}

TEST_CASE_TEMPLATE("a row of softmax scores is the same bits alone and among others", T, float, double) {
  for (const int E : {1, 3, 16, 33, 64, 160})
    for (const auto& t : tables<T>()) {
      const auto n = static_cast<std::size_t>(E);
      std::vector<T> x = on_grid<T>(19 * n, 1 << 20, random::Stream(7, "logits")), together(x.size()), alone(x.size());
      for (std::size_t i = 5 * n; i < 6 * n; ++i) x[i] = -std::numeric_limits<T>::infinity();
      t.kernels.gate_scores(x.data(), E, moe::Score::softmax, together.data(), 0, 19);
      for (std::int64_t r = 0; r < 19; ++r) t.kernels.gate_scores(x.data(), E, moe::Score::softmax, alone.data(), r, r + 1);
      INFO(std::string(t.isa), " E=", E);
      CHECK(std::memcmp(alone.data(), together.data(), x.size() * sizeof(T)) == 0);
      CHECK(together[5 * n] == T(0));
    }
}

TEST_CASE_TEMPLATE("scores agree with the oracle in double to a few ulp, whatever the logit", T, float, double) {
  const double eps = std::numeric_limits<T>::epsilon(), smallest = sizeof(T) == 4 ? 1e-35 : 1e-300;
  std::vector<T> x;
  for (double v = -90; v <= 90; v += 0.0131) x.push_back(static_cast<T>(v));
  std::vector<double> wide(x.begin(), x.end()), want(x.size());
  std::vector<T> got(x.size());
  const auto E = static_cast<std::int64_t>(x.size());
  for (const auto kind : {moe::Score::sigmoid, moe::Score::sqrt_softplus}) {
    moe::ref::gate_scores(wide.data(), static_cast<int>(E), kind, want.data());
    for (const auto& t : tables<T>()) {
      t.kernels.gate_scores(x.data(), E, kind, got.data(), 0, 1);
      double worst = 0;
      for (std::size_t i = 0; i < x.size(); ++i)
        if (want[i] > smallest) worst = std::max(worst, std::abs(static_cast<double>(got[i]) - want[i]) / want[i]);
      INFO(std::string(t.isa), " score=", static_cast<int>(kind));
      CHECK(worst <= 6 * eps);
    }
  }
}

TEST_CASE_TEMPLATE("softmax scores of every instruction set agree with the oracle in double", T, float, double) {
  for (const int E : {1, 3, 16, 33, 256}) {
    const random::Stream stream(5, "logits");
    std::vector<T> x(static_cast<std::size_t>(E)), got(x.size());
    for (std::size_t i = 0; i < x.size(); ++i) x[i] = static_cast<T>(3 * stream.normal(i));
    std::vector<double> wide(x.begin(), x.end()), want(x.size());
    moe::ref::gate_scores(wide.data(), E, moe::Score::softmax, want.data());
    for (const auto& t : tables<T>()) {
      t.kernels.gate_scores(x.data(), E, moe::Score::softmax, got.data(), 0, 1);
      INFO(std::string(t.isa), " E=", E);
      for (std::size_t i = 0; i < x.size(); ++i)
        CHECK(std::abs(static_cast<double>(got[i]) - want[i]) <= (16 - std::log(want[i])) * std::numeric_limits<T>::epsilon() * want[i]);
    }
  }
}

TEST_CASE_TEMPLATE("NaN in a row of logits stays in that row", T, float, double) {
  for (const auto kind : {moe::Score::sigmoid, moe::Score::softmax, moe::Score::sqrt_softplus})
    for (const auto& t : tables<T>()) {
      std::vector<T> x(3 * 21, T(0.25)), s(x.size());
      x[30] = std::numeric_limits<T>::quiet_NaN();
      t.kernels.gate_scores(x.data(), 21, kind, s.data(), 0, 3);
      for (std::size_t i = 0; i < s.size(); ++i)
        CHECK(std::isnan(s[i]) == (kind == moe::Score::softmax ? i / 21 == 1 : i == 30));
    }
}

TEST_CASE_TEMPLATE("the gradient of every instruction set is the oracle's", T, float, double) {
  const double eps = std::numeric_limits<T>::epsilon();
  int compared = 0;
  for (const auto kind : {moe::Score::sigmoid, moe::Score::softmax, moe::Score::sqrt_softplus})
    for (const bool normalize : {true, false})
      for (const int E : {5, 16, 37, 256})
        for (const double spread : {1.0, 30.0}) {
          const GateParams p{.top_k = 4, .score = kind, .normalize = normalize, .scale = 2.5};
          const random::Stream stream(static_cast<std::uint64_t>(E), "gate");
          const auto n = static_cast<std::size_t>(E);
          std::vector<T> x(n), s(n), gs(n), gw(4), got(n);
          for (std::size_t i = 0; i < n; ++i) x[i] = static_cast<T>(spread * stream.normal(i)), gs[i] = static_cast<T>(stream.normal(1000 + i));
          for (std::size_t i = 0; i < 4; ++i) gw[i] = static_cast<T>(stream.normal(2000 + i));
          moe::ref::gate_scores(x.data(), E, kind, s.data());
          std::vector<std::int32_t> chosen(4);
          moe::ref::gate_select(s.data(), static_cast<const T*>(nullptr), E, p, chosen.data());
          const std::vector<double> wx(x.begin(), x.end()), ws(s.begin(), s.end()), wgs(gs.begin(), gs.end()), wgw(gw.begin(), gw.end());
          for (const bool with_scores : {true, false}) {
            std::vector<double> want(n);
            moe::ref::gate_grad(wx.data(), ws.data(), E, p, chosen.data(), wgw.data(), with_scores ? wgs.data() : nullptr, want.data());
            double largest = 0;
            for (const double w : want) largest = std::max(largest, std::abs(w));
            for (const auto& t : tables<T>()) {
              t.kernels.gate_grad(x.data(), s.data(), E, p, chosen.data(), gw.data(), with_scores ? gs.data() : nullptr, got.data(), 0, 1);
              INFO(std::string(t.isa), " E=", E, " score=", static_cast<int>(kind), " spread=", spread);
              for (std::size_t i = 0; i < n; ++i) CHECK(std::abs(static_cast<double>(got[i]) - want[i]) <= 64 * eps * (largest + 1));
              ++compared;
            }
          }
        }
  CHECK(compared >= 96);
}

TEST_CASE_TEMPLATE("the bound serves ordinary rows, and refuses NaN, ties beyond its cells and more choices than cells", T, float, double) {
  using Arch = moelle::cpu::Arch;
  std::int32_t got[moe::kMaxTopK];
  for (const auto& [E, p] : {std::pair<int, GateParams>{64, moe::greedy(6)}, {256, moe::noaux_tc(8, 4, 8)}, {256, moe::noaux_tc(1, 1, 8)}, {160, moe::group_limited_greedy(8, 3, 6)}, {32, moe::noaux_tc(1, 1, 3)}}) {
    int served = 0;
    for (std::uint64_t seed = 0; seed < 100; ++seed) {
      std::vector<T> s = on_grid<T>(static_cast<std::size_t>(E), 1 << 20, random::Stream(seed, "row"));
      if (!moe::simd::select_by_bound<Arch, T>(s.data(), E, p, got)) continue;
      ++served;
      REQUIRE(std::vector<std::int32_t>(got, got + p.top_k) == by_oracle(s, {}, p).experts);
    }
    CHECK(served >= 80);
  }
  std::vector<T> row(64, T(1));
  CHECK_FALSE(moe::simd::select_by_bound<Arch, T>(row.data(), 64, moe::greedy(6), got));
  row = on_grid<T>(64, 1 << 20, random::Stream(1, "row"));
  CHECK_FALSE(moe::simd::select_by_bound<Arch, T>(row.data(), 64, moe::greedy(17), got));
  row[63] = std::numeric_limits<T>::quiet_NaN();
  CHECK_FALSE(moe::simd::select_by_bound<Arch, T>(row.data(), 64, moe::greedy(6), got));
}

TEST_CASE_TEMPLATE("the bounds of several rows serve ordinary rows, and refuse those with NaN or too many equals", T, float, double) {
  using Arch = moelle::cpu::Arch;
  constexpr int L = static_cast<int>(moelle::simd::kLanes<Arch, T>);
  std::int32_t got[L * moe::kMaxTopK];
  for (const auto& [E, p] : {std::pair<int, GateParams>{64, moe::greedy(6)}, {256, moe::noaux_tc(8, 4, 8)}, {256, moe::noaux_tc(1, 1, 8)}, {160, moe::group_limited_greedy(8, 3, 6)}, {32, moe::noaux_tc(1, 1, 3)}}) {
    std::vector<T> s = on_grid<T>(static_cast<std::size_t>(E * L), 1 << 20, random::Stream(11, "rows"));
    CHECK(moe::simd::select_by_bounds<Arch, T>(s.data(), static_cast<const T*>(nullptr), E, L, p, got) == 0);
    s[0] = std::numeric_limits<T>::quiet_NaN();
    for (int i = 0; i < E; ++i) s[static_cast<std::size_t>(E + i)] = T(1);
    CHECK(moe::simd::select_by_bounds<Arch, T>(s.data(), static_cast<const T*>(nullptr), E, L, p, got) == (E == 32 ? 1u : 3u));
  }
}
