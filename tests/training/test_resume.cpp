// Training that stops and goes on has the bits of training that never stopped.
#include <doctest/doctest.h>
#include <stdlib.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include <moelle/training/checkpoint_json.hpp>

#include "training/tiny.hpp"

using namespace moelle;
using namespace moelle::training;

namespace {

struct Folder {
  Folder() {
    char name[] = "/tmp/moelle-resume-XXXXXX";
    REQUIRE(mkdtemp(name) != nullptr);
    path = name;
  }
  ~Folder() { std::filesystem::remove_all(path); }
  std::string path;
};

struct Run {
  Method method = Method::muon;
  std::int64_t accumulation = 1, mtp = 0;
};

// Steps [from, to); starts from the checkpoint in `resume` if given, saves into `save` if given.
std::vector<float> train(const Run& run, std::int64_t to, const std::string& resume = "", const std::string& save = "") {
  models::Config config = test::tiny_config();
  config.num_nextn_predict_layers = run.mtp;
  models::CausalLM<float> model(config, resume.empty() ? 1 : 99);  // other weights: everything must come from the checkpoint
  TrainerOptions o{.schedule = {.total_steps = 12, .warmup_steps = 3}, .optimizer = {.method = run.method}, .accumulation = run.accumulation, .bias_update_rate = 0.01};
  Trainer<float> trainer(model, o);
  const auto documents = test::tiny_documents();
  ByteLoader loader(documents, {.batch_size = 2, .seq_len = 24, .seed = 3, .segments = true});
  if (!resume.empty()) {
    const Resumed r = load_trainer(trainer, resume);
    REQUIRE(r.found);
    CHECK(r.extra == "{\"note\":[1,2.5]}");
  }
  while (trainer.steps_done() < to) CHECK(trainer.step(trainer.next_batches(loader)).skipped.empty());
  if (!save.empty()) save_trainer(trainer, save, "{\"note\":[1,2.5]}");
  return test::flat(model);
}
bool same(const std::vector<float>& a, const std::vector<float>& b) { return a.size() == b.size() && std::memcmp(a.data(), b.data(), 4 * a.size()) == 0; }

}  // namespace

TEST_CASE("stopping after any step and resuming gives bit-identical weights") {
  for (const Run& run : {Run{}, Run{.method = Method::adamw}, Run{.accumulation = 2, .mtp = 1}, Run{.method = Method::adamw, .accumulation = 2, .mtp = 1}}) {
    const auto undisturbed = train(run, 8);
    for (const std::int64_t stop : {1, 4, 7}) {
      CAPTURE(stop);
      const Folder folder;
      train(run, stop, "", folder.path);
      CHECK(same(train(run, 8, folder.path), undisturbed));
    }
  }
}

TEST_CASE("a checkpoint after every step, each resumed in its turn, changes no bit") {
  const Run run{.accumulation = 2, .mtp = 1};
  const auto undisturbed = train(run, 5);
  const Folder folder;
  train(run, 1, "", folder.path);
  for (std::int64_t step = 2; step < 5; ++step) train(run, step, folder.path, folder.path);
  CHECK(same(train(run, 5, folder.path), undisturbed));
  CHECK(io::list_checkpoints(folder.path).size() == 2);  // the last two are kept
}

TEST_CASE("the guard's history, the moments and the counters come back as they were") {
  const Folder folder;
  models::CausalLM<float> model(test::tiny_config(), 1), fresh(test::tiny_config(), 2);
  const TrainerOptions o{.schedule = {.total_steps = 12}, .guard = {.limit = 6, .window = 4, .patience = 3}};
  Trainer<float> a(model, o), b(fresh, o);
  const auto documents = test::tiny_documents();
  ByteLoader loader(documents, {.batch_size = 2, .seq_len = 24, .seed = 3});
  for (int i = 0; i < 3; ++i) a.step(a.next_batches(loader));
  a.guard().losses = {1.0 / 3.0, 0.1, 2e-300, 1.0};
  a.guard().norms = {1e300, 0.1, 0.2, 0.3};
  a.guard().in_a_row = 2;
  save_trainer(a, folder.path);
  const Resumed r = load_trainer(b, folder.path);
  CHECK(r.extra == "{}");
  CHECK(r.skipped.empty());
  CHECK(b.steps_done() == 3);
  CHECK(b.tokens_seen() == 3 * 2 * 24);
  CHECK(b.optimizer().steps() == 3);
  CHECK(b.guard().losses == a.guard().losses);
  CHECK(b.guard().norms == a.guard().norms);
  CHECK(b.guard().in_a_row == 2);
  const auto x = a.optimizer().state(), y = b.optimizer().state();
  REQUIRE(x.size() == y.size());
  for (std::size_t i = 0; i < x.size(); ++i) CHECK(x[i].second.to_vector() == y[i].second.to_vector());
  CHECK_THROWS_AS(save_trainer(a, folder.path, "{not json"), Error);
  CHECK(load_trainer(b, folder.path).found);
}

TEST_CASE("resuming a resumed run, with another number of threads each time, changes no bit") {
  const auto undisturbed = train({}, 9);
  const Folder folder;
  const int before = num_threads();
  set_num_threads(1);
  train({}, 2, "", folder.path);
  set_num_threads(3);
  train({}, 5, folder.path, folder.path);
  set_num_threads(7);
  CHECK(same(train({}, 9, folder.path), undisturbed));
  set_num_threads(before);
}

TEST_CASE("a damaged checkpoint is passed over for the one before, and said so; alone it is refused before use") {
  const Folder folder;
  train({}, 2, "", folder.path);
  train({}, 4, folder.path, folder.path);
  const auto list = io::list_checkpoints(folder.path);
  REQUIRE(list.size() == 2);
  const std::string victim = list.back().path + "/optimizer.safetensors";
  {
    std::fstream f(victim, std::ios::in | std::ios::out | std::ios::binary);
    f.seekp(5000);
    f.put('\x5a');
  }
  models::CausalLM<float> model(test::tiny_config(), 5);
  Trainer<float> trainer(model, {.schedule = {.total_steps = 12}});
  const auto weights = test::flat(model);
  const Resumed r = load_trainer(trainer, folder.path);
  CHECK(trainer.steps_done() == 2);
  REQUIRE(r.skipped.size() == 1);
  CHECK(r.skipped[0].find("checksum") != std::string::npos);

  std::filesystem::remove_all(list.front().path);
  models::CausalLM<float> other(test::tiny_config(), 5);
  Trainer<float> second(other, {.schedule = {.total_steps = 12}});
  CHECK_THROWS_AS(load_trainer(second, folder.path), Error);
  CHECK(same(test::flat(other), weights));
  CHECK(second.steps_done() == 0);
}

TEST_CASE("a checkpoint of another configuration or optimiser is refused and changes nothing") {
  const Folder folder;
  train({}, 1, "", folder.path);
  models::Config config = test::tiny_config();
  config.n_routed_experts = 4;
  models::CausalLM<float> smaller(config, 1);
  Trainer<float> t(smaller, {.schedule = {.total_steps = 12}});
  CHECK_THROWS_WITH_AS(load_trainer(t, folder.path), doctest::Contains("same configuration"), Error);
  models::CausalLM<float> model(test::tiny_config(), 5);
  const auto weights = test::flat(model);
  Trainer<float> adamw(model, {.schedule = {.total_steps = 12}, .optimizer = {.method = Method::adamw}});
  CHECK_THROWS_AS(load_trainer(adamw, folder.path), Error);
  CHECK(same(test::flat(model), weights));
  CHECK_FALSE(load_trainer(adamw, folder.path + "/nothing").found);
}
