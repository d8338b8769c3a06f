// tests/loss/test_linear_cross_entropy.cpp
#include <doctest/doctest.h>

#include <array>

#include <activation/helpers.hpp>
#include <moelle/autograd/gradcheck.hpp>
#include <moelle/core/memory.hpp>
#include <moelle/loss.hpp>
#include <moelle/loss/cross_entropy_ref.hpp>

using namespace moelle;
using namespace moelle::testing;
using loss::CrossEntropyParams;

namespace {

struct Results {
  double loss;
  std::vector<double> dhidden, dweight;
};

// Full logits, in double, by loops.
Results oracle(const CrossEntropyParams& p, const std::vector<double>& h, const std::vector<double>& w, const Tensor<std::int64_t>& labels, std::int64_t D) {
  const std::int64_t N = labels.numel(), V = static_cast<std::int64_t>(w.size()) / D;
  std::vector<double> x(static_cast<std::size_t>(N * V)), dx(x.size());
  const auto at = [](const std::vector<double>& v, std::int64_t i) { return v[static_cast<std::size_t>(i)]; };
  for (std::int64_t i = 0; i < N; ++i)
    for (std::int64_t j = 0; j < V; ++j)
      for (std::int64_t k = 0; k < D; ++k) x[static_cast<std::size_t>(i * V + j)] += at(h, i * D + k) * at(w, j * D + k);
  Results r{0.0, std::vector<double>(h.size()), std::vector<double>(w.size())};
  r.loss = loss::ref::cross_entropy<double>(p, x.data(), labels.data(), nullptr, N, V, dx.data());
  for (std::int64_t i = 0; i < N; ++i)
    for (std::int64_t j = 0; j < V; ++j)
      for (std::int64_t k = 0; k < D; ++k) {
        r.dhidden[static_cast<std::size_t>(i * D + k)] += at(dx, i * V + j) * at(w, j * D + k);
        r.dweight[static_cast<std::size_t>(j * D + k)] += at(dx, i * V + j) * at(h, i * D + k);
      }
  return r;
}

template <class T>
std::vector<double> wide(const Tensor<T>& t) {
  const auto v = t.to_vector();
  return {v.begin(), v.end()};
}
Tensor<std::int64_t> labels_of(std::int64_t N, std::int64_t V) {
  auto y = integers<std::int64_t>({N}, 1, static_cast<std::uint64_t>(V));
  if (N > 2) y.data()[N / 2] = -100;
  return y;
}

}  // namespace

TEST_CASE_TEMPLATE("the fused loss and both gradients equal those of full logits", T, float, double) {
  struct { std::int64_t N, D, V; CrossEntropyParams p; } cases[] = {
      {1, 1, 2, {}}, {5, 3, 7, {}}, {33, 20, 50, {.z_loss = 1e-2}}, {40, 65, 129, {.reduction = loss::Reduction::sum}}, {9, 16, 300, {.normalizer = 11}}};
  for (const auto& c : cases) {
    const auto labels = labels_of(c.N, c.V);
    const Tensor<T> h = normal<T>({c.N, c.D}, 2).set_requires_grad(true), w = normal<T>({c.V, c.D}, 3, 0.3).set_requires_grad(true);
    const Tensor<T> y = loss::linear_cross_entropy(h, w, labels, c.p);
    y.backward();
    const Results want = oracle(c.p, wide(h), wide(w), labels, c.D);
    INFO("N=", c.N, " D=", c.D, " V=", c.V);
    const double eps = std::numeric_limits<T>::epsilon();  // products of D and V terms: a random walk of their roundings
    CHECK(static_cast<double>(y.item()) == doctest::Approx(want.loss).epsilon(8 * eps));
    CHECK(relative_error(wide(h.grad()), want.dhidden) <= 32 * eps);
    CHECK(relative_error(wide(w.grad()), want.dweight) <= 32 * eps);
  }
}

TEST_CASE("the fused loss passes gradcheck, each input alone and scaled by what follows") {
  for (const auto& [N, D, V] : {std::array<std::int64_t, 3>{1, 2, 3}, {4, 3, 5}, {6, 1, 4}, {3, 8, 17}, {7, 5, 33}}) {
    const auto labels = labels_of(N, V);
    const Tensor<double> h = leaf({N, D}, 4), w = leaf({V, D}, 5);
    const auto f = [&](const auto& in) { return loss::linear_cross_entropy(in[0], in[1], labels, {.z_loss = 0.05}); };
    CHECK(autograd::gradcheck1(f, {h, w}).ok);
    CHECK(autograd::gradcheck1(f, {h, w.detach()}).ok);
    CHECK(autograd::gradcheck1(f, {h.detach(), w}).ok);
  }
}

