// moelle/tensor/cast_op.hpp -- other element types.
//
// to float, double:   the nearest value, ties to even.
// to bfloat16:        by way of float, then nearest, ties to even; NaN stays NaN.
// to integers:        floating point is cut towards zero; out of range gives the nearest end of the range, NaN gives 0.
//                     Between integers the value is taken modulo 2^bits.
// to bool:            whether the value differs from 0; NaN does.
// Gradients pass between float and double; all other casts cut the graph. round_to_bf16 keeps it (straight through).
#pragma once
#include <cmath>
#include <cstdint>
#include <limits>
#include <memory>
#include <type_traits>
#include <vector>

#include <moelle/autograd/record.hpp>
#include <moelle/tensor/loops.hpp>

namespace moelle {

// One element, by the rules above.
template <class U, class T>
U convert(T v) {
  if constexpr (std::is_same_v<U, T>) {
    return v;
  } else if constexpr (std::is_same_v<T, bfloat16>) {
    return convert<U>(static_cast<float>(v));
  } else if constexpr (std::is_same_v<U, bfloat16>) {
    return bfloat16(static_cast<float>(v));
  } else if constexpr (std::is_same_v<U, bool>) {
    return v != T(0);
  } else if constexpr (std::is_integral_v<U> && std::is_floating_point_v<T>) {
    // 2^bits is exact in T although the largest U need not be.
    const T above = std::ldexp(T(1), std::numeric_limits<U>::digits);
    if (std::isnan(v)) return U(0);
    if (v >= above) return std::numeric_limits<U>::max();
    if (v <= static_cast<T>(std::numeric_limits<U>::min())) return std::numeric_limits<U>::min();
    return static_cast<U>(v);
  } else {
    return static_cast<U>(v);
  }
}

namespace detail {
// The only node whose input and output differ in type.
template <class T, class U>
struct CastNode final : autograd::Node {
  std::shared_ptr<autograd::Meta<T>> input;
  std::weak_ptr<autograd::Meta<U>> output;

  void run() override {
    MOELLE_REQUIRE("backward", !released, str("the graph was freed by an earlier backward; pass retain_graph to keep it; got node=", op));
    const auto meta = output.lock();
    if (meta == nullptr || !meta->grad.defined()) return;
    const Tensor<U> g = meta->grad.detach();
    input->add(mapped<T>(g.shape(), [](U v) { return static_cast<T>(v); }, g));
  }
  void release() override { released = true; }
  void hand_over_inputs(std::vector<std::shared_ptr<void>>& keep) override {
    if (input != nullptr) keep.push_back(std::move(input));
  }
  void clear_outputs() override {
    if (const auto m = output.lock(); m != nullptr && !m->retain) m->grad = Tensor<U>();
  }
};
}  // namespace detail

// x itself if U is its type.
template <class U, class T>
Tensor<U> cast(const Tensor<T>& x) {
  if constexpr (std::is_same_v<T, U>) {
    return x;
  } else {
    const Tensor<U> y = detail::mapped<U>(x.shape(), [](T v) { return convert<U>(v); }, x);
    if constexpr (is_real<T> && is_real<U>)
      if (autograd::wants_grad(x)) {
        auto node = std::make_shared<detail::CastNode<T, U>>();
        auto meta = std::make_shared<autograd::Meta<U>>();
        node->op = "cast";
        node->id = autograd::next_node_id();
        node->input = x.meta();
        node->output = meta;
        if (x.meta()->producer != nullptr) node->parents.push_back(x.meta()->producer);
        meta->requires_grad = true;
        meta->producer = node;
        y.set_meta(std::move(meta));
      }
    return y;
  }
}

// Each element as bfloat16 would hold it, still float or double. The gradient passes as if nothing had happened
// (Bengio, Leonard, Courville, arXiv:1308.3432, section 1).
template <class T>
Tensor<T> round_to_bf16(const Tensor<T>& x) {
  static_assert(is_real<T>, "round_to_bf16 takes float or double");
  const Tensor<T> y = detail::mapped<T>(x.shape(), [](T v) { return static_cast<T>(static_cast<float>(bfloat16(v))); }, x);
  autograd::record<T>("round_to_bf16", {x}, {y}, [](autograd::Backward<T>& b) { b.add(0, b.grad(0)); });
  return y;
}

}  // namespace moelle
