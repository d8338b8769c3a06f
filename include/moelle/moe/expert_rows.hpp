// moelle/moe/expert_rows.hpp -- the products of experts with rows, and all that lies between them, task by task.
//
// A task is an expert, or a range of its rows where one expert has more of them than a thread's share. It packs the expert's two weights
// once and passes its rows through both products a few at a time, so that what stands between the products never leaves the L2 cache.
// How the rows are cut does not change a bit (gemm.hpp), so it may depend on the number of threads.
#pragma once
#include <algorithm>
#include <cstdint>
#include <type_traits>
#include <vector>

#include <moelle/activation/kernels.hpp>
#include <moelle/core/parallel.hpp>
#include <moelle/core/tensor.hpp>
#include <moelle/cpu/caches.hpp>
#include <moelle/gemm/block_product.hpp>
#include <moelle/gemm/products.hpp>
#include <moelle/gemm/simulated_fp8.hpp>
#include <moelle/gemm/workspace.hpp>
#include <moelle/moe/kernels.hpp>
#include <moelle/moe/permute.hpp>

namespace moelle::moe::detail {

using gemm::Precision;

// What all tasks of a layer share. D: hidden size, F: expert size.
template <class T>
struct ExpertProblem {
  const Permutation& p;
  std::int64_t D, F;
  const T* gate_up;  // [E, 2F, D]
  const T* down;     // [E, D, F]
  T limit;
  Precision precision;
};

// Rows [begin, end) of an expert, all of them or a part.
struct RowRange {
  std::int64_t expert, begin, end;
  bool whole;
};

// The largest first, so that no thread begins one when the others have finished. An expert without rows has a range, too.
inline std::vector<RowRange> row_ranges(const Permutation& p) {
  constexpr std::int64_t kFew = 192, kTasksPerThread = 4;  // rows that are worth packing the weights again: a tenth of their products at most
  const std::int64_t threads = num_threads(), most = threads == 1 ? std::max<std::int64_t>(p.rows(), 1) : std::max(kFew, p.rows() / (threads * kTasksPerThread));
  std::vector<RowRange> out;
  for (std::int64_t e = 0; e < p.experts(); ++e) {
    const std::int64_t first = p.offsets.data()[e], rows = p.offsets.data()[e + 1] - first, parts = std::max<std::int64_t>((rows + most - 1) / most, 1);
    for (std::int64_t i = 0; i < parts; ++i) out.push_back({e, first + rows * i / parts, first + rows * (i + 1) / parts, parts == 1});
  }
  std::stable_sort(out.begin(), out.end(), [](const RowRange& x, const RowRange& y) { return x.end - x.begin > y.end - y.begin; });
  return out;
}

// Rows that pass at a time: with what is made of them they take a part of the L2 cache.
template <class T>
std::int64_t rows_at_once(const ExpertProblem<T>& e) {
  const std::int64_t bytes = 2 * (e.D + 3 * e.F) * static_cast<std::int64_t>(sizeof(T));
  return std::clamp<std::int64_t>(cpu::caches().l2 / 2 / std::max<std::int64_t>(bytes, 1) / 18, 2, 14) * 18;
}

// Scratch of a thread, besides its workspace: units of both weights, elements of rows. A Buffer each, since they grow on their own.
struct ExpertScratch {
  gemm::Buffer up, down, hidden, copy;
};
inline ExpertScratch& expert_scratch() {
  thread_local ExpertScratch own;
  return own;
}

// The row of the token in slot slot[r], while one that comes a little later is called into the cache: tokens lie anywhere.
template <class T>
const T* token_row(const T* x, std::int64_t D, const Permutation& p, std::int64_t r) {
  constexpr std::int64_t kAhead = 4, kLine = 64 / static_cast<std::int64_t>(sizeof(T));
  const T* ahead = x + p.slot.data()[std::min(r + kAhead, p.rows() - 1)] / p.per_token * D;
  for (std::int64_t d = 0; d < D; d += kLine) __builtin_prefetch(ahead + d);
  return x + p.slot.data()[r] / p.per_token * D;
}

// A row as the first operand of a product: for fp8 a rounded copy.
template <class T>
const T* operand_row(const T* row, std::int64_t k, Precision precision) {
  if (precision != Precision::fp8) return row;
  T* copy = expert_scratch().copy.reserve<T>(k);
  std::copy_n(row, k, copy);
  gemm::round_to_fp8_tiles(copy, 1, k, 1, gemm::kFp8Tile);
  return copy;
}

// Both weights of an expert as second operands: transposed (forward) or as they stand.
template <class Product>
struct PackedExpert {
  using Unit = typename Product::unit_type;
  Unit *up, *down;

