// bench/gemm/bench_gemm.cpp -- products of training and of squares, beside Eigen and, where it is installed, oneDNN.
//
// Repetitions of all rows are interleaved at random, so that a disturbance hits everybody; medians of 7 and their ratios are printed.
//   g++ -std=c++20 -O2 -march=native -ffp-contract=off -fopenmp -DMOELLE_BENCH_ONEDNN -I include -I /usr/include/eigen3
//       bench/gemm/bench_gemm.cpp -o bench_gemm -lbenchmark -ldnnl -pthread && ./bench_gemm --threads=1
// Without oneDNN: leave out MOELLE_BENCH_ONEDNN and -ldnnl. Names: form/shape/who; forward is NT, the data gradient NN, the weight
// gradient TN of a linear layer [rows, out, in].
#include <benchmark/benchmark.h>

#include <Eigen/Core>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#if defined(_OPENMP)
#include <omp.h>
#endif
#if defined(MOELLE_BENCH_ONEDNN)
#include <dnnl.hpp>
#endif

#include <moelle/core/tensor.hpp>
#include <moelle/gemm/products.hpp>

namespace {

using moelle::Tensor;
using moelle::gemm::GemmArgs;
using moelle::gemm::Matrix;

struct Shape {
  const char* name;
  std::int64_t rows, out, in;
};
// Tokens of one step x widths of the models that the training bench uses; squares; V2-Lite's expert at prefill and decoding.
constexpr Shape kShapes[] = {{"512", 512, 512, 512},         {"1024", 1024, 1024, 1024},       {"2048", 2048, 2048, 2048},
                             {"pilot.q", 2048, 192, 128},    {"pilot.mlp", 2048, 768, 128},    {"pilot.down", 2048, 128, 384},
                             {"demo.q", 8192, 384, 256},     {"demo.mlp", 8192, 1280, 256},    {"demo.down", 8192, 256, 640},
                             {"lite.128", 128, 2816, 2048},  {"lite.32", 32, 2816, 2048},      {"lite.8", 8, 2816, 2048},
                             {"lite.1", 1, 2816, 2048}};
struct Experts {
  const char* name;
  std::int64_t rows, experts, out, in;
  bool skewed;  // the first expert gets five times the mean
};
constexpr Experts kExperts[] = {{"pilot.gate_up", 6144, 32, 192, 128, false}, {"pilot.gate_up.skewed", 6144, 32, 192, 128, true},
                                {"pilot.down", 6144, 32, 128, 96, false},     {"demo.gate_up", 32768, 32, 256, 256, false},
                                {"demo.gate_up.skewed", 32768, 32, 256, 256, true}, {"demo.down", 32768, 32, 256, 128, false}};

enum class Form { forward, data, weight };
constexpr const char* kForms[] = {"forward", "data", "weight"};

Tensor<float> filled(std::int64_t n, int mod) {
  const Tensor<float> t = Tensor<float>::empty({n});
  for (std::int64_t i = 0; i < n; ++i) t.data()[i] = static_cast<float>(i % mod) * 0.25f - 0.5f;
  return t;
}

// One product with operands of its own; C is shared by all who compute it.
struct Product {
  Tensor<float> a, b, c;
  GemmArgs<float> args;

