// tests/io/test_checkpoint.cpp -- a checkpoint is either whole or not used, and a committed one is never lost.
#include <doctest/doctest.h>

#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <string>
#include <vector>

#include <moelle/core/random.hpp>
#include <moelle/io/checkpoint.hpp>

#include "temp_dir.hpp"

using namespace moelle;
namespace fs = std::filesystem;

namespace {

// Everything in it follows from the step, so a loaded checkpoint can be checked completely.
io::Checkpoint sample(std::int64_t step, std::int64_t size = 1000) {
  std::vector<float> w(static_cast<std::size_t>(size));
  const random::Stream stream(static_cast<std::uint64_t>(step), "weights");
  for (std::size_t i = 0; i < w.size(); ++i) w[i] = static_cast<float>(stream.normal(i));
  return {.step = step,
          .parts = {{"model", {{"w", Tensor<float>::from(w)}, {"bias", Tensor<double>::full({4}, 0.25)}}},
                    {"optimizer", {{"w.momentum", Tensor<float>::full({3}, static_cast<float>(step))}, {"counts", Tensor<std::int64_t>::from({step, -step})}}}},
          .state = "{\"seed\": 7, \"cursor\": " + std::to_string(10 * step) + "}",
          .config = "{\"model_type\": \"deepseek_v3\"}"};
}
bool same(const io::Checkpoint& a, const io::Checkpoint& b) {
  const auto floats = [](const io::Checkpoint& c, const char* part, const char* name) { return std::get<Tensor<float>>(c.parts.at(part).at(name)).to_vector(); };
  return a.step == b.step && a.state == b.state && a.config == b.config && floats(a, "model", "w") == floats(b, "model", "w") &&
         floats(a, "optimizer", "w.momentum") == floats(b, "optimizer", "w.momentum") &&
         std::get<Tensor<std::int64_t>>(a.parts.at("optimizer").at("counts")).to_vector() == std::get<Tensor<std::int64_t>>(b.parts.at("optimizer").at("counts")).to_vector();
}
std::vector<std::string> files_in(const std::string& path) {
  std::vector<std::string> all;
  for (const auto& e : fs::directory_iterator(path)) all.push_back(e.path().filename().string());
  std::sort(all.begin(), all.end());
  return all;
}

}  // namespace

TEST_CASE("what is saved comes back bit for bit, with state and configuration as text") {
  const testing::TempDir dir;
  const std::string path = io::save_checkpoint(dir / "run", sample(5));
  CHECK(files_in(path) == std::vector<std::string>{"config.json", "manifest.json", "model.safetensors", "optimizer.safetensors", "state.json"});
  const auto back = io::load_checkpoint(dir / "run");
  CHECK(same(back.checkpoint, sample(5)));
  CHECK(back.path == path);
  CHECK(back.skipped.empty());
  CHECK(testing::get(dir / "run/latest") == "step-000000000005\n");
}

TEST_CASE("the two newest are kept, the same step may be saved again, and leftovers of killed saves are swept away") {
  const testing::TempDir dir;
  for (const std::int64_t step : {1, 2, 3}) io::save_checkpoint(dir.path(), sample(step));
  fs::create_directory(dir / "step-000000000004.tmp");
  testing::put(dir / "step-000000000004.tmp/model.safetensors", "half");
  io::Checkpoint again = sample(3);
  again.state = "{\"second\": true}";
  io::save_checkpoint(dir.path(), again);
  CHECK(files_in(dir.path()) == std::vector<std::string>{".lock", "latest", "step-000000000002", "step-000000000003"});
  CHECK(same(io::load_checkpoint(dir.path()).checkpoint, again));
}

TEST_CASE("any single altered bit in any file is found, and the checkpoint before it is used") {
  const testing::TempDir dir;
  io::save_checkpoint(dir.path(), sample(1, 50));
  const std::string newest = io::save_checkpoint(dir.path(), sample(2, 50));
  const random::Stream where(1, "bit flips");
  std::uint64_t trial = 0;
  for (const std::string& name : files_in(newest)) {
    const std::string path = newest + "/" + name, good = testing::get(path);
    for (int i = 0; i < 60; ++i) {
      std::string bad = good;
      const auto bit = where.below(trial++, 8 * good.size());
      bad[bit / 8] = static_cast<char>(bad[bit / 8] ^ (1 << (bit % 8)));
      testing::put(path, bad);
      CAPTURE(name);
      CAPTURE(bit);
      const auto r = io::load_checkpoint(dir.path());
      CHECK(same(r.checkpoint, sample(1, 50)));
      REQUIRE(r.skipped.size() == 1);
      CHECK(r.skipped[0].find("step-000000000002") != std::string::npos);
    }
    testing::put(path, good);
  }
  CHECK(same(io::load_checkpoint(dir.path()).checkpoint, sample(2, 50)));
}

TEST_CASE("truncated, emptied and missing files are found") {
  const testing::TempDir dir;
  const std::string newest = io::save_checkpoint(dir.path(), sample(2, 50));
  for (const std::string& name : files_in(newest)) {
    const std::string path = newest + "/" + name, good = testing::get(path);
    for (const std::size_t n : {std::size_t{0}, good.size() / 2, good.size() - 1}) {
      testing::put(path, good.substr(0, n));
      CAPTURE(name);
      CAPTURE(n);
      CHECK_THROWS_WITH_AS(io::load_checkpoint(dir.path()), doctest::Contains("1 damaged"), Error);
    }
    fs::remove(path);
    CHECK_THROWS_AS(io::load_checkpoint_directory(newest), Error);
    testing::put(path, good);
  }
  CHECK(io::load_checkpoint(dir.path()).checkpoint.step == 2);
}

