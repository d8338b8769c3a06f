// moelle/core/error.hpp -- one exception type, one way to raise it.
#pragma once
#include <sstream>
#include <stdexcept>
#include <string>

#include <moelle/core/config.hpp>

namespace moelle {

// Raised for every broken precondition. what() reads "<op>: <what must hold>; got <name>=<value> ...".
// Python sees it as moelle.Error, a subclass of ValueError.
class Error : public std::invalid_argument {
 public:
  using std::invalid_argument::invalid_argument;
};

namespace detail {
// Out of line and cold: a check costs one compare and one never-taken branch.
[[noreturn]] [[gnu::cold]] [[gnu::noinline]] inline void fail(const char* op, const std::string& what) {
  throw Error(std::string(op) + ": " + what);
}
}  // namespace detail

// str("rows=", 3, " cols=", 4) -> "rows=3 cols=4"; anything with operator<<.
template <class... Parts>
[[gnu::cold]] std::string str(const Parts&... parts) {
  std::ostringstream out;
  (out << ... << parts);
  return out.str();
}

}  // namespace moelle

// The message is only built when the check fails. `message` starts with what must hold: "rank must be 2; got rank=3".
#define MOELLE_REQUIRE(op, condition, message)                           \
  do {                                                                   \
    if (!(condition)) [[unlikely]] ::moelle::detail::fail(op, message);  \
  } while (false)
