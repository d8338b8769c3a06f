// Gates, permutation, experts and balance.
#include <moelle/moe/balance.hpp>
#include <moelle/moe/balance_op.hpp>
#include <moelle/moe/experts_op.hpp>
#include <moelle/moe/gate_op.hpp>
#include <moelle/moe/permute_op.hpp>

#include "choice.hpp"
#include "value.hpp"

namespace moelle::python {
namespace {

template <class T>
py::tuple as_tuple(const moe::Routing<T>& r) {
  return py::make_tuple(Value(r.experts), Value(r.weights), r.scores.defined() ? py::cast(Value(r.scores)) : py::none());
}

py::tuple gate(const Value& logits, const Value* bias, const moe::GateParams& p, const Value* experts) {
  const auto run = [&]<class T>() {
    const auto& x = as<T>("gate", "logits", logits);
    return as_tuple(released([&] {
      if (experts != nullptr) return moe::gate_given(x, as_ids("gate", *experts), p);
      return moe::gate(x, as_optional<T>("gate", "bias", bias), p);
    }));
  };
  if (logits.dtype() == DType::float64) return run.template operator()<double>();
  if (logits.dtype() == DType::float32) return run.template operator()<float>();
  wrong_dtype("gate", logits.dtype(), {DType::float32, DType::float64});
}

void bind_gate(py::module_& m) {
  using moe::GateParams;
  py::enum_<moe::Score>(m, "Score").value("sigmoid", moe::Score::sigmoid).value("softmax", moe::Score::softmax).value("sqrt_softplus", moe::Score::sqrt_softplus);
  py::enum_<moe::GroupScore>(m, "GroupScore").value("max", moe::GroupScore::max).value("top2_sum", moe::GroupScore::top2_sum);
  py::enum_<moe::ScaleRule>(m, "ScaleRule").value("always", moe::ScaleRule::always).value("unless_normalized", moe::ScaleRule::unless_normalized);
  py::class_<GateParams>(m, "GateParams")
      .def(py::init([](int groups, int top_groups, int top_k, moe::Score score, moe::GroupScore group_score, bool normalize, double scale, moe::ScaleRule rule) {
             return GateParams{.groups = groups, .top_groups = top_groups, .top_k = top_k, .score = score, .group_score = group_score, .normalize = normalize,
                               .scale = scale, .scale_rule = rule};
           }),
           py::kw_only(), py::arg("groups") = 1, py::arg("top_groups") = 1, py::arg("top_k") = 1, py::arg("score") = moe::Score::sigmoid,
           py::arg("group_score") = moe::GroupScore::top2_sum, py::arg("normalize") = true, py::arg("scale") = 1.0, py::arg("scale_rule") = moe::ScaleRule::always)
      .def_readonly("groups", &GateParams::groups).def_readonly("top_groups", &GateParams::top_groups).def_readonly("top_k", &GateParams::top_k)
      .def_readonly("score", &GateParams::score).def_readonly("group_score", &GateParams::group_score).def_readonly("normalize", &GateParams::normalize)
      .def_readonly("scale", &GateParams::scale).def_readonly("scale_rule", &GateParams::scale_rule)
      .def_static("greedy", &moe::greedy, py::arg("top_k"), py::arg("normalize") = false, py::arg("scale") = 1.0)
      .def_static("group_limited_greedy", &moe::group_limited_greedy, py::arg("groups"), py::arg("top_groups"), py::arg("top_k"), py::arg("scale") = 1.0)
      .def_static("noaux_tc", &moe::noaux_tc, py::arg("groups"), py::arg("top_groups"), py::arg("top_k"), py::arg("scale") = 1.0,
                  py::arg("score") = moe::Score::sigmoid)
      .def("__repr__", [](const GateParams& p) {
        return str("GateParams(groups=", p.groups, ", top_groups=", p.top_groups, ", top_k=", p.top_k, ", score=",
                   p.score == moe::Score::sigmoid ? "sigmoid" : p.score == moe::Score::softmax ? "softmax" : "sqrt_softplus",
                   ", group_score=", p.group_score == moe::GroupScore::max ? "max" : "top2_sum", ", normalize=", p.normalize ? "True" : "False", ", scale=", p.scale, ")");
      });
  m.def("gate", &gate, py::arg("logits"), py::arg("bias"), py::arg("params"), py::arg("experts") = py::none());
}

void bind_experts(py::module_& m) {
  py::class_<moe::Permutation>(m, "Permutation")
      .def_property_readonly("offsets", [](const moe::Permutation& p) { return p.offsets; })
      .def_property_readonly("row", [](const moe::Permutation& p) { return p.row; });
  m.def("make_permutation", [](const Value& choice, std::int64_t experts) {
    const auto ids = as_ids("make_permutation", choice);
    return released([&] { return moe::make_permutation(ids, experts); });
  });
  m.def("permute", [](const Value& x, const moe::Permutation& p) { return dispatch(Reals{}, "permute", x, [&](const auto& t) { return moe::permute(t, p); }); });
  m.def("unpermute", [](const Value& y, const Value& weights, const moe::Permutation& p) {
    return dispatch(Reals{}, "unpermute", y, [&]<class T>(const Tensor<T>& t) { return moe::unpermute(t, as<T>("unpermute", "weights", weights), p); });
  });
  m.def("experts", [](const Value& x, const Value& choice, const Value& weights, const Value& gate_up, const Value& down, double limit) {
    return dispatch(Reals{}, "experts", x, [&]<class T>(const Tensor<T>& t) {
      return moe::experts(t, as_ids("experts", choice), as<T>("experts", "weights", weights), as<T>("experts", "gate_up", gate_up), as<T>("experts", "down", down),
                          {.limit = limit});
    });
  });
}

void bind_balance(py::module_& m) {
  py::enum_<moe::BiasRule>(m, "BiasRule").value("sign", moe::BiasRule::sign).value("proportional", moe::BiasRule::proportional)
      .def(py::init([](const std::string& name) { return bias_rule_of(name); }), py::arg("name"));
  py::implicitly_convertible<py::str, moe::BiasRule>();
  m.def("sequence_balance_loss", [](const Value& scores, const Value& choice, std::int64_t sequences) {
    return dispatch(Reals{}, "sequence_balance_loss", scores, [&](const auto& t) { return moe::sequence_balance_loss(t, as_ids("sequence_balance_loss", choice), sequences); });
  });
  m.def("switch_balance_loss", [](const Value& scores, const Value& choice) {
    return dispatch(Reals{}, "switch_balance_loss", scores, [&](const auto& t) { return moe::switch_balance_loss(t, as_ids("switch_balance_loss", choice)); });
  });
  m.def("router_z_loss", [](const Value& logits) { return dispatch(Reals{}, "router_z_loss", logits, [](const auto& t) { return moe::router_z_loss(t); }); });
  m.def("count_experts", [](const Value& choice, std::int64_t experts) { return moe::count_experts(as_ids("count_experts", choice), experts); });
  m.def("update_bias", [](const Value& bias, const std::vector<std::int64_t>& counts, double rate, moe::BiasRule rule) {
    dispatch<bool>(Reals{}, "update_bias", bias, [&](const auto& t) { return moe::update_bias(t, counts, rate, rule), true; });
  });
  m.def("max_violation", [](const std::vector<std::int64_t>& counts) { return moe::max_violation(counts); });
  m.def("dead_experts", [](const std::vector<std::int64_t>& counts, double below) { return moe::dead_experts(counts, below); });
  m.def("load_entropy", [](const std::vector<std::int64_t>& counts) { return moe::load_entropy(counts); });
}

}  // namespace

void bind_moe(py::module_& m) {
  bind_gate(m);
  bind_experts(m);
  bind_balance(m);
}

}  // namespace moelle::python