  template <class T>
  PackedExpert(const Product& product, const ExpertProblem<T>& e, std::int64_t expert, bool transpose) {
    const std::int64_t D = e.D, F = e.F;
    const T *w = e.gate_up + expert * 2 * F * D, *v = e.down + expert * D * F;
    up = expert_scratch().up.template reserve<Unit>(std::max(product.size_b(D, 2 * F), product.size_b(2 * F, D)));
    down = expert_scratch().down.template reserve<Unit>(std::max(product.size_b(F, D), product.size_b(D, F)));
    if (transpose) product.pack_b(gemm::transposed<T>(w, D), D, 2 * F, up), product.pack_b(gemm::transposed<T>(v, F), F, D, down);
    else product.pack_b(gemm::plain<T>(w, D), 2 * F, D, up), product.pack_b(gemm::plain<T>(v, F), D, F, down);
  }
};

// H[R, 2F] and each row's result out[R, D] from x[N, D].
template <class T>
void experts_forward_rows(const ExpertProblem<T>& e, const T* x, T* H, T* out) {
  const std::int64_t D = e.D, F = e.F, step = rows_at_once(e);
  const std::vector<RowRange> ranges = row_ranges(e.p);
  gemm::with_block_product<T>(e.precision, [&](const auto& product) {
    using Product = std::decay_t<decltype(product)>;
    using Unit = typename Product::unit_type;
    parallel_for(static_cast<std::int64_t>(ranges.size()), [&](std::int64_t task) {
      const RowRange& range = ranges[static_cast<std::size_t>(task)];
      if (range.begin == range.end) return;
      const PackedExpert<Product> w(product, e, range.expert, true);
      Unit* rows = gemm::workspace().left.template reserve<Unit>(product.size_a(step, std::max(D, F)));
      T* hidden = expert_scratch().hidden.template reserve<T>(step * F);
      for (std::int64_t begin = range.begin; begin < range.end; begin += step) {
        const std::int64_t m = std::min(step, range.end - begin);
        T* h = H + begin * 2 * F;
        for (std::int64_t i = 0; i < m; ++i) product.pack_row(operand_row(token_row(x, D, e.p, begin + i), D, e.precision), D, i, m, rows);
        product.run(m, 2 * F, D, rows, w.up, h, 2 * F);
        activation::kernels<T>().swiglu({h, 2 * F, h + F, 2 * F, F, e.limit}, hidden, 0, m);
        for (std::int64_t i = 0; i < m; ++i) product.pack_row(operand_row(hidden + i * F, F, e.precision), F, i, m, rows);
        product.run(m, D, F, rows, w.down, out + begin * D, D);
      }
    });
  });
}

// What the gradient makes of an expert's rows: see experts.hpp for the names.
template <class T>
struct GradRows {
  T *G, *X;        // [m, D]
  T *weighed;      // w A [m, F]
  T *dH;           // [m, 2F]