TEST_CASE("a manifest from another step, a later version or with paths in it is refused") {
  const testing::TempDir dir;
  const std::string path = io::save_checkpoint(dir.path(), sample(2, 50));
  fs::rename(path, dir / "step-000000000009");
  CHECK_THROWS_WITH_AS(io::load_checkpoint_directory(dir / "step-000000000009"), doctest::Contains("the directory's"), Error);
  const std::string escape = io::detail::manifest_text(9, {{"../../etc/passwd", {}}});
  testing::put(dir / "step-000000000009/manifest.json", escape);
  CHECK_THROWS_WITH_AS(io::load_checkpoint_directory(dir / "step-000000000009"), doctest::Contains("names within the checkpoint"), Error);
  CHECK_THROWS_WITH_AS(io::load_checkpoint(dir / "nothing"), doctest::Contains("0 damaged"), Error);
}

TEST_CASE("only one process at a time saves into a directory") {
  const testing::TempDir dir;
  io::save_checkpoint(dir.path(), sample(1));
  const io::Descriptor held = io::detail::lock_directory(dir.path());
  CHECK_THROWS_WITH_AS(io::save_checkpoint(dir.path(), sample(2)), doctest::Contains("one process at a time"), Error);
  CHECK(io::load_checkpoint(dir.path()).checkpoint.step == 1);
}

TEST_CASE("a full disk is an error that costs nothing: the old checkpoint stays and no rubbish remains") {
  const testing::TempDir dir;
  io::save_checkpoint(dir.path(), sample(1));
  rlimit old{};
  REQUIRE(::getrlimit(RLIMIT_FSIZE, &old) == 0);
  std::signal(SIGXFSZ, SIG_IGN);
  for (const rlim_t bytes : {0u, 100u, 600u, 3000u, 4000u}) {  // each of the files in turn is the one that does not fit
    const rlimit small{bytes, old.rlim_max};
    REQUIRE(::setrlimit(RLIMIT_FSIZE, &small) == 0);
    CHECK_THROWS_AS(io::save_checkpoint(dir.path(), sample(2)), Error);
    ::setrlimit(RLIMIT_FSIZE, &old);
    CHECK(files_in(dir.path()) == std::vector<std::string>{".lock", "latest", "step-000000000001"});
  }
  CHECK(same(io::load_checkpoint(dir.path()).checkpoint, sample(1)));
  io::save_checkpoint(dir.path(), sample(2));
  CHECK(io::load_checkpoint(dir.path()).checkpoint.step == 2);
}

TEST_CASE("arguments that cannot be meant are refused") {
  const testing::TempDir dir;
  CHECK_THROWS_AS(io::save_checkpoint(dir.path(), {.step = -1}), Error);
  CHECK_THROWS_AS(io::save_checkpoint(dir.path(), {.step = 1}, {.keep = 1}), Error);
  CHECK_THROWS_AS(io::save_checkpoint(dir.path(), {.step = 1, .parts = {{"../x", {}}}}), Error);
  CHECK_THROWS_AS(io::save_checkpoint(dir.path(), {.step = 1, .parts = {}, .state = "{"}), Error);
  CHECK(io::list_checkpoints(dir.path()).empty());
}

namespace {
bool writing(const std::string& folder) {
  for (const auto& f : files_in(folder))
    if (f.ends_with(".tmp")) return true;
  return false;
}
}  // namespace

TEST_CASE("kill -9 at 50 random moments of saving loses no checkpoint that was committed") {
  const testing::TempDir dir;
  const random::Stream when(2, "kill");
  std::int64_t committed = 0;
  int inside = 0;
  const auto start = std::chrono::steady_clock::now();
  io::save_checkpoint(dir.path(), sample(++committed, 20000));
  const auto one_save = std::chrono::duration_cast<std::chrono::microseconds>(std::chrono::steady_clock::now() - start).count();
  for (std::uint64_t trial = 0; trial < 50; ++trial) {
    int pipe_ends[2];
    REQUIRE(::pipe(pipe_ends) == 0);
    const pid_t child = ::fork();
    REQUIRE(child >= 0);
    if (child == 0) {
      for (std::int64_t step = committed + 1;; ++step) {
        try {
          io::save_checkpoint(dir.path(), sample(step, 20000));
        } catch (...) {
          ::_exit(1);
        }
        if (::write(pipe_ends[1], &step, sizeof step) != sizeof step) ::_exit(2);
      }
    }
    ::close(pipe_ends[1]);
    std::int64_t told = 0;
    const auto first = ::read(pipe_ends[0], &told, sizeof told);  // one save is through; the next is on its way
    // Half of the kills come at any moment, the others soon after a save has begun to write.
    for (int i = 0; trial % 2 == 1 && i < 100000 && !writing(dir.path()); ++i) ::usleep(50);
    ::usleep(static_cast<useconds_t>(when.below(trial, static_cast<std::uint64_t>(trial % 2 == 1 ? one_save / 4 : 2 * one_save) + 1)));
    ::kill(child, SIGKILL);
    int status = 0;
    ::waitpid(child, &status, 0);
    REQUIRE(first == sizeof told);
    REQUIRE(WIFSIGNALED(status));
    committed = told;
    while (::read(pipe_ends[0], &told, sizeof told) == sizeof told) committed = told;
    ::close(pipe_ends[0]);
    inside += writing(dir.path()) ? 1 : 0;
    const auto r = io::load_checkpoint(dir.path());
    CAPTURE(trial);
    CHECK(r.skipped.empty());
    CHECK(r.checkpoint.step >= committed);
    CHECK(r.checkpoint.step <= committed + 1);
    CHECK(same(r.checkpoint, sample(r.checkpoint.step, 20000)));
    committed = r.checkpoint.step;
  }
  CHECK(inside > 10);  // otherwise the kills came at harmless moments and this shows nothing
}
