// tests/io/test_pretrained.cpp -- model directories, whole and in shards, and the ways a shard index can lie.
#include <doctest/doctest.h>

#include <string>
#include <vector>

#include <moelle/io/pretrained.hpp>
#include <moelle/models/presets.hpp>

#include "temp_dir.hpp"

using namespace moelle;
namespace fs = std::filesystem;

namespace {
void index_file(const std::string& dir, const std::string& weight_map) {
  testing::put(dir + "/model.safetensors.index.json", "{\"metadata\": {\"total_size\": 8}, \"weight_map\": {" + weight_map + "}}");
}
// Two shards, one tensor each.
void sharded(const std::string& dir) {
  testing::put(dir + "/config.json", models::preset("pilot").to_json());
  io::write_tensors(dir + "/model-00001-of-00002.safetensors", {{"a", Tensor<float>::from({1})}});
  io::write_tensors(dir + "/model-00002-of-00002.safetensors", {{"b", Tensor<float>::from({2})}});
  index_file(dir, R"("a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors")");
}
}  // namespace

TEST_CASE("a saved model directory opens with the same configuration and tensors") {
  const testing::TempDir dir;
  io::save_pretrained(dir / "m", models::preset("demo"), {{"lm_head.weight", Tensor<float>::from({1, 2}, {1, 2})}});
  const auto d = io::PretrainedDirectory::open(dir / "m");
  CHECK(d.config() == models::preset("demo"));
  CHECK(d.read<float>("lm_head.weight").to_vector() == std::vector<float>{1, 2});
  CHECK_THROWS_WITH_AS(d.read<float>("lm_head.weights"), doctest::Contains("did you mean \"lm_head.weight\""), Error);
}

TEST_CASE("shards are found through the index") {
  const testing::TempDir dir;
  sharded(dir.path());
  const auto d = io::PretrainedDirectory::open(dir.path());
  CHECK(d.names() == std::vector<std::string>{"a", "b"});
  CHECK(d.read<float>("b").item() == 2);
}

TEST_CASE("an index cannot make the reader leave the directory") {
  const testing::TempDir outside;
  io::write_tensors(outside / "x.safetensors", {{"a", Tensor<float>::from({1})}});
  const testing::TempDir dir;
  sharded(dir.path());
  fs::create_symlink(outside / "x.safetensors", dir / "link.safetensors");
  for (const std::string shard : {"../x.safetensors", "/etc/passwd", "sub/../x.safetensors", "..", "", ".hidden.safetensors", "a\\\\b.safetensors",
                                   "a\\u0000.safetensors", "a\\n.safetensors", "model.bin", "link.safetensors"}) {
    CAPTURE(shard);
    index_file(dir.path(), "\"a\": \"" + shard + "\"");
    CHECK_THROWS_AS(io::PretrainedDirectory::open(dir.path()), Error);
  }
  index_file(dir.path(), R"("a": "link.safetensors")");
  CHECK(io::PretrainedDirectory::open(dir.path(), io::ShardLinks::follow).read<float>("a").item() == 1);
}

TEST_CASE("index and shards must agree in every tensor") {
  const testing::TempDir dir;
  sharded(dir.path());
  const std::string one = "\"model-00001-of-00002.safetensors\"", two = "\"model-00002-of-00002.safetensors\"";
  const std::vector<std::string> wrong{"\"a\": " + one + ", \"c\": " + two, "\"a\": " + two, "\"a\": " + one + ", \"b\": \"missing.safetensors\"", "\"a\": 1",
                                       "\"a\": " + one + ", \"a\": " + one};
  for (const std::string& map : wrong) {
    CAPTURE(map);
    index_file(dir.path(), map);
    CHECK_THROWS_AS(io::PretrainedDirectory::open(dir.path()), Error);
  }
  io::write_tensors(dir / "model-00002-of-00002.safetensors", {{"a", Tensor<float>::from({1})}, {"b", Tensor<float>::from({2})}});
  index_file(dir.path(), "\"a\": " + one + ", \"b\": " + two);
  CHECK_THROWS_WITH_AS(io::PretrainedDirectory::open(dir.path()), doctest::Contains("also in shard"), Error);
}
