// bench/machine/bench_machine.cpp -- what this machine can do at most, by the number of threads: peaks of arithmetic, bandwidth of reading.
//
// A rate means little alone; bench/report.py divides it by the limit that binds it. Medians of 15 [least .. most]. The peaks are those of
// the widest instructions that the program is compiled for, so compile it for the machine it measures:
//   g++ -std=c++20 -O3 -march=native bench/machine/bench_machine.cpp -o bench_machine -pthread && ./bench_machine --threads=1 --json=machine.1.json
#include <pthread.h>
#include <sched.h>
#include <sys/mman.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <functional>
#include <string>
#include <thread>
#include <vector>

namespace {

// --- instructions ------------------------------------------------------------------------------------------------------------
// Written out, because compilers contract, hoist or split what vector types say. In each text %0 is the accumulator, %1 scratch, %2 and
// %3 are the operands. kInt8Lanes: multiplications in one.
#if defined(__AVX512F__)
#define MOELLE_REGISTER "v"
constexpr int kVectorBytes = 64;
#elif defined(__AVX2__)
#define MOELLE_REGISTER "x"
constexpr int kVectorBytes = 32;
#elif defined(__SSE2__)
#define MOELLE_REGISTER "x"
constexpr int kVectorBytes = 16;
#elif defined(__aarch64__)
#define MOELLE_REGISTER "w"
constexpr int kVectorBytes = 16;
#else
#define MOELLE_REGISTER "m"
constexpr int kVectorBytes = 16;
#endif

#if defined(__FMA__)
#define MOELLE_FP32 "vfmadd231ps %2, %3, %0"
#elif defined(__AVX2__)
#define MOELLE_FP32 "vmulps %2, %3, %1\n\tvaddps %1, %0, %0"
#elif defined(__SSE2__)
#define MOELLE_FP32 "movaps %2, %1\n\tmulps %3, %1\n\taddps %1, %0"
#elif defined(__aarch64__)
#define MOELLE_FP32 "fmla %0.4s, %2.4s, %3.4s"
#endif

#if defined(__AVX512BF16__)
#define MOELLE_BF16 "vdpbf16ps %2, %3, %0"
#elif defined(__ARM_FEATURE_BF16_VECTOR_ARITHMETIC)
#define MOELLE_BF16 "bfdot %0.4s, %2.8h, %3.8h"
#endif

// Without an instruction for four bytes at once, the shortest way there is, even where it saturates: a limit must not be beaten.
#if defined(__AVX512VNNI__)
#define MOELLE_INT8 "vpdpbusd %2, %3, %0"
constexpr int kInt8Lanes = kVectorBytes;
#elif defined(__AVXVNNI__)
#define MOELLE_INT8 "%{vex%} vpdpbusd %2, %3, %0"
constexpr int kInt8Lanes = kVectorBytes;
#elif defined(__AVX512BW__) || (defined(__AVX2__) && !defined(__AVX512F__))
#define MOELLE_INT8 "vpmaddubsw %2, %3, %1\n\tvpmaddwd %2, %1, %1\n\tvpaddd %1, %0, %0"
constexpr int kInt8Lanes = kVectorBytes;
#elif defined(__SSE2__) && !defined(__AVX512F__)
#define MOELLE_INT8 "movdqa %2, %1\n\tpmaddwd %3, %1\n\tpaddd %1, %0"
constexpr int kInt8Lanes = kVectorBytes / 2;
#elif defined(__ARM_FEATURE_DOTPROD)
#define MOELLE_INT8 "sdot %0.4s, %2.16b, %3.16b"
constexpr int kInt8Lanes = kVectorBytes;
#elif defined(__aarch64__)
#define MOELLE_INT8 "mla %0.8h, %2.8h, %3.8h"
constexpr int kInt8Lanes = kVectorBytes / 2;
#endif

typedef std::int32_t Vector __attribute__((vector_size(kVectorBytes)));
typedef float Floats __attribute__((vector_size(kVectorBytes)));
constexpr int kChains = 12;  // more than latency times ports of any machine so far, and with three operands no more than 16 registers

// `step` on twelve accumulators in turn, `repeats` times. Separate names: compilers may keep an array of vectors in memory.
template <class V, class Step>
void run_chains(std::int64_t repeats, const Step& step) {
  V a0{}, a1{}, a2{}, a3{}, a4{}, a5{}, a6{}, a7{}, a8{}, a9{}, a10{}, a11{};
  for (std::int64_t i = 0; i < repeats; ++i) {
    step(a0), step(a1), step(a2), step(a3), step(a4), step(a5);
    step(a6), step(a7), step(a8), step(a9), step(a10), step(a11);
  }
}

// The operands are 1.0 as two bfloat16, about 1 as a float, and small as integers: nothing meets a slow special case.
#define MOELLE_PEAK(name, text)                                                                                                          \
  void name(std::int64_t repeats) {                                                                                                      \
    const Vector x = Vector{} + 0x3f803f80, y = x;                                                                                       \
    run_chains<Vector>(repeats, [&x, &y](Vector& a) {                                                                                    \
      Vector scratch;                                                                                                                    \
      asm volatile(text : "+" MOELLE_REGISTER(a), "=&" MOELLE_REGISTER(scratch) : MOELLE_REGISTER(x), MOELLE_REGISTER(y));              \
    });                                                                                                                                  \
  }

#if defined(MOELLE_FP32)
MOELLE_PEAK(fp32_peak, MOELLE_FP32)
#else
void fp32_peak(std::int64_t repeats) {
  const Floats x = Floats{} + 0.5f, y = Floats{} + 1.0f;
  run_chains<Floats>(repeats, [&x, &y](Floats& a) {
    a = a * x + y;
    asm volatile("" : "+" MOELLE_REGISTER(a));
  });
}
#endif
#if defined(MOELLE_BF16)
MOELLE_PEAK(bf16_peak, MOELLE_BF16)
#endif
#if defined(MOELLE_INT8)
MOELLE_PEAK(int8_peak, MOELLE_INT8)
#endif

// --- threads and statistics --------------------------------------------------------------------------------------------------
double now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

std::vector<int> allowed_cpus() {
  cpu_set_t set;
  std::vector<int> cpus;
  if (sched_getaffinity(0, sizeof set, &set) == 0)
    for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu)
      if (CPU_ISSET(cpu, &set)) cpus.push_back(cpu);
  return cpus;
}

