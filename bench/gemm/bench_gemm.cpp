// bench/gemm/bench_gemm.cpp -- products of training: the gradient forms beside the forward form of the same size, and all of them beside oneDNN
// and Eigen on the same operands.
//
// Of a linear layer [rows, out, in], forward is NT, the data gradient NN, the weight gradient TN; nothing is packed ahead. Yardsticks compute in
// float; bfloat16 products round their float operands within the call, oneDNN's have been rounded before.
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#if defined(MOELLE_BENCH_EIGEN)
#include <Eigen/Core>
#endif
#if defined(MOELLE_BENCH_ONEDNN)
#include <dnnl.hpp>
#endif

#include <moelle/core/tensor.hpp>
#include <moelle/gemm/products.hpp>

#include <samples.hpp>

namespace {

using moelle::Tensor;
using moelle::bench::Contender;
using moelle::gemm::GemmArgs;
using moelle::gemm::Precision;

struct Shape {
  const char* name;
  std::int64_t rows, out, in;
};
// Squares; tokens of one step x widths of the models that the training bench uses; an expert of V2-Lite.
constexpr Shape kShapes[] = {{"512", 512, 512, 512},          {"1024", 1024, 1024, 1024},      {"2048", 2048, 2048, 2048},
                             {"pilot mlp", 2048, 768, 128},   {"pilot down", 2048, 128, 384},  {"demo mlp", 8192, 1280, 256}, {"demo down", 8192, 256, 640},
                             {"V2-Lite up", 512, 2816, 2048}, {"V2-Lite down", 512, 2048, 1408}};
struct Experts {
  const char* name;
  std::int64_t rows, experts, out, in;
  bool skewed;  // the first expert gets five times the mean
};
constexpr Experts kExperts[] = {{"pilot gate+up", 6144, 32, 192, 128, false}, {"pilot gate+up skewed", 6144, 32, 192, 128, true},
                                {"pilot down", 6144, 32, 128, 96, false},     {"demo gate+up", 32768, 32, 256, 256, false},
                                {"demo gate+up skewed", 32768, 32, 256, 256, true}, {"demo down", 32768, 32, 256, 128, false}};

enum class Form { forward, data, weight };
constexpr const char* kForms[] = {"forward", "data gradient", "weight gradient"};

const char* limit_of(Precision p) { return p == Precision::bf16 ? "bf16_gflops" : "fp32_gflops"; }

Tensor<float> filled(std::int64_t n, int mod) {
  const Tensor<float> t = Tensor<float>::empty({n});
  for (std::int64_t i = 0; i < n; ++i) t.data()[i] = static_cast<float>(i % mod) * 0.25f - 0.5f;
  return t;
}

struct Product {
  Tensor<float> a, b, c;
  GemmArgs<float> args;

