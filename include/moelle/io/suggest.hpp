// moelle/io/suggest.hpp -- "did you mean": the nearest of the valid names, for error messages. Depends on nothing but std.
#pragma once
#include <algorithm>
#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace moelle::io {

// Edit distance with insertions, deletions, substitutions and swaps of neighbours (optimal string alignment), case ignored.
inline std::size_t edit_distance(std::string_view a, std::string_view b) {
  const auto lower = [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; };
  std::vector<std::size_t> before(b.size() + 1), last(b.size() + 1), row(b.size() + 1);
  for (std::size_t j = 0; j <= b.size(); ++j) last[j] = j;
  for (std::size_t i = 1; i <= a.size(); ++i) {
    row[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const bool same = lower(a[i - 1]) == lower(b[j - 1]);
      row[j] = std::min({last[j] + 1, row[j - 1] + 1, last[j - 1] + (same ? 0u : 1u)});
      if (i > 1 && j > 1 && lower(a[i - 1]) == lower(b[j - 2]) && lower(a[i - 2]) == lower(b[j - 1]))
        row[j] = std::min(row[j], before[j - 2] + 1);
    }
    before.swap(last);
    last.swap(row);
  }
  return last[b.size()];
}

// The candidate closest to `name` (the first of several), or "" if none is close enough to be a slip of the pen.
template <class Names>
std::string nearest_name(std::string_view name, const Names& candidates) {
  constexpr std::size_t kLongest = 128;  // bounds the work on hostile names
  std::string best;
  std::size_t best_distance = std::min(name.size(), kLongest) / 2 + 1;
  if (name.size() > kLongest) return best;
  for (const auto& c : candidates) {
    const std::string_view candidate(c);
    if (candidate.size() > kLongest) continue;
    const std::size_t d = edit_distance(name, candidate);
    if (d < best_distance) {
      best_distance = d;
      best = candidate;
    }
  }
  return best;
}

// "; did you mean \"x\"?" or "".
template <class Names>
std::string did_you_mean(std::string_view name, const Names& candidates) {
  const std::string near = nearest_name(name, candidates);
  return near.empty() ? "" : "; did you mean \"" + near + "\"?";
}

// For messages: quotes and control characters escaped, at most `longest` bytes, so that a hostile name cannot write to a terminal.
inline std::string in_quotes(std::string_view s, std::size_t longest = 80) {
  constexpr char kHex[] = "0123456789abcdef";
  std::string out = "\"";
  for (std::size_t i = 0; i < std::min(s.size(), longest); ++i) {
    const auto c = static_cast<unsigned char>(s[i]);
    if (c == '"' || c == '\\') out += '\\';
    if (c < 0x20 || c >= 0x7f) {
      out += "\\x";
      out += kHex[c >> 4];
      out += kHex[c & 15];
    } else {
      out += static_cast<char>(c);
    }
  }
  return out + (s.size() > longest ? "...\"" : "\"");
}

}  // namespace moelle::io
