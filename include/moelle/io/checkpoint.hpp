// moelle/io/checkpoint.hpp -- training checkpoints that survive being killed at any moment.
//
//   root/step-000000000100/   model.safetensors  optimizer.safetensors ...  state.json  config.json  manifest.json
//   root/latest               the name of the last one
//
// Saving: everything goes to step-N.tmp, each file is synced, the manifest (size and checksum of every file, and of itself)
// comes last, the directory is renamed in one step, its parent synced; only then are older ones removed. Loading: the
// newest directory of which every byte is as the manifest says; if that is not the newest there is, `skipped` says why.
#pragma once
#include <sys/file.h>

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <moelle/core/error.hpp>
#include <moelle/io/file.hpp>
#include <moelle/io/json.hpp>
#include <moelle/io/tensor_file.hpp>

namespace moelle::io {

struct Checkpoint {
  std::int64_t step = 0;
  std::map<std::string, TensorMap> parts = {};  // "model" becomes model.safetensors; names of a-z, 0-9 and _
  std::string state = "{}";                     // JSON: counters, seeds, data cursor
  std::string config = {};                      // the text of config.json, or empty
};

struct SaveOptions {
  int keep = 2;  // checkpoints that stay, this one included; at least 2
};

struct LoadedCheckpoint {
  Checkpoint checkpoint;
  std::string path;
  std::vector<std::string> skipped;  // newer ones that are damaged, and how
};

struct CheckpointEntry {
  std::int64_t step;
  std::string path;
};

namespace detail {

namespace fs = std::filesystem;
inline constexpr std::int64_t kManifestVersion = 1;
inline constexpr std::string_view kZeros = "0000000000000000";

inline std::string step_name(std::int64_t step) {
  const std::string digits = std::to_string(step);
  return "step-" + std::string(12 - std::min<std::size_t>(12, digits.size()), '0') + digits;
}
inline std::optional<std::int64_t> step_of(const std::string& directory) {
  if (!directory.starts_with("step-")) return std::nullopt;
  const std::string digits = directory.substr(5);
  if (digits.empty() || digits.size() > 18 || digits.find_first_not_of("0123456789") != std::string::npos) return std::nullopt;
  return std::stoll(digits);
}

// The manifest's text; its own checksum is taken with zeros in its place.
inline std::string manifest_text(std::int64_t step, const std::map<std::string, FileDigest>& files) {
  Json j{{"format", "moelle checkpoint"}, {"version", kManifestVersion}, {"step", step}, {"files", Json::object()}, {"manifest_xxh64", kZeros}};
  for (const auto& [name, d] : files) j["files"][name] = Json{{"bytes", d.bytes}, {"xxh64", to_hex(d.xxh64)}};
  std::string text = j.dump(2) + "\n";
  const std::string sum = to_hex(xxh64(text.data(), text.size()));
  return text.replace(text.rfind(kZeros), kZeros.size(), sum);
}

inline std::map<std::string, FileDigest> parse_manifest(std::string text, std::int64_t step) {
  const Json j = parse_json(text, "manifest.json");
  const std::string sum = as_string(member(j, "manifest_xxh64", "manifest.json"), "manifest_xxh64");
  const std::uint64_t expected = from_hex(sum);
  const std::size_t at = text.rfind(sum);
  if (at != std::string::npos) text.replace(at, sum.size(), kZeros);
  MOELLE_REQUIRE("checkpoint", at != std::string::npos && xxh64(text.data(), text.size()) == expected,
                 "manifest.json must have its own checksum; got another");
  const auto version = as_int(member(j, "version", "manifest.json"), "version");
  MOELLE_REQUIRE("checkpoint", version == kManifestVersion, str("version must be ", kManifestVersion, ", a later one needs a later program; got version=", version));
  const auto written = as_int(member(j, "step", "manifest.json"), "step");
  MOELLE_REQUIRE("checkpoint", written == step, str("the manifest's step must be the directory's; got step=", written, " directory=", step));
  std::map<std::string, FileDigest> files;
  for (const auto& [name, f] : as_object(member(j, "files", "manifest.json"), "files").items()) {
    MOELLE_REQUIRE("checkpoint", !name.empty() && name[0] != '.' && name.find_first_of(std::string_view("/\0", 2)) == std::string::npos,
                   "files must be names within the checkpoint; got file=" + in_quotes(name));
    files[name] = {static_cast<std::uint64_t>(as_int(member(f, "bytes", name), "bytes")), from_hex(as_string(member(f, "xxh64", name), "xxh64"))};
  }
  return files;
}

// Renamed first, so that a checkpoint that is half gone never looks like a damaged one.
inline void remove_checkpoint(const std::string& path) {
  std::error_code ignored;
  fs::rename(path, path + ".old.tmp", ignored);
  fs::remove_all(path + ".old.tmp", ignored);
}
inline void remove_unfinished(const std::string& path) {
  std::error_code ignored;
  fs::remove_all(path, ignored);
}

// Gives the finished directory its name; if that is taken, both change places in one step.
inline void put_in_place(const std::string& from, const std::string& to) {
  if (::rename(from.c_str(), to.c_str()) == 0) return;
  if (errno != ENOTEMPTY && errno != EEXIST) file_error("checkpoint must be renamed into place", to, errno);
#if defined(RENAME_EXCHANGE)
  if (::renameat2(AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str(), RENAME_EXCHANGE) == 0) return remove_unfinished(from);
#endif
  remove_checkpoint(to);
  if (::rename(from.c_str(), to.c_str()) != 0) file_error("checkpoint must be renamed into place", to, errno);
}

// Removes what killed processes left.
inline void sweep(const std::string& root) {
  std::error_code error;
  for (fs::directory_iterator it(root, error), end; !error && it != end; it.increment(error)) {
    const std::string name = it->path().filename().string();
    const bool unfinished = (name.starts_with("step-") && name.ends_with(".tmp")) || name.starts_with("latest.tmp-");
    if (unfinished) remove_unfinished(it->path().string());
  }
}

// Held while saving; released by the system if the process dies.
inline Descriptor lock_directory(const std::string& root) {
  const std::string path = root + "/.lock";
  Descriptor d(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644));
  if (d.get() < 0) file_error("checkpoint directory must be writable", root, errno);
  if (::flock(d.get(), LOCK_EX | LOCK_NB) != 0) file_error("one process at a time must save into a directory", root, errno);
  return d;
}

inline void check(const Checkpoint& c, const SaveOptions& o) {
  MOELLE_REQUIRE("checkpoint", c.step >= 0 && c.step < 1'000'000'000'000, str("step must be in [0, 10^12); got step=", c.step));
  MOELLE_REQUIRE("checkpoint", o.keep >= 2, str("keep must be at least 2: the newest may turn out damaged; got keep=", o.keep));
  for (const auto& [part, tensors] : c.parts)
    MOELLE_REQUIRE("checkpoint", !part.empty() && part.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789_") == std::string::npos,
                   "parts must be named with a-z, 0-9 and _; got part=" + in_quotes(part));
  parse_json(c.state, "state");
  if (!c.config.empty()) parse_json(c.config, "config");
}

inline void write_files(const Checkpoint& c, const std::string& directory) {
  std::map<std::string, FileDigest> files;
  const auto text = [&](const char* name, const std::string& content) {
    atomic_write_file(directory + "/" + name, content);
    files[name] = {content.size(), xxh64(content.data(), content.size())};
  };
  for (const auto& [part, tensors] : c.parts) {
    const std::string file = part + ".safetensors";
    files[file] = write_tensors(directory + "/" + file, tensors, {{"format", "pt"}});
  }
  text("state.json", c.state);
  if (!c.config.empty()) text("config.json", c.config);
  atomic_write_file(directory + "/manifest.json", manifest_text(c.step, files));
}

}  // namespace detail

