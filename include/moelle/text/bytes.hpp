// moelle/text/bytes.hpp -- the byte tokeniser: token ids are bytes, the vocabulary has 256 entries, every text round-trips.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include <moelle/core/error.hpp>

namespace moelle::text {

inline constexpr std::int64_t kByteVocabulary = 256;

inline std::vector<std::int64_t> encode_bytes(std::string_view text) {
  std::vector<std::int64_t> ids;
  ids.reserve(text.size());
  for (const char c : text) ids.push_back(static_cast<unsigned char>(c));
  return ids;
}

inline std::string decode_bytes(const std::vector<std::int64_t>& ids) {
  std::string text;
  text.reserve(ids.size());
  for (const std::int64_t id : ids) {
    MOELLE_REQUIRE("decode_bytes", id >= 0 && id < kByteVocabulary, str("ids must be in [0, 256); got id=", id));
    text += static_cast<char>(static_cast<unsigned char>(id));
  }
  return text;
}

}  // namespace moelle::text
