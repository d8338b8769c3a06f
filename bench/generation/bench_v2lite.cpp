// bench/generation/bench_v2lite.cpp -- prefill and decoding at DeepSeek-V2-Lite's true shape: 27 layers, 15.7 billion weights, packed as they
// are made from random numbers. Routers are random, so tokens spread nearly evenly over the experts.
//
// Prints one JSON object per line: {"format", "threads", "work", "tokens", "seconds": [...]} and at the end the weights' and the process's
// peak bytes.   bench_generation_v2lite int8|int4|bf16 [--threads 1,2] [--layers N] [--repeat N]
#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <string>
#include <vector>

#include <moelle/models.hpp>

using namespace moelle;

namespace {

double now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

// Matrices cut out of one pool of normal numbers, as many as an expert has, each from another place: as random as speed needs.
nn::WeightSource pooled() {
  const std::int64_t size = std::int64_t{1} << 22;
  const auto pool = Tensor<float>::empty({2 * size});
  nn::fill_normal(pool, 0.02, 0, "pool");
  return [pool, size, next = std::uint64_t{0}](const std::string&, const Shape& shape, std::int64_t begin, std::int64_t end) mutable {
    const Tensor<float> w = Tensor<float>::empty({end - begin, shape[1]});
    const auto shift = static_cast<std::int64_t>(next++ * 7919 * 64 % static_cast<std::uint64_t>(size));
    for (std::int64_t i = 0; i < w.numel(); i += size) std::memcpy(w.data() + i, pool.data() + shift, static_cast<std::size_t>(std::min(size, w.numel() - i)) * sizeof(float));
    return w;
  };
}

Tensor<std::int32_t> prompt(std::int64_t n) {
  const auto ids = Tensor<std::int32_t>::empty({1, n});
  for (std::int64_t i = 0; i < n; ++i) ids.data()[i] = static_cast<std::int32_t>(i * 7919 % 100000);
  return ids;
}

struct Bench {
  models::CausalLM<float>& model;
  const char* format;
  int repeat;

  void report(const char* work, std::int64_t tokens, const std::vector<double>& seconds) const {
    std::printf("{\"format\": \"%s\", \"threads\": %d, \"work\": \"%s\", \"tokens\": %lld, \"seconds\": [", format, num_threads(), work, static_cast<long long>(tokens));
    for (std::size_t i = 0; i < seconds.size(); ++i) std::printf("%s%.6f", i > 0 ? ", " : "", seconds[i]);
    std::printf("]}\n");
    std::fflush(stdout);
  }
  void prefill(std::int64_t n) const {
    std::vector<double> seconds;
    for (int r = 0; r <= repeat; ++r) {
      const autograd::NoGrad guard;
      auto cache = model.make_cache(1, n);
      const double begin = now();
      const auto hidden = model.hidden_states(prompt(n), {}, &cache);
      model.project(slice(hidden, 1, n - 1, n));
      if (r > 0) seconds.push_back(now() - begin);  // the first warms up
    }
    report(n == 128 ? "prefill 128" : "prefill 512", n, seconds);
  }
  // 32 tokens after 16, the mean of a token for each repetition.
  void decode() const {
    std::vector<double> seconds;
    for (int r = 0; r < repeat; ++r) {
      const autograd::NoGrad guard;
      auto cache = model.make_cache(1, 64);
      model.hidden_states(prompt(16), {}, &cache);
      const double begin = now();
      for (int i = 0; i < 32; ++i) model.project(model.hidden_states(prompt(1), {}, &cache));
      seconds.push_back((now() - begin) / 32);
    }
    report("decode", 1, seconds);
  }
};

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) return std::fprintf(stderr, "usage: bench_generation_v2lite int8|int4|bf16 [--threads 1,2] [--layers N] [--repeat N]\n"), 2;
  models::Config config = models::preset("deepseek-v2-lite");
  std::string threads = "1,2";
  int repeat = 3;
  for (int i = 2; i + 1 < argc; i += 2) {
    if (std::strcmp(argv[i], "--threads") == 0) threads = argv[i + 1];
    if (std::strcmp(argv[i], "--layers") == 0) config.num_hidden_layers = std::atoi(argv[i + 1]);
    if (std::strcmp(argv[i], "--repeat") == 0) repeat = std::atoi(argv[i + 1]);
  }
  const double begin = now();
  models::CausalLM<float> model(config, 0, gemm::format_of(argv[1]), pooled());
  const std::int64_t weights = model.packed_bytes() + 4 * model.num_parameters();
  std::printf("{\"built_seconds\": %.1f, \"weight_bytes\": %lld}\n", now() - begin, static_cast<long long>(weights));
  const Bench bench{model, argv[1], repeat};
  for (std::size_t at = 0; at < threads.size(); at = threads.find(',', at) == std::string::npos ? threads.size() : threads.find(',', at) + 1) {
    set_num_threads(std::atoi(threads.c_str() + at));
    bench.prefill(128);
    bench.prefill(512);
    bench.decode();
  }
  rusage usage;
  getrusage(RUSAGE_SELF, &usage);
  std::printf("{\"weight_bytes\": %lld, \"peak_bytes\": %lld}\n", static_cast<long long>(weights), static_cast<long long>(usage.ru_maxrss) * 1024);
}