// All checkpoints below `root` by their names, oldest first; nothing is read.
inline std::vector<CheckpointEntry> list_checkpoints(const std::string& root) {
  std::vector<CheckpointEntry> found;
  std::error_code error;
  for (std::filesystem::directory_iterator it(root, error), end; !error && it != end; it.increment(error)) {
    std::error_code gone;
    const auto step = detail::step_of(it->path().filename().string());
    if (step && it->is_directory(gone)) found.push_back({*step, it->path().string()});
  }
  std::sort(found.begin(), found.end(), [](const auto& a, const auto& b) { return a.step < b.step; });
  return found;
}

// Returns the directory. After an Error, whatever was there before is still there and training can go on.
inline std::string save_checkpoint(const std::string& root, const Checkpoint& c, const SaveOptions& o = {}) {
  detail::check(c, o);
  std::error_code error;
  std::filesystem::create_directories(root, error);
  if (error) file_error("checkpoint directory must be writable", root, error.value());
  const Descriptor lock = detail::lock_directory(root);
  detail::sweep(root);
  const std::string name = detail::step_name(c.step), path = root + "/" + name, temporary = path + ".tmp";
  try {
    if (::mkdir(temporary.c_str(), 0755) != 0) file_error("checkpoint directory must be writable", temporary, errno);
    detail::write_files(c, temporary);
    detail::put_in_place(temporary, path);
    sync_directory(root);
    atomic_write_file(root + "/latest", name + "\n");
  } catch (...) {
    detail::remove_unfinished(temporary);
    throw;
  }
  std::vector<CheckpointEntry> older = list_checkpoints(root);
  std::erase_if(older, [&](const auto& e) { return e.step >= c.step; });
  for (std::size_t i = 0; i + static_cast<std::size_t>(o.keep) <= older.size(); ++i) detail::remove_checkpoint(older[i].path);
  return path;
}

