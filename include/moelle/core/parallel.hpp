// moelle/core/parallel.hpp -- one small pool of threads for the whole process.
//
// A caller cuts its work into tasks; which thread runs which task, and in what order, is left open, so work must be cut
// such that this cannot change a result. MOELLE_NUM_THREADS or set_num_threads() sets the number of threads; the default
// is the number of cores this process may use. Waiting spins briefly and then sleeps: polite when cores are shared.
// A child after fork() starts a pool of its own. Calls from inside a task run serially.
#pragma once
#include <pthread.h>
#include <sched.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <cstdlib>
#include <exception>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include <moelle/core/error.hpp>

namespace moelle {

// Sums over rows are cut into this many partial sums, whatever the number of threads, and added in index order.
inline constexpr std::int64_t kReduceChunks = 16;

namespace detail {

inline int default_threads() {
  if (const char* env = std::getenv("MOELLE_NUM_THREADS")) {
    char* end = nullptr;
    const long n = std::strtol(env, &end, 10);
    MOELLE_REQUIRE("MOELLE_NUM_THREADS", *env != '\0' && *end == '\0' && n >= 1 && n <= 1024,
                   str("must be a number in [1, 1024]; got MOELLE_NUM_THREADS=", env));
    return static_cast<int>(n);
  }
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) == 0) return std::max(1, CPU_COUNT(&set));
  return std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
}

class ThreadPool {
 public:
  using Body = void (*)(void* context, std::int64_t task);

  static ThreadPool& instance() {
    ThreadPool* pool = slot().load(std::memory_order_acquire);
    return pool != nullptr ? *pool : create();
  }
  // Inside a task, further parallel calls run serially.
  static bool& inside() {
    thread_local bool value = false;
    return value;
  }

  int threads() const { return static_cast<int>(workers_.size()) + 1; }

  void resize(int threads) {
    const std::lock_guard lock(run_mutex_);
    stop();
    start(threads);
  }

  void run(std::int64_t tasks, Body body, void* context) {
    const std::unique_lock running(run_mutex_, std::try_to_lock);
    if (!running.owns_lock() || workers_.empty()) {  // another caller has the pool: work alone rather than wait
      const Inside guard;
      for (std::int64_t i = 0; i < tasks; ++i) body(context, i);
      return;
    }
    body_ = body;
    context_ = context;
    tasks_ = tasks;
    failure_ = nullptr;
    failed_.store(false, std::memory_order_relaxed);
    done_.store(0, std::memory_order_relaxed);
    {
      const std::lock_guard lock(sleep_mutex_);
      left_.store(tasks, std::memory_order_release);
      generation_.fetch_add(1, std::memory_order_release);
    }
    if (sleepers_.load(std::memory_order_acquire) > 0) wake_.notify_all();
    work();
    for (int spin = 0; done_.load(std::memory_order_acquire) != tasks; ++spin) pause(spin);
    if (failure_ != nullptr) std::rethrow_exception(failure_);
  }

 private:
  struct Inside {
    bool before = inside();
    Inside() { inside() = true; }
    ~Inside() { inside() = before; }
  };
  static constexpr int kSpin = 4000;  // about 40 us of pauses before a worker goes to sleep

  ThreadPool() { start(default_threads()); }

  static std::atomic<ThreadPool*>& slot() {
    static std::atomic<ThreadPool*> pool{nullptr};
    return pool;
  }
  static ThreadPool& create() {
    static std::mutex mutex;
    const std::lock_guard lock(mutex);
    if (ThreadPool* pool = slot().load()) return *pool;
    auto* pool = new ThreadPool;  // never destroyed: workers may outlive static destructors
    static bool once = (pthread_atfork(nullptr, nullptr, [] { slot().store(nullptr); inside() = false; }), true);
    (void)once;
    slot().store(pool, std::memory_order_release);
    return *pool;
  }

  void start(int threads) {
    quit_ = false;
    for (int i = 1; i < threads; ++i) workers_.emplace_back([this, seen = generation_.load()] { loop(seen); });
  }
  void stop() {
    {
      const std::lock_guard lock(sleep_mutex_);
      quit_ = true;
      generation_.fetch_add(1, std::memory_order_release);
    }
    wake_.notify_all();
    for (auto& w : workers_) w.join();
    workers_.clear();
  }

