// The extension module moelle._core.
#include "value.hpp"

PYBIND11_MODULE(_core, m) {
  using namespace moelle::python;
  m.doc() = "Compiled part of moelle; use the package's own modules.";
  bind_system(m);
  bind_tensor(m);
  auto ops = m.def_submodule("ops", "Operations, strict in their arguments.");
  bind_numpy(ops);
  bind_dlpack(ops);
  bind_views(ops);
  bind_arithmetic(ops);
  bind_math(ops);
  bind_autograd(ops);
  bind_functions(ops);
  bind_attention(ops);
  bind_moe(ops);
  bind_layers(m);
  bind_estimate(m);
  bind_models(m);
  bind_io(m);
  bind_optimizer(m);
  bind_training(m);
}
