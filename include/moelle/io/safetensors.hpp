// moelle/io/safetensors.hpp -- reading and writing safetensors files, as bytes. Tensors: io/tensor_file.hpp.
#pragma once
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <moelle/core/error.hpp>
#include <moelle/io/file.hpp>
#include <moelle/io/safetensors_header.hpp>
#include <moelle/io/utf8.hpp>

namespace moelle::io {

// An open file: the header is read and checked completely, tensors are read when asked for, from the same descriptor.
class SafetensorsFile {
 public:
  static SafetensorsFile open(const std::string& path, const HeaderLimits& limits = {}) { return open(InputFile::open(path), limits); }
  static SafetensorsFile open(InputFile file, const HeaderLimits& limits = {}) {
    MOELLE_REQUIRE("safetensors", file.size() >= 8, str("file must have at least 8 bytes; got bytes=", file.size(), " path=", in_quotes(file.path(), 300)));
    unsigned char raw[8];
    file.read(raw, 0, sizeof raw);
    std::uint64_t length = 0;
    for (int i = 7; i >= 0; --i) length = length << 8 | raw[i];
    MOELLE_REQUIRE("safetensors", length <= limits.header_bytes && length <= file.size() - 8,
                   str("header length must be at most ", limits.header_bytes, " and lie inside the file; got length=", length,
                       " file bytes=", file.size(), " path=", in_quotes(file.path(), 300)));
    std::string text(static_cast<std::size_t>(length), '\0');
    file.read(text.data(), 8, text.size());
    SafetensorsFile f;
    f.data_at_ = 8 + length;
    f.header_ = SafetensorsHeader::parse(std::move(text), file.size() - f.data_at_, file.path(), limits);
    f.file_ = std::move(file);
    return f;
  }

  const std::string& path() const { return file_.path(); }
  const InputFile& file() const { return file_; }
  std::size_t size() const { return header_.size(); }
  TensorInfo info(std::size_t i) const { return header_.info(i); }
  TensorInfo info(std::string_view name) const { return header_.info(index(name)); }
  bool contains(std::string_view name) const { return header_.find(name).has_value(); }
  std::vector<std::string> names() const {
    std::vector<std::string> all;
    for (std::size_t i = 0; i < size(); ++i) all.emplace_back(header_.name(i));
    return all;
  }
  const std::map<std::string, std::string>& metadata() const { return header_.metadata(); }

  // The bytes of one tensor; `to` must have exactly its size. No alignment is needed or promised.
  void read_bytes(std::string_view name, std::span<std::byte> to) const { read_bytes(info(name), to); }
  void read_bytes(const TensorInfo& t, std::span<std::byte> to) const {
    MOELLE_REQUIRE("safetensors", to.size() == t.bytes(),
                   str("buffer must have the tensor's size; got bytes=", to.size(), " tensor=", in_quotes(t.name), " bytes=", t.bytes()));
    file_.read(to.data(), data_at_ + t.begin, to.size());
  }

 private:
  std::size_t index(std::string_view name) const {
    const auto i = header_.find(name);
    if (i) return *i;
    std::vector<std::string_view> some;  // looking for the nearest of a million names would take minutes
    for (std::size_t j = 0; j < std::min<std::size_t>(size(), 2000); ++j) some.push_back(header_.name(j));
    moelle::detail::fail("safetensors", "file must contain the tensor; got tensor=" + in_quotes(name) + " path=" + in_quotes(path(), 300) +
                                            did_you_mean(name, some));
  }

