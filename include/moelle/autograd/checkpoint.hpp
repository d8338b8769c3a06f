// moelle/autograd/checkpoint.hpp -- recomputation instead of storage.
//
// Source: Chen, Xu, Zhang, Guestrin, "Training deep nets with sublinear memory cost" (arXiv:1604.06174).
#pragma once
#include <functional>
#include <utility>
#include <vector>

#include <moelle/autograd/backward.hpp>

namespace moelle::autograd {

// y = f(inputs), keeping only the inputs; backward runs f again. Parameters that f uses get their gradients as usual,
// bit for bit the same, provided f is a function of its inputs and parameters alone. f may see recomputing() == true.
template <class T, class F>
Tensor<T> checkpoint(F f, const std::vector<Tensor<T>>& inputs) {
  if (!is_enabled()) return f(inputs);
  Tensor<T> y;
  {
    const NoGrad guard;
    y = f(inputs).detach();
  }
  std::vector<Saved<T>> saved;
  for (const auto& x : inputs) saved.emplace_back(x);
  // f's parameters are not among the inputs, so the node must exist even if no input requires a gradient.
  Inputs<T> graph_inputs = inputs;
  graph_inputs.push_back(Tensor<T>::scalar(T(0)).set_requires_grad(true));
  record<T>("checkpoint", graph_inputs, {y}, [f = std::move(f), saved = std::move(saved)](Backward<T>& b) {
    std::vector<Tensor<T>> again;
    for (std::size_t i = 0; i < saved.size(); ++i) {
      Tensor<T> x = saved[i].get().detach();
      if (b.needs(i)) x.set_requires_grad(true);
      again.push_back(x);
    }
    const EnableGrad enable;
    const Recomputing recompute;
    const Tensor<T> out = f(again);
    if (out.requires_grad()) backward<T>({out}, {b.grad(0)});
    for (std::size_t i = 0; i < again.size(); ++i)
      if (b.needs(i) && again[i].grad().defined()) b.add(i, again[i].grad());
  });
  return y;
}

}  // namespace moelle::autograd
