// Gradients of attention and of latent attention against differences of the function, in double.
#include <doctest/doctest.h>

#include <vector>

#include <moelle/attention/mla_op.hpp>
#include <moelle/autograd/gradcheck.hpp>

#include "attention/oracle.hpp"
#include "support/compare.hpp"

using namespace moelle;
using test::normal;
using test::Shapes;

namespace {
using Inputs = std::vector<Tensor<double>>;
void check(const char* what, const std::function<Tensor<double>(const Inputs&)>& f, const Inputs& in) {
  for (const auto& x : in) x.set_requires_grad(true);
  const auto r = autograd::gradcheck1(f, in);
  INFO(what << ": worst " << r.worst << " at " << r.where);
  CHECK(r.ok);
}
Inputs inputs(const Shapes& s) { return {normal<double>({s.B, s.Tq, s.H, s.Dk}, 1), normal<double>({s.B, s.Tk, s.J, s.Dk}, 2), normal<double>({s.B, s.Tk, s.J, s.Dv}, 3)}; }

struct MlaShapes {
  std::int64_t B, Tq, Tk, H, C;
  attention::MlaDims dims;
};
const MlaShapes kMla[] = {{2, 6, 6, 2, 5, {3, 2, 4}}, {1, 1, 1, 1, 2, {1, 2, 1}}, {1, 2, 7, 3, 4, {2, 2, 3}}, {2, 1, 5, 2, 6, {4, 4, 2}}, {1, 66, 66, 1, 3, {2, 2, 2}}};
Tensor<double> latent(const Tensor<double>& cache, const MlaShapes& s) { return narrow(cache, 2, 0, s.C); }
Tensor<double> k_rope(const Tensor<double>& cache, const MlaShapes& s) { return narrow(cache, 2, s.C, s.dims.rope); }
Inputs inputs(const MlaShapes& s) {
  return {normal<double>({s.B, s.Tq, s.H, s.dims.nope + s.dims.rope}, 4), normal<double>({s.B, s.Tk, s.C + s.dims.rope}, 5),
          normal<double>({s.H * (s.dims.nope + s.dims.value), s.C}, 6)};
}
}  // namespace

TEST_CASE("the gradient of attention matches differences for queries, keys and values") {
  for (const Shapes& s : {Shapes{2, 5, 5, 2, 2, 3, 4}, {1, 1, 1, 1, 1, 1, 1}, {2, 3, 9, 4, 2, 4, 3}, {1, 70, 70, 2, 1, 3, 2}, {1, 2, 130, 2, 2, 2, 2}, {1, 140, 140, 1, 1, 2, 1}, {1, 3, 270, 2, 1, 2, 2}}) {
    CAPTURE(s);
    check("causal", [](const Inputs& x) { return attention::attention(x[0], x[1], x[2]); }, inputs(s));
  }
  check("window", [](const Inputs& x) { return attention::attention(x[0], x[1], x[2], {.window = 3}); }, inputs(Shapes{1, 8, 8, 2, 1, 3, 2}));
  check("window past blocks", [](const Inputs& x) { return attention::attention(x[0], x[1], x[2], {.window = 5}); }, inputs(Shapes{1, 4, 140, 2, 1, 3, 2}));
  check("all", [](const Inputs& x) { return attention::attention(x[0], x[1], x[2], {.causal = false}); }, inputs(Shapes{1, 6, 4, 2, 1, 3, 2}));
}

TEST_CASE("the gradient respects documents and masks") {
  const attention::Visibility<double> v{Tensor<std::int32_t>::from({0, 0, 1, 1, 1, 2, 0, 1, 1, 2, 2, 2}, {2, 6}), normal<double>({2, 1, 6, 6}, 7)};
  check("documents", [&](const Inputs& x) { return attention::attention(x[0], x[1], x[2], {}, v); }, inputs(Shapes{2, 6, 6, 2, 1, 3, 2}));
}

TEST_CASE("the gradient of latent attention matches differences, expanded and absorbed") {
  for (const MlaShapes& s : kMla) {
    CAPTURE(s.Tq);
    check("expanded", [&](const Inputs& x) { return attention::mla_expanded(x[0], latent(x[1], s), k_rope(x[1], s), x[2], s.dims); }, inputs(s));
    check("absorbed", [&](const Inputs& x) { return attention::mla_absorbed(x[0], x[1], x[2], s.dims); }, inputs(s));
  }
}

TEST_CASE("absorbed equals expanded: to 1e-12 in double, 1e-5 in float") {
  for (const MlaShapes& s : kMla) {
    const auto in = inputs(s);
    CHECK(test::max_relative_error(contiguous(attention::mla_absorbed(in[0], in[1], in[2], s.dims)),
                                   attention::mla_expanded(in[0], latent(in[1], s), k_rope(in[1], s), in[2], s.dims)) < 1e-12);
    const auto q = normal<float>(in[0].shape(), 8), c = normal<float>(in[1].shape(), 9), w = normal<float>(in[2].shape(), 10);
    CHECK(test::max_relative_error(contiguous(attention::mla_absorbed(q, c, w, s.dims)),
                                   attention::mla_expanded(q, narrow(c, 2, 0, s.C), narrow(c, 2, s.C, s.dims.rope), w, s.dims)) < 1e-5);
  }
}

TEST_CASE("expanded latent attention equals plain attention on concatenated keys") {
  const MlaShapes s{2, 9, 9, 3, 5, {4, 2, 3}};
  const auto in = inputs(s);
  const auto kv = reshape(linear(latent(in[1], s), in[2]), {2, 9, 3, 7});
  const auto shared = expand(unsqueeze(k_rope(in[1], s), 2), {2, 9, 3, 2});
  const auto plain = attention::attention(in[0], concat<double>({narrow(kv, 3, 0, 4), contiguous(shared)}, 3), contiguous(narrow(kv, 3, 4, 3)));
  CHECK(test::max_relative_error(attention::mla_expanded(in[0], latent(in[1], s), k_rope(in[1], s), in[2], s.dims), plain) < 1e-13);
}

TEST_CASE("shapes that do not fit together are refused") {
  const auto q = normal<float>({1, 2, 2, 5}, 1), c = normal<float>({1, 2, 4}, 2), r = normal<float>({1, 2, 2}, 3), w = normal<float>({14, 4}, 4);
  CHECK_NOTHROW(attention::mla_expanded(q, c, r, w, {3, 2, 4}));
  CHECK_THROWS_AS(attention::mla_expanded(q, c, r, w, {2, 2, 4}), Error);
  CHECK_THROWS_AS(attention::mla_expanded(q, c, normal<float>({1, 3, 2}, 3), w, {3, 2, 4}), Error);
  CHECK_THROWS_AS(attention::mla_absorbed(q, normal<float>({1, 2, 2}, 5), w, {3, 2, 4}), Error);
}