  Product(const Shape& s, Form form) {
    const std::int64_t m = form == Form::weight ? s.out : s.rows, n = form == Form::forward ? s.out : s.in;
    const std::int64_t k = form == Form::forward ? s.in : form == Form::data ? s.out : s.rows;
    a = filled(m * k, 7);
    b = filled(k * n, 5);
    c = Tensor<float>::zeros({m * n});
    args = {.m = m, .n = n, .k = k, .a = form == Form::weight ? moelle::gemm::transposed<float>(a.data(), m) : moelle::gemm::plain<float>(a.data(), k),
            .b = form == Form::forward ? moelle::gemm::transposed<float>(b.data(), k) : moelle::gemm::plain<float>(b.data(), n), .c = c.data(), .ldc = n};
  }
  double flops() const { return 2.0 * static_cast<double>(args.m) * static_cast<double>(args.n) * static_cast<double>(args.k); }
};

void eigen(const GemmArgs<float>& p) {
  using Rows = Eigen::Map<const Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>>;
  using Cols = Eigen::Map<const Eigen::MatrixXf>;
  Eigen::Map<Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>> c(p.c, p.m, p.n);
  if (p.a.col_stride != 1)
    c.noalias() = Cols(p.a.data, p.m, p.k) * Rows(p.b.data, p.k, p.n);
  else if (p.b.col_stride != 1)
    c.noalias() = Rows(p.a.data, p.m, p.k) * Cols(p.b.data, p.k, p.n);
  else
    c.noalias() = Rows(p.a.data, p.m, p.k) * Rows(p.b.data, p.k, p.n);
}

#if defined(MOELLE_BENCH_ONEDNN)
const dnnl::engine& engine() {
  static const dnnl::engine e(dnnl::engine::kind::cpu, 0);
  return e;
}
dnnl::stream& stream() {
  static dnnl::stream s(engine());
  return s;
}

// A primitive with its operands; `packed`: weights in oneDNN's own layout, reordered beforehand.
std::function<void()> onednn(const GemmArgs<float>& p, bool packed) {
  using memory = dnnl::memory;
  const auto f32 = memory::data_type::f32;
  const memory::desc ad({p.m, p.k}, f32, memory::dims{p.a.row_stride, p.a.col_stride});
  const memory::desc bd({p.k, p.n}, f32, memory::dims{p.b.row_stride, p.b.col_stride}), any({p.k, p.n}, f32, memory::format_tag::any);
  const memory::desc cd({p.m, p.n}, f32, memory::dims{p.ldc, 1});
  const dnnl::matmul::primitive_desc pd(dnnl::matmul::desc(ad, packed ? any : bd, cd), engine());
  const dnnl::matmul primitive(pd);
  const memory a(ad, engine(), const_cast<float*>(p.a.data)), plain(bd, engine(), const_cast<float*>(p.b.data)), c(cd, engine(), p.c);
  memory b = plain;
  if (packed) {
    b = memory(pd.weights_desc(), engine());
    memory from = plain;
    dnnl::reorder(from, b).execute(stream(), from, b);
    stream().wait();
  }
  return [=] {
    primitive.execute(stream(), {{DNNL_ARG_SRC, a}, {DNNL_ARG_WEIGHTS, b}, {DNNL_ARG_DST, c}});
    stream().wait();
  };
}
#endif

void add(const std::string& name, double flops, const std::function<void()>& f) {
  benchmark::RegisterBenchmark(name.c_str(), [flops, f](benchmark::State& state) {
    f();
    for (auto _ : state) f();
    state.counters["GF/s"] = benchmark::Counter(flops * 1e-9, benchmark::Counter::kIsIterationInvariantRate);
  })->UseRealTime()->Unit(benchmark::kMicrosecond)->MinTime(0.05);
}

void add_products() {
  for (const Shape& s : kShapes)
    for (Form form : {Form::forward, Form::data, Form::weight}) {
      if (form == Form::weight && s.rows < 128) continue;
      const auto p = std::make_shared<Product>(s, form);
      const std::string name = std::string(kForms[static_cast<int>(form)]) + "/" + s.name + "/";
      add(name + "moelle", p->flops(), [p] { moelle::gemm::gemm(p->args); });
      add(name + "Eigen", p->flops(), [p] { eigen(p->args); });
#if defined(MOELLE_BENCH_ONEDNN)
      add(name + "oneDNN", p->flops(), [p, f = onednn(p->args, false)] { f(); });
      add(name + "oneDNN packed", p->flops(), [p, f = onednn(p->args, true)] { f(); });
#endif
    }
}

std::vector<std::int32_t> offsets_of(const Experts& s) {
  std::vector<std::int32_t> o{0};
  const std::int64_t mean = s.rows / s.experts;
  for (std::int64_t e = 0; e < s.experts; ++e) {
    const std::int64_t rest = (s.rows - 5 * mean) * e / (s.experts - 1);
    o.push_back(static_cast<std::int32_t>(s.skewed ? 5 * mean + rest : mean * (e + 1)));
  }
  return o;
}

// Against one oneDNN product after the other: it has none for experts.
void add_experts() {
  for (const Experts& s : kExperts) {
    const auto x = filled(s.rows * s.in, 7), y = filled(s.rows * s.out, 3), w = filled(s.experts * s.out * s.in, 5);
    const auto offsets = std::make_shared<std::vector<std::int32_t>>(offsets_of(s));
    const double flops = 2.0 * static_cast<double>(s.rows) * static_cast<double>(s.out) * static_cast<double>(s.in);
    const std::string forward = std::string("experts.forward/") + s.name + "/", weight = std::string("experts.weight/") + s.name + "/";
    add(forward + "moelle", flops, [=] {
      moelle::gemm::grouped(moelle::gemm::GroupedArgs<float>{.groups = s.experts, .offsets = offsets->data(), .rows = s.rows, .n = s.out, .k = s.in,
                                                             .a = moelle::gemm::plain<float>(x.data(), s.in), .b = moelle::gemm::transposed<float>(w.data(), s.in),
                                                             .stride_b = s.out * s.in, .c = y.data(), .ldc = s.out});
    });
    add(weight + "moelle", flops, [=] {
      moelle::gemm::grouped_grad(moelle::gemm::GroupedGradArgs<float>{.groups = s.experts, .offsets = offsets->data(), .rows = s.rows, .m = s.out, .n = s.in,
                                                                      .a = moelle::gemm::plain<float>(y.data(), s.out), .b = moelle::gemm::plain<float>(x.data(), s.in),
                                                                      .c = w.data(), .ldc = s.in, .stride_c = s.out * s.in});
    });
#if defined(MOELLE_BENCH_ONEDNN)
    std::vector<std::function<void()>> forwards, weights;
    for (std::int64_t e = 0; e < s.experts; ++e) {
      const std::int64_t begin = (*offsets)[static_cast<std::size_t>(e)], rows = (*offsets)[static_cast<std::size_t>(e) + 1] - begin;
      if (rows == 0) continue;
      forwards.push_back(onednn({.m = rows, .n = s.out, .k = s.in, .a = moelle::gemm::plain<float>(x.data() + begin * s.in, s.in),
                                 .b = moelle::gemm::transposed<float>(w.data() + e * s.out * s.in, s.in), .c = y.data() + begin * s.out, .ldc = s.out}, false));
      weights.push_back(onednn({.m = s.out, .n = s.in, .k = rows, .a = moelle::gemm::transposed<float>(y.data() + begin * s.out, s.out),
                                .b = moelle::gemm::plain<float>(x.data() + begin * s.in, s.in), .c = w.data() + e * s.out * s.in, .ldc = s.in}, false));
    }
    add(forward + "oneDNN", flops, [=] { for (const auto& f : forwards) f(); });
    add(weight + "oneDNN", flops, [=] { for (const auto& f : weights) f(); });
#endif
  }
}

// Collects the rates of each row; prints the median of moelle's and of its ratio to the others', repetition by repetition.
class Ratios : public benchmark::ConsoleReporter {
 public:
  void ReportRuns(const std::vector<Run>& runs) override {
    for (const Run& r : runs)
      if (r.run_type == Run::RT_Iteration && !r.error_occurred) {
        const std::string full = r.run_name.function_name;
        const auto cut = full.rfind('/');
        rates_[full.substr(0, cut)][full.substr(cut + 1)].push_back(r.counters.at("GF/s"));
      }
  }
  void Finalize() override {
    std::printf("%-34s %9s %17s %19s %19s %19s\n", "", "moelle", "[min .. max] GF/s", "/ Eigen", "/ oneDNN", "/ its packed");
    for (auto& [name, who] : rates_) {
      const std::vector<double>& own = who["moelle"];
      const auto [low, high] = std::minmax_element(own.begin(), own.end());
      std::printf("%-34s %9.1f [%6.1f .. %6.1f]", name.c_str(), median(own), *low, *high);
      for (const char* other : {"Eigen", "oneDNN", "oneDNN packed"}) {
        std::vector<double> ratios;
        for (std::size_t i = 0; i < who[other].size(); ++i) ratios.push_back(own[i] / who[other][i]);
        const auto [least, most] = std::minmax_element(ratios.begin(), ratios.end());
        ratios.empty() ? std::printf(" %19s", "-") : std::printf("  %5.2f [%4.2f..%4.2f]", median(ratios), *least, *most);
      }
      std::printf("\n");
    }
  }

 private:
  static double median(std::vector<double> v) {
    std::sort(v.begin(), v.end());
    return v.empty() ? 0.0 : v[v.size() / 2];
  }
  std::map<std::string, std::map<std::string, std::vector<double>>> rates_;
};

}  // namespace

int main(int argc, char** argv) {
  int threads = 1;
  std::vector<char*> args{argv[0]};
  char interleave[] = "--benchmark_enable_random_interleaving=true", repeat[] = "--benchmark_repetitions=7";
  args.push_back(interleave);
  args.push_back(repeat);
  for (int i = 1; i < argc; ++i)
    if (std::string(argv[i]).rfind("--threads=", 0) == 0)
      threads = std::atoi(argv[i] + 10);
    else
      args.push_back(argv[i]);
  int count = static_cast<int>(args.size());
  moelle::set_num_threads(threads);
  Eigen::setNbThreads(threads);
#if defined(_OPENMP)
  omp_set_num_threads(threads);
#endif
  add_products();
  add_experts();
  benchmark::Initialize(&count, args.data());
  std::printf("%d thread%s, float32\n", threads, threads == 1 ? "" : "s");
  Ratios reporter;
  benchmark::RunSpecifiedBenchmarks(&reporter);
  return 0;
}
