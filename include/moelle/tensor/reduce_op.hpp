// moelle/tensor/reduce_op.hpp -- sums and extrema over axes.
//
// The order of a sum is fixed, whatever strides and threads: the K elements of one output, in row-major order of the reduced
// axes, are cut into chunks of 32,768; inside a chunk element k goes to partial sum k mod 8, and the eight are added pairwise;
// chunks are added in order. Sums of float, double and bfloat16 are kept in double and rounded once at the end (mean after the
// division). Sums of integers and bool are int64, modulo 2^64.
//   y = sum_k x_k            dx_k = dy
//   y = (1/K) sum_k x_k      dx_k = dy / K
//   y = max_k x_k            dx_k = dy for the first k that attains it, 0 otherwise
// NaN counts as larger and smaller than all: the first NaN is the maximum and the minimum. Of equals the first wins.
// The sum of nothing is 0, its mean NaN; a maximum of nothing is an error.
#pragma once
#include <cmath>
#include <cstdint>
#include <type_traits>
#include <vector>

#include <moelle/autograd/record.hpp>
#include <moelle/tensor/reduce_plan.hpp>

namespace moelle {

// What sum() returns.
template <class T>
using SumType = std::conditional_t<std::is_integral_v<T>, std::int64_t, T>;

namespace detail {

inline constexpr std::int64_t kSumChunk = 32768;
inline constexpr int kSumLanes = 8;

template <class T>
struct SumReducer {
  using Value = T;
  using Partial = std::conditional_t<std::is_integral_v<T>, std::uint64_t, double>;
  static constexpr std::int64_t kTile = 256;  // columns at a time: long enough to stream, 16 KiB of partial sums

