// Decoder layers, language models, generation.
#include <moelle/generation/generate.hpp>
#include <moelle/models/causal_lm.hpp>

#include "modules.hpp"

namespace moelle::python {
namespace {

using models::CausalLM;
using models::Config;
using Ids = Tensor<std::int32_t>;
using Model = CausalLM<Real>;
using Layer = models::DecoderLayer<Real>;

// labels [B, T] as in Hugging Face's models: label t + 1 is what position t predicts.
Ids shifted(const Ids& labels) {
  MOELLE_REQUIRE("loss", labels.rank() == 2, str("labels must be [B, T]; got shape=", labels.shape()));
  const std::int64_t B = labels.size(0), T = labels.size(1);
  const Ids from = contiguous(labels), out = Ids::full({B, T}, models::kIgnore);
  for (std::int64_t b = 0; b < B; ++b)
    for (std::int64_t t = 0; t + 1 < T; ++t) out.data()[b * T + t] = from.data()[b * T + t + 1];
  return out;
}

models::LossOutput<Real> loss_of(Model& m, const Value& ids_, const Value* labels, const Value* targets, const Value* segments, double mtp_weight, double balance_weight,
                                 double normalizer) {
  MOELLE_REQUIRE("loss", labels == nullptr || targets == nullptr, "only one of labels and targets may be given; got both");
  const Ids ids = as_ids("loss", ids_);
  const Ids next = targets != nullptr ? as_ids("loss", *targets) : shifted(labels != nullptr ? as_ids("loss", *labels) : ids);
  const Ids documents = segments != nullptr ? as_ids("loss", *segments) : Ids();
  return released([&] {
    return m.loss({.ids = ids, .targets = next, .segments = documents, .normalizer = normalizer, .mtp_weight = mtp_weight, .balance_weight = balance_weight});
  });
}

void bind_decoder(py::module_& m) {
  py::class_<Layer, Module, py::smart_holder>(m, "DecoderLayer")
      .def("forward", [](Layer& self, const TensorF& x, const nn::AttentionContext& context) { return released([&] { return self.forward(x, context); }); },
           py::arg("input"), py::arg("context") = nn::AttentionContext{});
  py::class_<models::MtpLayer<Real>, Layer, py::smart_holder>(m, "MtpLayer");
  py::class_<models::Decoder<Real>, Module, py::smart_holder>(m, "Decoder");
  py::class_<models::DecoderCache>(m, "DecoderCache")
      .def("length", &models::DecoderCache::length).def("truncate", &models::DecoderCache::truncate, py::arg("length")).def("bytes", &models::DecoderCache::bytes)
      .def_readonly("layers", &models::DecoderCache::layers);
  using Output = models::LossOutput<Real>;
  py::class_<Output>(m, "LossOutput")
      .def_readonly("loss", &Output::loss).def_readonly("mtp", &Output::mtp).def_readonly("balance", &Output::balance).def_readonly("total", &Output::total);
}

Ids generate(Model& m, const Value& ids, std::int64_t max_new_tokens, double temperature, std::int64_t top_k, double top_p, double min_p, std::uint64_t seed,
             const std::vector<std::int64_t>& eos, std::int64_t prefill_chunk, bool use_cache, const std::optional<py::function>& on_token) {
  const Ids prompt = as_ids("generate", ids);
  const generation::GenerateOptions options{.max_new_tokens = max_new_tokens,
                                            .sampling = {.temperature = temperature, .top_k = top_k, .top_p = top_p, .min_p = min_p},
                                            .seed = seed, .eos_token_id = eos, .prefill_chunk = prefill_chunk, .use_cache = use_cache};
  std::function<bool(std::int64_t, const std::vector<std::int32_t>&)> each;
  if (on_token)
    each = [&](std::int64_t step, const std::vector<std::int32_t>& tokens) {
      const py::gil_scoped_acquire gil;
      const py::object more = (*on_token)(step, tokens);
      return more.is_none() || py::bool_(more);
    };
  return released([&] { return generation::generate(m, prompt, options, each); });
}

}  // namespace

void bind_models(py::module_& m) {
  bind_decoder(m);
  py::class_<Model, Module, py::smart_holder>(m, "CausalLM")
      .def(py::init([](const Config& c, std::uint64_t seed, const std::optional<std::string>& format) {
        const auto f = format ? std::optional(gemm::format_of(*format)) : std::nullopt;
        return released([&] { return std::make_shared<Model>(c, seed, f); });
      }), py::arg("config"), py::arg("seed") = 0, py::arg("format") = py::none())
      .def_property_readonly("config", [](const Model& self) { return Config(self.config); })
      .def("forward", [](Model& self, const Value& ids, const Value* segments, models::DecoderCache* cache) {
        const Ids i = as_ids("CausalLM", ids), s = segments != nullptr ? as_ids("CausalLM", *segments) : Ids();
        return released([&] { return self.project(self.hidden_states(i, s, cache)); });
      }, py::arg("ids"), py::arg("segments") = py::none(), py::arg("cache") = py::none())
      .def("hidden_states", [](Model& self, const Value& ids, const Value* segments, models::DecoderCache* cache) {
        const Ids i = as_ids("CausalLM", ids), s = segments != nullptr ? as_ids("CausalLM", *segments) : Ids();
        return released([&] { return self.hidden_states(i, s, cache); });
      }, py::arg("ids"), py::arg("segments") = py::none(), py::arg("cache") = py::none())
      .def("loss", [](Model& self, const Value& ids, const Value* labels, const Value* targets, const Value* segments) {
        return loss_of(self, ids, labels, targets, segments, 0.0, 1.0, 0.0).loss;
      }, py::arg("ids"), py::arg("labels") = py::none(), py::kw_only(), py::arg("targets") = py::none(), py::arg("segments") = py::none())
      .def("losses", &loss_of, py::arg("ids"), py::arg("labels") = py::none(), py::kw_only(), py::arg("targets") = py::none(), py::arg("segments") = py::none(),
           py::arg("mtp_weight") = 0.0, py::arg("balance_weight") = 1.0, py::arg("normalizer") = 0.0)
      .def("generate", &generate, py::arg("ids"), py::kw_only(), py::arg("max_new_tokens") = 64, py::arg("temperature") = 1.0, py::arg("top_k") = 0,
           py::arg("top_p") = 1.0, py::arg("min_p") = 0.0, py::arg("seed") = 0, py::arg("eos_token_id") = std::vector<std::int64_t>{},
           py::arg("prefill_chunk") = 512, py::arg("use_cache") = true, py::arg("on_token") = py::none())
      .def("make_cache", &Model::make_cache, py::arg("batch"), py::arg("capacity"))
      .def("last_routing", [](Model& self) {
        std::vector<Ids> out;
        for (const auto& [layer, moe] : self.moe_layers())
          if (layer < self.config.num_hidden_layers && moe->last_experts().defined()) out.push_back(moe->last_experts());
        return out;
      })
      .def("moe_layers", &Model::moe_layers)
      .def_readwrite("recompute", &Model::recompute);
}

}  // namespace moelle::python
