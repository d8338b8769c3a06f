// moelle/nn/module.hpp -- parameters, buffers and children under names, and a call.
//
// One C++ type serves both languages: a Python class may derive from it and stand in for any part of a C++ model. Every
// registered thing lives in a slot, a member of the module's own, so that replacing it by name (a gate, an attention, a
// weight) changes what the C++ code uses.
#pragma once
#include <algorithm>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include <moelle/autograd/meta.hpp>
#include <moelle/core/tensor.hpp>
#include <moelle/gemm/format.hpp>
#include <moelle/gemm/gemm.hpp>  // Precision

namespace moelle::nn {

// One entry of a state dict: a part of a parameter or buffer under its Hugging Face name. Fused parameters (all experts
// in one tensor) appear as many entries.
template <class T>
struct StateEntry {
  std::string name;
  Tensor<T> source;  // the parameter or buffer
  Shape shape;
  std::int64_t offset = 0;  // of the first element inside source; rows are contiguous

  Tensor<T> value() const { return source.alias(shape, contiguous_strides(shape), offset); }
  // The same part of the gradient; undefined if none has arrived.
  Tensor<T> grad() const {
    const Tensor<T> g = source.grad();
    return g.defined() ? g.alias(shape, contiguous_strides(shape), offset) : Tensor<T>();
  }
};

template <class T>
using Named = std::vector<std::pair<std::string, Tensor<T>>>;

struct LoadResult {
  std::vector<std::string> missing;     // wanted by the module, absent from the dict
  std::vector<std::string> unexpected;  // in the dict, unknown to the module
};

// Where a packed module takes a matrix from, by its name in the state dict: rows [begin, end) of its values [rows, cols].
using WeightSource = std::function<Tensor<float>(const std::string& name, const Shape& shape, std::int64_t begin, std::int64_t end)>;

template <class T>
class Module {
 public:
  using Ptr = std::shared_ptr<Module>;

  Module() = default;
  Module(const Module&) = delete;
  Module& operator=(const Module&) = delete;
  virtual ~Module() = default;

  // x -> y. Modules that need more than one tensor (attention, gates) have a call of their own.
  virtual Tensor<T> forward(const Tensor<T>& x) {
    (void)x;
    detail::fail("Module", "forward(x) must be defined by the module; got none");
  }
  Tensor<T> operator()(const Tensor<T>& x) { return forward(x); }

  // --- registration -------------------------------------------------------------------------------------------------
  // Puts `value` into `slot` and lists it under `name`; it requires a gradient from now on.
  void register_parameter(const std::string& name, Tensor<T>& slot, const Tensor<T>& value) {
    check_name(name);
    slot = value;
    if (slot.defined()) slot.set_requires_grad(true);
    parameters_.push_back({name, &slot, true});
  }
  // Not trained, but part of the state dict unless persistent is false.
  void register_buffer(const std::string& name, Tensor<T>& slot, const Tensor<T>& value, bool persistent = true) {
    check_name(name);
    slot = value;
    buffers_.push_back({name, &slot, persistent});
  }
  template <class M, class N>
  void register_module(const std::string& name, std::shared_ptr<M>& slot, std::shared_ptr<N> value) {
    check_name(name);
    slot = std::move(value);
    children_.push_back({name, [&slot] { return std::static_pointer_cast<Module>(slot); },
                         [&slot, name](const Ptr& m) {
                           auto typed = std::dynamic_pointer_cast<M>(m);
                           MOELLE_REQUIRE("set_module", m == nullptr || typed != nullptr,
                                          str("a module must be of the kind that it replaces; got another kind for ", name));
                           slot = std::move(typed);
                         }});
  }
  // Slots owned by the module itself: for modules assembled at run time, Python's among them.
  void add_parameter(const std::string& name, const Tensor<T>& value) { register_parameter(name, own_tensors_.emplace_back(), value); }
  void add_buffer(const std::string& name, const Tensor<T>& value, bool persistent = true) {
    register_buffer(name, own_tensors_.emplace_back(), value, persistent);
  }
  void add_module(const std::string& name, const Ptr& value) { register_module(name, own_modules_.emplace_back(), value); }

