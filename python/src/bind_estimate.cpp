// Configurations and what a model of one costs.
#include <moelle/estimate/model.hpp>
#include <moelle/estimate/training_cost.hpp>
#include <moelle/io/suggest.hpp>
#include <moelle/models/config.hpp>
#include <moelle/models/config_json.hpp>
#include <moelle/models/presets.hpp>

#include "value.hpp"

namespace moelle::python {
namespace {

using models::Config;

std::vector<std::string> config_keys() {
  std::vector<std::string> keys;
  const Config c;
  Config::visit(c, [&](const char* key, const auto&) { keys.emplace_back(key); });
  return keys;
}
py::object config_get(const Config& c, const std::string& name) {
  std::optional<py::object> found;
  Config::visit(c, [&]<class M>(const char* key, const M& member) {
    if (name != key) return;
    if constexpr (std::is_same_v<M, models::QkNorm>) found = py::cast(models::detail::name(member));
    else found = py::cast(member);
  });
  if (!found) throw py::attribute_error("Config has no key " + io::in_quotes(name) + io::did_you_mean(name, config_keys()));
  return *found;
}
void config_set(Config& c, const std::string& name, const py::object& value) {
  bool found = false;
  Config::visit(c, [&]<class M>(const char* key, M& member) {
    if (name != key) return;
    found = true;
    if constexpr (std::is_same_v<M, models::QkNorm>) throw py::type_error("Config: qk_norm cannot be assigned; use replace(qk_norm=...)");
    else member = value.cast<M>();
  });
  if (!found) throw py::attribute_error("Config has no key " + io::in_quotes(name) + io::did_you_mean(name, config_keys()));
}

void bind_config(py::module_& m) {
  using models::RopeScaling;
  py::class_<RopeScaling>(m, "RopeScaling")
      .def_readonly("type", &RopeScaling::type).def_readonly("factor", &RopeScaling::factor)
      .def_readonly("original_max_position_embeddings", &RopeScaling::original_max_position_embeddings)
      .def_readonly("beta_fast", &RopeScaling::beta_fast).def_readonly("beta_slow", &RopeScaling::beta_slow)
      .def_readonly("mscale", &RopeScaling::mscale).def_readonly("mscale_all_dim", &RopeScaling::mscale_all_dim)
      .def_readonly("attention_factor", &RopeScaling::attention_factor);
  py::class_<Config>(m, "Config")
      .def_static("_parse", [](const std::string& text, bool refuse) {
        return Config::from_json(text, refuse ? models::UnknownKeys::refuse : models::UnknownKeys::ignore);
      })
      .def_static("keys", &config_keys)
      .def_static("model_types", [] { return Config::model_types(); })
      .def("to_json", &Config::to_json)
      .def("check", &Config::check)
      .def("dense_twin", &Config::dense_twin)
      .def("equal_total_twin", &Config::equal_total_twin)
      .def("is_mla", &Config::is_mla).def("is_moe", &Config::is_moe).def("is_moe_layer", &Config::is_moe_layer, py::arg("layer"))
      .def("num_moe_layers", &Config::num_moe_layers)
      .def("__getattr__", &config_get)
      .def("__setattr__", &config_set)
      .def("__copy__", [](const Config& c) { return Config(c); })
      .def("__deepcopy__", [](const Config& c, const py::dict&) { return Config(c); })
      .def("__eq__", [](const Config& a, const Config& b) { return a == b; }, py::is_operator())
      .def("__dir__", [](const py::object& self) {
        py::list names = py::module_::import("builtins").attr("object").attr("__dir__")(self);
        for (const auto& key : config_keys()) names.append(key);
        return names;
      });
  m.def("preset", [](const std::string& name) { return models::preset(name); }, py::arg("name"));
  m.def("preset_names", &models::preset_names);
}

}  // namespace

void bind_estimate(py::module_& m) {
  bind_config(m);
  using estimate::Estimate;
  using estimate::Options;
  py::class_<estimate::Part>(m, "Part")
      .def_readonly("name", &estimate::Part::name).def_readonly("params", &estimate::Part::params).def_readonly("active_params", &estimate::Part::active_params)
      .def("__repr__", [](const estimate::Part& p) { return str("Part(name='", p.name, "', params=", p.params, ", active_params=", p.active_params, ")"); });
  py::class_<Estimate>(m, "Estimate")
      .def_readonly("total_params", &Estimate::total_params).def_readonly("active_params", &Estimate::active_params)
      .def_readonly("active_params_without_embedding", &Estimate::active_params_without_embedding).def_readonly("mtp_params", &Estimate::mtp_params)
      .def_readonly("train_flops_per_token", &Estimate::train_flops_per_token)
      .def_readonly("train_flops_per_token_noncausal", &Estimate::train_flops_per_token_noncausal)
      .def_readonly("forward_flops_per_token", &Estimate::forward_flops_per_token)
      .def_readonly("attention_flops_per_token", &Estimate::attention_flops_per_token)
      .def_readonly("decode_flops_per_token", &Estimate::decode_flops_per_token)
      .def_readonly("cache_elements_per_token", &Estimate::cache_elements_per_token)
      .def_readonly("cache_bytes_per_token", &Estimate::cache_bytes_per_token).def_readonly("cache_bytes", &Estimate::cache_bytes)
      .def_readonly("weights_memory", &Estimate::weights_memory).def_readonly("gradients_memory", &Estimate::gradients_memory)
      .def_readonly("moments_memory", &Estimate::moments_memory).def_readonly("activations_memory", &Estimate::activations_memory)
      .def_readonly("training_memory", &Estimate::training_memory).def_readonly("parts", &Estimate::parts);
  m.def("estimate_model", [](const Config& c, std::int64_t context, std::int64_t tokens_in_flight, double cache, double weight, double gradient, double moment,
                             double activation, std::int64_t mtp) {
    return estimate::model(c, {.context = context, .tokens_in_flight = tokens_in_flight, .cache_bytes_per_element = cache, .weight_bytes = weight,
                               .gradient_bytes = gradient, .moment_bytes = moment, .activation_bytes = activation, .mtp_modules = mtp});
  }, py::arg("config"), py::kw_only(), py::arg("context"), py::arg("tokens_in_flight"), py::arg("cache_bytes_per_element"), py::arg("weight_bytes"),
     py::arg("gradient_bytes"), py::arg("moment_bytes"), py::arg("activation_bytes"), py::arg("mtp_modules"));

  using estimate::TrainingCost;
  using estimate::TrainingRun;
  py::class_<TrainingCost>(m, "TrainingCost")
      .def_readonly("flops", &TrainingCost::flops).def_readonly("hours", &TrainingCost::hours).def_readonly("days", &TrainingCost::days)
      .def_readonly("dollars", &TrainingCost::dollars).def_readonly("flops_per_second", &TrainingCost::flops_per_second)
      .def_readonly("utilisation", &TrainingCost::utilisation);
  py::class_<TrainingRun>(m, "TrainingRun")
      .def(py::init([](double tokens, double flops, double hours_per_trillion, double peak, double utilisation, double extra, double machines, double dollars) {
             return TrainingRun{.tokens = tokens, .train_flops_per_token = flops, .hours_per_trillion_tokens = hours_per_trillion, .peak_flops_per_second = peak,
                                .utilisation = utilisation, .extra_hours = extra, .machines = machines, .dollars_per_hour = dollars};
           }),
           py::kw_only(), py::arg("tokens"), py::arg("train_flops_per_token") = 0.0, py::arg("hours_per_trillion_tokens") = 0.0,
           py::arg("peak_flops_per_second") = TrainingRun{}.peak_flops_per_second, py::arg("utilisation") = TrainingRun{}.utilisation, py::arg("extra_hours") = 0.0,
           py::arg("machines") = 1.0, py::arg("dollars_per_hour") = 2.0)
      .def_readwrite("tokens", &TrainingRun::tokens).def_readwrite("train_flops_per_token", &TrainingRun::train_flops_per_token)
      .def_readwrite("hours_per_trillion_tokens", &TrainingRun::hours_per_trillion_tokens).def_readwrite("peak_flops_per_second", &TrainingRun::peak_flops_per_second)
      .def_readwrite("utilisation", &TrainingRun::utilisation).def_readwrite("extra_hours", &TrainingRun::extra_hours)
      .def_readwrite("machines", &TrainingRun::machines).def_readwrite("dollars_per_hour", &TrainingRun::dollars_per_hour);
  m.def("training_cost", &estimate::training_cost, py::arg("run"));
  m.def("published_run", [](const std::string& name) { return estimate::published_run(name); }, py::arg("name"));
  m.def("saving", &estimate::saving, py::arg("a"), py::arg("b"));
  m.def("did_you_mean", [](const std::string& name, const std::vector<std::string>& names) { return io::did_you_mean(name, names); });
}

}  // namespace moelle::python
