// Gradient mode, gradcheck, and operations whose forward and backward are Python's.
#include <set>

#include <moelle/autograd/checkpoint.hpp>
#include <moelle/autograd/gradcheck.hpp>

#include "value.hpp"

namespace moelle::python {
namespace {

template <class T>
std::vector<Tensor<T>> tensors(const char* what, const py::sequence& values) {
  std::vector<Tensor<T>> out;
  for (const auto& v : values) out.push_back(v.is_none() ? Tensor<T>() : as<T>("Function", what, v.cast<const Value&>()));
  return out;
}

// Makes fresh outputs functions of the inputs; backward(needs, grads) -> one gradient or None per input.
template <class T>
void record_python(const std::string& name, const py::sequence& inputs, const py::sequence& outputs, const py::object& backward) {
  static std::set<std::string> names;  // nodes keep a pointer to their name
  const char* op = names.insert(name).first->c_str();
  const auto ins = tensors<T>("every tensor that takes part", inputs), outs = tensors<T>("every output", outputs);
  const auto function = keep_alive(backward);
  autograd::record<T>(op, ins, outs, [function, n_in = ins.size(), n_out = outs.size(), op](autograd::Backward<T>& b) {
    const py::gil_scoped_acquire gil;
    py::tuple grads(n_out), needs(n_in);
    for (std::size_t i = 0; i < n_out; ++i) grads[i] = py::cast(b.grad(i));
    for (std::size_t i = 0; i < n_in; ++i) needs[i] = py::bool_(b.needs(i));
    const py::object result = py::reinterpret_borrow<py::object>(static_cast<PyObject*>(function.get()))(needs, grads);
    const py::tuple given = py::isinstance<py::tuple>(result) ? py::reinterpret_borrow<py::tuple>(result) : py::make_tuple(result);
    MOELLE_REQUIRE(op, given.size() == n_in, str("backward must return one gradient or None per tensor input; got ", given.size(), " for inputs=", n_in));
    for (std::size_t i = 0; i < n_in; ++i)
      if (b.needs(i) && !given[i].is_none()) b.add(i, as<T>(op, "every gradient", given[i].cast<const Value&>()).detach());
  });
}

py::dict gradcheck(const py::function& f, const std::vector<Tensor<double>>& inputs, double step, double tolerance, std::uint64_t seed) {
  const auto call = [&](const std::vector<Tensor<double>>& x) {
    py::tuple arguments(x.size());
    for (std::size_t i = 0; i < x.size(); ++i) arguments[i] = py::cast(x[i]);
    const py::object y = f(*arguments);
    std::vector<Tensor<double>> out;
    if (py::isinstance<py::tuple>(y) || py::isinstance<py::list>(y)) {
      for (const auto& v : y) out.push_back(as<double>("gradcheck", "every output", v.cast<const Value&>()));
    } else {
      out.push_back(as<double>("gradcheck", "the output", y.cast<const Value&>()));
    }
    return out;
  };
  const auto r = autograd::gradcheck(call, inputs, {.step = step, .tolerance = tolerance, .seed = seed});
  return py::dict(py::arg("ok") = r.ok, py::arg("worst") = r.worst, py::arg("compared") = r.compared, py::arg("where") = r.where);
}

// f(*inputs) without keeping its activations; f runs again during backward.
template <class T>
std::vector<Tensor<T>> checkpoint(const py::function& f, const std::vector<Tensor<T>>& inputs) {
  const auto function = keep_alive(f);
  const auto call = [function](const std::vector<Tensor<T>>& x) {
    const py::gil_scoped_acquire gil;
    py::tuple arguments(x.size());
    for (std::size_t i = 0; i < x.size(); ++i) arguments[i] = py::cast(x[i]);
    const py::object y = py::reinterpret_borrow<py::object>(static_cast<PyObject*>(function.get()))(*arguments);
    if (py::isinstance<py::tuple>(y)) return y.cast<std::vector<Tensor<T>>>();
    return std::vector<Tensor<T>>{y.cast<Tensor<T>>()};
  };
  return released([&] { return autograd::checkpoint_all<T>(call, inputs); });
}

}  // namespace

void bind_autograd(py::module_& m) {
  m.def("is_grad_enabled", [] { return autograd::is_enabled(); });
  m.def("set_grad_enabled", [](bool on) { return std::exchange(autograd::detail::mode().enabled, on); }, py::arg("mode"));
  m.def("recomputing", [] { return autograd::recomputing(); });
  m.def("record_float32", &record_python<float>);
  m.def("record_float64", &record_python<double>);
  m.def("gradcheck", &gradcheck, py::arg("function"), py::arg("inputs"), py::arg("step"), py::arg("tolerance"), py::arg("seed"));
  m.def("checkpoint", &checkpoint<float>);
  m.def("checkpoint", &checkpoint<double>);
  m.def("backward", [](const std::vector<Tensor<float>>& y, const std::vector<Tensor<float>>& g, bool retain) {
    released([&] { return autograd::backward<float>(y, g, retain), 0; });
  });
}

}  // namespace moelle::python
