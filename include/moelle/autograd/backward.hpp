// moelle/autograd/backward.hpp -- runs a graph backwards, in the reverse of the order in which it was recorded.
#pragma once
#include <algorithm>
#include <memory>
#include <unordered_set>
#include <vector>

#include <moelle/autograd/record.hpp>

namespace moelle::autograd {

namespace detail {
inline std::vector<std::shared_ptr<Node>> reachable(std::vector<std::shared_ptr<Node>> open) {
  std::vector<std::shared_ptr<Node>> nodes;
  std::unordered_set<const Node*> seen;
  while (!open.empty()) {
    std::shared_ptr<Node> n = std::move(open.back());
    open.pop_back();
    if (n == nullptr || !seen.insert(n.get()).second) continue;
    for (const auto& p : n->parents) open.push_back(p);
    nodes.push_back(std::move(n));
  }
  std::sort(nodes.begin(), nodes.end(), [](const auto& a, const auto& b) { return a->id > b->id; });
  return nodes;
}
}  // namespace detail

// Adds d(sum of <outputs[i], grads[i]>)/d(leaf) to every leaf's gradient. An undefined grad stands for 1 and needs an
// output of one element. The graph is freed on the way unless retain_graph.
template <class T>
void backward(const std::vector<Tensor<T>>& outputs, const std::vector<Tensor<T>>& grads, bool retain_graph = false) {
  MOELLE_REQUIRE("backward", outputs.size() == grads.size(), str("needs one gradient per output; got outputs=", outputs.size(), " grads=", grads.size()));
  std::vector<std::shared_ptr<Node>> roots;
  for (std::size_t i = 0; i < outputs.size(); ++i) {
    const Tensor<T>& y = outputs[i];
    MOELLE_REQUIRE("backward", y.requires_grad(), str("output must depend on a tensor that requires a gradient; got output ", i, " of shape ", y.shape()));
    MOELLE_REQUIRE("backward", grads[i].defined() || y.numel() == 1, str("output must have one element unless its gradient is given; got shape=", y.shape()));
    MOELLE_REQUIRE("backward", !grads[i].defined() || grads[i].shape() == y.shape(),
                   str("gradient must have the output's shape; got output=", y.shape(), " gradient=", grads[i].shape()));
  }
  for (std::size_t i = 0; i < outputs.size(); ++i) {
    outputs[i].meta()->add(grads[i].defined() ? grads[i] : Tensor<T>::ones(outputs[i].shape()));
    roots.push_back(outputs[i].meta()->producer);
  }
  auto nodes = detail::reachable(std::move(roots));
  std::vector<std::shared_ptr<void>> metas;  // gradients on their way to nodes that have not run yet
  try {
    for (auto& n : nodes) {
      n->run();
      n->clear_outputs();
      if (!retain_graph) {
        n->release();
        n->hand_over_inputs(metas);
      }
      n.reset();  // saved tensors go as soon as possible
    }
  } catch (...) {  // leave no half-collected gradients inside the graph
    for (auto& n : nodes)
      if (n != nullptr) n->clear_outputs();
    throw;
  }
}

}  // namespace moelle::autograd

namespace moelle {
template <class T>
void Tensor<T>::backward(const Tensor<T>& grad) const {
  autograd::backward<T>({*this}, {grad});
}
}  // namespace moelle