  static void pause(int spin) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#endif
    if (spin % 64 == 63 && spin > 1024) std::this_thread::yield();
  }

  void loop(std::uint64_t seen) {
    inside() = true;
    for (;;) {
      for (int spin = 0; spin < kSpin && generation_.load(std::memory_order_acquire) == seen; ++spin) pause(spin);
      if (generation_.load(std::memory_order_acquire) == seen) {
        std::unique_lock lock(sleep_mutex_);
        sleepers_.fetch_add(1, std::memory_order_acq_rel);
        wake_.wait(lock, [&] { return generation_.load(std::memory_order_acquire) != seen; });
        sleepers_.fetch_sub(1, std::memory_order_acq_rel);
      }
      seen = generation_.load(std::memory_order_acquire);
      if (quit_) return;
      work();
    }
  }

  // Tasks are counted down, so that a thread that comes late, when all are taken, need not be waited for: beside another busy program a
  // worker may not run for milliseconds. Whoever takes a task knows that the call cannot end before it is done, and only then looks at what to do.
  void work() {
    const Inside guard;
    for (;;) {
      std::int64_t left = left_.load(std::memory_order_acquire);
      while (left > 0 && !left_.compare_exchange_weak(left, left - 1, std::memory_order_acq_rel, std::memory_order_acquire)) {
      }
      if (left <= 0) return;
      run_task(tasks_ - left);
      done_.fetch_add(1, std::memory_order_release);
    }
  }

  void run_task(std::int64_t task) {
    if (failed_.load(std::memory_order_relaxed)) return;
    try {
      body_(context_, task);
    } catch (...) {
      const std::lock_guard lock(failure_mutex_);
      if (failure_ == nullptr) failure_ = std::current_exception();
      failed_.store(true, std::memory_order_relaxed);
    }
  }

  std::vector<std::thread> workers_;
  std::mutex run_mutex_, sleep_mutex_, failure_mutex_;
  std::condition_variable wake_;
  std::atomic<std::uint64_t> generation_{0};
  std::atomic<int> sleepers_{0};
  std::atomic<std::int64_t> left_{0}, done_{0};  // tasks that nobody took yet; tasks that have been run
  std::atomic<bool> failed_{false};
  bool quit_ = false;
  Body body_ = nullptr;
  void* context_ = nullptr;
  std::int64_t tasks_ = 0;
  std::exception_ptr failure_;
};

}  // namespace detail

inline int num_threads() { return detail::ThreadPool::instance().threads(); }

inline void set_num_threads(int threads) {
  MOELLE_REQUIRE("set_num_threads", threads >= 1 && threads <= 1024, str("threads must be in [1, 1024]; got threads=", threads));
  MOELLE_REQUIRE("set_num_threads", !detail::ThreadPool::inside(), str("must not be called from inside a task; got threads=", threads));
  detail::ThreadPool::instance().resize(threads);
}

// f(task) for every task in [0, tasks), each once, on any thread. The first exception is rethrown here.
template <class F>
void parallel_for(std::int64_t tasks, F&& f) {
  if (tasks <= 0) return;
  if (tasks == 1 || detail::ThreadPool::inside()) {
    for (std::int64_t i = 0; i < tasks; ++i) f(i);
    return;
  }
  using Fn = std::remove_reference_t<F>;
  detail::ThreadPool::instance().run(
      tasks, [](void* c, std::int64_t i) { (*static_cast<Fn*>(c))(i); }, const_cast<void*>(static_cast<const void*>(&f)));
}

// f(begin, end) over [0, rows) in contiguous ranges of at least `grain` rows: for work where each row stands alone.
template <class F>
void parallel_rows(std::int64_t rows, std::int64_t grain, F&& f) {
  if (rows <= 0) return;
  const std::int64_t most = detail::ThreadPool::inside() ? 1 : std::int64_t{4} * num_threads();
  const std::int64_t tasks = std::clamp<std::int64_t>(rows / std::max<std::int64_t>(grain, 1), 1, most);
  if (tasks == 1) return f(std::int64_t{0}, rows), void();
  parallel_for(tasks, [&](std::int64_t t) { f(rows * t / tasks, rows * (t + 1) / tasks); });
}

}  // namespace moelle
