// tests/attention/oracle.hpp -- attention of whole tensors by the oracle, and how far from it rounding may lead.
#pragma once
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <functional>
#include <ostream>
#include <vector>

#include <moelle/attention/attention_op.hpp>
#include <moelle/attention/attention_ref.hpp>
#include <moelle/core/parallel.hpp>
#include <moelle/tensor/view_op.hpp>

#include "support/compare.hpp"
#include "support/random_tensor.hpp"
#include "support/tolerance.hpp"

namespace moelle::test {

struct Shapes {
  std::int64_t B, Tq, Tk, H, J, Dk, Dv;
};
inline std::ostream& operator<<(std::ostream& out, const Shapes& s) {
  return out << "B=" << s.B << " Tq=" << s.Tq << " Tk=" << s.Tk << " H=" << s.H << " J=" << s.J << " Dk=" << s.Dk << " Dv=" << s.Dv;
}

// visible(b, i, j), mask(b, h, i, j); scale 0: Dk^-1/2.
template <class T>
Tensor<T> attention_oracle(const Tensor<T>& q, const Tensor<T>& k, const Tensor<T>& v,
                           const std::function<bool(std::int64_t, std::int64_t, std::int64_t)>& visible,
                           const std::function<double(std::int64_t, std::int64_t, std::int64_t, std::int64_t)>& mask = nullptr) {
  const std::int64_t B = q.size(0), Tq = q.size(1), H = q.size(2), Dk = q.size(3), Tk = k.size(1), J = k.size(2), Dv = v.size(3);
  const Tensor<T> out = Tensor<T>::empty({B, Tq, H, Dv});
  for (std::int64_t b = 0; b < B; ++b)
    for (std::int64_t h = 0; h < H; ++h) {
      const std::int64_t j = h / (H / J);
      const auto rows = [b](const Tensor<T>& x, std::int64_t head) {
        std::vector<T> r;
        for (std::int64_t t = 0; t < x.size(1); ++t)
          for (std::int64_t d = 0; d < x.size(3); ++d) r.push_back(x.at({b, t, head, d}));
        return r;
      };
      const std::vector<T> Q = rows(q, h), K = rows(k, j), V = rows(v, j);
      std::vector<T> O(static_cast<std::size_t>(Tq * Dv));
      const attention::ref::Head head{Tq, Tk, Dk, Dv, 1.0 / std::sqrt(static_cast<double>(Dk))};
      const auto p = attention::ref::probabilities(
          head, Q.data(), K.data(), [&](std::int64_t i, std::int64_t key) { return visible(b, i, key); },
          [&](std::int64_t i, std::int64_t key) { return mask ? mask(b, h, i, key) : 0.0; });
      attention::ref::forward(head, p, V.data(), O.data());
      for (std::int64_t t = 0; t < Tq; ++t)
        for (std::int64_t d = 0; d < Dv; ++d) out.at({b, t, h, d}) = O[static_cast<std::size_t>(t * Dv + d)];
    }
  return out;
}

template <class T>
double longest_row(const Tensor<T>& x) {
  double longest = 0;
  const Tensor<T> rows = contiguous(x);
  const std::int64_t D = x.size(3);
  for (std::int64_t r = 0; r < rows.numel() / D; ++r) {
    double sum = 0;
    for (std::int64_t d = 0; d < D; ++d) sum += static_cast<double>(rows.data()[r * D + d]) * static_cast<double>(rows.data()[r * D + d]);
    longest = std::max(longest, std::sqrt(sum));
  }
  return longest;
}

// A score is at most S = scale |q| |k| and wrong by gamma(Dk + 1) S; scaling it and subtracting the maximum round numbers of at most 2 S, and the
// maximum is wrong alike. The exponential turns that into a relative error, adds 2 ulp, and is used at most three times: in its block and twice in merges. Sums
// over the keys and the blocks come on top, and all of it once more in the denominator. The output is a mean of values.
template <class T>
double attention_bound(const Tensor<T>& q, const Tensor<T>& k, const Tensor<T>& v) {
  const std::int64_t Dk = q.size(3), Tk = k.size(1), blocks = (Tk + attention::kKeyBlock - 1) / attention::kKeyBlock;
  const double S = longest_row(q) * longest_row(k) / std::sqrt(static_cast<double>(Dk)), u = kUnit<T>;
  const double score = 2 * (dot_bound<T>(Dk, S) + 3 * u * 2 * S), weight = 3 * (score + 4 * u);
  return 2 * (weight + gamma<T>(Tk + 4 * blocks + 4)) * max_abs_error(v, Tensor<T>::zeros(v.shape()));
}

template <class F>
void with_threads(F f) {
  const int before = num_threads();
  for (const int threads : {1, 2, 3, 7}) {
    set_num_threads(threads);
    CAPTURE(threads);
    f();
  }
  set_num_threads(before);
}

}  // namespace moelle::test