void pin(int cpu) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(cpu, &set);
  pthread_setaffinity_np(pthread_self(), sizeof set, &set);
}

// Seconds from a common start until the last thread is done, each on a core of its own; starting and joining threads is not counted.
double seconds_of(const std::vector<int>& cpus, const std::function<void(int)>& body) {
  std::atomic<int> ready{0};
  std::atomic<bool> go{false};
  std::vector<double> ends(cpus.size());
  std::vector<std::thread> threads;
  for (std::size_t i = 0; i < cpus.size(); ++i)
    threads.emplace_back([&, i] {
      pin(cpus[i]);
      ++ready;
      while (!go.load(std::memory_order_acquire)) {
      }
      body(static_cast<int>(i));
      ends[i] = now();
    });
  while (ready.load() < static_cast<int>(cpus.size())) std::this_thread::yield();
  const double begin = now();
  go.store(true, std::memory_order_release);
  for (std::thread& t : threads) t.join();
  return *std::max_element(ends.begin(), ends.end()) - begin;
}

constexpr int kRounds = 15;

// One limit: what a measurement does, and how long it takes.
struct Limit {
  std::string key, meaning;
  double amount;  // 1e9 operations or bytes
  std::function<double()> seconds;
  std::vector<double> rates{};
};

// A multiplication and its addition are two operations.
Limit arithmetic(const char* key, const char* meaning, const std::vector<int>& cpus, int lanes, void (*peak)(std::int64_t)) {
  std::int64_t repeats = 1 << 16;
  const auto seconds = [&] { return seconds_of(cpus, [&](int) { peak(repeats); }); };
  while (seconds() < 0.04) repeats *= 2;
  const double amount = 2e-9 * lanes * kChains * static_cast<double>(repeats) * static_cast<double>(cpus.size());
  return {key, meaning, amount, [cpus, peak, repeats] { return seconds_of(cpus, [&](int) { peak(repeats); }); }};
}

// --- memory ------------------------------------------------------------------------------------------------------------------
constexpr std::size_t kReadBytes = std::size_t{1} << 30, kHugePage = std::size_t{2} << 20;  // far beyond every cache

// Loads of half a cache line: on Zen 4 a stream takes some 6 % less time than by loads of a whole one, and asking ahead does not help.
typedef std::int32_t Piece __attribute__((vector_size(kVectorBytes < 32 ? kVectorBytes : 32)));

void read_all(const Piece* v, std::size_t count) {
  Piece a{}, b{}, c{}, d{};
  for (std::size_t i = 0; i + 4 <= count; i += 4) a ^= v[i], b ^= v[i + 1], c ^= v[i + 2], d ^= v[i + 3];
  a ^= b ^ c ^ d;
  asm volatile("" : "+" MOELLE_REGISTER(a));
}

// How much of this process lies in huge pages: the kernel is asked for them and need not give any.
double huge_page_bytes() {
  std::ifstream file("/proc/self/smaps_rollup");
  for (std::string word; file >> word;)
    if (double kib = 0; word == "AnonHugePages:" && file >> kib) return kib * 1024;
  return 0;
}

