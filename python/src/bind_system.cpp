// The process: instruction set, threads, memory, interrupts.
#include <moelle/core/interrupt.hpp>
#include <moelle/core/memory.hpp>
#include <moelle/core/parallel.hpp>
#include <moelle/cpu/caches.hpp>
#include <moelle/cpu/dispatch.hpp>
#include <moelle/cuda/device.hpp>

#include "value.hpp"

namespace moelle::python {
namespace {

// Called from loops that hold no GIL. A handler's exception (KeyboardInterrupt) goes through the loop as it is.
bool check_signals() {
  const py::gil_scoped_acquire gil;
  if (PyErr_CheckSignals() != 0) throw py::error_already_set();
  return false;
}

}  // namespace

void bind_system(py::module_& m) {
  set_interrupt_hook(&check_signals);
  py::register_exception<Error>(m, "Error", PyExc_ValueError);
  py::register_exception_translator([](std::exception_ptr p) {
    try {
      if (p) std::rethrow_exception(p);
    } catch (const Interrupted&) {
      PyErr_SetNone(PyExc_KeyboardInterrupt);
    }
  });
  m.attr("__version__") = MOELLE_VERSION;
  m.def("isa_name", [] { return std::string(cpu::isa_name()); });
  m.def("available_isas", &cpu::available_isas);
  m.def("set_isa", &cpu::set_isa, py::arg("name"));
  m.def("caches", [] {
    const cpu::Caches& c = cpu::caches();
    return py::dict(py::arg("l2") = c.l2, py::arg("l3") = c.l3, py::arg("read") = c.read);
  });
  m.def("get_num_threads", [] { return num_threads(); });
  m.def("set_num_threads", [](int n) { released([&] { set_num_threads(n); return 0; }); }, py::arg("threads"));
  m.def("cuda_built", [] { return cuda::cuda_built(); });
  m.def("memory_stats", [] {
    const MemoryStats s = memory_stats();
    return py::dict(py::arg("live_bytes") = s.live_bytes, py::arg("peak_bytes") = s.peak_bytes, py::arg("cached_bytes") = s.cached_bytes);
  });
  m.def("reset_peak_memory", [] { reset_peak_memory(); });
  m.def("trim_memory", [] { released([] { trim_memory(); return 0; }); });
}

}  // namespace moelle::python
