// bench/gemm/bench_packed.cpp -- products with packed weights against oneDNN with weights packed ahead: squares, layers of DeepSeek-V2-Lite and
// V3 with weights cold in memory, experts.
//
// MOELLE_ISA and ONEDNN_MAX_CPU_ISA in the environment hold both back to another instruction set; the section says so.
// Cold weights: the calls cycle through copies of at least 400 MB in all. bf16, fp8 and f32 take float rows and bring them into form within the
// call; int8 and int4 rows are quantised before, as oneDNN's are. oneDNN has no 4-bit and no fp8 weights: int4 is beside u8s8, fp8 beside bf16.
#include <algorithm>
#include <cstdint>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include <moelle/core/random.hpp>
#include <moelle/core/tensor.hpp>
#include <moelle/cpu/dispatch.hpp>
#include <moelle/gemm/pack.hpp>
#include <moelle/gemm/packed_driver.hpp>

#include <samples.hpp>

#if defined(MOELLE_BENCH_ONEDNN)
#include <dnnl.hpp>
#endif

namespace {

using moelle::Tensor;
using moelle::gemm::Format;
using moelle::gemm::PackedMatrix;

constexpr Format kFormats[] = {Format::f32, Format::bf16, Format::fp8, Format::int8, Format::int4};
constexpr double kColdBytes = 400e6;

constexpr std::int64_t kSquares[] = {512, 1024, 2048}, kRows[] = {1, 8, 32, 128, 512};
struct Layer {
  std::int64_t n, k;
};
constexpr Layer kLayers[] = {
    {2816, 2048}, {2048, 1408}, {3072, 2048}, {4096, 512},                  // V2-Lite: an expert's gate and up, its down, queries, keys and values
    {4096, 7168}, {7168, 2048}, {1536, 7168}, {24576, 1536}, {32768, 512},  // V3: the same, queries in two steps
};

const char* limit_of(Format f, std::int64_t m) {
  if (m == 1) return "read_gbs";
  return f == Format::f32 ? "fp32_gflops" : moelle::gemm::is_integer(f) ? "int8_gops" : "bf16_gflops";
}
// Kernels narrower than this machine's have no limit to be compared with.
bool widest() { return moelle::cpu::available_isas().back() == moelle::cpu::isa_name(); }

// What the project wants: m = 1 against a loop that only reads the same weights, else a ratio to oneDNN.
double target_of(Format f, std::int64_t m) {
  if (!widest()) return m > 1 && (f == Format::f32 || f == Format::int8) ? 0.95 : 0;
  if (m == 1) return 0.90;
  if (f == Format::fp8 || f == Format::int4) return 0;
  return m == 8 ? 1.3 : m == 32 ? 1.0 : 0.97;
}

// All weights are read once, each thread one stream: what memory allows a single row, in this memory and at this time.
void read_weights(const PackedMatrix& w) {
  typedef std::int32_t Piece __attribute__((vector_size(32)));
  const auto* from = reinterpret_cast<const Piece*>(w.stored(0, w.panel(0), 0));
  const std::int64_t bytes = moelle::gemm::column_bytes(w.format(), moelle::gemm::padded_k(w.format(), w.shape().k)) * w.shape().n * w.shape().groups;
  const std::int64_t pieces = bytes / static_cast<std::int64_t>(sizeof(Piece)), threads = moelle::num_threads();
  moelle::parallel_for(threads, [&](std::int64_t t) {
    const Piece *v = from + pieces * t / threads, *end = from + pieces * (t + 1) / threads;
    Piece a{}, b{}, c{}, d{};
    for (; v + 4 <= end; v += 4) a ^= v[0], b ^= v[1], c ^= v[2], d ^= v[3];
    a ^= b ^ c ^ d;
    moelle::bench::keep(a);
  });
}

// Weights in `copies` places, the same numbers in each. Each is read before it is measured: the first pass over memory that has lain idle for seconds can
// take ten times as long on a virtual machine.
std::vector<PackedMatrix> weights_of(Format f, std::int64_t groups, std::int64_t n, std::int64_t k, bool gated, int copies) {
  // Normal as a model's: how many are zero or denormal in fp8 decides how fast it is read. 65,537 of them, again and again.
  static const std::vector<float> some = [] {
    std::vector<float> x(65537);
    const moelle::random::Stream from(1, "weights");
    for (std::size_t i = 0; i < x.size(); ++i) x[i] = 0.02f * static_cast<float>(from.normal(i));
    return x;
  }();
  const Tensor<float> w = Tensor<float>::empty({n, k});
  for (std::int64_t i = 0; i < w.numel(); ++i) w.data()[i] = some[static_cast<std::size_t>(i) % some.size()];
  std::vector<PackedMatrix> out;
  for (int c = 0; c < copies; ++c) {
    out.emplace_back(moelle::gemm::PackedShape{.groups = groups, .n = n, .k = k, .format = f, .gated = gated});
    for (std::int64_t g = 0; g < groups; ++g) moelle::gemm::pack_group(out.back(), g, moelle::gemm::plain<float>(w.data(), k));
  }
  for (const PackedMatrix& copy : out) read_weights(copy);
  return out;
}

// Rows of floats and, for integers, the same quantised.
struct Rows {
  Tensor<float> x;
  std::int64_t m, k;
  moelle::gemm::Buffer units, scales;
  moelle::gemm::PreparedRows ready{};

