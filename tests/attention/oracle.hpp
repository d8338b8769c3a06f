// tests/attention/oracle.hpp -- attention of whole tensors by the oracle, and inputs for it.
#pragma once
#include <cstdint>
#include <functional>
#include <ostream>
#include <vector>

#include <moelle/attention/attention_op.hpp>
#include <moelle/attention/attention_ref.hpp>

#include "support/random_tensor.hpp"

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

}  // namespace moelle::test
