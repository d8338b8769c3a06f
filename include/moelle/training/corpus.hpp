// moelle/training/corpus.hpp -- bytes of files and folders, split into training and validation by file.
//
// Which file goes where, and every order, follow from the file contents and the seed alone, not from the order in which a
// file system lists them. Files with equal contents count once; files with a zero byte are taken for binary and left out.
#pragma once
#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <set>
#include <string>
#include <vector>

#include <moelle/core/error.hpp>
#include <moelle/core/random.hpp>

namespace moelle::training {

struct Document {
  std::string name;
  std::string bytes;
  std::uint64_t hash = 0;
};

struct CorpusOptions {
  std::vector<std::string> extensions;                // e.g. ".py"; empty: all
  std::vector<std::string> exclude;                   // names of folders to leave out, e.g. "site-packages"
  double validation_fraction = 0.05;                  // of the files
  std::int64_t min_validation_bytes = 256 * 1024;     // more files are moved until reached
  std::int64_t max_file_bytes = std::int64_t{1} << 24;  // larger files are left out: data tables, not text
  std::uint64_t seed = 0;
};

struct Corpus {
  std::vector<Document> train, validation;  // each in order of hash
  std::int64_t train_bytes = 0, validation_bytes = 0;
  std::int64_t files = 0, duplicates = 0, skipped = 0;  // seen; equal to an earlier one; binary, unreadable, empty or too large
};

namespace detail {

inline bool wanted(const std::filesystem::path& p, const CorpusOptions& o) {
  return o.extensions.empty() || std::find(o.extensions.begin(), o.extensions.end(), p.extension().string()) != o.extensions.end();
}

inline void collect(const std::string& path, const CorpusOptions& o, std::vector<std::filesystem::path>& out) {
  namespace fs = std::filesystem;
  std::error_code error;
  const fs::file_status status = fs::status(path, error);
  MOELLE_REQUIRE("corpus", !error && (fs::is_regular_file(status) || fs::is_directory(status)),
                 str("a path must be a readable file or folder; got path=", path));
  if (fs::is_regular_file(status)) {
    out.emplace_back(path);
    return;
  }
  for (fs::recursive_directory_iterator it(path, fs::directory_options::skip_permission_denied, error), end; !error && it != end; it.increment(error)) {
    const auto name = it->path().filename().string();
    if (it->is_directory(error) && std::find(o.exclude.begin(), o.exclude.end(), name) != o.exclude.end()) it.disable_recursion_pending();
    if (it->is_regular_file(error) && wanted(it->path(), o)) out.push_back(it->path());
  }
}

}  // namespace detail

inline Corpus load_corpus(const std::vector<std::string>& paths, const CorpusOptions& options = {}) {
  MOELLE_REQUIRE("corpus", !paths.empty(), "at least one path must be given; got paths=[]");
  MOELLE_REQUIRE("corpus", options.validation_fraction > 0 && options.validation_fraction < 1,
                 str("validation_fraction must be in (0, 1); got validation_fraction=", options.validation_fraction));
  std::vector<std::filesystem::path> files;
  for (const auto& p : paths) detail::collect(p, options, files);

  Corpus corpus;
  std::vector<Document> documents;
  std::set<std::string> seen;
  for (const auto& path : files) {
    ++corpus.files;
    std::error_code error;
    const auto size = std::filesystem::file_size(path, error);
    std::ifstream in(path, std::ios::binary);
    if (error || !in || size == 0 || static_cast<std::int64_t>(size) > options.max_file_bytes) {
      ++corpus.skipped;
      continue;
    }
    std::string bytes{std::istreambuf_iterator<char>(in), {}};
    if (bytes.find('\0') != std::string::npos) {
      ++corpus.skipped;
    } else if (!seen.insert(bytes).second) {
      ++corpus.duplicates;
    } else {
      const std::uint64_t hash = random::hash_name(bytes) ^ (options.seed * 0x9E3779B97F4A7C15u);
      documents.push_back({path.string(), std::move(bytes), hash});
    }
  }
  std::sort(documents.begin(), documents.end(), [](const Document& a, const Document& b) {
    return a.hash != b.hash ? a.hash < b.hash : a.bytes < b.bytes;
  });
  const auto wanted_files = static_cast<std::size_t>(static_cast<double>(documents.size()) * options.validation_fraction);
  for (std::size_t i = 0; i < documents.size(); ++i) {
    const bool last = i + 1 == documents.size();
    const bool validation = !last && (i < wanted_files || corpus.validation_bytes < options.min_validation_bytes);
    auto& total = validation ? corpus.validation_bytes : corpus.train_bytes;
    total += static_cast<std::int64_t>(documents[i].bytes.size());
    (validation ? corpus.validation : corpus.train).push_back(std::move(documents[i]));
  }
  MOELLE_REQUIRE("corpus", corpus.train_bytes > 0 && corpus.validation_bytes > 0,
                 str("paths must hold at least two different text files; got files=", corpus.files, " duplicates=", corpus.duplicates, " skipped=", corpus.skipped));
  MOELLE_REQUIRE("corpus", corpus.validation_bytes >= options.min_validation_bytes,
                 str("validation text must have ", options.min_validation_bytes, " bytes (min_validation_bytes); got validation_bytes=",
                     corpus.validation_bytes, " train_bytes=", corpus.train_bytes));
  return corpus;
}

}  // namespace moelle::training
