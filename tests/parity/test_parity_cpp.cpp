// Parity with transformers from C++: tiny random models of every family, computed by transformers and stored by
// scripts/make_parity_fixtures.py. Bounds: logits 1e-5 of the largest logit, gradients 1e-4 of the largest of their tensor. Both sides
// compute in float32 in different orders; a wrong formula is off by far more.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <iterator>
#include <map>
#include <string>
#include <vector>

#include <moelle/generation/generate.hpp>
#include <moelle/io.hpp>
#include <moelle/models/causal_lm.hpp>
#include <moelle/models/config_json.hpp>

using namespace moelle;

namespace {

const char* const kModels[] = {"deepseek_v2_greedy", "deepseek_v2_grouped", "deepseek_v3", "moonlight", "mixtral", "qwen3_moe", "olmoe"};

std::string folder(const std::string& name) {
  const std::string here = __FILE__;
  return here.substr(0, here.find_last_of('/')) + "/fixtures/" + name + "/";
}
std::string text_of(const std::string& path) {
  std::ifstream in(path);
  return {std::istreambuf_iterator<char>(in), {}};
}
template <class T>
std::map<std::string, Tensor<T>> tensors(const std::string& path, const std::string& prefix) {
  const auto file = io::SafetensorsFile::open(path);
  std::map<std::string, Tensor<T>> out;
  for (const auto& name : file.names())
    if (name.compare(0, prefix.size(), prefix) == 0 && io::file_type(dtype_of<T>) == file.info(name).dtype)
      out[name.substr(prefix.size())] = io::read_tensor<T>(file, name);
  return out;
}
double relative(const Tensor<float>& got, const Tensor<float>& want) {
  REQUIRE(got.shape() == want.shape());
  const auto a = got.to_vector(), b = want.to_vector();
  double worst = 0.0, scale = 1e-30;
  for (std::size_t i = 0; i < a.size(); ++i) {
    worst = std::max(worst, std::abs(static_cast<double>(a[i]) - static_cast<double>(b[i])));
    scale = std::max(scale, std::abs(static_cast<double>(b[i])));
  }
  return worst / scale;
}

void compare(const std::string& name, const std::string& config_file) {
  CAPTURE(name);
  CAPTURE(config_file);
  const std::string dir = folder(name), expected = dir + "expected.safetensors";
  models::CausalLM<float> model(models::Config::from_json(text_of(dir + config_file)));
  model.load_state_dict(tensors<float>(dir + "model.safetensors", ""));
  const auto ids = tensors<std::int32_t>(expected, "ids")[""];
  const auto want = tensors<float>(expected, "");

  const double logits = relative(model.logits(ids), want.at("logits"));
  MESSAGE(name << " " << config_file << ": logits " << logits);
  CHECK(logits < 1e-5);
  const auto experts = tensors<std::int32_t>(expected, "experts.");
  std::size_t layer = 0;
  for (const auto& [i, moe] : model.moe_layers()) {
    if (i >= model.config.num_hidden_layers) continue;
    const auto chosen = moe->last_experts();
    const auto& sorted = experts.at(std::to_string(layer++));
    for (std::int64_t n = 0; n < chosen.size(0); ++n) {
      std::vector<std::int32_t> row(chosen.data() + n * chosen.size(1), chosen.data() + (n + 1) * chosen.size(1));
      std::sort(row.begin(), row.end());
      for (std::size_t k = 0; k < row.size(); ++k) REQUIRE(row[k] == sorted.at({n, static_cast<std::int64_t>(k)}));
    }
  }
  CHECK(layer == experts.size());

  const std::int64_t length = ids.size(1);
  const auto out = model.loss({.ids = contiguous(slice(ids, 1, 0, length - 1)), .targets = contiguous(slice(ids, 1, 1, length))});
  const auto loss = tensors<double>(expected, "loss")[""].item();
  CHECK(std::abs(static_cast<double>(out.loss.item()) - loss) < 1e-5 * loss);
  out.loss.backward();
  std::size_t compared = 0;
  double worst = 0.0;
  for (const auto& e : model.state_entries()) {
    const auto it = want.find("grad." + e.name);
    if (it == want.end()) continue;
    ++compared;
    const auto g = e.grad();
    const double error = g.defined() ? relative(g, it->second) : relative(Tensor<float>::zeros(e.shape), it->second);
    CAPTURE(e.name);
    CHECK(error < 1e-4);
    worst = std::max(worst, error);
  }
  MESSAGE(name << ": gradients of " << compared << " parameters, worst " << worst);
  CHECK(compared == tensors<float>(expected, "grad.").size());

  const auto generated = tensors<std::int32_t>(expected, "generated")[""];
  CHECK(generation::generate(model, ids, {.max_new_tokens = 12, .sampling = {.temperature = 0.0}}).to_vector() == generated.to_vector());
}

}  // namespace

TEST_CASE("every family agrees with transformers: logits, experts, loss, gradients, greedy continuation") {
  for (const char* name : kModels) compare(name, "config.json");
}

TEST_CASE("the official config.json of a DeepSeek model means the same as transformers'") {
  for (const char* name : {"deepseek_v2_greedy", "deepseek_v2_grouped", "deepseek_v3", "moonlight"}) compare(name, "official.json");
}
