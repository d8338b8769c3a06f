// Corpora, batches and logs: what they hold is a function of contents, seed and step alone.
#include <doctest/doctest.h>

#include <limits>
#include <map>
#include <set>
#include <string>
#include <vector>

#include <moelle/io/json.hpp>
#include <moelle/training/loader.hpp>
#include <moelle/training/log.hpp>

#include "io/temp_dir.hpp"
#include "support/compare.hpp"

using namespace moelle;
using namespace moelle::training;
using moelle::testing::get;
using moelle::testing::put;
using moelle::testing::TempDir;

namespace {

// 40 different files of about 60 bytes, one of them twice, one binary, one empty, one of another kind.
void fill(const TempDir& dir, bool backwards = false) {
  std::filesystem::create_directories(dir / "deep/skip");
  for (int k = 0; k < 40; ++k) {
    const int i = backwards ? 39 - k : k;
    put(dir / ((i % 2 ? "deep/f" : "f") + std::to_string(backwards ? 100 + i : i) + ".txt"), str("file number ", i, std::string(40, 'x')));
  }
  put(dir / "copy.txt", str("file number 7", std::string(40, 'x')));
  put(dir / "binary.txt", std::string("a\0b", 3));
  put(dir / "empty.txt", "");
  put(dir / "other.md", "not wanted");
  put(dir / "deep/skip/left_out.txt", "in an excluded folder");
}
CorpusOptions options() { return {.extensions = {".txt"}, .exclude = {"skip"}, .validation_fraction = 0.2, .min_validation_bytes = 100, .seed = 3}; }

std::vector<std::string> contents(const std::vector<Document>& documents) {
  std::vector<std::string> out;
  for (const auto& d : documents) out.push_back(d.bytes);
  return out;
}
std::vector<Document> letters(std::int64_t bytes) {
  std::vector<Document> out;
  for (std::int64_t d = 0; d < 3; ++d) {
    std::string s;
    for (std::int64_t i = 0; i < bytes; ++i) s += static_cast<char>(1 + (d * bytes + i) % 250);
    out.push_back({str("d", d), s, 0});
  }
  return out;
}
std::string row_of(const Batch& b, std::int64_t r) {
  std::string s;
  for (std::int64_t t = 0; t < b.ids.size(1); ++t) s += static_cast<char>(b.ids.at({r, t}));
  return s;
}

}  // namespace

TEST_CASE("equal files count once, binary and empty ones not at all, and no document is in both parts") {
  const TempDir dir;
  fill(dir);
  const Corpus c = load_corpus({dir.path()}, options());
  CHECK(c.files == 43);
  CHECK(c.duplicates == 1);
  CHECK(c.skipped == 2);
  CHECK(c.train.size() == 32);
  CHECK(c.validation.size() == 8);
  std::set<std::string> all;
  for (const auto& d : c.train) all.insert(d.bytes);
  for (const auto& d : c.validation) CHECK(all.insert(d.bytes).second);
  CHECK(all.size() == 40);
}

TEST_CASE("the split follows from contents and seed, not from names or the order of a folder") {
  const TempDir a, b;
  fill(a);
  fill(b, true);
  const Corpus x = load_corpus({a.path()}, options()), y = load_corpus({b.path()}, options());
  CHECK(contents(x.train) == contents(y.train));
  CHECK(contents(x.validation) == contents(y.validation));
  CorpusOptions other = options();
  other.seed = 4;
  CHECK(contents(load_corpus({a.path()}, other).validation) != contents(x.validation));
}

TEST_CASE("a corpus without enough text is refused with the numbers") {
  const TempDir dir;
  put(dir / "one.txt", "alone");
  CHECK_THROWS_WITH_AS(load_corpus({dir.path()}), doctest::Contains("got files=1 duplicates=0 skipped=0"), Error);
  CHECK_THROWS_WITH_AS(load_corpus({dir / "absent"}), doctest::Contains("got path="), Error);
  CHECK_THROWS_AS(load_corpus({}), Error);
  put(dir / "two.txt", "together");
  CHECK_THROWS_WITH_AS(load_corpus({dir.path()}), doctest::Contains("min_validation_bytes"), Error);
}