  Rows(const PackedMatrix& w, std::int64_t m_) : x(Tensor<float>::empty({m_, w.shape().k})), m(m_), k(w.shape().k) {
    for (std::int64_t i = 0; i < x.numel(); ++i) x.data()[i] = static_cast<float>(i % 9) * 0.1f - 0.4f;
    if (is_integer(w.format())) ready = prepare(w);
  }
  moelle::gemm::PreparedRows prepare(const PackedMatrix& w) { return moelle::gemm::detail::prepare_rows(w, x.data(), k, m, units, scales); }
  moelle::gemm::PreparedRows get(const PackedMatrix& w) { return ready.units != nullptr ? ready : prepare(w); }
};

#if defined(MOELLE_BENCH_ONEDNN)
// oneDNN's product of the same shape, its weights in its own layout, `copies` of them.
class OneDnn {
 public:
  // scaled: integer sums are multiplied by a scale per column and stored as floats, which is most of what moelle's product does. Rows cannot have scales there.
  OneDnn(Format f, std::int64_t m, std::int64_t n, std::int64_t k, bool cold, bool scaled = false) {
    using memory = dnnl::memory;
    using type = memory::data_type;
    const bool integer = moelle::gemm::is_integer(f);
    const type a = f == Format::f32 ? type::f32 : integer ? type::u8 : type::bf16, w = integer ? type::s8 : a, c = integer && !scaled ? type::s32 : type::f32;
    const memory::desc ad({m, k}, a, memory::format_tag::ab), wd({k, n}, w, memory::format_tag::any), cd({m, n}, c, memory::format_tag::ab);
    dnnl::primitive_attr attr;
    if (scaled) attr.set_output_scales(2, std::vector<float>(static_cast<std::size_t>(n), 0.01f));
    const dnnl::matmul::primitive_desc pd(dnnl::matmul::desc(ad, wd, cd), attr, engine());
    product_ = dnnl::matmul(pd);
    const std::size_t size = (pd.weights_desc().get_size() + 63) / 64 * 64;
    const auto copies = static_cast<std::size_t>(cold ? std::max(1.0, kColdBytes / static_cast<double>(size)) : 1);
    a_ = bytes(static_cast<std::size_t>(m * k) * 4);
    c_ = bytes(static_cast<std::size_t>(m * n) * 4);
    w_ = bytes(size * copies);
    from_ = memory(ad, engine(), a_.get());
    to_ = memory(cd, engine(), c_.get());
    for (std::size_t i = 0; i < copies; ++i) weights_.emplace_back(pd.weights_desc(), engine(), static_cast<char*>(w_.get()) + i * size);
  }
  void operator()(std::int64_t call) {
    product_.execute(stream(), {{DNNL_ARG_SRC, from_}, {DNNL_ARG_WEIGHTS, weights_[static_cast<std::size_t>(call) % weights_.size()]}, {DNNL_ARG_DST, to_}});
    stream().wait();
  }

