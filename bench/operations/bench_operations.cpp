// bench/operations/bench_operations.cpp -- the operations between the products, beyond every cache, against memory.
//
// "memory" is a plain loop that reads and writes as many arrays of the same sizes and does next to nothing with them (streams.hpp): what the
// machine allows at that moment, by the same threads. Rates count what must be read and written at least once. Outputs are part of an
// operation, allocated in each call as in a training step; the loop writes into the same blocks (the pool hands out what was freed last), since
// whether the system gave large pages for a block can be worth a factor of two. The rows "one token" say how often an operation runs in the caches, as in decoding.
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include <moelle/activation/swiglu_op.hpp>
#include <moelle/activation/unary_op.hpp>
#include <moelle/autograd/backward.hpp>
#include <moelle/core/random.hpp>
#include <moelle/cpu/caches.hpp>
#include <moelle/embedding/embedding_op.hpp>
#include <moelle/loss/cross_entropy_op.hpp>
#include <moelle/moe/gate_op.hpp>
#include <moelle/moe/permute_op.hpp>
#include <moelle/norm/rms_norm_op.hpp>
#include <moelle/norm/softmax_op.hpp>
#include <moelle/rope/rope_op.hpp>
#include <moelle/tensor/elementwise_op.hpp>
#include <moelle/training/optimizer.hpp>

#include "streams.hpp"

