// moelle/autograd/checkpoint.hpp -- recomputation instead of storage.
//
// Source: Chen, Xu, Zhang, Guestrin, "Training deep nets with sublinear memory cost" (arXiv:1604.06174).
#pragma once
#include <utility>
#include <vector>

#include <moelle/autograd/backward.hpp>

namespace moelle::autograd {

// outputs = f(inputs), keeping only the inputs; backward runs f again. Parameters that f uses get their gradients as usual,
// bit for bit the same, provided f is a function of its inputs and parameters alone. The second run sees recomputing() == true.
template <class T, class F>
std::vector<Tensor<T>> checkpoint_all(F f, const std::vector<Tensor<T>>& inputs) {
  if (!is_enabled()) return f(inputs);
  std::vector<Tensor<T>> outputs;
  {
    const NoGrad guard;
    for (const auto& y : f(inputs)) outputs.push_back(y.detach());
  }
  std::vector<Saved<T>> saved;
  for (const auto& x : inputs) saved.emplace_back(x);
  // f's parameters are not among the inputs, so the node must exist even if no input requires a gradient.
  Inputs<T> graph_inputs = inputs;
  graph_inputs.push_back(Tensor<T>::scalar(T(0)).set_requires_grad(true));
  record<T>("checkpoint", graph_inputs, outputs, [f = std::move(f), saved = std::move(saved)](Backward<T>& b) {
    std::vector<Tensor<T>> again;
    for (std::size_t i = 0; i < saved.size(); ++i) {
      Tensor<T> x = saved[i].get().detach();
      if (b.needs(i)) x.set_requires_grad(true);
      again.push_back(x);
    }
    const EnableGrad enable;
    const Recomputing recompute;
    std::vector<Tensor<T>> roots, grads;
    const std::vector<Tensor<T>> second = f(again);
    for (std::size_t i = 0; i < second.size(); ++i)
      if (second[i].requires_grad() && b.has_grad(i)) {
        roots.push_back(second[i]);
        grads.push_back(b.grad(i));
      }
    backward<T>(roots, grads);
    for (std::size_t i = 0; i < again.size(); ++i)
      if (b.needs(i) && again[i].grad().defined()) b.add(i, again[i].grad());
  });
  return outputs;
}

// The same for a function with one output.
template <class T, class F>
Tensor<T> checkpoint(F f, const std::vector<Tensor<T>>& inputs) {
  return checkpoint_all<T>([f = std::move(f)](const std::vector<Tensor<T>>& x) { return std::vector<Tensor<T>>{f(x)}; }, inputs)[0];
}

}  // namespace moelle::autograd
