// Modules as Python sees them: trampolines that let a Python class stand in for any part of a C++ model.
#pragma once
#include "value.hpp"

#include <moelle/nn/attention.hpp>
#include <moelle/nn/moe.hpp>
#include <moelle/nn/module.hpp>

namespace moelle::python {

using Real = float;  // what Python's models are made of
using Module = nn::Module<Real>;
using Gate = nn::Gate<Real>;
using Attention = nn::Attention<Real>;
using TensorF = Tensor<Real>;

// What a gate written in Python returned: (experts, weights), (experts, weights, scores) or a Routing.
moe::Routing<Real> to_routing(const py::object& result);

template <class Base>
struct PyModule : Base, py::trampoline_self_life_support {
  using Base::Base;
  TensorF forward(const TensorF& x) override { PYBIND11_OVERRIDE(TensorF, Base, forward, x); }
};

template <class Base>
struct PyGate : PyModule<Base> {
  using PyModule<Base>::PyModule;
  moe::Routing<Real> route(const TensorF& x) override {
    const py::gil_scoped_acquire gil;
    if (const py::function f = py::get_override(static_cast<const Base*>(this), "route")) return to_routing(f(x));
    if constexpr (std::is_same_v<Base, Gate>) detail::fail("Gate", "route(x) must be defined by the gate; got none");
    else return released([&] { return Base::route(x); });
  }
  void balance(const std::vector<std::int64_t>& counts, double rate, moe::BiasRule rule) override {
    PYBIND11_OVERRIDE(void, Base, balance, counts, rate, rule);
  }
};

template <class Base>
struct PyAttention : PyModule<Base> {
  using PyModule<Base>::PyModule;
  TensorF attend(const TensorF& x, const nn::AttentionContext& context) override {
    const py::gil_scoped_acquire gil;
    if (const py::function f = py::get_override(static_cast<const Base*>(this), "attend")) return f(x, py::cast(context)).template cast<TensorF>();  // a copy: Python may keep it
    if constexpr (std::is_same_v<Base, Attention>) detail::fail("Attention", "attend(x, context) must be defined by the attention; got none");
    else return released([&] { return Base::attend(x, context); });
  }
  std::shared_ptr<nn::LayerCache> make_cache(std::int64_t batch, std::int64_t capacity) override {
    PYBIND11_OVERRIDE(std::shared_ptr<nn::LayerCache>, Base, make_cache, batch, capacity);
  }
};

struct PyLayerCache : nn::LayerCache, py::trampoline_self_life_support {
  std::int64_t length() const override { PYBIND11_OVERRIDE_PURE(std::int64_t, nn::LayerCache, length); }
  std::int64_t capacity() const override { PYBIND11_OVERRIDE_PURE(std::int64_t, nn::LayerCache, capacity); }
  void truncate(std::int64_t n) override { PYBIND11_OVERRIDE_PURE(void, nn::LayerCache, truncate, n); }
  std::int64_t bytes() const override { PYBIND11_OVERRIDE_PURE(std::int64_t, nn::LayerCache, bytes); }
};

}  // namespace moelle::python
