// bench/samples.hpp -- timings of the same work by several contenders, taken in turns, as rows for bench/report.py.
//
//   bench::Samples samples(argc, argv);   // --threads=N --json=FILE --filter=REGEX --quick --paced
//   for (const Shape& s : kShapes) {
//     if (!samples.wants("products", s.name)) continue;   // before the operands are made
//     ...
//     samples.measure({.section = "products", .work = s.name, .flops = 2.0 * m * n * k, .limit = "bf16_gflops", .target = 0.97, .against = "oneDNN",
//                      .contenders = {{"moelle", [&](std::int64_t i) { product(weights[i % copies]); }}, {"oneDNN", [&] { primitive(); }}}});
//   }
// A contender is called with the number of its calls so far, or with nothing. The first one is whom the report is about. One sample is
// the mean of as many calls as take 30 ms; samples go A B C A B C ..., so that a disturbance hits everybody and ratios can be formed
// sample by sample. Each row is written as soon as it is measured: what an interrupted run has measured is kept.
// --paced: before a work "await work SECTION/WORK", before each round "await turn" is printed and a line of input awaited: bench/turns.py measures
// yardsticks that are Python programs in between.
#pragma once
#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <fstream>
#include <functional>
#include <regex>
#include <string>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

#if defined(_OPENMP)
#include <omp.h>
#endif

#include <moelle/core/error.hpp>
#include <moelle/core/parallel.hpp>

namespace moelle::bench {

// Keeps what `value` points to or holds from being optimised away.
template <class V>
inline void keep(const V& value) {
  asm volatile("" : : "r"(&value) : "memory");
}

struct Contender {
  std::string who;
  std::function<void(std::int64_t)> call;
  double part;  // of the work that a call does: its seconds count divided by this

  template <class F>
  Contender(std::string name, F f, double part_of_work = 1) : who(std::move(name)), part(part_of_work) {
    if constexpr (std::is_invocable_v<F&, std::int64_t>)
      call = std::move(f);
    else
      call = [f = std::move(f)](std::int64_t) mutable { f(); };
  }
};

struct Work {
  std::string section{}, work{};
  std::string group{};          // works that the summary and the picture put into one line; empty: a line of its own
  double flops = 0, bytes = 0;  // of one call; 0: not given
  std::string limit{};          // what binds it: fp32_gflops, bf16_gflops, int8_gops (counted by flops), read_gbs, read_4k_gbs (by bytes)
  double target = 0;            // ratio to `against`, or share of the limit if that is empty; 0: none
  std::string against{};
  std::vector<Contender> contenders{};
};

class Samples {
 public:
  Samples(int argc, char** argv) {
    for (int i = 1; i < argc; ++i) read_option(argv[i]);
    set_num_threads(threads_);
#if defined(_OPENMP)
    omp_set_num_threads(threads_);  // for yardsticks; those with a setting of their own take threads()
#endif
  }

  int threads() const { return threads_; }
  bool quick() const { return quick_; }
  bool wants(const std::string& section, const std::string& work) const { return std::regex_search(section + "/" + work, filter_); }

  // For works that can all be kept at once; measure() for those that cannot.
  void add(Work work) { works_.push_back(std::move(work)); }
  void run() {
    for (const Work& work : works_) measure(work);
    works_.clear();
  }

  void measure(const Work& work) {
    if (!wants(work.section, work.work)) return;
    check(work);
    if (paced_) await("work " + work.section + "/" + work.work);
    std::vector<Turn> turns;
    for (const Contender& c : work.contenders) turns.push_back(prepared(c));
    for (int round = 0; round < (quick_ ? kQuickRounds : kRounds); ++round) {
      if (paced_) await("turn");
      for (Turn& turn : turns) sample(turn);
    }
    print(work, turns);
    if (json_.is_open()) write(work, turns);
  }

 private:
  static constexpr int kRounds = 7, kQuickRounds = 3;
  static constexpr double kSeconds = 0.03, kQuickSeconds = 0.005;

  struct Turn {  // one contender's place in the rounds
    const Contender* contender;
    std::int64_t next = 0, calls = 1;  // number of the next call; calls in one sample
    std::vector<double> seconds;       // per call
  };

  [[noreturn]] static void fail(const std::string& message) {
    std::fprintf(stderr, "bench: %s\n", message.c_str());
    std::exit(2);
  }

  void read_option(const std::string& arg) {
    const auto value = arg.substr(std::min(arg.size(), arg.find('=') + 1));
    if (arg.rfind("--threads=", 0) == 0) {
      threads_ = std::atoi(value.c_str());
      if (threads_ < 1) fail("--threads must be at least 1; got " + arg);
    } else if (arg.rfind("--json=", 0) == 0) {
      json_.open(value, std::ios::app);
      if (!json_) fail("--json must name a file that can be written; got " + arg);
    } else if (arg.rfind("--filter=", 0) == 0) {
      try {
        filter_ = std::regex(value);
      } catch (const std::regex_error& e) {
        fail("--filter must be a regular expression; got " + arg + " (" + e.what() + ")");
      }
    } else if (arg == "--quick") {
      quick_ = true;
    } else if (arg == "--paced") {
      paced_ = true;
    } else {
      fail("options are --threads=N --json=FILE --filter=REGEX --quick --paced; got " + arg);
    }
  }

  static void check(const Work& w) {
    const auto known = {"", "fp32_gflops", "bf16_gflops", "int8_gops", "read_gbs", "read_4k_gbs"};
    MOELLE_REQUIRE("bench", std::find(known.begin(), known.end(), w.limit) != known.end(),
                   str("limit must be one of bench_machine's; got work=", w.work, " limit=", w.limit));
    MOELLE_REQUIRE("bench", !w.contenders.empty(), str("there must be somebody to do the work; got work=", w.work, " contenders=0"));
    MOELLE_REQUIRE("bench", w.limit.empty() || amount(w) > 0, str("a work with a limit must say its flops or bytes; got work=", w.work, " limit=", w.limit));
  }