 private:
  static const dnnl::engine& engine() {
    static const dnnl::engine e(dnnl::engine::kind::cpu, 0);
    return e;
  }
  static dnnl::stream& stream() {
    static dnnl::stream s(engine());
    return s;
  }
  static std::shared_ptr<void> bytes(std::size_t n) {  // on 2 MiB pages, as moelle's; 0x3f3f is a small number in every type
    auto p = moelle::detail::lasting_memory(n);
    std::memset(p.get(), 0x3f, n);
    return p;
  }
  dnnl::matmul product_;
  std::shared_ptr<void> a_, w_, c_;
  dnnl::memory from_, to_;
  std::vector<dnnl::memory> weights_;
};
#endif

struct Product {
  std::string section, work, group;
  std::int64_t m;
  bool cold;
};

void product(moelle::bench::Samples& samples, const Product& p, const std::vector<PackedMatrix>& weights) {
  const Format f = weights[0].format();
  const std::int64_t n = weights[0].shape().n, k = weights[0].shape().k;
  Rows rows(weights[0], p.m);
  const Tensor<float> y = Tensor<float>::empty({p.m, n});
  std::vector<moelle::bench::Contender> who;
  who.push_back({"moelle", [&](std::int64_t call) {
    const PackedMatrix& w = weights[static_cast<std::size_t>(call) % weights.size()];
    moelle::gemm::packed_product(w, {.rows = rows.get(w), .count = p.m, .y = y.data(), .ldy = n});
  }});
  if (p.m == 1) who.push_back({"reading", [&](std::int64_t call) { read_weights(weights[static_cast<std::size_t>(call) % weights.size()]); }});
#if defined(MOELLE_BENCH_ONEDNN)
  const bool same = f != Format::fp8 && f != Format::int4;
  const bool dequantises = f == Format::int8 && p.m > 1;
  if (same || p.m > 1)
    who.push_back({same ? "oneDNN" : f == Format::fp8 ? "oneDNN bf16" : "oneDNN u8s8",
                   [one = std::make_shared<OneDnn>(f, p.m, n, k, p.cold)](std::int64_t call) { (*one)(call); }});
  if (dequantises) who.push_back({"oneDNN to floats", [one = std::make_shared<OneDnn>(f, p.m, n, k, p.cold, true)](std::int64_t call) { (*one)(call); }});
#endif
  samples.measure({.section = p.section, .work = p.work, .group = p.group, .flops = 2.0 * static_cast<double>(p.m * n) * static_cast<double>(k),
                   .bytes = p.m == 1 ? static_cast<double>(weights[0].bytes()) : 0, .limit = widest() ? limit_of(f, p.m) : "", .target = target_of(f, p.m),
                   .against = p.m == 1 ? "reading" : who.size() < 2 ? "" : "oneDNN", .contenders = who});
}

void products(moelle::bench::Samples& samples, Format f) {
  const std::string section = widest() ? "products" : moelle::str("products, ", moelle::cpu::isa_name(), " only");
  const auto named = [&](std::int64_t m, std::int64_t n, std::int64_t k, const char* which, const std::string& group) {
    return Product{section, moelle::str(name(f), " ", m, "x", n, "x", k, which), moelle::str(name(f), group), m, *which != 0};
  };
  for (std::int64_t s : kSquares) {
    const Product p = named(s, s, s, "", ", squares");
    if (samples.wants(p.section, p.work)) product(samples, p, weights_of(f, 1, s, s, false, 1));
  }
  for (const Layer& layer : kLayers) {
    std::vector<PackedMatrix> weights;  // packed once for all numbers of rows
    for (std::int64_t m : kRows) {
      const Product p = named(m, layer.n, layer.k, " cold", moelle::str(", ", m, m == 1 ? " row" : " rows"));
      if (!samples.wants(p.section, p.work)) continue;
      const double bytes = static_cast<double>(moelle::gemm::column_bytes(f, moelle::gemm::padded_k(f, layer.k))) * static_cast<double>(layer.n);
      if (weights.empty()) weights = weights_of(f, 1, layer.n, layer.k, false, static_cast<int>(std::max(1.0, kColdBytes / bytes)));
      product(samples, p, weights);
    }
  }
}

// Experts against one dense product with as many rows for each matrix: what grouping costs.
void experts(moelle::bench::Samples& samples, Format f) {
  struct Case {
    const char* name;
    std::int64_t experts, n, k, rows;
    bool skewed;
  };
  std::vector<Case> cases;
  for (std::int64_t rows : {8, 32, 128}) {
    cases.push_back({"V2-Lite gate+up", 64, 2816, 2048, rows, false});
    cases.push_back({"V2-Lite down", 64, 2048, 1408, rows, false});
    cases.push_back({"V3 gate+up", 8, 4096, 7168, rows, false});
  }
  cases.push_back({"V2-Lite gate+up, skewed and empty experts", 64, 2816, 2048, 32, true});
  for (const Case& c : cases) {
    const std::string work = moelle::str(name(f), " ", c.name, ", ", c.rows, " rows per expert");
    if (!samples.wants("experts", work)) continue;
    const auto weights = weights_of(f, c.experts, c.n, c.k, false, 1);
    const auto dense = weights_of(f, 1, c.n, c.k, false, static_cast<int>(c.experts));
    std::vector<std::int32_t> offsets{0};
    for (std::int64_t e = 0; e < c.experts; ++e)  // skewed: a quarter is empty, the rest grows from small to five times the mean
      offsets.push_back(offsets.back() + static_cast<std::int32_t>(!c.skewed ? c.rows : e % 4 == 0 ? 0 : e == c.experts - 1 ? 5 * c.rows : c.rows * (e % 7) * 2 / 5));
    const std::int64_t total = offsets.back();
    Rows rows(weights[0], total), few(dense[0], c.rows);
    const Tensor<float> y = Tensor<float>::empty({total, c.n});
    const double one = 2.0 * static_cast<double>(c.n) * static_cast<double>(c.k);
    const std::int64_t times = total / c.rows;
    samples.measure({.section = "experts", .work = work, .group = moelle::str(name(f), ", ", c.rows, " rows per expert"),
                     .flops = one * static_cast<double>(total), .limit = limit_of(f, c.rows), .target = 0.90, .against = "dense",
                     .contenders = {{"moelle", [&] {
                                       moelle::gemm::packed_product(weights[0], {.rows = rows.get(weights[0]), .count = total, .offsets = offsets.data(), .y = y.data(), .ldy = c.n});
                                     }},
                                    {"dense", [&] {
                                       for (std::int64_t e = 0; e < times; ++e) {
                                         const PackedMatrix& w = dense[static_cast<std::size_t>(e % c.experts)];
                                         moelle::gemm::packed_product(w, {.rows = few.get(w), .count = c.rows, .y = y.data(), .ldy = c.n});
                                       }
                                     }, static_cast<double>(times * c.rows) / static_cast<double>(total)}}});
  }
}

}  // namespace

int main(int argc, char** argv) {
  moelle::bench::Samples samples(argc, argv);
  std::printf("%s\n", moelle::cpu::isa_name());
  for (Format f : kFormats) products(samples, f);
  for (Format f : kFormats) experts(samples, f);
}