namespace {
using namespace moelle;
using bench::F;
using bench::keep;
using bench::Samples;
using bench::stream;
using Ids = Tensor<std::int64_t>;

constexpr const char* kSection = "operations";
constexpr std::int64_t kWidth = 2048, kVocabulary = 32000;

// Rows of `width` floats, of which `arrays` together are four times the last cache.
std::int64_t rows_of(std::int64_t width, std::int64_t arrays) { return 4 * cpu::caches().l3 / static_cast<std::int64_t>(sizeof(float)) / (width * arrays); }

// Numbers in [-4, 4).
F filled(const Shape& shape, std::uint64_t seed = 1) {
  const F x = F::empty(shape);
  parallel_rows(x.numel(), 1 << 16, [&](std::int64_t begin, std::int64_t end) {
    std::uint64_t state = seed * 0x9e3779b97f4a7c15u + static_cast<std::uint64_t>(begin);
    for (std::int64_t i = begin; i < end; ++i) {
      state = state * 6364136223846793005u + 1442695040888963407u;
      x.data()[i] = static_cast<float>(static_cast<std::int32_t>(state >> 32)) * 0x1p-29f;
    }
  });
  return x;
}
template <class Index>
Tensor<Index> random_ids(const Shape& shape, std::int64_t bound) {
  const Tensor<Index> ids = Tensor<Index>::empty(shape);
  const random::Stream from(3, "ids");
  for (std::int64_t i = 0; i < ids.numel(); ++i) ids.data()[i] = static_cast<Index>(from.bits(static_cast<std::uint64_t>(i)) % bound);
  return ids;
}

struct Row {
  std::string work;
  std::function<void(Samples&, const std::string&)> measure;  // makes the operands
};

// `elements`: read and written.
template <class Op, class Memory>
void against_memory(Samples& samples, const std::string& work, std::int64_t elements, Op op, Memory memory) {
  samples.measure({.section = kSection, .work = work, .bytes = static_cast<double>(elements) * sizeof(float), .target = 0.8, .against = "memory",
                   .contenders = {{"moelle", op}, {"memory", memory}}});
}
template <class Op>
void by_itself(Samples& samples, const std::string& work, Op op) {
  samples.measure({.section = kSection, .work = work, .contenders = {{"moelle", op}}});
}

// The gradient alone: the graph of y is kept.
auto backward_of(const F& y, const F& dy, const std::vector<F>& inputs) {
  return [y, dy, inputs] {
    autograd::backward<float>({y}, {dy}, true);
    for (const F& x : inputs) x.zero_grad();
  };
}
F like(const F& x) { return F::empty(x.shape()); }
F parameter(const F& x) { return x.detach().set_requires_grad(true); }

// --- norms and sums ------------------------------------------------------------------------------------------------------------
void rms_norm_forward(Samples& samples, const std::string& work) {
  const F x = filled({rows_of(kWidth, 2), kWidth}), w = filled({kWidth});
  against_memory(samples, work, 2 * x.numel(), [&] { keep(norm::rms_norm(x, w, 1e-6).data()); }, [&] { stream<1, 1>(x.numel(), {x}, {like(x)}); });
}
void rms_norm_backward(Samples& samples, const std::string& work) {
  const F x = parameter(filled({rows_of(kWidth, 3), kWidth})), w = parameter(filled({kWidth})), dy = filled(x.shape(), 2);
  against_memory(samples, work, 3 * x.numel(), backward_of(norm::rms_norm(x, w, 1e-6), dy, {x, w}), [&] { stream<2, 1>(x.numel(), {x, dy}, {like(x)}); });
}
void add_rms_norm_forward(Samples& samples, const std::string& work) {
  const F x = filled({rows_of(kWidth, 4), kWidth}), r = filled(x.shape(), 2), w = filled({kWidth});
  against_memory(samples, work, 4 * x.numel(), [&] { keep(norm::add_rms_norm(x, r, w, 1e-6).normed.data()); }, [&] { stream<2, 2>(x.numel(), {x, r}, {like(x), like(x)}); });
}
void residual_sum(Samples& samples, const std::string& work) {
  const F x = filled({rows_of(kWidth, 3), kWidth}), r = filled(x.shape(), 2);
  against_memory(samples, work, 3 * x.numel(), [&] { keep(add(x, r).data()); }, [&] { stream<2, 1>(x.numel(), {x, r}, {like(x)}); });
}
// A second gradient joins the first.
void gradient_sum(Samples& samples, const std::string& work) {
  const F x = parameter(filled({rows_of(kWidth, 2), kWidth})), g = filled(x.shape(), 2), total = filled(x.shape(), 3);
  x.meta()->add(F::zeros(x.shape()));
  against_memory(samples, work, 3 * x.numel(), [&] { x.meta()->add(g); }, [&] { stream<2, 1>(x.numel(), {total, g}, {total}); });
}

// --- softmax and loss ----------------------------------------------------------------------------------------------------------
void softmax_forward(Samples& samples, const std::string& work, std::int64_t width) {
  const F x = filled({rows_of(width, 2), width});
  against_memory(samples, work, 2 * x.numel(), [&] { keep(norm::softmax(x).data()); }, [&] { stream<1, 1>(x.numel(), {x}, {like(x)}); });
}
void softmax_backward(Samples& samples, const std::string& work) {
  const F x = parameter(filled({rows_of(kWidth, 3), kWidth})), y = norm::softmax(x), dy = filled(x.shape(), 2);
  against_memory(samples, work, 3 * x.numel(), backward_of(y, dy, {x}), [&] { stream<2, 1>(x.numel(), {x, dy}, {like(x)}); });
}
// The loss, and its gradient in another pass.
void cross_entropy_both(Samples& samples, const std::string& work) {
  const F x = parameter(filled({rows_of(kVocabulary, 2), kVocabulary}));
  const auto labels = random_ids<std::int64_t>({x.size(0)}, kVocabulary);
  const auto both = [&] {
    loss::cross_entropy(x, labels).backward();
    x.zero_grad();
  };
  against_memory(samples, work, 3 * x.numel(), both, [&] {
    stream<1, 0>(x.numel(), {x}, {});
    stream<1, 1>(x.numel(), {x}, {like(x)});
  });
}

// --- activations, positions ----------------------------------------------------------------------------------------------------
constexpr std::int64_t kHidden = 1408;  // of V2-Lite's experts
void swiglu_forward(Samples& samples, const std::string& work) {
  const F x = filled({rows_of(kHidden, 3), 2 * kHidden}), gate = filled({x.size(0), kHidden}), up = filled(gate.shape(), 2);
  against_memory(samples, work, 3 * gate.numel(), [&] { keep(activation::swiglu_packed(x).data()); }, [&] { stream<2, 1>(gate.numel(), {gate, up}, {like(gate)}); });
}
void swiglu_backward(Samples& samples, const std::string& work) {
  const F x = parameter(filled({rows_of(kHidden, 5), 2 * kHidden})), y = activation::swiglu_packed(x), dy = filled(y.shape(), 2), gate = filled(y.shape());
  const auto half = [&](const F& dx, std::int64_t i) { return dx.alias(y.shape(), {kHidden, 1}, i * y.numel()); };
  against_memory(samples, work, 5 * y.numel(), backward_of(y, dy, {x}), [&] {
    const F dx = like(x);
    stream<3, 2>(y.numel(), {gate, y, dy}, {half(dx, 0), half(dx, 1)});
  });
}
void silu_forward(Samples& samples, const std::string& work) {
  const F x = filled({rows_of(kWidth, 2), kWidth});
  against_memory(samples, work, 2 * x.numel(), [&] { keep(activation::unary(activation::Unary::silu, x).data()); }, [&] { stream<1, 1>(x.numel(), {x}, {like(x)}); });
}

struct Turned {  // V2-Lite's queries, of which the last 64 channels turn
  F x, dy;
  Ids positions;
  rope::RopeTables<float> tables;
  rope::RopeOptions options;