// One checkpoint; Error unless every byte of it is as it was written. Nothing is handed out before all is checked.
inline Checkpoint load_checkpoint_directory(const std::string& path) {
  const auto step = detail::step_of(std::filesystem::path(path).filename().string());
  MOELLE_REQUIRE("checkpoint", step, "path must name a directory step-N; got path=" + in_quotes(path, 300));
  Checkpoint c;
  c.step = *step;
  c.state.clear();
  std::map<std::string, InputFile> open;
  for (const auto& [name, digest] : detail::parse_manifest(read_file(path + "/manifest.json"), *step)) {
    InputFile f = InputFile::open(path + "/" + name);
    MOELLE_REQUIRE("checkpoint", f.size() == digest.bytes,
                   str("files must have the manifest's size; got file=", in_quotes(name), " bytes=", f.size(), " manifest=", digest.bytes));
    MOELLE_REQUIRE("checkpoint", f.checksum() == digest.xxh64, "files must have the manifest's checksum; got another for file=" + in_quotes(name));
    open.emplace(name, std::move(f));
  }
  for (auto& [name, f] : open) {
    if (name == "state.json") c.state = f.read_all(kMaxJsonBytes);
    else if (name == "config.json") c.config = f.read_all(kMaxJsonBytes);
    else if (name.ends_with(".safetensors")) c.parts[name.substr(0, name.size() - 12)] = read_tensors(SafetensorsFile::open(std::move(f)));
  }
  parse_json(c.state, "state.json");
  return c;
}

// The newest checkpoint that is whole; Error if there is none.
inline LoadedCheckpoint load_checkpoint(const std::string& root) {
  LoadedCheckpoint r;
  auto all = list_checkpoints(root);
  for (auto it = all.rbegin(); it != all.rend(); ++it) {
    try {
      r.checkpoint = load_checkpoint_directory(it->path);
      r.path = it->path;
      return r;
    } catch (const Error& e) {
      r.skipped.push_back(it->path + ": " + e.what());
    }
  }
  std::string why;
  for (const auto& s : r.skipped) why += "; " + s;
  moelle::detail::fail("checkpoint", str("directory must hold a whole checkpoint; got path=", in_quotes(root, 300), " with ", r.skipped.size(), " damaged") + why);
}

}  // namespace moelle::io
