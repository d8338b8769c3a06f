// tests/core/test_parallel.cpp -- the thread pool: every task once, exceptions, nesting, resizing, fork.
#include <doctest/doctest.h>

#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <numeric>
#include <stdexcept>
#include <thread>
#include <vector>

#include <moelle/core/parallel.hpp>

using namespace moelle;

namespace {
struct Threads {  // for one scope
  int before = num_threads();
  explicit Threads(int n) { set_num_threads(n); }
  ~Threads() { set_num_threads(before); }
};

std::int64_t sum_of_squares(std::int64_t n) {
  std::vector<std::int64_t> squares(static_cast<std::size_t>(n));
  parallel_for(n, [&](std::int64_t i) { squares[static_cast<std::size_t>(i)] = i * i; });
  return std::accumulate(squares.begin(), squares.end(), std::int64_t{0});
}
}  // namespace

TEST_CASE("every task runs exactly once, for any number of threads and tasks") {
  for (int threads : {1, 2, 3, 7}) {
    const Threads scope(threads);
    for (std::int64_t tasks : {0, 1, 2, 3, 7, 100, 10000}) {
      std::vector<std::atomic<int>> count(static_cast<std::size_t>(tasks));
      parallel_for(tasks, [&](std::int64_t i) { ++count[static_cast<std::size_t>(i)]; });
      for (const auto& c : count) CHECK(c == 1);
    }
  }
}

TEST_CASE("ranges of rows are contiguous, cover all rows, and none is below the grain") {
  for (int threads : {1, 2, 7}) {
    const Threads scope(threads);
    for (std::int64_t rows : {1, 5, 64, 1000}) {
      for (std::int64_t grain : {1, 10, 2000}) {
        std::vector<std::atomic<int>> count(static_cast<std::size_t>(rows));
        std::atomic<std::int64_t> shortest{rows};
        parallel_rows(rows, grain, [&](std::int64_t begin, std::int64_t end) {
          for (std::int64_t i = begin; i < end; ++i) ++count[static_cast<std::size_t>(i)];
          std::int64_t least = shortest;
          while (end - begin < least && !shortest.compare_exchange_weak(least, end - begin)) {
          }
        });
        for (const auto& c : count) CHECK(c == 1);
        CHECK(shortest >= std::min(grain, rows));
      }
    }
  }
}

TEST_CASE("an exception in a task reaches the caller, and the pool works on") {
  for (int threads : {1, 2, 3}) {
    const Threads scope(threads);
    for (int round = 0; round < 20; ++round) {
      CHECK_THROWS_WITH(parallel_for(100, [](std::int64_t i) {
                          if (i == 37) throw std::runtime_error("task 37");
                        }),
                        "task 37");
      CHECK(sum_of_squares(10) == 285);
    }
  }
}

TEST_CASE("a parallel call from inside a task runs and does not deadlock") {
  const Threads scope(3);
  std::atomic<int> inner{0};
  parallel_for(8, [&](std::int64_t) { parallel_for(10, [&](std::int64_t) { ++inner; }); });
  CHECK(inner == 80);
  CHECK_THROWS_AS(parallel_for(2, [](std::int64_t) { set_num_threads(2); }), Error);
}

TEST_CASE("several callers at once each get their work done") {
  const Threads scope(2);
  std::vector<std::thread> callers;
  std::atomic<int> right{0};
  for (int c = 0; c < 4; ++c)
    callers.emplace_back([&] {
      for (int i = 0; i < 200; ++i) right += sum_of_squares(20) == 2470 ? 1 : 0;
    });
  for (auto& c : callers) c.join();
  CHECK(right == 800);
}

TEST_CASE("the pool can be resized between calls, and impossible sizes are refused") {
  const Threads scope(1);
  for (int n : {4, 1, 7, 2}) {
    set_num_threads(n);
    CHECK(num_threads() == n);
    CHECK(sum_of_squares(100) == 328350);
  }
  CHECK_THROWS_WITH_AS(set_num_threads(0), "set_num_threads: threads must be in [1, 1024]; got threads=0", Error);
  CHECK_THROWS_AS(set_num_threads(1025), Error);
}

TEST_CASE("a child after fork computes with threads of its own") {
  const Threads scope(3);
  CHECK(sum_of_squares(100) == 328350);
  const pid_t child = fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    alarm(20);  // a deadlock must not hang the test
    const bool ok = sum_of_squares(100) == 328350 && num_threads() >= 1;
    _exit(ok ? 0 : 1);
  }
  int status = -1;
  REQUIRE(waitpid(child, &status, 0) == child);
  CHECK(WIFEXITED(status));
  CHECK(WEXITSTATUS(status) == 0);
  CHECK(sum_of_squares(100) == 328350);
}

TEST_CASE("MOELLE_NUM_THREADS must be a number") {
  const char* const before = std::getenv("MOELLE_NUM_THREADS");
  const std::string kept = before != nullptr ? before : "";
  for (const char* bad : {"", "0", "-1", "two", "3x", "99999999999999999999"}) {
    setenv("MOELLE_NUM_THREADS", bad, 1);
    CHECK_THROWS_AS(detail::default_threads(), Error);
  }
  setenv("MOELLE_NUM_THREADS", "5", 1);
  CHECK(detail::default_threads() == 5);
  if (before != nullptr) setenv("MOELLE_NUM_THREADS", kept.c_str(), 1);
  else unsetenv("MOELLE_NUM_THREADS");
}