// One long stream per thread, over memory that the same thread touched first. The memory lives as long as the program.
Limit reading(const char* key, const char* pages, const std::vector<int>& cpus, int advice) {
  const std::size_t part = kReadBytes / cpus.size() / kHugePage * kHugePage;
  void* mapped = mmap(nullptr, kReadBytes + kHugePage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (mapped == MAP_FAILED) std::fprintf(stderr, "bench_machine: 2 GiB of memory must be free\n"), std::exit(1);
  madvise(mapped, kReadBytes + kHugePage, advice);
  const auto address = (reinterpret_cast<std::uintptr_t>(mapped) + kHugePage - 1) / kHugePage * kHugePage;
  const auto begin = [address, part](int i) { return reinterpret_cast<std::byte*>(address) + static_cast<std::size_t>(i) * part; };
  const double total = static_cast<double>(part * cpus.size()), before = huge_page_bytes();
  seconds_of(cpus, [&](int i) { std::memset(begin(i), 1, part); });
  const int granted = static_cast<int>(100 * std::min(1.0, (huge_page_bytes() - before) / total));
  const std::string meaning = std::string("1e9 bytes/s read, ") + pages + (advice == MADV_HUGEPAGE ? " (" + std::to_string(granted) + " % granted)" : "");
  return {key, meaning, 1e-9 * total, [cpus, begin, part] {
            return seconds_of(cpus, [&](int i) { read_all(reinterpret_cast<const Piece*>(begin(i)), part / sizeof(Piece)); });
          }};
}

// --- output ------------------------------------------------------------------------------------------------------------------
std::string cpu_name() {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);)
    if (const auto colon = line.find(": "); line.rfind("model name", 0) == 0 && colon != std::string::npos) {
      std::string name = line.substr(colon + 2);
      std::erase_if(name, [](char c) { return c == '"' || c == '\\'; });
      return name;
    }
  return "unknown";
}

// Rounds over all limits, so that a disturbance of some seconds does not decide one of them.
void measure(std::vector<Limit>& limits) {
  for (int round = 0; round < kRounds; ++round)
    for (Limit& limit : limits) limit.rates.push_back(limit.amount / limit.seconds());
  for (Limit& limit : limits) std::sort(limit.rates.begin(), limit.rates.end());
}

void write_json(const std::string& path, std::size_t threads, const std::vector<Limit>& limits) {
  std::ofstream out(path);
  out << "{\"threads\": " << threads << ", \"cpu\": \"" << cpu_name() << "\"";
  for (const Limit& l : limits)
    out << ", \"" << l.key << "\": {\"median\": " << l.rates[kRounds / 2] << ", \"min\": " << l.rates.front() << ", \"max\": " << l.rates.back() << "}";
  out << "}\n";
  if (!out.flush()) std::fprintf(stderr, "bench_machine: --json must name a file that can be written; got %s\n", path.c_str()), std::exit(1);
}

}  // namespace

int main(int argc, char** argv) {
  std::string json;
  std::vector<int> cpus = allowed_cpus();
  std::size_t threads = 1;
  for (int i = 1; i < argc; ++i) {
    const std::string arg = argv[i];
    if (arg.rfind("--threads=", 0) == 0)
      threads = static_cast<std::size_t>(std::max(0, std::atoi(arg.c_str() + 10)));
    else if (arg.rfind("--json=", 0) == 0)
      json = arg.substr(7);
    else
      return std::fprintf(stderr, "usage: bench_machine [--threads=N] [--json=FILE]\n"), 2;
  }
  if (threads < 1 || threads > cpus.size())
    return std::fprintf(stderr, "bench_machine: --threads must lie in [1, cores of this process]; got threads=%zu cores=%zu\n", threads, cpus.size()), 2;
  cpus.resize(threads);

  std::vector<Limit> limits;
  limits.push_back(arithmetic("fp32_gflops", "1e9 operations/s, float32 multiply-add", cpus, kVectorBytes / 4, fp32_peak));
#if defined(MOELLE_BF16)
  limits.push_back(arithmetic("bf16_gflops", "1e9 operations/s, bfloat16 pairs into float32", cpus, kVectorBytes / 2, bf16_peak));
#endif
#if defined(MOELLE_INT8)
  limits.push_back(arithmetic("int8_gops", "1e9 operations/s, int8 into int32", cpus, kInt8Lanes, int8_peak));
#endif
  limits.push_back(reading("read_gbs", "2 MiB pages", cpus, MADV_HUGEPAGE));
  limits.push_back(reading("read_4k_gbs", "4 KiB pages", cpus, MADV_NOHUGEPAGE));
  measure(limits);
  for (const Limit& l : limits)
    std::printf("%-12s %2zu thread%s %9.1f [%.1f .. %.1f]  %s\n", l.key.c_str(), threads, threads == 1 ? " " : "s", l.rates[kRounds / 2], l.rates.front(),
                l.rates.back(), l.meaning.c_str());
  if (!json.empty()) write_json(json, threads, limits);
  return 0;
}
