// moelle/autograd/meta.hpp -- what rides on a tensor that takes part in gradients, and the nodes between tensors.
//
// A graph is made of coarse nodes, one per operation (fused ones included). A node owns references to its inputs' Meta;
// an output's Meta owns its node; nodes refer to outputs weakly. So a graph lives as long as one of its outputs does.
#pragma once
#include <algorithm>
#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

#include <moelle/autograd/mode.hpp>
#include <moelle/core/parallel.hpp>
#include <moelle/core/tensor.hpp>

namespace moelle::autograd {

// One recorded operation. Element types of inputs and outputs may differ (casts), hence the untyped base.
struct Node {
  const char* op = "";
  std::uint64_t id = 0;                        // order of creation; backward runs in descending order
  std::vector<std::shared_ptr<Node>> parents;  // producers of the inputs that need a gradient
  bool released = false;

  virtual ~Node();
  virtual void run() = 0;                // reads the outputs' gradients, adds to the inputs'
  virtual void release() = 0;            // drops saved tensors
  // Moves the references to the inputs' Meta to `keep`: their gradients must outlive this node until their producers run.
  virtual void hand_over_inputs(std::vector<std::shared_ptr<void>>& keep) = 0;
  virtual void clear_outputs() = 0;      // drops gradients of outputs that nobody asked to keep
};

// Long chains would otherwise be destroyed recursively and overflow the stack.
inline Node::~Node() {
  std::vector<std::shared_ptr<Node>> rest = std::move(parents);
  while (!rest.empty()) {
    const std::shared_ptr<Node> n = std::move(rest.back());
    rest.pop_back();
    if (n == nullptr || n.use_count() > 1) continue;
    n->release();
    for (auto& p : n->parents) rest.push_back(std::move(p));
    n->parents.clear();
  }
}

inline std::uint64_t next_node_id() {
  static std::atomic<std::uint64_t> counter{0};
  return ++counter;
}

template <class T>
struct Meta {
  bool requires_grad = false;
  bool retain = false;             // keep the gradient although this is not a leaf
  std::shared_ptr<Node> producer;  // null for leaves
  Tensor<T> grad;

  // Adds g. The first gradient is taken as it is (shared with whoever else holds it); later ones go in place if nobody
  // else sees the buffer.
  void add(const Tensor<T>& g);
  bool grad_is_private() const { return grad.defined() && grad.storage().use_count() == 1 && grad.is_contiguous(); }
};

// A copy in row-major order.
template <class T>
Tensor<T> copied(const Tensor<T>& g) {
  if (!g.is_contiguous()) return Tensor<T>::from(g.to_vector(), g.shape());
  const Tensor<T> y = Tensor<T>::empty(g.shape());
  parallel_rows(g.numel(), 1 << 15, [&](std::int64_t begin, std::int64_t end) { std::copy(g.data() + begin, g.data() + end, y.data() + begin); });
  return y;
}

template <class T>
void Meta<T>::add(const Tensor<T>& g) {
  if (!grad.defined()) {
    grad = g.detach();
    return;
  }
  MOELLE_REQUIRE("backward", g.shape() == grad.shape(), str("gradients of one tensor must have one shape; got ", g.shape(), " and ", grad.shape()));
  const Tensor<T> sum = grad_is_private() ? grad : Tensor<T>::empty(grad.shape());
  if (g.is_contiguous() && grad.is_contiguous()) {
    const T* a = grad.data();
    const T* b = g.data();
    T* out = sum.data();
    parallel_rows(g.numel(), 1 << 15, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin; i < end; ++i) out[i] = a[i] + b[i];
    });
  } else {
    const std::vector<T> a = grad.to_vector(), b = g.to_vector();
    for (std::size_t i = 0; i < a.size(); ++i) sum.data()[i] = a[i] + b[i];
  }
  grad = sum;
}

}  // namespace moelle::autograd

namespace moelle {

template <class T>
bool Tensor<T>::requires_grad() const {
  return defined() && impl().meta != nullptr && impl().meta->requires_grad;
}
template <class T>
bool Tensor<T>::is_leaf() const {
  return impl().meta == nullptr || impl().meta->producer == nullptr;
}
template <class T>
const Tensor<T>& Tensor<T>::set_requires_grad(bool on) const {
  static_assert(std::is_same_v<T, float> || std::is_same_v<T, double>, "only float and double tensors take gradients");
  MOELLE_REQUIRE("requires_grad", is_leaf(), "tensor must be a leaf; use detach() to cut the graph; got the output of an operation");
  if (impl().meta == nullptr) impl().meta = std::make_shared<autograd::Meta<T>>();
  impl().meta->requires_grad = on;
  return *this;
}
template <class T>
Tensor<T> Tensor<T>::grad() const {
  return impl().meta != nullptr ? impl().meta->grad : Tensor<T>();
}
template <class T>
void Tensor<T>::set_grad(const Tensor<T>& g) const {
  MOELLE_REQUIRE("set_grad", requires_grad(), "tensor must require a gradient; got requires_grad=false");
  MOELLE_REQUIRE("set_grad", !g.defined() || g.shape() == shape(), str("gradient must have the tensor's shape; got shape=", shape(), " grad=", g.shape()));
  impl().meta->grad = g;
}
template <class T>
void Tensor<T>::zero_grad() const {
  if (impl().meta != nullptr) impl().meta->grad = Tensor<T>();
}
template <class T>
void Tensor<T>::retain_grad() const {
  MOELLE_REQUIRE("retain_grad", requires_grad(), "tensor must require a gradient; got requires_grad=false");
  impl().meta->retain = true;
}

}  // namespace moelle