  static std::int64_t size(const ExpertProblem<T>& e, std::int64_t m) { return m * (2 * e.D + 3 * e.F); }
  GradRows(const ExpertProblem<T>& e, std::int64_t m, T* at) : G(at), X(G + m * e.D), weighed(X + m * e.D), dH(weighed + m * e.F) {}
  // From row i on.
  GradRows(const ExpertProblem<T>& e, const GradRows& from, std::int64_t i) : G(from.G + i * e.D), X(from.X + i * e.D), weighed(from.weighed + i * e.F), dH(from.dH + i * 2 * e.F) {}
};

// The gradient of all that a layer of experts is given. Null: nobody wants it.
template <class T>
struct ExpertGrads {
  T* weights;  // [N, K]
  T* rows;     // of each row of x [R, D]
  T *gate_up, *down;
  bool add_gate_up, add_down;  // to what is there
};

template <class T>
class ExpertsBackward {
 public:
  // dy [N, D]: the gradient of the result.
  ExpertsBackward(const ExpertProblem<T>& e, const T* x, const T* H, const T* weights, const T* dy, const ExpertGrads<T>& to)
      : e_(e), x_(x), H_(H), weights_(weights), dy_(dy), to_(to), step_(rows_at_once(e)) {}

  // An expert that one task has whole gets its weight gradients there, from rows in near caches. Of one that is cut the rows are kept, and its weight
  // gradients are products of all threads.
  void run() {
    const std::vector<RowRange> ranges = row_ranges(e_.p);
    std::vector<std::int64_t> at(static_cast<std::size_t>(e_.p.experts()), -1);  // where a cut expert's rows are kept
    std::int64_t cut = 0;
    for (const RowRange& r : ranges)
      if (std::int64_t& place = at[static_cast<std::size_t>(r.expert)]; !r.whole && place < 0) place = cut, cut += count(r.expert);
    // Room for all rows, whatever is cut: of one size in every step, it takes no fresh memory, and what is not used is never touched.
    const Tensor<T> room = cut > 0 ? Tensor<T>::empty({GradRows<T>::size(e_, e_.p.rows())}) : Tensor<T>();
    const auto kept = [&](std::int64_t expert) { return GradRows<T>(e_, count(expert), room.data() + GradRows<T>::size(e_, at[static_cast<std::size_t>(expert)])); };
    gemm::with_block_product<T>(e_.precision, [&](const auto& product) {
      parallel_for(static_cast<std::int64_t>(ranges.size()), [&](std::int64_t task) {
        const RowRange& r = ranges[static_cast<std::size_t>(task)];
        if (r.begin == r.end) return none(r.expert);
        const PackedExpert<std::decay_t<decltype(product)>> w(product, e_, r.expert, false);
        if (r.whole) return whole(product, w, r);
        rows(product, w, r.begin, r.end, GradRows<T>(e_, kept(r.expert), r.begin - e_.p.offsets.data()[r.expert]));
      });
    });
    for (std::int64_t expert = 0; expert < e_.p.experts(); ++expert)
      if (at[static_cast<std::size_t>(expert)] >= 0) of_kept(expert, kept(expert));
  }

 private:
  std::int64_t count(std::int64_t expert) const { return e_.p.offsets.data()[expert + 1] - e_.p.offsets.data()[expert]; }
  T* gate_up(std::int64_t expert) const { return to_.gate_up + expert * 2 * e_.F * e_.D; }
  T* down(std::int64_t expert) const { return to_.down + expert * e_.D * e_.F; }

  // Rows [begin, end): dX, dw, and what weight gradients need.
  template <class Product>
  void rows(const Product& product, const PackedExpert<Product>& w, std::int64_t begin, std::int64_t end, const GradRows<T>& to) const {
    using Unit = typename Product::unit_type;
    const std::int64_t D = e_.D, F = e_.F;
    Unit* packed = gemm::workspace().left.template reserve<Unit>(product.size_a(step_, std::max(D, 2 * F)));
    for (std::int64_t first = begin; first < end; first += step_) {
      const std::int64_t m = std::min(step_, end - first);
      const GradRows<T> at(e_, to, first - begin);
      for (std::int64_t i = 0; i < m; ++i) {
        const T* g = token_row(dy_, D, e_.p, first + i);
        product.pack_row(operand_row(g, D, e_.precision), D, i, m, packed);
        if (to_.down != nullptr) std::copy_n(g, D, at.G + i * D);
        if (to_.gate_up != nullptr) std::copy_n(token_row(x_, D, e_.p, first + i), D, at.X + i * D);
      }
      product.run(m, F, D, packed, w.down, at.weighed, F);
      kernels<T>().experts_grad(H_ + first * 2 * F, F, e_.limit, weights_, e_.p.slot.data() + first, at.weighed, at.dH, to_.weights, 0, m);
      if (to_.rows == nullptr) continue;
      for (std::int64_t i = 0; i < m; ++i) product.pack_row(operand_row(at.dH + i * 2 * F, 2 * F, e_.precision), 2 * F, i, m, packed);
      product.run(m, D, 2 * F, packed, w.up, to_.rows + first * D, D);
    }
  }

