// moelle/autograd/mode.hpp -- whether operations record gradients on this thread.
#pragma once

namespace moelle::autograd {

namespace detail {
struct Mode {
  bool enabled = true;
  bool recomputing = false;
};
inline Mode& mode() {
  thread_local Mode m;
  return m;
}
}  // namespace detail

inline bool is_enabled() { return detail::mode().enabled; }
// True while a checkpointed module runs for the second time: counters must not count twice.
inline bool recomputing() { return detail::mode().recomputing; }

// Sets the mode for a scope.
class GradMode {
 public:
  explicit GradMode(bool enabled) : before_(detail::mode().enabled) { detail::mode().enabled = enabled; }
  ~GradMode() { detail::mode().enabled = before_; }
  GradMode(const GradMode&) = delete;
  GradMode& operator=(const GradMode&) = delete;

 private:
  bool before_;
};
struct NoGrad : GradMode {
  NoGrad() : GradMode(false) {}
};
struct EnableGrad : GradMode {
  EnableGrad() : GradMode(true) {}
};

class Recomputing {
 public:
  Recomputing() : before_(detail::mode().recomputing) { detail::mode().recomputing = true; }
  ~Recomputing() { detail::mode().recomputing = before_; }
  Recomputing(const Recomputing&) = delete;
  Recomputing& operator=(const Recomputing&) = delete;

 private:
  bool before_;
};

}  // namespace moelle::autograd
