// moelle/io/json.hpp -- reading JSON that strangers wrote: nlohmann/json, made strict.
//
// As it comes, nlohmann/json keeps the last of two equal keys, narrows 4294967297 to 1 and takes a byte order mark. Here
// duplicates, deep nesting, over-long texts and numbers that do not fit are errors, and conversions go through as_*().
#pragma once
#include <nlohmann/json.hpp>

#include <cmath>
#include <cstdint>
#include <limits>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include <moelle/core/error.hpp>
#include <moelle/io/suggest.hpp>

namespace moelle::io {

using Json = nlohmann::ordered_json;  // keeps the order of keys

inline constexpr std::size_t kMaxJsonBytes = std::size_t{64} << 20;
inline constexpr int kMaxJsonDepth = 64;

// `what` names the text in messages: "config.json".
inline Json parse_json(std::string_view text, const std::string& what) {
  MOELLE_REQUIRE("json", text.size() <= kMaxJsonBytes, str(what, " must be at most ", kMaxJsonBytes, " bytes; got bytes=", text.size()));
  MOELLE_REQUIRE("json", text.substr(0, 3) != "\xEF\xBB\xBF", what + " must not start with a byte order mark; got one");
  std::vector<std::set<std::string>> keys;
  const auto watch = [&](int depth, Json::parse_event_t event, Json& value) {
    MOELLE_REQUIRE("json", depth <= kMaxJsonDepth, str(what, " must nest at most ", kMaxJsonDepth, " deep; got depth=", depth));
    if (event == Json::parse_event_t::object_start) keys.emplace_back();
    if (event == Json::parse_event_t::object_end) keys.pop_back();
    if (event == Json::parse_event_t::key) {
      const auto key = value.get<std::string>();
      MOELLE_REQUIRE("json", keys.back().insert(key).second, what + " must name each key once; got key=" + in_quotes(key) + " twice");
    }
    return true;
  };
  try {
    return Json::parse(text.begin(), text.end(), watch);
  } catch (const Json::exception& e) {
    moelle::detail::fail("json", what + " must be valid JSON; got " + e.what());
  }
}

namespace detail {
[[noreturn]] inline void wrong_kind(const std::string& key, const char* kind, const Json& v) {
  moelle::detail::fail("json", key + " must be " + kind + "; got " + key + "=" + in_quotes(v.dump(-1, ' ', true, Json::error_handler_t::replace)));
}
}  // namespace detail

// 8, but not 8.0, "8", true or a number beyond 64 bits.
inline std::int64_t as_int(const Json& v, const std::string& key) {
  const bool fits = v.is_number_integer() &&
                    (!v.is_number_unsigned() || v.get<std::uint64_t>() <= static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max()));
  if (!fits) detail::wrong_kind(key, "an integer", v);
  return v.get<std::int64_t>();
}
inline double as_double(const Json& v, const std::string& key) {
  if (!v.is_number() || !std::isfinite(v.get<double>())) detail::wrong_kind(key, "a finite number", v);
  return v.get<double>();
}
inline bool as_bool(const Json& v, const std::string& key) {
  if (!v.is_boolean()) detail::wrong_kind(key, "true or false", v);
  return v.get<bool>();
}
inline std::string as_string(const Json& v, const std::string& key) {
  if (!v.is_string()) detail::wrong_kind(key, "a string", v);
  return v.get<std::string>();
}
inline const Json& as_object(const Json& v, const std::string& key) {
  if (!v.is_object()) detail::wrong_kind(key, "an object", v);
  return v;
}
// A required member of an object.
inline const Json& member(const Json& object, const std::string& key, const std::string& what) {
  const auto it = as_object(object, what).find(key);
  MOELLE_REQUIRE("json", it != object.end(), what + " must have the key " + in_quotes(key) + "; got none");
  return *it;
}

}  // namespace moelle::io