  InputFile file_;
  SafetensorsHeader header_;
  std::uint64_t data_at_ = 0;
};

// One tensor to be written: contiguous, row-major.
struct TensorBytes {
  std::string name;
  FileType dtype;
  std::vector<std::int64_t> shape;
  const void* data;
};

struct FileDigest {
  std::uint64_t bytes = 0;
  std::uint64_t xxh64 = 0;
  bool operator==(const FileDigest&) const = default;
};

namespace detail {

inline std::string json_string(std::string_view s) {
  std::string out = "\"";
  for (const char c : s) {
    const auto u = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') out += '\\';
    if (u < 0x20) out += std::string("\\u00") + "0123456789abcdef"[u >> 4] + "0123456789abcdef"[u & 15];
    else out += c;
  }
  return out + '"';
}

inline std::uint64_t size_in_bytes(const TensorBytes& t) {
  std::int64_t n = bits(t.dtype);
  for (const std::int64_t d : t.shape) {
    MOELLE_REQUIRE("safetensors", d >= 0 && !__builtin_mul_overflow(n, d, &n),
                   str("sizes must not be negative and must fit 63 bits; got tensor=", in_quotes(t.name), " size=", d));
  }
  MOELLE_REQUIRE("safetensors", n % 8 == 0, "tensors must fill whole bytes; got tensor=" + in_quotes(t.name));
  return static_cast<std::uint64_t>(n / 8);
}

inline void check_name(const TensorBytes& t) {
  bool plain = !t.name.empty() && t.name.size() <= HeaderLimits{}.name_bytes && is_utf8(t.name) && t.name != "__metadata__";
  for (const char c : t.name) plain = plain && static_cast<unsigned char>(c) >= 0x20 && c != 0x7f;
  MOELLE_REQUIRE("safetensors", plain && t.shape.size() <= HeaderLimits{}.rank,
                 str("names must be UTF-8 of 1 to 4096 bytes without control characters, ranks at most 8; got tensor=", in_quotes(t.name), " rank=", t.shape.size()));
}

}  // namespace detail

// Writes all of it or nothing, see OutputFile. As in the reference writer, wide elements come first, then names in order,
// and the data starts at a multiple of 8, so every tensor is aligned. Returns size and checksum of the file.
inline FileDigest write_safetensors(const std::string& path, std::vector<TensorBytes> tensors, const std::map<std::string, std::string>& metadata = {}) {
  std::sort(tensors.begin(), tensors.end(), [](const TensorBytes& a, const TensorBytes& b) {
    return bits(a.dtype) != bits(b.dtype) ? bits(a.dtype) > bits(b.dtype) : a.name < b.name;
  });
  std::vector<std::string_view> names;
  for (const TensorBytes& t : tensors) names.push_back(t.name);
  std::sort(names.begin(), names.end());
  const auto twice = std::adjacent_find(names.begin(), names.end());
  MOELLE_REQUIRE("safetensors", twice == names.end(), "each tensor must be named once; got tensor=" + in_quotes(*twice) + " twice");
  std::string header = "{";
  if (!metadata.empty()) {
    header += "\"__metadata__\":{";
    for (const auto& [key, value] : metadata) {
      MOELLE_REQUIRE("safetensors", is_utf8(key) && is_utf8(value), "metadata must be UTF-8; got key=" + in_quotes(key));
      header += (header.back() == '{' ? "" : ",") + detail::json_string(key) + ":" + detail::json_string(value);
    }
    header += "}";
  }
  std::uint64_t at = 0;
  for (const TensorBytes& t : tensors) {
    detail::check_name(t);
    std::uint64_t end = 0;
    MOELLE_REQUIRE("safetensors", !__builtin_add_overflow(at, detail::size_in_bytes(t), &end), "sizes must fit 64 bits; got tensor=" + in_quotes(t.name));
    header += (header.size() > 1 ? "," : "") + detail::json_string(t.name) + ":{\"dtype\":\"" + std::string(name(t.dtype)) + "\",\"shape\":[";
    for (std::size_t i = 0; i < t.shape.size(); ++i) header += (i > 0 ? "," : "") + std::to_string(t.shape[i]);
    header += "],\"data_offsets\":[" + std::to_string(at) + "," + std::to_string(end) + "]}";
    at = end;
  }
  header += "}";
  header.append((8 - header.size() % 8) % 8, ' ');
  MOELLE_REQUIRE("safetensors", header.size() <= HeaderLimits{}.header_bytes, str("header must be at most ", HeaderLimits{}.header_bytes, " bytes; got bytes=", header.size()));
  OutputFile out(path);
  unsigned char length[8];
  for (std::size_t i = 0; i < 8; ++i) length[i] = static_cast<unsigned char>(header.size() >> (8 * i));
  out.write(length, sizeof length);
  out.write(header);
  for (const TensorBytes& t : tensors) out.write(t.data, static_cast<std::size_t>(detail::size_in_bytes(t)));
  out.commit();
  return {out.size(), out.checksum()};
}

}  // namespace moelle::io
