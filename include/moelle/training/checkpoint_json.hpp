// moelle/training/checkpoint_json.hpp -- a trainer's whole state to and from a checkpoint directory.
//
// Saved: the state dict (selection biases among it), the optimiser's moments and step count, the guard's history, the number of
// steps and tokens done, and the configuration. Batches, initial values and samples are functions of seeds and step numbers, so there
// is no other state: training that stops after any step and goes on from its checkpoint has the same bits as if it had not stopped.
#pragma once
#include <algorithm>
#include <cstdint>
#include <deque>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include <moelle/io/checkpoint.hpp>
#include <moelle/models/config_json.hpp>
#include <moelle/training/trainer.hpp>

namespace moelle::training {

namespace detail {

template <class T>
io::TensorMap to_map(const nn::Named<T>& named) {
  io::TensorMap map;
  for (const auto& [name, tensor] : named) map.emplace(name, tensor.detach());
  return map;
}
inline Tensor<double> history(const std::deque<double>& values) { return Tensor<double>::from({values.begin(), values.end()}); }

// The tensor of a part, as T.
template <class T>
const Tensor<T>& entry(const io::TensorMap& map, const std::string& name) {
  const auto it = map.find(name);
  MOELLE_REQUIRE("resume", it != map.end(), str("checkpoint must hold every tensor of the trainer; got none named ", name));
  const auto* t = std::get_if<Tensor<T>>(&it->second);
  MOELLE_REQUIRE("resume", t != nullptr, str("checkpoint must hold ", name, " as ", dtype_of<T>, "; got another type"));
  return *t;
}

// Checks names and shapes of a part against where it is to go.
template <class T>
void check_part(const char* part, const io::TensorMap& map, const nn::Named<T>& want) {
  MOELLE_REQUIRE("resume", map.size() == want.size(), str(part, " must have the trainer's tensors; got ", map.size(), " wanted ", want.size()));
  for (const auto& [name, t] : want) {
    const auto& saved = entry<T>(map, name);
    MOELLE_REQUIRE("resume", saved.shape() == t.shape(), str("shapes must agree; got ", name, " of shape ", saved.shape(), " wanted ", t.shape()));
  }
}

}  // namespace detail

// Writes root/step-N. `extra` is a JSON text of the caller's own (histories, options), given back by load_trainer.
template <class T>
void save_trainer(Trainer<T>& trainer, const std::string& root, const std::string& extra = "{}", const io::SaveOptions& options = {}) {
  io::Checkpoint c;
  c.step = trainer.steps_done();
  c.parts["model"] = detail::to_map(trainer.model().state_dict());
  c.parts["optimizer"] = detail::to_map(trainer.optimizer().state());
  c.parts["guard"] = {{"losses", detail::history(trainer.guard().losses)}, {"norms", detail::history(trainer.guard().norms)}};
  c.state = io::Json{{"optimizer_steps", trainer.optimizer().steps()}, {"tokens", trainer.tokens_seen()}, {"guard_in_a_row", trainer.guard().in_a_row},
                     {"extra", io::parse_json(extra, "extra")}}
                .dump();
  c.config = trainer.model().config.to_json();
  io::save_checkpoint(root, c, options);
}

struct Resumed {
  bool found = false;                // false: root holds no checkpoint, nothing was changed
  std::string path, extra = "{}";
  std::vector<std::string> skipped;  // newer checkpoints that are damaged, and how
};

// Reads the newest whole checkpoint under root. Everything is checked before anything is changed.
template <class T>
Resumed load_trainer(Trainer<T>& trainer, const std::string& root) {
  if (io::list_checkpoints(root).empty()) return {};
  const io::LoadedCheckpoint loaded = io::load_checkpoint(root);
  const io::Checkpoint& c = loaded.checkpoint;
  for (const char* part : {"model", "optimizer", "guard"})
    MOELLE_REQUIRE("resume", c.parts.count(part) != 0, str("checkpoint must hold ", part, ".safetensors; got none in ", loaded.path));
  MOELLE_REQUIRE("resume", models::Config::from_json(c.config) == trainer.model().config,
                 str("checkpoint must be of the same configuration; got another in ", loaded.path));
  detail::check_part<T>("model", c.parts.at("model"), trainer.model().state_dict());
  detail::check_part<T>("optimizer", c.parts.at("optimizer"), trainer.optimizer().state());
  const auto losses = detail::entry<double>(c.parts.at("guard"), "losses").to_vector(), norms = detail::entry<double>(c.parts.at("guard"), "norms").to_vector();
  const io::Json state = io::parse_json(c.state, "state.json");
  const auto number = [&](const char* key) {
    const std::int64_t n = io::as_int(io::member(state, key, "state.json"), key);
    MOELLE_REQUIRE("resume", n >= 0, str(key, " must not be negative; got ", key, "=", n));
    return n;
  };
  const std::int64_t optimizer_steps = number("optimizer_steps"), tokens = number("tokens"), in_a_row = number("guard_in_a_row");
  const std::string extra = io::member(state, "extra", "state.json").dump();

  std::map<std::string, Tensor<T>> weights;
  for (const auto& [name, t] : c.parts.at("model")) weights[name] = std::get<Tensor<T>>(t);
  trainer.model().load_state_dict(weights);
  for (const auto& [name, to] : trainer.optimizer().state()) {
    const Tensor<T> from = contiguous(detail::entry<T>(c.parts.at("optimizer"), name));
    std::copy(from.data(), from.data() + from.numel(), to.data());
  }
  trainer.optimizer().set_steps(optimizer_steps);
  trainer.guard().losses.assign(losses.begin(), losses.end());
  trainer.guard().norms.assign(norms.begin(), norms.end());
  trainer.guard().in_a_row = in_a_row;
  trainer.set_progress(c.step, tokens);
  return {true, loaded.path, extra, loaded.skipped};
}

}  // namespace moelle::training
