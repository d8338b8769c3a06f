// Optimisers by parameter groups, schedules, the guard, the metric log: the parts of a training loop of one's own.
#include <moelle/training/guard.hpp>
#include <moelle/training/log.hpp>
#include <moelle/training/optimizer.hpp>
#include <moelle/training/schedule.hpp>

#include "choice.hpp"
#include "modules.hpp"

namespace moelle::python {
namespace {

using Optimizer = training::Optimizer<Real>;
using Group = training::ParameterGroup<Real>;
using Entry = std::tuple<std::string, TensorF, std::int64_t, std::int64_t, std::int64_t>;  // name, tensor, matrices, rows, columns

std::vector<Entry> entries(const Group& g) {
  std::vector<Entry> out;
  for (const auto& p : g.parameters) out.emplace_back(p.name, p.tensor, p.count, p.rows, p.cols);
  return out;
}

void bind_groups(py::module_& m) {
  py::class_<Group>(m, "ParameterGroup")
      .def(py::init([](const std::string& method, const std::vector<Entry>& entries_, double weight_decay) {
             Group g{method_of(method), {}, 1.0, weight_decay};
             for (const auto& [name, tensor, count, rows, cols] : entries_) g.parameters.push_back({name, tensor, count, rows, cols});
             return g;
           }), py::arg("method"), py::arg("entries"), py::arg("weight_decay"))
      .def_property_readonly("method", [](const Group& g) { return g.method == training::Method::muon ? "muon" : "adamw"; })
      .def_property_readonly("entries", &entries)
      .def_readonly("weight_decay", &Group::weight_decay);
  m.def("parameter_groups", [](Module& module, const std::string& optimizer, double weight_decay) {
    return training::make_groups<Real>(module, {.method = method_of(optimizer), .weight_decay = weight_decay});
  }, py::arg("module"), py::arg("optimizer"), py::arg("weight_decay"));
}

void bind_optimizers(py::module_& m) {
  py::class_<Optimizer>(m, "GroupOptimizer")
      .def(py::init([](const std::vector<Group>& groups, double beta1, double beta2, double eps, const std::string& muon_steps, double momentum, bool nesterov, double rms) {
             training::OptimizerOptions o{.beta1 = beta1, .beta2 = beta2, .eps = eps};
             o.muon = {.steps = muon_steps_of(muon_steps), .momentum = momentum, .nesterov = nesterov, .rms = rms};
             return std::make_unique<Optimizer>(groups, o);
           }), py::arg("groups"), py::kw_only(), py::arg("beta1"), py::arg("beta2"), py::arg("eps"), py::arg("muon_steps"), py::arg("momentum"), py::arg("nesterov"),
           py::arg("rms"))
      .def("step", [](Optimizer& o, const std::vector<double>& lr, const std::vector<double>& weight_decay, double grad_scale) {
        o.set_rates(lr, weight_decay);
        released([&] { return o.step(1.0, grad_scale), 0; });
      }, py::arg("lr"), py::arg("weight_decay"), py::arg("grad_scale"))
      .def("state", &Optimizer::state)
      .def_property("steps", &Optimizer::steps, &Optimizer::set_steps);
  m.def("grad_norm", [](const std::vector<TensorF>& parameters) { return released([&] { return training::grad_norm(parameters); }); }, py::arg("parameters"));
}

void bind_loop(py::module_& m) {
  m.def("rate_at", [](const std::string& kind, std::int64_t step, std::int64_t steps, std::int64_t warmup, double min_ratio, double decay_fraction) {
    return training::rate_at({.kind = schedule_of(kind), .total_steps = steps, .warmup_steps = warmup, .min_ratio = min_ratio, .decay_fraction = decay_fraction}, step);
  }, py::arg("kind"), py::arg("step"), py::arg("steps"), py::arg("warmup_steps"), py::arg("min_ratio"), py::arg("decay_fraction"));
  using training::Guard;
  py::class_<Guard>(m, "Guard")
      .def(py::init([](double limit, std::int64_t window, std::int64_t patience) { return Guard({.limit = limit, .window = window, .patience = patience}); }), py::kw_only(),
           py::arg("limit") = 8.0, py::arg("window") = 64, py::arg("patience") = 8)
      .def("refuse", &Guard::refuse, py::arg("loss"), py::arg("grad_norm"));
  using training::MetricLog;
  py::class_<MetricLog>(m, "MetricLog")
      .def(py::init<std::string, std::int64_t>(), py::arg("path"), py::arg("resume_step") = 0)
      .def("_write", &MetricLog::write, py::arg("step"), py::arg("metrics"));
}

}  // namespace

void bind_optimizer(py::module_& m) {
  bind_groups(m);
  bind_optimizers(m);
  bind_loop(m);
}

}  // namespace moelle::python
