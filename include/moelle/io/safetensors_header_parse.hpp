// moelle/io/safetensors_header_parse.hpp -- SafetensorsHeader: parsing as a whole, the layout of the data, and looking up names.
#pragma once
#include <moelle/io/safetensors_header.hpp>

namespace moelle::io {

inline SafetensorsHeader SafetensorsHeader::parse(std::string text, std::uint64_t data_bytes, const std::string& path, const HeaderLimits& limits) {
  const auto got = [&] { return "; got path=" + in_quotes(path, 300); };
  MOELLE_REQUIRE("safetensors", text.size() <= limits.header_bytes && text.size() <= 0xFFFFFFFFu,
                 str("header must be at most ", limits.header_bytes, " bytes") + got());
  MOELLE_REQUIRE("safetensors", is_utf8(text), "header must be UTF-8" + got());
  SafetensorsHeader h;
  h.text_ = std::move(text);
  // The shortest entry has 51 bytes, so this never reserves more than the header's own size.
  const auto braces = static_cast<std::size_t>(std::count(h.text_.begin(), h.text_.end(), '{'));
  h.records_.reserve(std::min({braces, h.text_.size() / 50 + 1, limits.tensors}));
  Parser(h, data_bytes, path, limits).run();
  h.check_layout(data_bytes, path);
  h.index_names(path);
  return h;
}

// In the order of their offsets, each tensor must begin where the one before ends, and the last must end with the file:
// no overlap, no hole, nothing hidden behind.
inline void SafetensorsHeader::check_layout(std::uint64_t data_bytes, const std::string& path) const {
  std::vector<std::uint32_t> order(records_.size());
  for (std::size_t i = 0; i < order.size(); ++i) order[i] = static_cast<std::uint32_t>(i);
  const auto before = [&](std::uint32_t a, std::uint32_t b) {
    return std::pair(records_[a].begin, records_[a].end) < std::pair(records_[b].begin, records_[b].end);
  };
  if (!std::is_sorted(order.begin(), order.end(), before)) std::sort(order.begin(), order.end(), before);
  std::uint64_t end = 0;
  for (const std::uint32_t i : order) {
    MOELLE_REQUIRE("safetensors", records_[i].begin == end,
                   str("data must have neither holes nor overlaps; got tensor=", in_quotes(name(i)), " beginning at ", records_[i].begin,
                       " where ", end, " was due, path=", in_quotes(path, 300)));
    end = records_[i].end;
  }
  MOELLE_REQUIRE("safetensors", end == data_bytes,
                 str("tensors must fill the file to its end; got data bytes=", data_bytes, " described=", end, " path=", in_quotes(path, 300)));
}

inline void SafetensorsHeader::index_names(const std::string& path) {
  by_name_.resize(records_.size());
  for (std::size_t i = 0; i < by_name_.size(); ++i) by_name_[i] = static_cast<std::uint32_t>(i);
  const auto before = [&](std::uint32_t a, std::uint32_t b) { return name(a) < name(b); };
  if (!std::is_sorted(by_name_.begin(), by_name_.end(), before)) std::sort(by_name_.begin(), by_name_.end(), before);
  for (std::size_t i = 1; i < by_name_.size(); ++i)
    MOELLE_REQUIRE("safetensors", name(by_name_[i - 1]) != name(by_name_[i]),
                   "each tensor must be named once; got tensor=" + in_quotes(name(by_name_[i])) + " twice, path=" + in_quotes(path, 300));
}

inline TensorInfo SafetensorsHeader::info(std::size_t i) const {
  MOELLE_REQUIRE("safetensors", i < size(), str("index must be below the number of tensors; got index=", i, " tensors=", size()));
  const Record& r = records_[i];
  TensorInfo t{std::string(name(i)), r.dtype, {}, r.begin, r.end};
  std::int64_t v = 0;
  bool digits = false;
  for (std::size_t at = r.shape_at + std::size_t{1};; ++at) {  // what the parser has accepted
    const char c = text_[at];
    if (c >= '0' && c <= '9') {
      v = v * 10 + (c - '0');
      digits = true;
      continue;
    }
    if (digits) t.shape.push_back(std::exchange(v, 0));
    digits = false;
    if (c == ']') return t;
  }
}

inline std::optional<std::size_t> SafetensorsHeader::find(std::string_view wanted) const {
  const auto it = std::lower_bound(by_name_.begin(), by_name_.end(), wanted, [&](std::uint32_t i, std::string_view n) { return name(i) < n; });
  if (it == by_name_.end() || name(*it) != wanted) return std::nullopt;
  return *it;
}

}  // namespace moelle::io
