// moelle/io/pretrained.hpp -- model directories as Hugging Face lays them out: config.json with model.safetensors, or with
// model.safetensors.index.json and its shards.
#pragma once
#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <moelle/core/error.hpp>
#include <moelle/io/file.hpp>
#include <moelle/io/json.hpp>
#include <moelle/io/tensor_file.hpp>
#include <moelle/models/config_json.hpp>

namespace moelle::io {

// Shard names come out of a file: by default one that is a symbolic link is refused. Hugging Face's download cache consists
// of links, so it is opened with `follow`.
enum class ShardLinks : std::uint8_t { refuse, follow };

class PretrainedDirectory {
 public:
  static PretrainedDirectory open(const std::string& path, ShardLinks links = ShardLinks::refuse) {
    PretrainedDirectory d;
    d.path_ = path;
    const Descriptor directory(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (directory.get() < 0) file_error("path must be a directory that can be read", path, errno);
    d.config_ = models::Config::from_json(InputFile::open("config.json", directory.get()).read_all(kMaxJsonBytes));
    const std::string index = "model.safetensors.index.json";
    if (::faccessat(directory.get(), index.c_str(), F_OK, 0) == 0) {
      d.open_shards(InputFile::open(index, directory.get()).read_all(kMaxJsonBytes), directory.get(), links);
    } else {
      d.files_.push_back(SafetensorsFile::open(InputFile::open("model.safetensors", directory.get())));
      for (const std::string& name : d.files_[0].names()) d.where_[name] = 0;
    }
    return d;
  }

  const models::Config& config() const { return config_; }
  std::vector<std::string> names() const {
    std::vector<std::string> all;
    for (const auto& [name, file] : where_) all.push_back(name);
    return all;
  }
  bool contains(const std::string& name) const { return where_.count(name) > 0; }
  TensorInfo info(const std::string& name) const { return file_of(name).info(name); }
  template <class T>
  Tensor<T> read(const std::string& name, Convert convert = Convert::none) const {
    return read_tensor<T>(file_of(name), name, convert);
  }
  AnyTensor read_any(const std::string& name) const { return io::read_any(file_of(name), info(name)); }

 private:
  static void check_shard_name(const std::string& name) {
    const bool plain = !name.empty() && name[0] != '.' && name.size() <= 255 && name.ends_with(".safetensors") &&
                       std::all_of(name.begin(), name.end(), [](char c) { return static_cast<unsigned char>(c) > 0x20 && c != '/' && c != '\\' && c != 0x7f; });
    MOELLE_REQUIRE("pretrained", plain, "shards must be names of safetensors files in the same directory; got shard=" + in_quotes(name));
  }

  // Index and shards must agree completely: each tensor in the one shard that the index names.
  void open_shards(const std::string& text, int directory, ShardLinks links) {
    const Json j = parse_json(text, "model.safetensors.index.json");
    if (const auto m = j.find("metadata"); m != j.end() && as_object(*m, "metadata").contains("total_size"))
      MOELLE_REQUIRE("pretrained", as_int(m->at("total_size"), "total_size") >= 0, "total_size must not be negative");
    std::map<std::string, std::size_t> opened;
    for (const auto& [name, shard] : as_object(member(j, "weight_map", "model.safetensors.index.json"), "weight_map").items()) {
      const std::string file = as_string(shard, "weight_map");
      auto it = opened.find(file);
      if (it == opened.end()) {
        check_shard_name(file);
        it = opened.emplace(file, files_.size()).first;
        files_.push_back(SafetensorsFile::open(InputFile::open(file, directory, links == ShardLinks::refuse ? O_NOFOLLOW : 0)));
      }
      MOELLE_REQUIRE("pretrained", files_[it->second].contains(name),
                     "shards must contain what the index says; got tensor=" + in_quotes(name) + " missing in shard=" + in_quotes(file));
      where_[name] = it->second;
    }
    for (std::size_t i = 0; i < files_.size(); ++i)
      for (const std::string& name : files_[i].names())
        MOELLE_REQUIRE("pretrained", where_.count(name) > 0 && where_[name] == i,
                       "each tensor must be in the shard that the index names; got tensor=" + in_quotes(name) + " also in shard=" + in_quotes(files_[i].path()));
  }

  const SafetensorsFile& file_of(const std::string& name) const {
    const auto it = where_.find(name);
    if (it != where_.end()) return files_[it->second];
    std::vector<std::string_view> some;
    for (auto i = where_.begin(); i != where_.end() && some.size() < 2000; ++i) some.push_back(i->first);
    moelle::detail::fail("pretrained", "tensor must be in the directory; got tensor=" + in_quotes(name) + " path=" + in_quotes(path_, 300) + did_you_mean(name, some));
  }

  std::string path_;
  models::Config config_;
  std::vector<SafetensorsFile> files_;
  std::map<std::string, std::size_t> where_;
};

// Writes config.json and model.safetensors; each replaces an older one in a single step, the weights first.
inline void save_pretrained(const std::string& path, const models::Config& config, const TensorMap& tensors) {
  std::error_code error;
  std::filesystem::create_directories(path, error);
  if (error) file_error("directory must be writable", path, error.value());
  const std::string text = config.to_json();
  write_tensors(path + "/model.safetensors", tensors, {{"format", "pt"}});
  atomic_write_file(path + "/config.json", text);
}

}  // namespace moelle::io