  // --- lookup and replacement (own names, no dots) --------------------------------------------------------------------
  Tensor<T>* find_parameter(const std::string& name) { return find(parameters_, name); }
  Tensor<T>* find_buffer(const std::string& name) { return find(buffers_, name); }
  Ptr find_module(const std::string& name) const {
    for (const auto& c : children_)
      if (c.name == name) return c.get();
    return nullptr;
  }
  bool has_module(const std::string& name) const {
    for (const auto& c : children_)
      if (c.name == name) return true;
    return false;
  }
  void set_module(const std::string& name, const Ptr& value) {
    for (auto& c : children_)
      if (c.name == name) return c.set(value);
    detail::fail("set_module", str("name must be a child of the module; got name=", name));
  }

  // --- walking --------------------------------------------------------------------------------------------------------
  std::vector<std::pair<std::string, Ptr>> named_children() const {
    std::vector<std::pair<std::string, Ptr>> out;
    for (const auto& c : children_)
      if (Ptr m = c.get()) out.emplace_back(c.name, m);
    return out;
  }
  // f(prefix, module) for this module and everything below, parents first; prefix is "" or ends in a dot.
  void visit(const std::function<void(const std::string&, Module&)>& f, const std::string& prefix = "") {
    f(prefix, *this);
    for (const auto& [name, child] : named_children()) child->visit(f, prefix + name + ".");
  }
  // Each tensor once, even if shared (tied weights).
  Named<T> named_parameters() {
    Named<T> out;
    visit([&](const std::string& prefix, Module& m) {
      for (const auto& p : m.parameters_)
        if (p.slot->defined() && !listed(out, *p.slot)) out.emplace_back(prefix + p.name, *p.slot);
    });
    return out;
  }
  std::vector<Tensor<T>> parameters() {
    std::vector<Tensor<T>> out;
    for (auto& [name, p] : named_parameters()) out.push_back(p);
    return out;
  }
  Named<T> named_buffers() {
    Named<T> out;
    visit([&](const std::string& prefix, Module& m) {
      for (const auto& b : m.buffers_)
        if (b.slot->defined()) out.emplace_back(prefix + b.name, *b.slot);
    });
    return out;
  }
  std::int64_t num_parameters() {
    std::int64_t n = 0;
    for (auto& [name, p] : named_parameters()) n += p.numel();
    return n;
  }

  // --- state dict -----------------------------------------------------------------------------------------------------
  // Own entries; modules that keep several named tensors in one override it.
  virtual void own_state(const std::string& prefix, std::vector<StateEntry<T>>& out) {
    for (const auto& p : parameters_)
      if (p.slot->defined()) out.push_back({prefix + p.name, *p.slot, p.slot->shape()});
    for (const auto& b : buffers_)
      if (b.slot->defined() && b.persistent) out.push_back({prefix + b.name, *b.slot, b.slot->shape()});
  }
  std::vector<StateEntry<T>> state_entries() {
    std::vector<StateEntry<T>> out;
    visit([&](const std::string& prefix, Module& m) { m.own_state(prefix, out); });
    return out;
  }
  // Names and parts that share memory with the module.
  Named<T> state_dict() {
    Named<T> out;
    for (const auto& e : state_entries()) out.emplace_back(e.name, e.value());
    return out;
  }
  // Names that a dict may hold although the module does not, and may leave out all together.
  virtual bool is_optional(const std::string& name) const {
    (void)name;
    return false;
  }
  // Copies elements into the module. All names and shapes are checked before anything is changed.
  LoadResult load_state_dict(const std::map<std::string, Tensor<T>>& dict, bool strict = true) {
    LoadResult result;
    const auto entries = state_entries();
    std::set<std::string> known;
    const bool any_optional = std::any_of(entries.begin(), entries.end(), [&](const auto& e) { return is_optional(e.name) && dict.count(e.name) != 0; });
    for (const auto& e : entries) {
      known.insert(e.name);
      const auto it = dict.find(e.name);
      if (it == dict.end()) {
        if (any_optional || !is_optional(e.name)) result.missing.push_back(e.name);
        continue;
      }
      MOELLE_REQUIRE("load_state_dict", it->second.shape() == e.shape,
                     str("shapes must agree; got ", e.name, " of shape ", it->second.shape(), " for a parameter of shape ", e.shape));
    }
    for (const auto& [name, value] : dict)
      if (known.count(name) == 0 && !is_optional(name)) result.unexpected.push_back(name);
    MOELLE_REQUIRE("load_state_dict", !strict || (result.missing.empty() && result.unexpected.empty()),
                   "names must agree; got missing=" + list(result.missing) + " unexpected=" + list(result.unexpected));
    for (const auto& e : entries)
      if (const auto it = dict.find(e.name); it != dict.end()) {
        T* to = e.value().data();
        it->second.each([&](T v) { *to++ = v; });
        e.source.bump_version();
      }
    return result;
  }