  // Of an expert without rows.
  void none(std::int64_t expert) const {
    if (to_.gate_up != nullptr && !to_.add_gate_up) std::fill_n(gate_up(expert), 2 * e_.F * e_.D, T(0));
    if (to_.down != nullptr && !to_.add_down) std::fill_n(down(expert), e_.D * e_.F, T(0));
  }
  // In steps of what one chain of a weight gradient's sum has.
  template <class Product>
  void whole(const Product& product, const PackedExpert<Product>& w, const RowRange& r) const {
    const std::int64_t most = std::min(product.block(), r.end - r.begin);
    const GradRows<T> some(e_, most, expert_scratch().hidden.template reserve<T>(GradRows<T>::size(e_, most)));
    for (std::int64_t begin = r.begin; begin < r.end; begin += product.block()) {
      const std::int64_t m = std::min(most, r.end - begin);
      const bool first = begin == r.begin;
      rows(product, w, begin, begin + m, some);
      if (to_.down != nullptr) weight_grad(product, m, some.G, e_.D, some.weighed, e_.F, down(r.expert), to_.add_down || !first);
      if (to_.gate_up != nullptr) weight_grad(product, m, some.dH, 2 * e_.F, some.X, e_.D, gate_up(r.expert), to_.add_gate_up || !first);
    }
  }

  // c[p, q] = (add ? c : 0) + a^T b, a [m, p], b [m, q]; for fp8 both are rounded first.
  template <class Product>
  void weight_grad(const Product& product, std::int64_t m, T* a, std::int64_t p, T* b, std::int64_t q, T* c, bool add) const {
    using Unit = typename Product::unit_type;
    round_columns(m, a, p), round_columns(m, b, q);
    Unit* right = gemm::workspace().right.template reserve<Unit>(product.size_b(m, q));
    product.pack_b(gemm::plain<T>(b, q), m, q, right);
    for (std::int64_t i = 0; i < p; i += step_) {
      const std::int64_t n = std::min(step_, p - i);
      Unit* left = gemm::workspace().left.template reserve<Unit>(product.size_a(n, m));
      product.pack_a(gemm::transposed<T>(a + i, p), n, m, left);
      product.run(n, q, m, left, right, c + i * q, q, add);
    }
  }
  void of_kept(std::int64_t expert, const GradRows<T>& r) const {
    const auto product = [&](T* a, std::int64_t p, T* b, std::int64_t q, T* c, bool add) {
      const std::int64_t m = count(expert);
      round_columns(m, a, p), round_columns(m, b, q);
      gemm::gemm<T>({.m = p, .n = q, .k = m, .a = gemm::transposed<T>(a, p), .b = gemm::plain<T>(b, q), .c = c, .ldc = q, .accumulate = add, .precision = e_.precision});
    };
    if (to_.down != nullptr) product(r.G, e_.D, r.weighed, e_.F, down(expert), to_.add_down);
    if (to_.gate_up != nullptr) product(r.dH, 2 * e_.F, r.X, e_.D, gate_up(expert), to_.add_gate_up);
  }
  void round_columns(std::int64_t m, T* x, std::int64_t n) const {
    if (e_.precision == Precision::fp8) gemm::round_to_fp8_tiles(x, m, n, gemm::kFp8Tile, 1);
  }

  const ExpertProblem<T>& e_;
  const T *x_, *H_, *weights_, *dy_;
  const ExpertGrads<T>& to_;
  const std::int64_t step_;
};

}  // namespace moelle::moe::detail