TEST_CASE("several chunks give the same bits as full logits: loss, gradients and log-probabilities") {
  const std::int64_t N = 700, V = 9000, D = 6;  // chunks of one K block of tokens, the last one short
  REQUIRE(loss::detail::chunk_tokens(N, V) == gemm::kBlockK);
  const auto labels = labels_of(N, V);
  const Tensor<float> h = normal<float>({N, D}, 6).set_requires_grad(true), w = normal<float>({V, D}, 7).set_requires_grad(true);
  Tensor<float> logits = Tensor<float>::empty({N, V});
  gemm::gemm<float>({.m = N, .n = V, .k = D, .a = gemm::plain<float>(h.data(), D), .b = gemm::transposed<float>(w.data(), D), .c = logits.data(), .ldc = V});
  logits.set_requires_grad(true);
  const Tensor<float> fused = loss::linear_cross_entropy(h, w, labels, {.z_loss = 1e-3}), plain = loss::cross_entropy(logits, labels, {.z_loss = 1e-3});
  CHECK(same_bits(fused, plain));
  fused.backward();
  plain.backward();
  Tensor<float> dh = Tensor<float>::empty({N, D}), dw = Tensor<float>::empty({V, D});
  const float* dx = logits.grad().data();
  gemm::gemm<float>({.m = N, .n = D, .k = V, .a = gemm::plain<float>(dx, V), .b = gemm::plain<float>(w.data(), D), .c = dh.data(), .ldc = D});
  gemm::gemm<float>({.m = V, .n = D, .k = N, .a = gemm::transposed<float>(dx, V), .b = gemm::plain<float>(h.data(), D), .c = dw.data(), .ldc = D});
  CHECK(same_bits(h.grad(), dh));
  CHECK(same_bits(w.grad(), dw));
  CHECK(same_bits(loss::linear_token_log_probs(h, w, labels), loss::token_log_probs(logits, labels).detach()));
}

TEST_CASE("logits of all tokens never exist at once, and without gradients nothing but one chunk is allocated") {
  const std::int64_t N = 4096, V = 8192, D = 4;
  const auto labels = labels_of(N, V);
  const Tensor<float> h = normal<float>({N, D}, 8), w = normal<float>({V, D}, 9);
  const auto peak = [&](bool grad) {
    const Tensor<float> a = h.detach(), b = w.detach();
    if (grad) a.set_requires_grad(true), b.set_requires_grad(true);
    reset_peak_memory();
    const std::int64_t before = memory_stats().live_bytes;
    const Tensor<float> y = loss::linear_cross_entropy(a, b, labels);
    return memory_stats().peak_bytes - before;
  };
  const std::int64_t chunk = 256 * V * 4, all = N * V * 4;
  CHECK(peak(true) < all / 4);
  CHECK(peak(true) >= chunk);
  CHECK(peak(false) < all / 4);
}

TEST_CASE("the fused loss has the same bits for every number of threads and any strides") {
  const std::int64_t N = 300, V = 70, D = 40;
  const auto labels = labels_of(N, V);
  const Tensor<float> h = normal<float>({N, D}, 10), w = normal<float>({V, D}, 11);
  CHECK(same_for_all_threads<float>([&] {
    const Tensor<float> a = h.detach().set_requires_grad(true), b = w.detach().set_requires_grad(true);
    const Tensor<float> y = loss::linear_cross_entropy(a, b, labels);
    y.backward(Tensor<float>::scalar(0.3f));
    return std::vector<Tensor<float>>{y, a.grad(), b.grad()};
  }));
  CHECK(same_bits(loss::linear_cross_entropy(scattered(h), scattered(w), labels), loss::linear_cross_entropy(h, w, labels)));
}

TEST_CASE("without targets, or without tokens, loss and gradients are zero") {
  for (const std::int64_t N : {0, 5}) {
    const Tensor<float> h = normal<float>({N, 3}, 12).set_requires_grad(true), w = normal<float>({4, 3}, 13).set_requires_grad(true);
    const Tensor<float> y = loss::linear_cross_entropy(h, w, Tensor<std::int32_t>::full({N}, -100));
    y.backward();
    CHECK(y.item() == 0.0f);
    CHECK(w.grad().to_vector() == std::vector<float>(12, 0.0f));
    CHECK(h.grad().to_vector() == std::vector<float>(static_cast<std::size_t>(3 * N), 0.0f));
  }
}

TEST_CASE("micro-batches with a common normalizer add up to the whole batch") {
  const std::int64_t N = 24, V = 19, D = 5;
  const auto labels = labels_of(N, V);
  const Tensor<double> h = normal<double>({N, D}, 14), w = leaf({V, D}, 15);
  loss::linear_cross_entropy(h, w, labels).backward();
  const std::vector<double> whole = w.grad().to_vector();
  w.zero_grad();
  const auto n = static_cast<double>(loss::count_targets(labels));
  for (std::int64_t i = 0; i < N; i += 8) loss::linear_cross_entropy(rows(h, i, i + 8), w, rows(labels, i, i + 8), {.normalizer = n}).backward();
  CHECK(relative_error(w.grad().to_vector(), whole) < 1e-14);
}

TEST_CASE("the fused loss names what is wrong with its arguments") {
  const Tensor<float> h = Tensor<float>::ones({2, 3}), w = Tensor<float>::ones({5, 4});
  const auto labels = Tensor<std::int64_t>::from({0, 5});
  CHECK(contains(message_of([&] { loss::linear_cross_entropy(h, w, labels); }), "linear_cross_entropy: hidden must be [..., D] and weight [V, D]; got hidden=[2, 3] weight=[5, 4]"));
  CHECK(contains(message_of([&] { loss::linear_cross_entropy(h, Tensor<float>::ones({5, 3}), labels); }), "got labels[1]=5 V=5"));
  CHECK(contains(message_of([&] { loss::linear_token_log_probs(h, Tensor<float>::ones({5, 3}), Tensor<std::int64_t>::from({0})); }), "got input=[2, 3] labels=[1]"));
}
