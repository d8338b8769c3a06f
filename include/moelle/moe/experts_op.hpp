// moelle/moe/experts_op.hpp -- the routed experts of a layer as one operation; see experts.hpp for the formulas.
//
// All products and what lies between them are one parallel region forward and one backward (expert_rows.hpp); the sum over a token's experts is
// another. Weight gradients are added straight into the parameters' gradients.
#pragma once
#include <cstdint>

#include <moelle/activation/swiglu.hpp>  // SwigluParams
#include <moelle/autograd/record.hpp>
#include <moelle/core/tensor.hpp>
#include <moelle/gemm/simulated_fp8.hpp>
#include <moelle/moe/expert_rows.hpp>
#include <moelle/moe/experts.hpp>
#include <moelle/moe/gate_op.hpp>  // Routing
#include <moelle/moe/permute_op.hpp>

namespace moelle::moe {

namespace detail {

// For fp8 a copy rounded in tiles.
template <class T>
Tensor<T> rounded_weights(const Tensor<T>& weight, Precision precision) {
  if (precision != Precision::fp8) return weight;
  const Tensor<T> y = clone(weight);
  for (std::int64_t e = 0; e < y.size(0); ++e)
    gemm::round_to_fp8_tiles(y.data() + e * y.size(1) * y.size(2), y.size(1), y.size(2), gemm::kFp8Tile, gemm::kFp8Tile);
  return y;
}

template <class T>
struct SavedExperts {
  Permutation p;
  Tensor<T> H;
  double limit;
  Precision precision;
  autograd::Saved<T> x, weights, gate_up, down;
};

template <class T>
void experts_backward(autograd::Backward<T>& b, const SavedExperts<T>& s) {
  const Permutation& p = s.p;
  const Tensor<T> x = s.x.get(), w = s.weights.get(), dy = b.grad(0);
  const Tensor<T> gate_up = rounded_weights(s.gate_up.get(), s.precision), down = rounded_weights(s.down.get(), s.precision);
  const std::int64_t D = x.size(1), F = down.size(2);
  const Tensor<T> dw = Tensor<T>::empty(w.shape()), dX = b.needs(0) ? Tensor<T>::empty({p.rows(), D}) : Tensor<T>();
  ExpertGrads<T> to{.weights = dw.data(), .rows = dX.defined() ? dX.data() : nullptr, .gate_up = nullptr, .down = nullptr, .add_gate_up = false, .add_down = false};
  const auto target = [&b](std::size_t i, T*& data, bool& add) {
    if (!b.needs(i)) return;
    const auto buffer = b.buffer(i);
    data = buffer.tensor.data(), add = !buffer.overwrite;
  };
  target(2, to.gate_up, to.add_gate_up);
  target(3, to.down, to.add_down);
  const ExpertProblem<T> problem{p, D, F, gate_up.data(), down.data(), static_cast<T>(s.limit), s.precision};
  ExpertsBackward<T>(problem, x.data(), s.H.data(), w.data(), dy.data(), to).run();
  b.add(1, dw);
  if (b.needs(0)) scatter_grad(b, 0, dX, p);
}

}  // namespace detail

// x[N, D], choice[N, K], weights[N, K], gate_up[E, 2F, D], down[E, D, F] -> [N, D].
template <class T>
Tensor<T> experts(const Tensor<T>& x, const Tensor<std::int32_t>& choice, const Tensor<T>& weights, const Tensor<T>& gate_up, const Tensor<T>& down,
                  const activation::SwigluParams& params = {}, gemm::Precision precision = gemm::Precision::native) {
  MOELLE_REQUIRE("experts", x.defined() && choice.defined() && weights.defined() && gate_up.defined() && down.defined(),
                 "x, choice, weights, gate_up and down must be given; got an undefined tensor");
  MOELLE_REQUIRE("experts", params.limit > 0, str("limit must be positive; got limit=", params.limit));
  const ExpertSizes s = check_experts(x.shape(), choice.shape(), weights.shape(), gate_up.shape(), down.shape());
  const Permutation p = make_permutation(choice, s.E);
  const Tensor<T> in = contiguous(x.detach()), w = contiguous(weights.detach());
  const Tensor<T> up_weight = contiguous(gate_up.detach()), down_weight = contiguous(down.detach());
  const Tensor<T> rounded_up = detail::rounded_weights(up_weight, precision), rounded_down = detail::rounded_weights(down_weight, precision);
  const Tensor<T> H = Tensor<T>::empty({p.rows(), 2 * s.F}), out = Tensor<T>::empty({p.rows(), s.D});
  detail::experts_forward_rows<T>({p, s.D, s.F, rounded_up.data(), rounded_down.data(), static_cast<T>(params.limit), precision}, in.data(), H.data(), out.data());
  const Tensor<T> y = Tensor<T>::empty({s.N, s.D});
  detail::combine_into(out, static_cast<const T*>(w.data()), p, y, false);
  if (!autograd::wants_grad(x, weights, gate_up, down)) return y;
  using autograd::Saved;
  const detail::SavedExperts<T> saved{p, H, params.limit, precision, Saved<T>(in), Saved<T>(w), Saved<T>(up_weight), Saved<T>(down_weight)};
  autograd::record<T>("experts", {x, weights, gate_up, down}, {y}, [saved](autograd::Backward<T>& b) { detail::experts_backward(b, saved); });
  return y;
}

// The same for what a gate returned.
template <class T>
Tensor<T> experts(const Tensor<T>& x, const Routing<T>& routing, const Tensor<T>& gate_up, const Tensor<T>& down,
                  const activation::SwigluParams& params = {}, gemm::Precision precision = gemm::Precision::native) {
  return experts(x, routing.experts, routing.weights, gate_up, down, params, precision);
}

}  // namespace moelle::moe
