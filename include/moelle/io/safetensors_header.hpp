// moelle/io/safetensors_header.hpp -- the header of a safetensors file, read strictly from hostile bytes.
//
// Format: 8 bytes of little-endian length N, N bytes of JSON {name: {"dtype", "shape", "data_offsets": [begin, end]}, ...,
// "__metadata__": {string: string}}, then the data; offsets count from its first byte. Source: the format's README and
// its reference implementation; stricter here: no key twice, names of 1 to 4,096 bytes without control characters, rank <= 8.
//
// Written by hand because a JSON library keeps the last of two equal names and needs many times the header's size: here
// memory stays below twice the header, time is n log n, nothing recurses, and sizes are checked before they are used.
#pragma once
#include <algorithm>
#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <moelle/core/error.hpp>
#include <moelle/io/suggest.hpp>
#include <moelle/io/utf8.hpp>

namespace moelle::io {

// All element types of the format, most of which exist only in files.
enum class FileType : std::uint8_t {
  BOOL, F4, F6_E2M3, F6_E3M2, U8, I8, F8_E5M2, F8_E4M3, F8_E8M0, F8_E4M3FNUZ, F8_E5M2FNUZ, I16, U16, F16, BF16, I32, U32, F32, C64, F64, I64, U64
};
struct FileTypeInfo {
  std::string_view name;
  std::int64_t bits;
};
inline constexpr std::array<FileTypeInfo, 22> kFileTypes{{{"BOOL", 8}, {"F4", 4}, {"F6_E2M3", 6}, {"F6_E3M2", 6}, {"U8", 8}, {"I8", 8},
    {"F8_E5M2", 8}, {"F8_E4M3", 8}, {"F8_E8M0", 8}, {"F8_E4M3FNUZ", 8}, {"F8_E5M2FNUZ", 8}, {"I16", 16}, {"U16", 16}, {"F16", 16},
    {"BF16", 16}, {"I32", 32}, {"U32", 32}, {"F32", 32}, {"C64", 64}, {"F64", 64}, {"I64", 64}, {"U64", 64}}};
inline std::string_view name(FileType t) { return kFileTypes[static_cast<std::size_t>(t)].name; }
inline std::int64_t bits(FileType t) { return kFileTypes[static_cast<std::size_t>(t)].bits; }

struct HeaderLimits {
  std::uint64_t header_bytes = 100'000'000;
  std::size_t tensors = 1'000'000;
  std::size_t rank = 8;
  std::size_t name_bytes = 4096;
  std::size_t metadata_entries = 4096;
};

struct TensorInfo {
  std::string name;
  FileType dtype = FileType::F32;
  std::vector<std::int64_t> shape;
  std::uint64_t begin = 0, end = 0;  // bytes, from the start of the data
  std::uint64_t bytes() const { return end - begin; }
};

class SafetensorsHeader {
 public:
  // `text` the JSON, `data_bytes` the length of what follows it, `path` for messages.
  static SafetensorsHeader parse(std::string text, std::uint64_t data_bytes, const std::string& path, const HeaderLimits& limits = {});

  std::size_t size() const { return records_.size(); }
  TensorInfo info(std::size_t i) const;  // in the order of the file's header
  std::string_view name(std::size_t i) const { return std::string_view(text_).substr(records_[i].name_at, records_[i].name_size); }
  std::optional<std::size_t> find(std::string_view name) const;
  const std::map<std::string, std::string>& metadata() const { return metadata_; }

 private:
  class Parser;
  // Shapes stay in the text and are read again when asked for: as vectors they would outgrow it.
  struct Record {
    std::uint32_t name_at, name_size, shape_at;
    FileType dtype;
    std::uint64_t begin, end;
  };
  void check_layout(std::uint64_t data_bytes, const std::string& path) const;
  void index_names(const std::string& path);

  std::string text_;
  std::vector<Record> records_;
  std::vector<std::uint32_t> by_name_;
  std::map<std::string, std::string> metadata_;
};

// One pass over the JSON text. Strings are unescaped in place, where they can only become shorter.
class SafetensorsHeader::Parser {
 public:
  Parser(SafetensorsHeader& out, std::uint64_t data_bytes, const std::string& path, const HeaderLimits& limits)
      : out_(out), text_(out.text_), data_bytes_(data_bytes), path_(path), limits_(limits) {}