TEST_CASE("an epoch draws every window once, in an order of its own; a batch can be made without those before it") {
  const auto documents = letters(80);  // 3 * 81 bytes: 242 tokens with a successor, 24 windows of 10
  ByteLoader loader(documents, {.batch_size = 4, .seq_len = 10, .seed = 5});
  REQUIRE(loader.batches_per_epoch() == 6);
  std::vector<std::vector<std::string>> epochs(2);
  for (std::int64_t i = 0; i < 12; ++i) {
    const Batch b = loader.batch(i);
    ByteLoader fresh(documents, {.batch_size = 4, .seq_len = 10, .seed = 5});
    const Batch alone = fresh.batch(i);
    CHECK(test::bitwise_equal(b.ids, alone.ids));
    CHECK(test::bitwise_equal(b.labels, alone.labels));
    CHECK_FALSE(b.segments.defined());
    for (std::int64_t r = 0; r < 4; ++r) {
      epochs[static_cast<std::size_t>(i / 6)].push_back(row_of(b, r));
      for (std::int64_t t = 0; t + 1 < 10; ++t) CHECK(b.labels.at({r, t}) == b.ids.at({r, t + 1}));
    }
  }
  for (const auto& epoch : epochs) CHECK(std::set<std::string>(epoch.begin(), epoch.end()).size() == 24);
  CHECK(epochs[0] != epochs[1]);
}

TEST_CASE("without shuffling the windows come in order and cover the text") {
  const auto documents = letters(80);
  ByteLoader loader(documents, {.batch_size = 2, .seq_len = 10, .shuffle = false});
  std::string text, want;
  for (const auto& d : documents) want += d.bytes + '\0';
  for (std::int64_t i = 0; i < 12; ++i) {
    const Batch b = loader.batch(i);
    text += row_of(b, 0) + row_of(b, 1);
  }
  CHECK(text == want.substr(0, 240));
  CHECK_THROWS_AS(loader.batch(-1), Error);
  CHECK_THROWS_WITH_AS((ByteLoader(documents, {.batch_size = 25, .seq_len = 10})), doctest::Contains("got bytes=243 batch_size=25 seq_len=10"), Error);
}

TEST_CASE("segments change where a document starts, and nowhere else") {
  const auto documents = letters(7);  // with their ends 8 bytes each
  ByteLoader loader(documents, {.batch_size = 1, .seq_len = 20, .shuffle = false, .segments = true});
  const Batch b = loader.batch(0);
  for (std::int64_t t = 0; t < 20; ++t) CHECK(b.segments.at({0, t}) - b.segments.at({0, 0}) == t / 8);
}

TEST_CASE("a log goes on where a resumed run starts again, and loses a line cut short") {
  const TempDir dir;
  for (const std::string name : {"log.jsonl", "log.csv"}) {
    CAPTURE(name);
    const std::string path = dir / name;
    const auto line = [](MetricLog& log, std::int64_t step) { log.write(step, {{"loss", 0.1 * static_cast<double>(step)}, {"a/b", -1.0}}); };
    {
      MetricLog log(path);
      for (std::int64_t i = 0; i < 12; ++i) line(log, i);
    }
    const std::string whole = get(path);
    put(path, whole.substr(0, whole.size() - 3));  // killed while writing step 11
    {
      MetricLog log(path, 5);
      for (std::int64_t i = 5; i < 12; ++i) line(log, i);
    }
    CHECK(get(path) == whole);
    MetricLog anew(path);
    CHECK(get(path).empty());
  }
}

TEST_CASE("log lines are JSON and tables whose numbers read back as they were") {
  const TempDir dir;
  {
    MetricLog json(dir / "l.jsonl"), table(dir / "l.csv");
    const Metrics m{{"x", 1.0 / 3.0}, {"n", std::numeric_limits<double>::quiet_NaN()}, {"i", 4.0}};
    json.write(3, m);
    table.write(3, m);
    CHECK_THROWS_WITH_AS(table.write(4, {{"y", 1.0}}), doctest::Contains("got step,y for a table of step,x,n,i"), Error);
    CHECK_THROWS_AS(json.write(4, {{"a\"b", 1.0}}), Error);
    CHECK_THROWS_AS(json.write(4, {{"step", 1.0}}), Error);
  }
  const auto j = io::parse_json(get(dir / "l.jsonl"), "line");
  CHECK(j["step"] == 3);
  CHECK(j["x"].get<double>() == 1.0 / 3.0);
  CHECK(j["n"].is_null());
  CHECK(get(dir / "l.csv") == "step,x,n,i\n3,0.33333333333333331,nan,4\n");
  CHECK_THROWS_AS(MetricLog(dir / "no/such/folder.csv"), Error);
}
