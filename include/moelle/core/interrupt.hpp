// moelle/core/interrupt.hpp -- how a long loop learns that the user wants it to stop.
//
// Loops that may run for seconds (training, generation, reading data) call check_interrupt() once per step. The Python module
// installs a hook that asks the interpreter for pending signals, so Ctrl-C ends them; a C++ program may install its own.
#pragma once
#include <atomic>
#include <stdexcept>

namespace moelle {

class Interrupted : public std::runtime_error {
 public:
  Interrupted() : std::runtime_error("interrupted") {}
};

namespace detail {
inline std::atomic<bool (*)()>& interrupt_hook() {
  static std::atomic<bool (*)()> hook{nullptr};
  return hook;
}
}  // namespace detail

// `hook` returns true if work should stop; it is called from whichever thread runs the loop. Null removes it.
inline void set_interrupt_hook(bool (*hook)()) { detail::interrupt_hook().store(hook); }

// Throws Interrupted if the hook says so; costs one load otherwise.
inline void check_interrupt() {
  if (bool (*hook)() = detail::interrupt_hook().load(std::memory_order_relaxed); hook != nullptr && hook()) throw Interrupted();
}

}  // namespace moelle