  static Partial widen(T v) {
    if constexpr (std::is_same_v<T, bfloat16>) return static_cast<double>(static_cast<float>(v));
    else return static_cast<Partial>(v);
  }
  static Partial pairwise(const Partial* l, std::int64_t gap) {
    return ((l[0] + l[gap]) + (l[2 * gap] + l[3 * gap])) + ((l[4 * gap] + l[5 * gap]) + (l[6 * gap] + l[7 * gap]));
  }
  static Partial one(const T* x, std::int64_t n, std::int64_t step) {
    Partial lane[kSumLanes] = {};
    std::int64_t k = 0;
    if (step == 1) {
      for (; k + kSumLanes <= n; k += kSumLanes)
        for (int j = 0; j < kSumLanes; ++j) lane[j] += widen(x[k + j]);
    }
    for (; k < n; ++k) lane[k % kSumLanes] += widen(x[k * step]);
    return pairwise(lane, 1);
  }
  // Several outputs side by side: the same order for each, but reading along them.
  static void tile(const T* x, std::int64_t count, std::int64_t across, std::int64_t n, std::int64_t step, Partial* out) {
    Partial lane[kSumLanes * kTile];
    for (int j = 0; j < kSumLanes; ++j) std::fill_n(lane + j * kTile, count, Partial(0));
    for (std::int64_t k = 0; k < n; ++k) {
      const T* row = x + k * step;
      Partial* to = lane + k % kSumLanes * kTile;
      if (across == 1) {
        for (std::int64_t c = 0; c < count; ++c) to[c] += widen(row[c]);
      } else {
        for (std::int64_t c = 0; c < count; ++c) to[c] += widen(row[c * across]);
      }
    }
    for (std::int64_t c = 0; c < count; ++c) out[c] = pairwise(lane + c, kTile);
  }
  static void run(const T* x, std::int64_t count, std::int64_t across, std::int64_t n, std::int64_t step, std::int64_t, Partial* out) {
    if (count > 1 && std::abs(across) < std::abs(step)) {
      for (std::int64_t c = 0; c < count; c += kTile) tile(x + c * across, std::min(kTile, count - c), across, n, step, out + c);
    } else {
      for (std::int64_t c = 0; c < count; ++c) out[c] = one(x + c * across, n, step);
    }
  }
  static Partial combine(Partial a, Partial b) { return a + b; }
};

// The first of the largest (Sign = 1) or smallest (Sign = -1) elements.
template <class T, int Sign>
struct ExtremeReducer {
  using Value = T;
  struct Partial {
    T value;
    std::int64_t index;
  };
  static bool beats(T challenger, T best) {
    if constexpr (!std::is_integral_v<T>)
      if (!(challenger == challenger)) return best == best;
    return Sign > 0 ? challenger > best : challenger < best;
  }
  static void run(const T* x, std::int64_t count, std::int64_t across, std::int64_t n, std::int64_t step, std::int64_t first, Partial* out) {
    for (std::int64_t c = 0; c < count; ++c) {
      const T* at = x + c * across;
      Partial best{*at, first};
      for (std::int64_t k = 1; k < n; ++k)
        if (beats(at[k * step], best.value)) best = {at[k * step], first + k};
      out[c] = best;
    }
  }
  static Partial combine(Partial a, Partial b) { return beats(b.value, a.value) ? b : a; }
};

// done(output, total) for every output of the plan; K must not be 0.
template <class Reducer, class Done>
void reduce(const ReducePlan<typename Reducer::Value>& plan, Done done) {
  using Partial = typename Reducer::Partial;
  const std::int64_t outputs = plan.outputs, K = plan.K, chunks = (K + kSumChunk - 1) / kSumChunk;
  std::vector<Partial> partial(static_cast<std::size_t>(outputs * chunks));
  const std::int64_t grain = std::max<std::int64_t>(1, kSumChunk / std::min(K, kSumChunk));
  parallel_rows(outputs * chunks, grain, [&](std::int64_t begin, std::int64_t end) {
    while (begin < end) {  // chunk by chunk
      const std::int64_t chunk = begin / outputs, k = chunk * kSumChunk, first = begin % outputs;
      const std::int64_t count = std::min(end - begin, outputs - first);
      for_outputs(plan, first, first + count, [&](std::int64_t o, std::int64_t n, const auto* x, std::int64_t across) {
        Reducer::run(x + k * plan.step, n, across, std::min(kSumChunk, K - k), plan.step, k, &partial[static_cast<std::size_t>(chunk * outputs + o)]);
      });
      begin += count;
    }
  });
  for (std::int64_t o = 0; o < outputs; ++o) {
    Partial total = partial[static_cast<std::size_t>(o)];
    for (std::int64_t c = 1; c < chunks; ++c) total = Reducer::combine(total, partial[static_cast<std::size_t>(c * outputs + o)]);
    done(o, total);
  }
}

// f(sum of each output, still wide) as a tensor.
template <class U, class T, class F>
Tensor<U> totals(const ReducePlan<T>& plan, F f) {
  const Tensor<U> y = Tensor<U>::empty(plan.result);
  if (plan.K == 0) {
    for (std::int64_t o = 0; o < plan.outputs; ++o) y.data()[o] = static_cast<U>(f(typename SumReducer<T>::Partial(0)));
  } else if (plan.outputs > 0) {
    reduce<SumReducer<T>>(plan, [&](std::int64_t o, auto total) { y.data()[o] = static_cast<U>(f(total)); });
  }
  return y;
}

// g, repeated along the reduced axes and divided by `by`.
template <class T>
Tensor<T> spread(const Tensor<T>& g, const Shape& kept, const Shape& shape, T by) {
  if (by == T(1)) {
    const Tensor<T> dx = Tensor<T>::empty(shape);
    copy_elements(g.alias(kept), dx);
    return dx;
  }
  return mapped<T>(shape, [by](T v) { return v / by; }, g.alias(kept));
}

inline std::int64_t offset_of(std::int64_t flat, const Shape& shape, const Strides& strides) {
  std::int64_t at = 0;
  for (int d = shape.rank() - 1; d >= 0; --d) {
    at += flat % shape[d] * strides[d];
    flat /= shape[d];
  }
  return at;
}

template <int Sign, class T>
Tensor<T> extreme(const char* op, const Tensor<T>& x, const Over& over) {
  const auto plan = plan_reduction(op, x, over);
  MOELLE_REQUIRE(op, plan.K > 0 || plan.outputs == 0, str("there must be an element to choose from; got shape=", x.shape()));
  const Tensor<T> y = Tensor<T>::empty(plan.result);
  std::vector<std::int64_t> winners(static_cast<std::size_t>(plan.outputs));
  if (plan.outputs > 0)
    reduce<ExtremeReducer<T, Sign>>(plan, [&](std::int64_t o, auto best) {
      y.data()[o] = best.value;
      winners[static_cast<std::size_t>(o)] = best.index;
    });
  if constexpr (is_real<T>)
    if (autograd::wants_grad(x))
      autograd::record<T>(op, {x}, {y}, [winners, shape = x.shape(), reduced = reduced_axes(op, x.shape(), over)](autograd::Backward<T>& b) {
        const Tensor<T> dx = Tensor<T>::zeros(shape), g = b.grad(0);
        Shape kept, kept_strides, run, run_strides;
        for (int d = 0; d < shape.rank(); ++d) {
          const bool gone = reduced[static_cast<std::size_t>(d)];
          (gone ? run : kept).push_back(shape[d]);
          (gone ? run_strides : kept_strides).push_back(dx.strides()[d]);
        }
        for (std::size_t o = 0; o < winners.size(); ++o) {
          const auto output = static_cast<std::int64_t>(o);
          dx.data()[offset_of(output, kept, kept_strides) + offset_of(winners[o], run, run_strides)] = g.data()[output];
        }
        b.add(0, dx);
      });
  return y;
}

template <int Sign, class T>
Tensor<std::int64_t> arg_extreme(const char* op, const Tensor<T>& x, const Over& over) {
  const auto plan = plan_reduction(op, x, over);
  MOELLE_REQUIRE(op, plan.K > 0 || plan.outputs == 0, str("there must be an element to choose from; got shape=", x.shape()));
  const Tensor<std::int64_t> y = Tensor<std::int64_t>::empty(plan.result);
  if (plan.outputs > 0) reduce<ExtremeReducer<T, Sign>>(plan, [&](std::int64_t o, auto best) { y.data()[o] = best.index; });
  return y;
}

// g summed over the axes along which `shape` was repeated to give g's shape: the gradient of broadcasting.
template <class T>
Tensor<T> sum_to(const Tensor<T>& g, const Shape& shape) {
  if (g.shape() == shape) return g;
  Over over;
  const int skip = g.rank() - shape.rank();
  for (int d = 0; d < g.rank(); ++d)
    if (d < skip || (shape[d - skip] == 1 && g.shape()[d] != 1)) over.dims.push_back(d);
  return totals<T>(plan_reduction("sum", g, over), [](auto total) { return total; }).alias(shape);
}

}  // namespace detail

template <class T>
Tensor<SumType<T>> sum(const Tensor<T>& x, const Over& over = {}) {
  const auto plan = detail::plan_reduction("sum", x, over);
  const auto y = detail::totals<SumType<T>>(plan, [](auto total) { return total; });
  if constexpr (is_real<T>)
    autograd::record<T>("sum", {x}, {y}, [kept = plan.kept, shape = x.shape()](autograd::Backward<T>& b) {
      b.add(0, detail::spread(b.grad(0), kept, shape, T(1)));
    });
  return y;
}

template <class T>
Tensor<T> mean(const Tensor<T>& x, const Over& over = {}) {
  static_assert(!std::is_integral_v<T>, "mean takes floating point: cast first");
  const auto plan = detail::plan_reduction("mean", x, over);
  const auto K = static_cast<double>(plan.K);
  const Tensor<T> y = detail::totals<T>(plan, [K](double total) { return total / K; });
  if constexpr (is_real<T>)
    autograd::record<T>("mean", {x}, {y}, [kept = plan.kept, shape = x.shape(), K](autograd::Backward<T>& b) {
      b.add(0, detail::spread(b.grad(0), kept, shape, static_cast<T>(K)));
    });
  return y;
}

template <class T>
Tensor<T> max(const Tensor<T>& x, const Over& over = {}) {
  return detail::extreme<1>("max", x, over);
}
template <class T>
Tensor<T> min(const Tensor<T>& x, const Over& over = {}) {
  return detail::extreme<-1>("min", x, over);
}

// Where along the axis the maximum stands; over several axes (or all), its place in their row-major order.
template <class T>
Tensor<std::int64_t> argmax(const Tensor<T>& x, const Over& over = {}) {
  return detail::arg_extreme<1>("argmax", x, over);
}
template <class T>
Tensor<std::int64_t> argmin(const Tensor<T>& x, const Over& over = {}) {
  return detail::arg_extreme<-1>("argmin", x, over);
}

// One axis, for short: sum(x, -1).
template <class T>
Tensor<SumType<T>> sum(const Tensor<T>& x, std::int64_t dim) {
  return sum(x, Over{.dims = {dim}});
}
template <class T>
Tensor<T> mean(const Tensor<T>& x, std::int64_t dim) {
  return mean(x, Over{.dims = {dim}});
}
template <class T>
Tensor<T> max(const Tensor<T>& x, std::int64_t dim) {
  return max(x, Over{.dims = {dim}});
}
template <class T>
Tensor<T> min(const Tensor<T>& x, std::int64_t dim) {
  return min(x, Over{.dims = {dim}});
}
template <class T>
Tensor<std::int64_t> argmax(const Tensor<T>& x, std::int64_t dim) {
  return argmax(x, Over{.dims = {dim}});
}
template <class T>
Tensor<std::int64_t> argmin(const Tensor<T>& x, std::int64_t dim) {
  return argmin(x, Over{.dims = {dim}});
}

// Whether any, whether all elements hold; of nothing: false, true.
inline Tensor<bool> any(const Tensor<bool>& x, const Over& over = {}) {
  return detail::totals<bool>(detail::plan_reduction("any", x, over), [](std::uint64_t n) { return n > 0; });
}
inline Tensor<bool> all(const Tensor<bool>& x, const Over& over = {}) {
  const auto plan = detail::plan_reduction("all", x, over);
  return detail::totals<bool>(plan, [K = static_cast<std::uint64_t>(plan.K)](std::uint64_t n) { return n == K; });
}

}  // namespace moelle