  explicit Turned(rope::Layout layout)
      : x(filled({rows_of(16 * 192, 2), 16, 192})), dy(filled(x.shape(), 2)), positions(Ids::arange(0, x.size(0))),
        tables(rope::make_tables<float>({.dim = 64}, x.size(0))), options{.layout = layout, .offset = 128} {}
  F turned() const { return rope::rope(x, positions, tables, options); }
};
void rope_forward(Samples& samples, const std::string& work, rope::Layout layout) {
  const Turned t(layout);
  against_memory(samples, work, 2 * t.x.numel(), [&] { keep(t.turned().data()); }, [&] { stream<1, 1>(t.x.numel(), {t.x}, {like(t.x)}); });
}
void rope_backward(Samples& samples, const std::string& work) {
  const Turned t(rope::Layout::deinterleave);
  t.x.set_requires_grad(true);
  against_memory(samples, work, 2 * t.x.numel(), backward_of(t.turned(), t.dy, {t.x}), [&] { stream<1, 1>(t.x.numel(), {t.dy}, {like(t.x)}); });
}

// --- mixture of experts --------------------------------------------------------------------------------------------------------
struct GateShape {
  const char* name;
  std::int64_t E;
  moe::GateParams p;
  bool bias;
};
const GateShape kGates[] = {{"V2-Lite, 6 of 64", 64, moe::greedy(6), false},
                            {"V3, 8 of 256 in 4 of 8 groups", 256, moe::noaux_tc(8, 4, 8, 2.5), true},
                            {"8 of 256", 256, moe::noaux_tc(1, 1, 8), true},
                            {"pilot, 3 of 32", 32, moe::noaux_tc(1, 1, 3), true}};
void gate_forward(Samples& samples, const std::string& work, const GateShape& s) {
  const F x = filled({rows_of(s.E, 2), s.E}), bias = s.bias ? filled({s.E}, 2) : F();
  against_memory(samples, work, 2 * x.numel() + 2 * x.size(0) * s.p.top_k, [&] { keep(moe::gate(x, bias, s.p).experts.data()); }, [&] {
    const F experts = F::empty({x.size(0), s.p.top_k}), weights = like(experts);
    stream<1, 1>(x.numel(), {x}, {like(x)});
    stream<0, 2>(experts.numel(), {}, {experts, weights});
  });
}
void gate_backward(Samples& samples, const std::string& work, const GateShape& s) {
  const F x = parameter(filled({rows_of(s.E, 3), s.E}));
  const auto r = moe::gate(x, F(), s.p);
  const F dw = filled(r.weights.shape(), 2);
  against_memory(samples, work, 2 * x.numel() + 2 * dw.numel(), backward_of(r.weights, dw, {x}), [&] { stream<1, 1>(x.numel(), {x}, {like(x)}); });
}

constexpr std::int64_t kChosen = 6, kExperts = 64;
struct Permuted {  // beyond the cache before they are repeated for each expert
  std::int64_t N = rows_of(kWidth, 1 + kChosen);
  moe::Permutation p = moe::make_permutation(random_ids<std::int32_t>({N, kChosen}, kExperts), kExperts);
  F x = filled({N, kWidth}), rows = filled({p.rows(), kWidth}, 2), weights = filled({N, kChosen}, 3);
  F block(const F& of, std::int64_t k) const { return of.alias({N, kWidth}, {kWidth, 1}, k * N * kWidth); }
};
void permute_forward(Samples& samples, const std::string& work) {
  const Permuted d;
  against_memory(samples, work, 2 * d.rows.numel(), [&] { keep(moe::permute(d.x, d.p).data()); },
                 [&] {
                   const F y = like(d.rows);
                   for (std::int64_t k = 0; k < kChosen; ++k) stream<1, 1>(d.x.numel(), {d.x}, {d.block(y, k)});
                 });
}
void combine_forward(Samples& samples, const std::string& work) {
  const Permuted d;
  const auto part = [&](std::int64_t k) { return d.block(d.rows, k); };
  against_memory(samples, work, d.rows.numel() + d.x.numel(), [&] { keep(moe::unpermute(d.rows, d.weights, d.p).data()); },
                 [&] { stream<6, 1>(d.x.numel(), {part(0), part(1), part(2), part(3), part(4), part(5)}, {like(d.x)}); });
}
void combine_backward(Samples& samples, const std::string& work) {
  const Permuted d;
  const F rows = parameter(d.rows), weights = parameter(d.weights);
  against_memory(samples, work, 3 * rows.numel(), backward_of(moe::unpermute(rows, weights, d.p), d.x, {rows, weights}), [&] {
    const F dy = like(d.rows);
    for (std::int64_t k = 0; k < kChosen; ++k) stream<2, 1>(d.x.numel(), {d.x, d.block(d.rows, k)}, {d.block(dy, k)});
  });
}

// --- tables and parameters -----------------------------------------------------------------------------------------------------
void embedding_forward(Samples& samples, const std::string& work) {
  const F w = filled({kVocabulary, kWidth}), x = filled({rows_of(kWidth, 2), kWidth});
  const auto ids = random_ids<std::int64_t>({x.size(0)}, kVocabulary);
  against_memory(samples, work, 2 * x.numel(), [&] { keep(embedding::embedding(ids, w).data()); }, [&] { stream<1, 1>(x.numel(), {x}, {like(x)}); });
}
// Every row of the table's gradient is written, zeros among them; a token's row is read and, the table being as large, mostly added to zero.
void embedding_backward(Samples& samples, const std::string& work) {
  const std::int64_t V = rows_of(kWidth, 2);
  const F w = parameter(filled({V, kWidth})), dy = filled(w.shape());
  const auto ids = random_ids<std::int64_t>({V}, V);
  against_memory(samples, work, 2 * w.numel(), backward_of(embedding::embedding(ids, w), dy, {w}), [&] { stream<1, 1>(w.numel(), {dy}, {like(w)}); });
}

struct Parameters {
  F w = parameter(filled({rows_of(kWidth, 4), kWidth})), g = filled(w.shape(), 2);
  Parameters() { w.set_grad(g); }
};
void adamw_step(Samples& samples, const std::string& work) {
  const Parameters d;
  training::Optimizer<float> optimizer({{training::Method::adamw, {{"w", d.w}}, 1.0, 0.1}}, {.method = training::Method::adamw});
  const auto state = optimizer.state();
  const F w = d.w.detach(), m = state[0].second, v = state[1].second;
  against_memory(samples, work, 7 * w.numel(), [&] { optimizer.step(1e-6); }, [&] { stream<4, 3>(w.numel(), {w, m, v, d.g}, {w, m, v}); });
}
void gradient_norm(Samples& samples, const std::string& work) {
  const Parameters d;
  const std::vector<F> all{d.w};
  against_memory(samples, work, d.w.numel(), [&] { keep(training::grad_norm(all)); }, [&] { stream<1, 0>(d.g.numel(), {d.g}, {}); });
}

// --- one token -----------------------------------------------------------------------------------------------------------------
void one_token_norm(Samples& samples, const std::string& work) {
  const F x = filled({1, kWidth}), w = filled({kWidth});
  by_itself(samples, work, [&] { keep(norm::rms_norm(x, w, 1e-6).data()); });
}
void one_token_swiglu(Samples& samples, const std::string& work) {
  const F x = filled({1, 2 * kHidden});
  by_itself(samples, work, [&] { keep(activation::swiglu_packed(x).data()); });
}
void one_token_rope(Samples& samples, const std::string& work) {
  const F x = filled({1, 16, 192});
  const auto at = Ids::arange(7, 8);
  const auto tables = rope::make_tables<float>({.dim = 64}, 64);
  by_itself(samples, work, [&] { keep(rope::rope(x, at, tables, {.offset = 128}).data()); });
}
void one_token_gate(Samples& samples, const std::string& work, const GateShape& s) {
  const F x = filled({1, s.E}), bias = s.bias ? filled({s.E}, 2) : F();
  by_itself(samples, work, [&] { keep(moe::gate(x, bias, s.p).experts.data()); });
}

std::vector<Row> rows() {
  std::vector<Row> all{{"rms_norm forward", rms_norm_forward}, {"rms_norm backward", rms_norm_backward}, {"add_rms_norm forward", add_rms_norm_forward},
                       {"residual sum", residual_sum}, {"sum of gradients", gradient_sum}};
  for (const std::int64_t width : {std::int64_t{64}, kWidth, kVocabulary})
    all.push_back({"softmax forward, rows of " + std::to_string(width), [width](Samples& s, const std::string& work) { softmax_forward(s, work, width); }});
  all.insert(all.end(), {{"softmax backward", softmax_backward}, {"cross_entropy forward, backward", cross_entropy_both},
                         {"swiglu forward", swiglu_forward}, {"swiglu backward", swiglu_backward}, {"silu forward", silu_forward}});
  for (const auto& [name, layout] : {std::pair{"interleaved", rope::Layout::interleaved}, {"half_split", rope::Layout::half_split}, {"deinterleave", rope::Layout::deinterleave}})
    all.push_back({std::string("rope forward, ") + name, [l = layout](Samples& s, const std::string& work) { rope_forward(s, work, l); }});
  all.push_back({"rope backward", rope_backward});
  for (const GateShape& g : kGates) {
    all.push_back({std::string("gate forward, ") + g.name, [&g](Samples& s, const std::string& work) { gate_forward(s, work, g); }});
    all.push_back({std::string("gate backward, ") + g.name, [&g](Samples& s, const std::string& work) { gate_backward(s, work, g); }});
  }
  all.insert(all.end(), {{"permute forward", permute_forward}, {"combine forward", combine_forward}, {"combine backward", combine_backward},
                         {"embedding forward", embedding_forward}, {"embedding backward", embedding_backward}, {"adamw step", adamw_step},
                         {"norm of gradients", gradient_norm}, {"one token: rms_norm", one_token_norm}, {"one token: swiglu", one_token_swiglu},
                         {"one token: rope", one_token_rope}});
  for (const GateShape& g : kGates)
    all.push_back({std::string("one token: gate, ") + g.name, [&g](Samples& s, const std::string& work) { one_token_gate(s, work, g); }});
  return all;
}
}  // namespace

int main(int argc, char** argv) {
  Samples samples(argc, argv);
  for (const Row& row : rows())
    if (samples.wants(kSection, row.work)) row.measure(samples, row.work);
}