  Product(std::int64_t m, std::int64_t n, std::int64_t k, Form form, Precision precision) : a(filled(m * k, 7)), b(filled(k * n, 5)), c(Tensor<float>::zeros({m * n})) {
    args = {.m = m, .n = n, .k = k, .a = form == Form::weight ? moelle::gemm::transposed<float>(a.data(), m) : moelle::gemm::plain<float>(a.data(), k),
            .b = form == Form::forward ? moelle::gemm::transposed<float>(b.data(), k) : moelle::gemm::plain<float>(b.data(), n), .c = c.data(), .ldc = n,
            .precision = precision};
  }
};

#if defined(MOELLE_BENCH_EIGEN)
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
#endif

#if defined(MOELLE_BENCH_ONEDNN)
const dnnl::engine& engine() {
  static const dnnl::engine e(dnnl::engine::kind::cpu, 0);
  return e;
}
dnnl::stream& stream() {
  static dnnl::stream s(engine());
  return s;
}

// A primitive on the operands as they lie, or on copies of them in bfloat16.
std::function<void()> onednn(const GemmArgs<float>& p) {
  using memory = dnnl::memory;
  const bool half = p.precision == Precision::bf16;
  const auto in = half ? memory::data_type::bf16 : memory::data_type::f32;
  const memory::desc ad({p.m, p.k}, in, memory::dims{p.a.row_stride, p.a.col_stride}), bd({p.k, p.n}, in, memory::dims{p.b.row_stride, p.b.col_stride});
  const memory::desc cd({p.m, p.n}, memory::data_type::f32, memory::dims{p.ldc, 1});
  const dnnl::matmul primitive(dnnl::matmul::primitive_desc(dnnl::matmul::desc(ad, bd, cd), engine()));
  const auto operand = [half](const memory::desc& desc, const moelle::gemm::Matrix<float>& x) {
    const auto plain = memory::desc(desc.dims(), memory::data_type::f32, memory::dims{x.row_stride, x.col_stride});
    memory from(plain, engine(), const_cast<float*>(x.data));
    if (!half) return from;
    memory to(desc, engine());
    dnnl::reorder(from, to).execute(stream(), from, to);
    stream().wait();
    return to;
  };
  return [primitive, a = operand(ad, p.a), b = operand(bd, p.b), c = memory(cd, engine(), p.c)] {
    primitive.execute(stream(), {{DNNL_ARG_SRC, a}, {DNNL_ARG_WEIGHTS, b}, {DNNL_ARG_DST, c}});
    stream().wait();
  };
}
#endif

// A gradient is compared with the forward form of the same m, n and k.
void products(moelle::bench::Samples& samples, Precision precision) {
  for (Form form : {Form::forward, Form::data, Form::weight})
    for (const Shape& s : kShapes) {
      const std::string group = moelle::str(name(precision), " ", kForms[static_cast<int>(form)]), work = moelle::str(group, " ", s.name);
      if (!samples.wants("products of training", work)) continue;
      const std::int64_t m = form == Form::weight ? s.out : s.rows, n = form == Form::forward ? s.out : s.in;
      const std::int64_t k = form == Form::forward ? s.in : form == Form::data ? s.out : s.rows;
      const Product own(m, n, k, form, precision), forward(m, n, k, Form::forward, precision);
      std::vector<Contender> who{{"moelle", [&] { moelle::gemm::gemm(own.args); }}};
      if (form != Form::forward) who.push_back({"forward", [&] { moelle::gemm::gemm(forward.args); }});
#if defined(MOELLE_BENCH_ONEDNN)
      who.push_back({"oneDNN", onednn(own.args)});
#endif
#if defined(MOELLE_BENCH_EIGEN)
      if (precision == Precision::native) who.push_back({"Eigen", [&] { eigen(own.args); }});
#endif
      samples.measure({.section = "products of training", .work = work, .group = group, .flops = 2.0 * static_cast<double>(m * n) * static_cast<double>(k),
                       .limit = limit_of(precision), .target = form == Form::forward ? 0 : 0.92, .against = form == Form::forward ? "" : "forward", .contenders = who});
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
void experts(moelle::bench::Samples& samples, const Experts& s, Precision precision) {
  const std::string section = "experts in training", head = name(precision);
  const auto x = filled(s.rows * s.in, 7), y = filled(s.rows * s.out, 3), w = filled(s.experts * s.out * s.in, 5);
  const auto offsets = offsets_of(s);
  const double flops = 2.0 * static_cast<double>(s.rows) * static_cast<double>(s.out) * static_cast<double>(s.in);
  std::vector<Contender> forward{{"moelle", [&] {
    moelle::gemm::grouped(moelle::gemm::GroupedArgs<float>{.groups = s.experts, .offsets = offsets.data(), .rows = s.rows, .n = s.out, .k = s.in,
                                                           .a = moelle::gemm::plain<float>(x.data(), s.in), .b = moelle::gemm::transposed<float>(w.data(), s.in),
                                                           .stride_b = s.out * s.in, .c = y.data(), .ldc = s.out, .precision = precision});
  }}};
  std::vector<Contender> gradient{{"moelle", [&] {
    moelle::gemm::grouped_grad(moelle::gemm::GroupedGradArgs<float>{.groups = s.experts, .offsets = offsets.data(), .rows = s.rows, .m = s.out, .n = s.in,
                                                                    .a = moelle::gemm::plain<float>(y.data(), s.out), .b = moelle::gemm::plain<float>(x.data(), s.in),
                                                                    .c = w.data(), .ldc = s.in, .stride_c = s.out * s.in, .precision = precision});
  }}};
#if defined(MOELLE_BENCH_ONEDNN)
  std::vector<std::function<void()>> forwards, gradients;
  for (std::int64_t e = 0; e < s.experts; ++e) {
    const std::int64_t begin = offsets[static_cast<std::size_t>(e)], rows = offsets[static_cast<std::size_t>(e) + 1] - begin;
    if (rows == 0) continue;
    const float *xe = x.data() + begin * s.in, *we = w.data() + e * s.out * s.in;
    float* ye = y.data() + begin * s.out;
    forwards.push_back(onednn({.m = rows, .n = s.out, .k = s.in, .a = moelle::gemm::plain<float>(xe, s.in), .b = moelle::gemm::transposed<float>(we, s.in), .c = ye,
                               .ldc = s.out, .precision = precision}));
    gradients.push_back(onednn({.m = s.out, .n = s.in, .k = rows, .a = moelle::gemm::transposed<float>(ye, s.out), .b = moelle::gemm::plain<float>(xe, s.in),
                                .c = w.data() + e * s.out * s.in, .ldc = s.in, .precision = precision}));
  }
  forward.push_back({"oneDNN", [&] { for (const auto& f : forwards) f(); }});
  gradient.push_back({"oneDNN", [&] { for (const auto& f : gradients) f(); }});
#endif
  const auto measure = [&](const char* form, const std::vector<Contender>& who) {
    samples.measure({.section = section, .work = moelle::str(head, " ", form, " ", s.name), .group = moelle::str(head, " ", form), .flops = flops,
                     .limit = limit_of(precision), .contenders = who});
  };
  measure("forward", forward);
  measure("weight gradient", gradient);
}

}  // namespace

int main(int argc, char** argv) {
  moelle::bench::Samples samples(argc, argv);
#if defined(MOELLE_BENCH_EIGEN)
  Eigen::setNbThreads(samples.threads());
#endif
  for (Precision p : {Precision::native, Precision::bf16}) products(samples, p);
  for (Precision p : {Precision::native, Precision::bf16})
    for (const Experts& s : kExperts) experts(samples, s, p);
}
