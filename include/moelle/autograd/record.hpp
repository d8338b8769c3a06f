// moelle/autograd/record.hpp -- how an operation puts itself into the graph. See CONTRIBUTING.md for the pattern.
#pragma once
#include <functional>
#include <initializer_list>
#include <memory>
#include <utility>
#include <vector>

#include <moelle/autograd/meta.hpp>

namespace moelle::autograd {

// A tensor kept for backward: refuses to be read if its elements were changed in place after being saved.
template <class T>
class Saved {
 public:
  Saved() = default;
  explicit Saved(const Tensor<T>& t) : tensor_(t.detach()), version_(t.defined() ? t.storage()->version() : 0) {}
  const Tensor<T>& get() const {
    MOELLE_REQUIRE("backward", !tensor_.defined() || tensor_.storage()->version() == version_,
                   str("a tensor needed for the gradient must not be changed in place before backward; got shape=", tensor_.shape()));
    return tensor_;
  }

 private:
  Tensor<T> tensor_;
  std::uint64_t version_ = 0;
};

// Where a gradient is to be written: elements are overwritten or added to.
template <class T>
struct Accumulator {
  Tensor<T> tensor;
  bool overwrite;
};

// What a backward function sees.
template <class T>
class Backward {
 public:
  // Gradient of output i: contiguous, shaped as the output; zeros if none arrived. Not to be modified.
  Tensor<T> grad(std::size_t i = 0) const {
    const auto meta = outputs_[i].meta.lock();
    if (meta == nullptr || !meta->grad.defined()) return Tensor<T>::zeros(outputs_[i].shape);
    const Tensor<T>& g = meta->grad;
    return g.is_contiguous() ? g.detach() : copied(g);
  }
  // Whether any gradient reached output i.
  bool has_grad(std::size_t i = 0) const {
    const auto meta = outputs_[i].meta.lock();
    return meta != nullptr && meta->grad.defined();
  }
  bool needs(std::size_t i) const { return inputs_[i] != nullptr && inputs_[i]->requires_grad; }
  // Hands over the gradient of input i, shaped as the input. It must not be modified afterwards.
  void add(std::size_t i, const Tensor<T>& g) {
    if (!needs(i)) return;
    MOELLE_REQUIRE(op_, g.shape() == shapes_[i], str("gradient must have the input's shape; got input=", shapes_[i], " gradient=", g.shape()));
    inputs_[i]->add(g);
  }
  // The buffer in which input i's gradient is collected, for kernels that can add in place.
  Accumulator<T> buffer(std::size_t i) {
    Meta<T>& m = *inputs_[i];
    if (!m.grad.defined()) {
      m.grad = Tensor<T>::empty(shapes_[i]);
      return {m.grad, true};
    }
    if (!m.grad_is_private()) m.grad = copied(m.grad);
    return {m.grad, false};
  }

  struct Output {
    std::weak_ptr<Meta<T>> meta;
    Shape shape;
  };
  const char* op_ = "";
  std::vector<std::shared_ptr<Meta<T>>> inputs_;
  std::vector<Shape> shapes_;
  std::vector<Output> outputs_;
};

template <class T>
struct OpNode final : Node {
  Backward<T> context;
  std::function<void(Backward<T>&)> backward;

  void run() override {
    MOELLE_REQUIRE("backward", !released, str("the graph was freed by an earlier backward; pass retain_graph to keep it; got node=", op));
    const NoGrad guard;
    backward(context);
  }
  void release() override {
    released = true;
    backward = nullptr;
  }
  void hand_over_inputs(std::vector<std::shared_ptr<void>>& keep) override {
    for (auto& m : context.inputs_)
      if (m != nullptr) keep.push_back(std::move(m));
  }
  void clear_outputs() override {
    for (auto& o : context.outputs_)
      if (const auto m = o.meta.lock(); m != nullptr && !m->retain) m->grad = Tensor<T>();
  }
};

// Whether an operation on these inputs must save anything for backward.
template <class... Ts>
bool wants_grad(const Tensor<Ts>&... inputs) {
  return is_enabled() && (inputs.requires_grad() || ...);
}

template <class T>
using Inputs = std::vector<Tensor<T>>;

// Records one operation: outputs become functions of the inputs. `backward` must capture inputs as Saved and outputs
// detached. Undefined inputs are allowed and never need a gradient.
template <class T, class F>
void record(const char* op, const Inputs<T>& inputs, const Inputs<T>& outputs, F&& backward) {
  if (!is_enabled()) return;
  bool any = false;
  for (const Tensor<T>& x : inputs) any |= x.requires_grad();
  if (!any) return;
  auto node = std::make_shared<OpNode<T>>();
  node->op = node->context.op_ = op;
  node->id = next_node_id();
  node->backward = std::forward<F>(backward);
  for (const Tensor<T>& x : inputs) {
    const bool needed = x.requires_grad();
    node->context.inputs_.push_back(needed ? x.meta() : nullptr);
    node->context.shapes_.push_back(x.defined() ? x.shape() : Shape());
    if (needed && x.meta()->producer != nullptr) node->parents.push_back(x.meta()->producer);
  }
  for (const Tensor<T>& y : outputs) {
    auto meta = std::make_shared<Meta<T>>();
    meta->requires_grad = true;
    meta->producer = node;
    node->context.outputs_.push_back({meta, y.shape()});
    y.set_meta(std::move(meta));
  }
}

}  // namespace moelle::autograd

#include <moelle/autograd/backward.hpp>  // so that Tensor::backward() is defined wherever a gradient can be recorded
