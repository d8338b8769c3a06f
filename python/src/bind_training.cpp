// Data, the training step, its checkpoints.
#include <moelle/training/checkpoint_json.hpp>
#include <moelle/training/corpus.hpp>
#include <moelle/training/loader.hpp>
#include <moelle/training/trainer.hpp>

#include "choice.hpp"
#include "modules.hpp"

namespace moelle::python {
namespace {

using training::Batch;
using training::ByteLoader;
using training::Corpus;
using training::Document;
using Model = models::CausalLM<Real>;

struct Documents {
  std::vector<Document> items;
};

// A loader with the documents that it reads.
struct Loader {
  std::shared_ptr<const Documents> documents;
  ByteLoader loader;
};

void bind_data(py::module_& m) {
  py::class_<Documents, std::shared_ptr<Documents>>(m, "Documents")
      .def(py::init([](const std::vector<std::string>& texts) {
             auto d = std::make_shared<Documents>();
             for (const auto& t : texts) d->items.push_back({str("text ", d->items.size()), t, random::hash_name(t)});
             return d;
           }), py::arg("texts"))
      .def("__len__", [](const Documents& d) { return d.items.size(); })
      .def("name", [](const Documents& d, std::size_t i) { return d.items.at(i).name; })
      .def("bytes", [](const Documents& d, std::size_t i) { return py::bytes(d.items.at(i).bytes); });
  py::class_<Corpus>(m, "Corpus")
      .def_property_readonly("train", [](const Corpus& c) { return std::make_shared<Documents>(Documents{c.train}); })
      .def_property_readonly("validation", [](const Corpus& c) { return std::make_shared<Documents>(Documents{c.validation}); })
      .def_readonly("train_bytes", &Corpus::train_bytes).def_readonly("validation_bytes", &Corpus::validation_bytes).def_readonly("files", &Corpus::files)
      .def_readonly("duplicates", &Corpus::duplicates).def_readonly("skipped", &Corpus::skipped);
  m.def("load_corpus", [](const std::vector<std::string>& paths, const std::vector<std::string>& extensions, const std::vector<std::string>& exclude,
                          double validation_fraction, std::int64_t min_validation_bytes, std::int64_t max_file_bytes, std::uint64_t seed) {
    return released([&] {
      return training::load_corpus(paths, {.extensions = extensions, .exclude = exclude, .validation_fraction = validation_fraction,
                                           .min_validation_bytes = min_validation_bytes, .max_file_bytes = max_file_bytes, .seed = seed});
    });
  }, py::arg("paths"), py::kw_only(), py::arg("extensions"), py::arg("exclude"), py::arg("validation_fraction"), py::arg("min_validation_bytes"),
     py::arg("max_file_bytes"), py::arg("seed"));
  py::class_<Batch>(m, "Batch")
      .def(py::init([](const Value& ids, const Value& targets, const Value* segments) {
             return Batch{as_ids("Batch", ids), as_ids("Batch", targets), segments != nullptr ? as_ids("Batch", *segments) : Tensor<std::int32_t>()};
           }), py::arg("ids"), py::arg("targets"), py::arg("segments") = py::none())
      .def_readonly("ids", &Batch::ids).def_readonly("targets", &Batch::labels).def_readonly("segments", &Batch::segments);
  py::class_<Loader>(m, "ByteLoader")
      .def(py::init([](const std::shared_ptr<Documents>& documents, std::int64_t batch_size, std::int64_t seq_len, std::uint64_t seed, bool shuffle, bool segments) {
             return std::unique_ptr<Loader>(new Loader{documents, ByteLoader(documents->items, {.batch_size = batch_size, .seq_len = seq_len, .seed = seed,
                                                                                         .shuffle = shuffle, .segments = segments})});
           }), py::arg("documents"), py::kw_only(), py::arg("batch_size") = 16, py::arg("seq_len") = 128, py::arg("seed") = 0, py::arg("shuffle") = true,
           py::arg("segments") = false)
      .def_property_readonly("batches_per_epoch", [](const Loader& l) { return l.loader.batches_per_epoch(); })
      .def("batch", [](Loader& l, std::int64_t index) { return released([&] { return l.loader.batch(index); }); }, py::arg("index"));
}

training::TrainerOptions options_of(double lr, std::int64_t steps, std::int64_t warmup, const std::string& schedule, double min_ratio, const std::string& optimizer,
                                    double decay, double beta1, double beta2, const std::string& muon, double clip, std::int64_t accumulation, double bias_rate,
                                    const std::string& rule, double mtp_weight, double guard) {
  using namespace training;
  TrainerOptions o;
  o.lr = lr;
  o.schedule = {.kind = schedule_of(schedule), .total_steps = steps, .warmup_steps = warmup, .min_ratio = min_ratio};
  o.optimizer.method = method_of(optimizer);
  o.optimizer.weight_decay = decay;
  o.optimizer.beta1 = beta1;
  o.optimizer.beta2 = beta2;
  o.optimizer.muon.steps = muon_steps_of(muon);
  o.clip = clip;
  o.accumulation = accumulation;
  o.bias_update_rate = bias_rate;
  o.bias_rule = bias_rule_of(rule);
  o.mtp_weight = mtp_weight;
  o.guard.limit = guard;
  return o;
}

void bind_trainer(py::module_& m) {
  using Trainer = training::Trainer<Real>;
  using Report = training::StepReport;
  py::class_<Report>(m, "StepReport")
      .def_readonly("step", &Report::step).def_readonly("loss", &Report::loss).def_readonly("mtp_loss", &Report::mtp_loss)
      .def_readonly("balance_loss", &Report::balance_loss).def_readonly("grad_norm", &Report::grad_norm).def_readonly("lr", &Report::lr)
      .def_readonly("tokens", &Report::tokens).def_readonly("seconds", &Report::seconds).def_readonly("max_violation", &Report::max_violation)
      .def_readonly("dead_experts", &Report::dead_experts).def_readonly("skipped", &Report::skipped).def_readonly("load", &Report::load);
  py::class_<Trainer>(m, "Trainer")
      .def(py::init([](Model& model, double lr, std::int64_t steps, std::int64_t warmup, const std::string& schedule, double min_ratio, const std::string& optimizer,
                       double decay, double beta1, double beta2, const std::string& muon, double clip, std::int64_t accumulation, double bias_rate,
                       const std::string& rule, double mtp_weight, double guard) {
             return std::make_unique<Trainer>(model, options_of(lr, steps, warmup, schedule, min_ratio, optimizer, decay, beta1, beta2, muon, clip, accumulation,
                                                                bias_rate, rule, mtp_weight, guard));
           }), py::keep_alive<1, 2>(), py::arg("model"), py::kw_only(), py::arg("lr") = 6e-3, py::arg("steps"), py::arg("warmup_steps") = 0, py::arg("schedule") = "cosine",
           py::arg("min_ratio") = 0.1, py::arg("optimizer") = "muon", py::arg("weight_decay") = 0.1, py::arg("beta1") = 0.9, py::arg("beta2") = 0.95,
           py::arg("muon_steps") = "deepseek_v4", py::arg("clip") = 1.0, py::arg("accumulation") = 1, py::arg("bias_update_rate") = 1e-3,
           py::arg("bias_rule") = "sign", py::arg("mtp_weight") = 0.3, py::arg("guard_limit") = 8.0)
      .def("step", [](Trainer& t, const std::vector<Batch>& batches) { return released([&] { return t.step(batches); }); }, py::arg("batches"))
      .def("next_batches", [](const Trainer& t, Loader& l) { return released([&] { return t.next_batches(l.loader); }); }, py::arg("loader"))
      .def("_save", [](Trainer& t, const std::string& root, const std::string& extra, int keep) {
        released([&] { return training::save_trainer(t, root, extra, {.keep = keep}), 0; });
      })
      .def("_load", [](Trainer& t, const std::string& root) {
        const auto r = released([&] { return training::load_trainer(t, root); });
        return py::make_tuple(r.found, r.path, r.extra, r.skipped);
      })
      .def_property_readonly("steps_done", &Trainer::steps_done).def_property_readonly("tokens_seen", &Trainer::tokens_seen);
  m.def("evaluate", [](Model& model, const Documents& documents, std::int64_t batch_size, std::int64_t seq_len, std::int64_t max_windows) {
    return released([&] { return training::evaluate(model, documents.items, batch_size, seq_len, max_windows); });
  }, py::arg("model"), py::arg("documents"), py::kw_only(), py::arg("batch_size") = 16, py::arg("seq_len") = 128, py::arg("max_windows") = 0);
}

}  // namespace

void bind_training(py::module_& m) {
  bind_data(m);
  bind_trainer(m);
}

}  // namespace moelle::python
