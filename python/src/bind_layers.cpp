// nn: the module and the layers. Names, attribute access and docstrings are added in moelle/nn.py.
#include <moelle/nn/layers.hpp>
#include <moelle/nn/mla.hpp>
#include <moelle/nn/moe.hpp>
#include <moelle/nn/multi_head_attention.hpp>
#include <moelle/nn/rotary.hpp>

#include "modules.hpp"

namespace moelle::python {

moe::Routing<Real> to_routing(const py::object& result) {
  if (py::isinstance<moe::Routing<Real>>(result)) return result.cast<moe::Routing<Real>>();
  const bool tuple = py::isinstance<py::tuple>(result) && (py::len(result) == 2 || py::len(result) == 3);
  if (!tuple) throw py::type_error("Gate: route must return (experts, weights) or (experts, weights, scores); got " + py::repr(py::type::of(result)).cast<std::string>());
  const auto parts = py::reinterpret_borrow<py::tuple>(result);
  moe::Routing<Real> r{as_ids("Gate", parts[0].cast<const Value&>()), as<Real>("Gate", "weights", parts[1].cast<const Value&>()), TensorF()};
  if (py::len(result) == 3 && !parts[2].is_none()) r.scores = as<Real>("Gate", "scores", parts[2].cast<const Value&>());
  return r;
}

namespace {

void set_parameter(Module& m, const std::string& name, const TensorF& value) {
  if (auto* slot = m.find_parameter(name)) {
    *slot = value;
  } else {
    m.add_parameter(name, value);
  }
}
void set_module(Module& m, const std::string& name, const Module::Ptr& value) {
  if (m.has_module(name)) m.set_module(name, value);
  else m.add_module(name, value);
}
// What a name stands for: parameter, buffer or child; nothing for a name that is none of them.
std::optional<py::object> find(Module& m, const std::string& name) {
  if (auto* p = m.find_parameter(name)) return p->defined() ? py::cast(Parameter{Value(*p)}) : py::none();
  if (auto* b = m.find_buffer(name)) return py::cast(*b);
  if (m.has_module(name)) return py::cast(m.find_module(name));
  return std::nullopt;
}
py::list parameters(Module& m) {
  py::list out;
  for (const auto& p : m.parameters()) out.append(py::cast(Parameter{Value(p)}));
  return out;
}
py::list named_parameters(Module& m) {
  py::list out;
  for (const auto& [name, p] : m.named_parameters()) out.append(py::make_tuple(name, py::cast(Parameter{Value(p)})));
  return out;
}
py::list named_modules(const std::shared_ptr<Module>& m, const std::string& name) {
  py::list out;
  out.append(py::make_tuple(name, m));
  for (const auto& [child, module] : m->named_children())
    for (const auto& entry : named_modules(module, name.empty() ? child : name + "." + child)) out.append(entry);
  return out;
}
py::dict state_dict(Module& m) {
  py::dict out;
  for (const auto& [name, value] : m.state_dict()) out[py::str(name)] = py::cast(value);
  return out;
}
py::dict grad_dict(Module& m) {
  py::dict out;
  for (const auto& e : m.state_entries())
    if (e.source.requires_grad()) out[py::str(e.name)] = py::cast(e.grad());
  return out;
}

void bind_module(py::module_& m) {
  py::class_<nn::LoadResult>(m, "LoadResult")
      .def_readonly("missing", &nn::LoadResult::missing).def_readonly("unexpected", &nn::LoadResult::unexpected)
      .def_readonly("missing_keys", &nn::LoadResult::missing).def_readonly("unexpected_keys", &nn::LoadResult::unexpected)
      .def("__repr__", [](const nn::LoadResult& r) {
        return "LoadResult(missing=" + py::repr(py::cast(r.missing)).cast<std::string>() + ", unexpected=" + py::repr(py::cast(r.unexpected)).cast<std::string>() + ")";
      });
  py::class_<Module, PyModule<Module>, py::smart_holder>(m, "Module", py::dynamic_attr())
      .def(py::init<>())
      .def("forward", [](Module& self, const TensorF& x) { return released([&] { return self.forward(x); }); }, py::arg("input"))
      .def("_find", [](Module& self, const std::string& name) { return find(self, name); })
      .def("_has_parameter", [](Module& self, const std::string& name) { return self.find_parameter(name) != nullptr; })
      .def("_has_buffer", [](Module& self, const std::string& name) { return self.find_buffer(name) != nullptr; })
      .def("_has_module", [](Module& self, const std::string& name) { return self.has_module(name); })
      .def("_set_parameter", &set_parameter)
      .def("_set_module", &set_module)
      .def("_set_buffer", [](Module& self, const std::string& name, const TensorF& value, bool persistent) {
        if (auto* slot = self.find_buffer(name)) *slot = value;
        else self.add_buffer(name, value, persistent);
      })
      .def("parameters", &parameters)
      .def("named_parameters", &named_parameters)
      .def("named_buffers", [](Module& self) { return self.named_buffers(); })
      .def("named_children", [](Module& self) { return self.named_children(); })
      .def("_named_modules", [](const std::shared_ptr<Module>& self, const std::string& prefix) { return named_modules(self, prefix); })
      .def("num_parameters", &Module::num_parameters)
      .def("state_dict", &state_dict)
      .def("grad_dict", &grad_dict)
      .def("_load_state_dict", [](Module& self, const std::map<std::string, TensorF>& dict, bool strict) { return self.load_state_dict(dict, strict); })
      .def_property_readonly("precision", [](const Module& self) { return std::string(gemm::name(self.precision())); })
      .def("set_precision", [](Module& self, const std::string& precision) { self.set_precision(gemm::precision_of(precision)); }, py::arg("precision"))
      .def("pack", [](Module& self, const std::string& format) {
        const gemm::Format f = gemm::format_of(format);
        released([&] { self.pack(f); });
      }, py::arg("format"))
      .def_property_readonly("packed_bytes", &Module::packed_bytes)
      .def_property_readonly("training", &Module::training)
      .def("_train", [](Module& self, bool on) { self.train(on); })
      .def("zero_grad", &Module::zero_grad)
      .def("_requires_grad_", [](Module& self, bool on) { self.requires_grad_(on); });
  using List = nn::ModuleList<Real>;
  py::class_<List, Module, py::smart_holder>(m, "ModuleList")
      .def(py::init<>())
      .def("append", [](List& self, const std::shared_ptr<Module>& module) { self.push_back(module); }, py::arg("module"))
      .def("__len__", &List::size)
      .def("_at", [](List& self, std::size_t i) { return self[i]; })
      .def("_put", [](List& self, std::size_t i, const std::shared_ptr<Module>& module) { self.set_module(std::to_string(i), module); });
}

nn::Init init_of(std::uint64_t seed) { return {.kind = nn::Init::Kind::uniform, .seed = seed}; }

void bind_basic(py::module_& m) {
  using Linear = nn::Linear<Real>;
  py::class_<Linear, PyModule<Linear>, Module, py::smart_holder>(m, "Linear")
      .def(py::init([](std::int64_t in, std::int64_t out, bool bias, std::uint64_t seed) { return std::make_shared<PyModule<Linear>>(in, out, bias, init_of(seed)); }),
           py::arg("in_features"), py::arg("out_features"), py::arg("bias") = true, py::kw_only(), py::arg("seed") = 0);
  using Embedding = nn::Embedding<Real>;
  py::class_<Embedding, PyModule<Embedding>, Module, py::smart_holder>(m, "Embedding")
      .def(py::init([](std::int64_t n, std::int64_t d, std::uint64_t seed) {
             return std::make_shared<PyModule<Embedding>>(n, d, nn::Init{.kind = nn::Init::Kind::normal, .std = 1.0, .seed = seed});
           }), py::arg("num_embeddings"), py::arg("embedding_dim"), py::kw_only(), py::arg("seed") = 0)
      .def("forward", [](Embedding& self, const Value& ids) {
        return dispatch(Integers{}, "Embedding", ids, [&](const auto& i) { return self.lookup(i); });
      }, py::arg("input"));
  using RMSNorm = nn::RMSNorm<Real>;
  py::class_<RMSNorm, PyModule<RMSNorm>, Module, py::smart_holder>(m, "RMSNorm")
      .def(py::init<std::int64_t, double>(), py::arg("normalized_shape"), py::arg("eps") = 1e-6)
      .def_readonly("eps", &RMSNorm::eps);
  using SwiGLU = nn::SwiGLU<Real>;
  py::class_<SwiGLU, PyModule<SwiGLU>, Module, py::smart_holder>(m, "SwiGLU")
      .def(py::init([](std::int64_t d, std::int64_t f, std::uint64_t seed) { return std::make_shared<PyModule<SwiGLU>>(d, f, init_of(seed)); }),
           py::arg("hidden_size"), py::arg("intermediate_size"), py::kw_only(), py::arg("seed") = 0);
}

void bind_gates(py::module_& m) {
  using Routing = moe::Routing<Real>;
  py::class_<Routing>(m, "Routing")
      .def(py::init([](const Value& experts, const TensorF& weights, const TensorF& scores) { return Routing{as_ids("Routing", experts), weights, scores}; }),
           py::arg("experts"), py::arg("weights"), py::arg("scores") = py::none())
      .def_readonly("experts", &Routing::experts).def_readonly("weights", &Routing::weights).def_readonly("scores", &Routing::scores)
      .def("__iter__", [](const Routing& r) { return py::iter(py::make_tuple(r.experts, r.weights, r.scores)); });
  py::class_<Gate, PyGate<Gate>, Module, py::smart_holder>(m, "Gate")
      .def(py::init<>())
      .def("route", [](Gate& self, const TensorF& x) { return released([&] { return self.route(x); }); }, py::arg("input"))
      .def("balance", [](Gate& self, const std::vector<std::int64_t>& counts, double rate, moe::BiasRule rule) { self.balance(counts, rate, rule); },
           py::arg("counts"), py::arg("rate"), py::arg("rule"));
  using TopK = nn::TopKGate<Real>;
  py::class_<TopK, PyGate<TopK>, Gate, py::smart_holder>(m, "TopKGate")
      .def(py::init([](std::int64_t d, std::int64_t e, const moe::GateParams& p, bool bias, std::uint64_t seed) {
             return std::make_shared<PyGate<TopK>>(d, e, p, bias, init_of(seed));
           }), py::arg("hidden_size"), py::arg("num_experts"), py::arg("params"), py::arg("selection_bias") = false, py::kw_only(), py::arg("seed") = 0)
      .def_readwrite("params", &TopK::params)
      .def_readonly("logits", &TopK::logits);
  using Experts = nn::Experts<Real>;
  py::class_<Experts, Module, py::smart_holder>(m, "Experts")
      .def(py::init([](std::int64_t e, std::int64_t d, std::int64_t f, std::uint64_t seed) { return std::make_shared<Experts>(e, d, f, init_of(seed)); }),
           py::arg("num_experts"), py::arg("hidden_size"), py::arg("intermediate_size"), py::kw_only(), py::arg("seed") = 0)
      .def("forward", [](Experts& self, const TensorF& x, const py::object& routing) {
        const auto r = to_routing(routing);
        return released([&] { return self.apply(x, r); });
      }, py::arg("input"), py::arg("routing"));
}

void bind_moe_layer(py::module_& m) {
  using Losses = nn::BalanceLosses;
  py::class_<Losses>(m, "BalanceLosses")
      .def(py::init([](double sequence, double batch, double switch_, double z) { return Losses{sequence, batch, switch_, z}; }), py::kw_only(),
           py::arg("sequence") = 0.0, py::arg("batch") = 0.0, py::arg("switch") = 0.0, py::arg("z") = 0.0)
      .def_readwrite("sequence", &Losses::sequence).def_readwrite("batch", &Losses::batch).def_readwrite("switch", &Losses::switch_).def_readwrite("z", &Losses::z);
  using MoE = nn::MoE<Real>;
  py::class_<MoE, PyModule<MoE>, Module, py::smart_holder>(m, "MoE")
      .def(py::init<std::shared_ptr<Gate>, std::shared_ptr<nn::Experts<Real>>, std::shared_ptr<Module>, const Losses&>(), py::arg("gate"), py::arg("experts"),
           py::arg("shared_experts") = py::none(), py::arg("losses") = Losses{})
      .def_readwrite("losses", &MoE::losses)
      .def_property_readonly("last_experts", [](const MoE& self) { return self.last_experts(); })
      .def_property_readonly("balance_loss", [](const MoE& self) { return self.balance_loss(); })
      .def_property_readonly("counts", &MoE::counts)
      .def("reset_counts", &MoE::reset_counts)
      .def("update_bias", &MoE::update_bias, py::arg("rate"), py::arg("rule") = moe::BiasRule::sign);
}

void bind_attention_layers(py::module_& m) {
  py::class_<nn::LayerCache, PyLayerCache, py::smart_holder>(m, "LayerCache")
      .def(py::init<>())
      .def("length", &nn::LayerCache::length).def("capacity", &nn::LayerCache::capacity)
      .def("truncate", &nn::LayerCache::truncate, py::arg("length")).def("bytes", &nn::LayerCache::bytes);
  py::class_<nn::AttentionContext>(m, "AttentionContext")
      .def(py::init([](std::int64_t first, const Tensor<std::int32_t>& segments) { return nn::AttentionContext{.first_position = first, .segments = segments}; }),
           py::arg("first_position") = 0, py::arg("segments") = py::none())
      .def_readonly("first_position", &nn::AttentionContext::first_position)
      .def_readonly("segments", &nn::AttentionContext::segments)
      .def_property_readonly("cache", [](const nn::AttentionContext& c) { return c.cache; }, py::return_value_policy::reference);
  py::class_<Attention, PyAttention<Attention>, Module, py::smart_holder>(m, "Attention")
      .def(py::init<>())
      .def("attend", [](Attention& self, const TensorF& x, const nn::AttentionContext& context) { return released([&] { return self.attend(x, context); }); },
           py::arg("input"), py::arg("context"))
      .def("make_cache", &Attention::make_cache, py::arg("batch"), py::arg("capacity"));
  using Rotary = nn::Rotary<Real>;
  py::class_<Rotary, std::shared_ptr<Rotary>>(m, "Rotary")
      .def(py::init([](std::int64_t dim, double theta, std::int64_t max_positions, bool interleaved) {
             return std::make_shared<Rotary>(rope::RopeParams{.dim = dim, .theta = theta}, interleaved ? rope::Layout::interleaved : rope::Layout::half_split, max_positions);
           }), py::arg("dim"), py::kw_only(), py::arg("theta") = 10000.0, py::arg("max_positions") = 4096, py::arg("interleaved") = true)
      .def("rotate", [](Rotary& self, const TensorF& x, std::int64_t first, std::int64_t offset) { return released([&] { return self.rotate(x, first, offset); }); },
           py::arg("input"), py::arg("first") = 0, py::arg("offset") = 0);
  using Mla = nn::MLA<Real>;
  py::class_<Mla, PyAttention<Mla>, Attention, py::smart_holder>(m, "MLA")
      .def(py::init([](std::int64_t d, std::int64_t heads, std::optional<std::int64_t> q_rank, std::int64_t kv_rank, std::int64_t nope, std::int64_t rope,
                       std::int64_t value, const std::shared_ptr<Rotary>& rotary, std::uint64_t seed) {
             return std::make_shared<PyAttention<Mla>>(nn::MlaOptions{.hidden_size = d, .num_attention_heads = heads, .q_lora_rank = q_rank, .kv_lora_rank = kv_rank,
                                                                      .qk_nope_head_dim = nope, .qk_rope_head_dim = rope, .v_head_dim = value, .init = init_of(seed)}, rotary);
           }),
           py::kw_only(), py::arg("hidden_size"), py::arg("num_attention_heads"), py::arg("q_lora_rank") = py::none(), py::arg("kv_lora_rank"),
           py::arg("qk_nope_head_dim"), py::arg("qk_rope_head_dim"), py::arg("v_head_dim"), py::arg("rotary"), py::arg("seed") = 0)
      .def_property("absorb_up_to", [](const Mla& self) { return self.options.absorb_up_to; }, [](Mla& self, std::optional<std::int64_t> n) { self.options.absorb_up_to = n; },
                    "With a cache, so many new tokens or fewer attend in latent space; None: whichever form is less work.");
  using Mha = nn::MultiHeadAttention<Real>;
  py::class_<Mha, PyAttention<Mha>, Attention, py::smart_holder>(m, "MultiHeadAttention")
      .def(py::init([](std::int64_t d, std::int64_t heads, std::optional<std::int64_t> kv_heads, std::optional<std::int64_t> head_dim, bool bias, std::int64_t window,
                       const std::shared_ptr<Rotary>& rotary, std::uint64_t seed) {
             return std::make_shared<PyAttention<Mha>>(nn::AttentionOptions{.hidden_size = d, .num_attention_heads = heads, .num_key_value_heads = kv_heads.value_or(heads),
                                                                            .head_dim = head_dim.value_or(d / heads), .bias = bias, .sliding_window = window, .init = init_of(seed)}, rotary);
           }),
           py::kw_only(), py::arg("hidden_size"), py::arg("num_attention_heads"), py::arg("num_key_value_heads") = py::none(), py::arg("head_dim") = py::none(),
           py::arg("bias") = false, py::arg("sliding_window") = 0, py::arg("rotary"), py::arg("seed") = 0);
}

}  // namespace

void bind_layers(py::module_& m) {
  bind_module(m);
  bind_basic(m);
  bind_gates(m);
  bind_moe_layer(m);
  bind_attention_layers(m);
}

}  // namespace moelle::python