  // --- packed weights (gemm/packed.hpp): for inference, in less memory and time ------------------------------------------
  // Own weights into a format; the floats are let go, so that they leave parameters and state dict. Modules with products override it.
  virtual void pack_own(gemm::Format format) { (void)format; }
  // Own packed weights from a source, one matrix at a time.
  virtual void fill_own_packed(const std::string& prefix, const WeightSource& source) { (void)prefix, (void)source; }
  virtual std::int64_t own_packed_bytes() const { return 0; }
  // All weights of products, children's included; routers and embeddings stay as they are.
  void pack(gemm::Format format) {
    visit([format](const std::string&, Module& m) { m.pack_own(format); });
  }
  void fill_packed(const WeightSource& source) {
    visit([&source](const std::string& prefix, Module& m) { m.fill_own_packed(prefix, source); });
  }
  std::int64_t packed_bytes() {
    std::int64_t sum = 0;
    visit([&sum](const std::string&, Module& m) { sum += m.own_packed_bytes(); });
    return sum;
  }

  // --- mode and gradients ----------------------------------------------------------------------------------------------
  // What the products of this module's layers compute with; see gemm.hpp. Routers stay in T.
  gemm::Precision precision() const { return precision_; }
  void set_precision(gemm::Precision p) {
    visit([p](const std::string&, Module& m) { m.precision_ = p; });
  }
  bool training() const { return training_; }
  void train(bool on = true) {
    visit([&](const std::string&, Module& m) { m.training_ = on; });
  }
  void eval() { train(false); }
  void zero_grad() {
    for (auto& p : parameters()) p.zero_grad();
  }
  void requires_grad_(bool on) {
    for (auto& p : parameters()) p.set_requires_grad(on);
  }

 private:
  struct Slot {
    std::string name;
    Tensor<T>* slot;
    bool persistent;
  };
  struct Child {
    std::string name;
    std::function<Ptr()> get;
    std::function<void(const Ptr&)> set;
  };

  void check_name(const std::string& name) {
    MOELLE_REQUIRE("Module", !name.empty() && name.find('.') == std::string::npos, str("a name must not be empty or hold a dot; got name=", name));
    MOELLE_REQUIRE("Module", find(parameters_, name) == nullptr && find(buffers_, name) == nullptr && !has_module(name),
                   str("a name must be used once; got name=", name));
  }
  static Tensor<T>* find(std::vector<Slot>& slots, const std::string& name) {
    for (auto& s : slots)
      if (s.name == name) return s.slot;
    return nullptr;
  }
  static bool listed(const Named<T>& have, const Tensor<T>& t) {
    for (const auto& [name, p] : have)
      if (p.same(t)) return true;
    return false;
  }
  static std::string list(const std::vector<std::string>& names) {
    std::string s = "[";
    for (std::size_t i = 0; i < names.size() && i < 8; ++i) s += (i != 0 ? ", " : "") + names[i];
    if (names.size() > 8) s += str(", ... ", names.size(), " in all");
    return s + "]";
  }

  std::vector<Slot> parameters_, buffers_;
  std::vector<Child> children_;
  std::list<Tensor<T>> own_tensors_;
  std::list<Ptr> own_modules_;
  bool training_ = true;
  gemm::Precision precision_ = gemm::Precision::native;
};

// Evaluation mode for a scope, also when an exception leaves it.
template <class T>
class EvalMode {
 public:
  explicit EvalMode(Module<T>& module) : module_(module), training_(module.training()) { module_.eval(); }
  ~EvalMode() { module_.train(training_); }
  EvalMode(const EvalMode&) = delete;
  EvalMode& operator=(const EvalMode&) = delete;

 private:
  Module<T>& module_;
  bool training_;
};

// Children "0", "1", ...
template <class T, class M = Module<T>>
class ModuleList : public Module<T> {
 public:
  void push_back(std::shared_ptr<M> m) {
    const std::string name = std::to_string(items_.size());
    this->register_module(name, items_.emplace_back(), std::move(m));
  }
  std::size_t size() const { return items_.size(); }
  const std::shared_ptr<M>& operator[](std::size_t i) const { return *std::next(items_.begin(), static_cast<std::ptrdiff_t>(i)); }
  auto begin() const { return items_.begin(); }
  auto end() const { return items_.end(); }

 private:
  std::list<std::shared_ptr<M>> items_;  // a list: slots must not move
};

}  // namespace moelle::nn