  void run() {
    bool metadata_seen = false;
    object([&](std::string_view key) {
      if (key == "__metadata__") {
        require(!std::exchange(metadata_seen, true), "__metadata__ must be given once");
        metadata();
      } else {
        tensor(key);
      }
    });
    space();
    require(at_ == text_.size(), "nothing but spaces must follow the header's object");
  }

 private:
  [[noreturn]] [[gnu::cold]] void fail(const std::string& what) const {
    moelle::detail::fail("safetensors", what + "; got path=" + in_quotes(path_, 300) + str(" near byte=", at_, " of the header"));
  }
  template <class Message>
  void require(bool ok, const Message& what) const {
    if (!ok) [[unlikely]] fail(what);
  }
  void space() {
    while (at_ < text_.size() && (text_[at_] == ' ' || text_[at_] == '\t' || text_[at_] == '\n' || text_[at_] == '\r')) ++at_;
  }
  bool next_is(char c) {
    space();
    if (at_ >= text_.size() || text_[at_] != c) return false;
    ++at_;
    return true;
  }
  void expect(char c) {
    if (!next_is(c)) [[unlikely]] fail(std::string("header must be valid JSON: '") + c + "' expected");
  }

  // { "key": value, ... } where member(key) reads the value. The key is a view of the text.
  template <class F>
  void object(F member) {
    expect('{');
    if (next_is('}')) return;
    do {
      space();
      const auto [at, size] = string();
      expect(':');
      member(std::string_view(text_).substr(at, size));
    } while (next_is(','));
    expect('}');
  }
  template <class F>
  void array(F element) {
    expect('[');
    if (next_is(']')) return;
    do element();
    while (next_is(','));
    expect(']');
  }

  std::int64_t integer() {
    space();
    const std::size_t first = at_;
    std::int64_t v = 0;
    bool fits = true;
    for (; at_ < text_.size() && text_[at_] >= '0' && text_[at_] <= '9'; ++at_)
      fits = fits && !__builtin_mul_overflow(v, std::int64_t{10}, &v) && !__builtin_add_overflow(v, std::int64_t{text_[at_] - '0'}, &v);
    require(at_ > first, "sizes and offsets must be integers, not negative");
    require(at_ == first + 1 || text_[first] != '0', "integers must not begin with 0");
    require(at_ >= text_.size() || (text_[at_] != '.' && text_[at_] != 'e' && text_[at_] != 'E'), "sizes and offsets must be integers");
    require(fits, "integers must fit 63 bits");
    return v;
  }

  // Position and length of the unescaped content.
  std::pair<std::size_t, std::size_t> string() {
    require(at_ < text_.size() && text_[at_] == '"', "header must be valid JSON: a string expected");
    const std::size_t first = ++at_;
    while (at_ < text_.size() && text_[at_] != '"' && text_[at_] != '\\' && static_cast<unsigned char>(text_[at_]) >= 0x20) ++at_;
    std::size_t to = at_;
    for (;;) {
      require(at_ < text_.size(), "header must be valid JSON: a string is not closed");
      const char c = text_[at_++];
      if (c == '"') return {first, to - first};
      require(static_cast<unsigned char>(c) >= 0x20, "strings must not contain control characters");
      if (c == '\\') escape(to);
      else text_[to++] = c;
    }
  }
  void escape(std::size_t& to) {
    static constexpr std::string_view kFrom = "\"\\/bfnrt", kTo = "\"\\/\b\f\n\r\t";
    require(at_ < text_.size(), "header must be valid JSON: a string is not closed");
    const char c = text_[at_++];
    if (const auto i = kFrom.find(c); i != std::string_view::npos) return text_[to++] = kTo[i], void();
    require(c == 'u', "header must be valid JSON: unknown escape");
    std::uint32_t code = hex4();
    if (code >= 0xD800 && code < 0xDC00) {
      require(text_.compare(at_, 2, "\\u") == 0, "surrogates must come in pairs");
      at_ += 2;
      const std::uint32_t low = hex4();
      require(low >= 0xDC00 && low < 0xE000, "surrogates must come in pairs");
      code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
    }
    require(code < 0xD800 || code >= 0xE000, "surrogates must come in pairs");
    const auto put = [&](std::uint32_t byte) { text_[to++] = static_cast<char>(static_cast<unsigned char>(byte)); };
    if (code < 0x80) return put(code);
    if (code >= 0x10000) put(0xF0 | (code >> 18));
    if (code >= 0x800) put((code >= 0x10000 ? 0x80 : 0xE0) | ((code >> 12) & (code >= 0x10000 ? 0x3Fu : 0x0Fu)));
    put((code >= 0x800 ? 0x80 : 0xC0) | ((code >> 6) & (code >= 0x800 ? 0x3Fu : 0x1Fu)));
    put(0x80 | (code & 0x3F));
  }
  std::uint32_t hex4() {
    std::uint32_t v = 0;
    for (int i = 0; i < 4; ++i, ++at_) {
      const char c = at_ < text_.size() ? text_[at_] : '\0';
      const int digit = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
      require(digit >= 0, "header must be valid JSON: four hexadecimal digits expected");
      v = v * 16 + static_cast<std::uint32_t>(digit);
    }
    return v;
  }

