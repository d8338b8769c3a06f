// Safetensors files, model folders, checkpoints.
#include <moelle/io/checkpoint.hpp>
#include <moelle/io/pretrained.hpp>
#include <moelle/io/tensor_file.hpp>

#include "value.hpp"

namespace moelle::python {
namespace {

io::TensorMap to_map(const std::map<std::string, Value>& values) {
  io::TensorMap out;
  for (const auto& [name, v] : values) out.emplace(name, std::visit([](const auto& t) -> AnyTensor { return t.detach(); }, v.of));
  return out;
}
std::map<std::string, Value> to_values(const io::TensorMap& tensors) {
  std::map<std::string, Value> out;
  for (const auto& [name, t] : tensors) out.emplace(name, Value(t));
  return out;
}

// Open files cannot be copied.
struct Folder {
  std::unique_ptr<io::PretrainedDirectory> files;
};

}  // namespace

void bind_io(py::module_& m) {
  m.def("save_file", [](const std::map<std::string, Value>& tensors, const std::string& path, const std::map<std::string, std::string>& metadata) {
    const auto map = to_map(tensors);
    released([&] { return io::write_tensors(path, map, metadata), 0; });
  });
  m.def("load_file", [](const std::string& path) { return to_values(released([&] { return io::read_tensors(path); })); });
  m.def("load_metadata", [](const std::string& path) { return io::SafetensorsFile::open(path).metadata(); });
  m.def("save_pretrained", [](const std::string& path, const models::Config& config, const std::map<std::string, Value>& tensors) {
    const auto map = to_map(tensors);
    released([&] { return io::save_pretrained(path, config, map), 0; });
  });
  py::class_<Folder>(m, "PretrainedDirectory")
      .def_static("open", [](const std::string& path, bool follow_links) {
        return std::make_unique<Folder>(Folder{std::make_unique<io::PretrainedDirectory>(
            io::PretrainedDirectory::open(path, follow_links ? io::ShardLinks::follow : io::ShardLinks::refuse))});
      }, py::arg("path"), py::arg("follow_links") = false)
      .def_property_readonly("config", [](const Folder& f) { return models::Config(f.files->config()); })
      .def("names", [](const Folder& f) { return f.files->names(); })
      .def("read", [](const Folder& f, const std::string& name) { return released([&] { return Value(f.files->read_any(name)); }); }, py::arg("name"))
      .def("read_float32", [](const Folder& f, const std::string& name) {
        return released([&] { return Value(f.files->read<float>(name, io::Convert::floats)); });
      }, py::arg("name"));
  m.def("save_checkpoint", [](const std::string& root, std::int64_t step, const std::map<std::string, std::map<std::string, Value>>& parts, const std::string& state,
                              const std::string& config, int keep) {
    io::Checkpoint c{.step = step, .parts = {}, .state = state, .config = config};
    for (const auto& [part, tensors] : parts) c.parts.emplace(part, to_map(tensors));
    return released([&] { return io::save_checkpoint(root, c, {.keep = keep}); });
  });
  m.def("load_checkpoint", [](const std::string& root) {
    const auto r = released([&] { return io::load_checkpoint(root); });
    py::dict parts;
    for (const auto& [part, tensors] : r.checkpoint.parts) parts[py::str(part)] = py::cast(to_values(tensors));
    return py::dict(py::arg("step") = r.checkpoint.step, py::arg("parts") = parts, py::arg("state") = r.checkpoint.state, py::arg("config") = r.checkpoint.config,
                    py::arg("path") = r.path, py::arg("skipped") = r.skipped);
  });
  m.def("list_checkpoints", [](const std::string& root) {
    std::vector<std::pair<std::int64_t, std::string>> out;
    for (const auto& e : io::list_checkpoints(root)) out.emplace_back(e.step, e.path);
    return out;
  });
}

}  // namespace moelle::python
