// Sampling, exactly.
#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <vector>

#include <moelle/generation/sampling.hpp>

using namespace moelle;
using generation::sample;
using generation::SamplingOptions;

namespace {
std::int64_t draw(const std::vector<double>& logits, const SamplingOptions& o, double u) { return sample(logits.data(), static_cast<std::int64_t>(logits.size()), o, u); }
const std::vector<double> kLogits{std::log(0.1), std::log(0.4), std::log(0.2), std::log(0.3)};  // probabilities .1 .4 .2 .3
}  // namespace

TEST_CASE("temperature 0 and top_k 1 take the largest logit, the first of equals") {
  CHECK(draw(kLogits, {.temperature = 0}, 0.99) == 1);
  CHECK(draw(kLogits, {.top_k = 1}, 0.99) == 1);
  CHECK(draw({1, 3, 3, 2}, {.temperature = 0}, 0.5) == 1);
}

TEST_CASE("a number in [0, 1) picks by cumulated probability, most likely first") {
  CHECK(draw(kLogits, {}, 0.0) == 1);
  CHECK(draw(kLogits, {}, 0.39) == 1);
  CHECK(draw(kLogits, {}, 0.41) == 3);
  CHECK(draw(kLogits, {}, 0.71) == 2);
  CHECK(draw(kLogits, {}, 0.91) == 0);
  CHECK(draw(kLogits, {}, 0.9999999999) == 0);
}

TEST_CASE("top_k, top_p and min_p keep what they should and renormalise") {
  CHECK(draw(kLogits, {.top_k = 2}, 0.999) == 3);
  CHECK(draw(kLogits, {.top_k = 2}, 4.0 / 7.0 - 0.01) == 1);
  CHECK(draw(kLogits, {.top_p = 0.5}, 0.999) == 3);   // .4 is not enough, .4 + .3 is
  CHECK(draw(kLogits, {.top_p = 0.3}, 0.999) == 1);
  CHECK(draw(kLogits, {.min_p = 0.6}, 0.999) == 3);   // .3 / .4 stays, .2 / .4 goes
  CHECK(draw(kLogits, {.min_p = 1.0}, 0.999) == 1);
}

TEST_CASE("a low temperature sharpens and a high one flattens") {
  CHECK(draw(kLogits, {.temperature = 0.1}, 0.9) == 1);
  CHECK(draw(kLogits, {.temperature = 100}, 0.6) == 2);
}

TEST_CASE("extreme logits neither overflow nor vanish; hidden tokens are never drawn") {
  const double none = -std::numeric_limits<double>::infinity();
  CHECK(draw({1e300, 0, -1e300}, {}, 0.999) == 0);
  CHECK(draw({none, 0, none}, {}, 0.9999999) == 1);
  CHECK(draw({5}, {}, 0.5) == 0);
}

TEST_CASE("impossible requests are refused with their values") {
  CHECK_THROWS_WITH_AS(draw(kLogits, {.temperature = -1}, 0.5), "sampling: temperature must be finite and not negative; got temperature=-1", Error);
  CHECK_THROWS_AS(draw(kLogits, {.temperature = std::nan("")}, 0.5), Error);
  CHECK_THROWS_AS(draw(kLogits, {.top_k = -1}, 0.5), Error);
  CHECK_THROWS_AS(draw(kLogits, {.top_p = 0}, 0.5), Error);
  CHECK_THROWS_AS(draw(kLogits, {.min_p = 1.5}, 0.5), Error);
  CHECK_THROWS_WITH_AS(draw({0, std::nan(""), 0}, {}, 0.5), "sampling: logits must not be NaN; got NaN at token 1", Error);
  CHECK_THROWS_AS(draw({-std::numeric_limits<double>::infinity()}, {}, 0.5), Error);
  CHECK_THROWS_AS(draw({}, {}, 0.5), Error);
}