  void metadata() {
    object([&](std::string_view key) {
      space();
      require(at_ < text_.size() && text_[at_] == '"', "__metadata__ must map strings to strings");
      const auto [at, size] = string();
      require(out_.metadata_.emplace(key, std::string_view(text_).substr(at, size)).second, "__metadata__ must name each key once");
      if (out_.metadata_.size() > limits_.metadata_entries) fail(str("__metadata__ must have at most ", limits_.metadata_entries, " entries"));
    });
  }

  void tensor(std::string_view key) {
    if (key.empty() || key.size() > limits_.name_bytes) fail(str("names must have 1 to ", limits_.name_bytes, " bytes"));
    for (const char c : key) require(static_cast<unsigned char>(c) >= 0x20 && c != 0x7f, "names must not contain control characters");
    if (out_.records_.size() >= limits_.tensors) fail(str("there must be at most ", limits_.tensors, " tensors"));
    Record r{};
    r.name_at = static_cast<std::uint32_t>(key.data() - text_.data());
    r.name_size = static_cast<std::uint32_t>(key.size());
    unsigned seen = 0;
    std::int64_t elements = 1;
    object([&](std::string_view field) {
      space();
      const unsigned bit = field == "dtype" ? 1u : field == "shape" ? 2u : field == "data_offsets" ? 4u : 0u;
      require(bit != 0, "tensors must have dtype, shape and data_offsets and nothing else");
      require((seen & bit) == 0, "dtype, shape and data_offsets must be given once");
      seen |= bit;
      if (bit == 1) r.dtype = dtype();
      else if (bit == 2) elements = shape(r);
      else offsets(r);
    });
    require(seen == 7, "tensors must have dtype, shape and data_offsets");
    std::int64_t bit_count = 0;
    require(!__builtin_mul_overflow(elements, bits(r.dtype), &bit_count), "tensor sizes must fit 63 bits");
    require(bit_count % 8 == 0, "tensors of less than a byte per element must fill whole bytes");
    require(r.begin <= r.end && r.end <= data_bytes_, "data_offsets must be ordered and lie inside the file");
    require(static_cast<std::uint64_t>(bit_count / 8) == r.end - r.begin, "data_offsets must span as many bytes as dtype and shape need");
    out_.records_.push_back(r);
  }
  FileType dtype() {
    const auto [at, size] = string();
    const std::string_view s = std::string_view(text_).substr(at, size);
    for (std::size_t i = 0; i < kFileTypes.size(); ++i)
      if (s == kFileTypes[i].name) return static_cast<FileType>(i);
    fail("dtype must be one of the format's; got dtype=" + in_quotes(s));
  }
  // The number of elements. A zero size does not excuse an overflow of the others.
  std::int64_t shape(Record& r) {
    r.shape_at = static_cast<std::uint32_t>(at_);
    std::int64_t product = 1;
    std::size_t rank = 0;
    bool empty = false, fits = true;
    array([&] {
      const std::int64_t d = integer();
      if (++rank > limits_.rank) fail(str("rank must be at most ", limits_.rank));
      empty = empty || d == 0;
      if (d != 0) fits = fits && !__builtin_mul_overflow(product, d, &product);
    });
    require(fits, "tensor sizes must fit 63 bits");
    return empty ? 0 : product;
  }
  void offsets(Record& r) {
    int n = 0;
    array([&] {
      const auto v = static_cast<std::uint64_t>(integer());
      require(++n <= 2, "data_offsets must be two integers");
      (n == 1 ? r.begin : r.end) = v;
    });
    require(n == 2, "data_offsets must be two integers");
  }

  SafetensorsHeader& out_;
  std::string& text_;
  std::uint64_t data_bytes_;
  const std::string& path_;
  const HeaderLimits& limits_;
  std::size_t at_ = 0;
};

}  // namespace moelle::io

#include <moelle/io/safetensors_header_parse.hpp>  // the members that are left