  static void await(const std::string& what) {
    std::printf("await %s\n", what.c_str());
    std::fflush(stdout);
    for (int c = std::getchar(); c != '\n'; c = std::getchar())
      if (c == EOF) std::exit(0);  // nobody is there any more
  }

  static double timed(Turn& turn, std::int64_t calls) {
    const auto begin = std::chrono::steady_clock::now();
    for (std::int64_t i = 0; i < calls; ++i) turn.contender->call(turn.next++);
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  }

  // Finds how many calls make a sample; the calls on the way warm up.
  Turn prepared(const Contender& contender) const {
    Turn turn{&contender, 0, 1, {}};
    const double wanted = quick_ ? kQuickSeconds : kSeconds;
    settle();
    timed(turn, 1);  // pays for fresh memory
    for (;;) {
      const double taken = timed(turn, turn.calls);
      if (taken >= wanted) return turn;
      const double estimate = 1.1 * static_cast<double>(turn.calls) * wanted / std::max(taken, 1e-7);
      turn.calls = std::clamp(static_cast<std::int64_t>(estimate), turn.calls + 1, turn.calls * 10);
    }
  }

  void sample(Turn& turn) const {
    settle();
    if (turn.calls > 1) timed(turn, 1);  // brings back the caches, the last turn was somebody else's
    turn.seconds.push_back(timed(turn, turn.calls) / static_cast<double>(turn.calls) / turn.contender->part);
  }

  // OpenMP's threads spin after their last region, here for 10 to 15 ms: they would hold cores that are now the next contender's. So wait until
  // this process uses no time any more.
  void settle() const {
    const auto used = [] { return static_cast<double>(std::clock()) / CLOCKS_PER_SEC; };
    for (int i = 0; threads_ > 1 && i < 100; ++i) {
      const double before = used();
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
      if (used() - before < 0.0005) return;
    }
  }

  // What is counted per second: what the limit counts; without one, flops if they are known.
  static bool by_bytes(const Work& w) { return w.limit.empty() ? w.flops <= 0 : w.limit.rfind("read", 0) == 0; }
  static double amount(const Work& w) { return by_bytes(w) ? w.bytes : w.flops; }
  static const char* unit(const Work& w) { return amount(w) <= 0 ? "1/s" : by_bytes(w) ? "GB/s" : w.limit == "int8_gops" ? "GOP/s" : "GF/s"; }

  struct Range {
    double median, min, max;
  };
  static Range range(std::vector<double> v) {
    std::sort(v.begin(), v.end());
    return {v[v.size() / 2], v.front(), v.back()};
  }

  void print(const Work& w, const std::vector<Turn>& turns) {
    if (w.section != heading_) std::printf("\n%s, %d thread%s\n", w.section.c_str(), threads_, threads_ == 1 ? "" : "s");
    heading_ = w.section;
    std::vector<double> rates;
    for (const double s : turns[0].seconds) rates.push_back((amount(w) > 0 ? amount(w) * 1e-9 : 1.0) / s);
    const Range own = range(rates);
    std::printf("%-40s  %s %8.1f %-5s [%.1f .. %.1f]", w.work.c_str(), turns[0].contender->who.c_str(), own.median, unit(w), own.min, own.max);
    for (std::size_t t = 1; t < turns.size(); ++t) {
      std::vector<double> ratios;
      for (std::size_t i = 0; i < turns[t].seconds.size(); ++i) ratios.push_back(turns[t].seconds[i] / turns[0].seconds[i]);
      const Range r = range(ratios);
      std::printf("  / %s %.2f [%.2f .. %.2f]", turns[t].contender->who.c_str(), r.median, r.min, r.max);
    }
    std::printf("\n");
    std::fflush(stdout);
  }

  static std::string quoted(const std::string& text) {
    std::string out = "\"";
    for (const char c : text) {
      if (c == '"' || c == '\\') out += '\\';
      out += static_cast<unsigned char>(c) < 0x20 ? ' ' : c;
    }
    return out + "\"";
  }
  static std::string number(double value) {
    char text[32];
    std::snprintf(text, sizeof text, "%.9g", value);
    return text;
  }
  static std::string or_null(double value) { return value > 0 ? number(value) : "null"; }
  static std::string or_null(const std::string& text) { return text.empty() ? "null" : quoted(text); }

  void write(const Work& w, const std::vector<Turn>& turns) {
    json_ << "{\"section\": " << quoted(w.section) << ", \"work\": " << quoted(w.work) << ", \"group\": " << or_null(w.group) << ", \"threads\": " << threads_ << ", \"who\": {";
    for (const Turn& turn : turns) {
      json_ << (&turn == &turns[0] ? "" : ", ") << quoted(turn.contender->who) << ": [";
      for (std::size_t i = 0; i < turn.seconds.size(); ++i) json_ << (i == 0 ? "" : ", ") << number(turn.seconds[i]);
      json_ << "]";
    }
    json_ << "}, \"flops\": " << or_null(w.flops) << ", \"bytes\": " << or_null(w.bytes) << ", \"limit\": " << or_null(w.limit)
          << ", \"target\": " << or_null(w.target) << ", \"against\": " << or_null(w.against) << "}" << std::endl;
  }

  int threads_ = 1;
  bool quick_ = false, paced_ = false;
  std::regex filter_{""};
  std::ofstream json_;
  std::string heading_;
  std::vector<Work> works_;
};

}  // namespace moelle::bench
