// moelle/tensor/loops.hpp -- loops over strided operands of one shape, shared by the operations of this folder.
//
// Axes that lie side by side in every operand are merged, so that the innermost run is long; runs are spread over threads.
// No element is written by two tasks.
#pragma once
#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <tuple>
#include <utility>

#include <moelle/core/parallel.hpp>
#include <moelle/core/tensor.hpp>

namespace moelle::detail {

inline constexpr std::int64_t kLoopGrain = 1 << 15;  // elements per task: about 10 us of the cheapest work

// Strides under which x is seen in a larger shape: repeated axes have stride 0.
template <class T>
Strides broadcast_strides(const Tensor<T>& x, const Shape& shape) {
  Strides strides(shape.rank(), 0);
  const int skip = shape.rank() - x.rank();
  for (int i = skip; i < shape.rank(); ++i) strides[i] = x.shape()[i - skip] == 1 ? 0 : x.strides()[i - skip];
  return strides;
}

inline constexpr int kMaxOperands = 4;
using Offsets = std::array<std::int64_t, kMaxOperands>;

struct Axes {
  int operands = 0;
  Shape shape;  // at least one axis
  std::array<Strides, kMaxOperands> strides;
};

// Drops axes of size 1 and merges neighbours. No size may be 0.
inline Axes merged(const Shape& shape, std::initializer_list<Strides> strides) {
  Axes r;
  r.operands = static_cast<int>(strides.size());
  const Strides* from = strides.begin();
  const auto N = strides.size();
  for (int d = 0; d < shape.rank(); ++d) {
    if (shape[d] == 1) continue;
    const int last = r.shape.rank() - 1;
    bool joins = last >= 0;
    for (std::size_t k = 0; joins && k < N; ++k) joins = r.strides[k][last] == from[k][d] * shape[d];
    if (joins) {
      r.shape[last] *= shape[d];
      for (std::size_t k = 0; k < N; ++k) r.strides[k][last] = from[k][d];
    } else {
      r.shape.push_back(shape[d]);
      for (std::size_t k = 0; k < N; ++k) r.strides[k].push_back(from[k][d]);
    }
  }
  if (r.shape.rank() == 0) {
    r.shape.push_back(1);
    for (auto& s : r.strides) s.push_back(0);
  }
  return r;
}

// What is done along one run: offset of each operand, length, step of each operand. A plain function pointer, so that the
// loops around it are compiled once and not once per operation.
struct RunRef {
  void (*call)(const void* body, const Offsets& at, std::int64_t n, const Offsets& step);
  const void* body;
};

// Runs along the last axis for the rows [begin, end) of the others.
inline void walk(const Axes& axes, std::int64_t begin, std::int64_t end, const Offsets& step, RunRef run) {
  const int last = axes.shape.rank() - 1;
  const auto N = static_cast<std::size_t>(axes.operands);
  Offsets at{};
  Shape index(last, 0);
  std::int64_t rest = begin;
  for (int d = last - 1; d >= 0; --d) {
    index[d] = rest % axes.shape[d];
    rest /= axes.shape[d];
    for (std::size_t k = 0; k < N; ++k) at[k] += index[d] * axes.strides[k][d];
  }
  for (std::int64_t r = begin; r < end; ++r) {
    run.call(run.body, at, axes.shape[last], step);
    for (int d = last - 1; d >= 0; --d) {  // the next run, as an odometer turns
      for (std::size_t k = 0; k < N; ++k) at[k] += axes.strides[k][d];
      if (++index[d] < axes.shape[d]) break;
      for (std::size_t k = 0; k < N; ++k) at[k] -= index[d] * axes.strides[k][d];
      index[d] = 0;
    }
  }
}

inline void for_runs_of(const Axes& axes, RunRef run, std::int64_t cost) {
  const int last = axes.shape.rank() - 1;
  const std::int64_t n = axes.shape[last], grain = std::max<std::int64_t>(kLoopGrain / cost, 16);
  Offsets step{};
  for (std::size_t k = 0; k < static_cast<std::size_t>(axes.operands); ++k) step[k] = axes.strides[k][last];
  if (last == 0) {
    parallel_rows(n, grain, [&](std::int64_t begin, std::int64_t end) {
      Offsets at{};
      for (std::size_t k = 0; k < kMaxOperands; ++k) at[k] = begin * step[k];
      run.call(run.body, at, end - begin, step);
    });
    return;
  }
  std::int64_t runs = 1;
  for (int d = 0; d < last; ++d) runs *= axes.shape[d];
  parallel_rows(runs, std::max<std::int64_t>(1, grain / n), [&](std::int64_t begin, std::int64_t end) { walk(axes, begin, end, step, run); });
}

// run(at, n, step) for every run along the last axis, spread over threads. `cost` is the work per element, in units of the
// cheapest.
template <class F>
void for_runs(const Axes& axes, const F& run, std::int64_t cost = 1) {
  for_runs_of(axes, {[](const void* body, const Offsets& at, std::int64_t n, const Offsets& step) { (*static_cast<const F*>(body))(at, n, step); }, &run}, cost);
}

// out[i] = f(x[i]...) along one run. The cases that matter are written such that the compiler vectorises them.
template <class U, class F, class... Ts, std::size_t... I>
void map_run(std::index_sequence<I...>, U* out, std::int64_t n, const Offsets& step, F f, const Ts*... x) {
  if (step[0] == 1 && ((step[I + 1] == 1) && ...)) {
    for (std::int64_t i = 0; i < n; ++i) out[i] = static_cast<U>(f(x[i]...));
    return;
  }
  if constexpr (sizeof...(Ts) == 2) {
    const auto inputs = std::tuple<const Ts*...>(x...);
    const auto *a = std::get<0>(inputs);
    const auto *b = std::get<1>(inputs);
    if (step[0] == 1 && step[1] == 1 && step[2] == 0) {
      const auto same = *b;
      for (std::int64_t i = 0; i < n; ++i) out[i] = static_cast<U>(f(a[i], same));
      return;
    }
    if (step[0] == 1 && step[1] == 0 && step[2] == 1) {
      const auto same = *a;
      for (std::int64_t i = 0; i < n; ++i) out[i] = static_cast<U>(f(same, b[i]));
      return;
    }
  }
  for (std::int64_t i = 0; i < n; ++i) out[i * step[0]] = static_cast<U>(f(x[i * step[I + 1]]...));
}

// y[i] = f(x[i]...), the inputs broadcast to y's shape. y may be one of the inputs (same view), not overlap one otherwise.
template <class U, class F, class... Ts>
void map_into(const Tensor<U>& y, F f, const Tensor<Ts>&... x) {
  if (y.numel() == 0) return;
  static_assert(sizeof...(Ts) + 1 <= kMaxOperands);
  const Axes axes = merged(y.shape(), {y.strides(), broadcast_strides(x, y.shape())...});
  const auto all = [&]<std::size_t... I>(std::index_sequence<I...> sequence) {
    for_runs(axes, [&](const Offsets& at, std::int64_t n, const Offsets& step) {
      map_run(sequence, y.data() + at[0], n, step, f, static_cast<const Ts*>(x.data()) + at[I + 1]...);
    });
  };
  all(std::index_sequence_for<Ts...>());
}

// The axis along which operand 1 is dense where operand 0 is dense along the last: a transposition; else -1.
inline int transposed_axis(const Axes& axes) {
  const int last = axes.shape.rank() - 1;
  if (axes.strides[0][last] != 1 || axes.shape[last] < 8) return -1;
  for (int d = 0; d < last; ++d)
    if (axes.strides[1][d] == 1 && axes.shape[d] >= 8) return d;
  return -1;
}

// Copies in square blocks, so that each cache line that is touched is used up at once: element by element, a transposition
// of 2048 x 2048 took three times as long.
template <class T>
void copy_transposed(const T* from, T* to, const Axes& axes, int dense) {
  constexpr std::int64_t kBlock = 16;
  const int last = axes.shape.rank() - 1;
  const std::int64_t rows = axes.shape[dense], columns = axes.shape[last];
  const std::int64_t to_row = axes.strides[0][dense], from_column = axes.strides[1][last];
  Axes outer = axes;  // the other axes, and blocks of rows as the last
  outer.shape.erase(last);
  for (auto& s : outer.strides)
    if (s.rank() > 0) s.erase(last);
  const std::int64_t blocks = (rows + kBlock - 1) / kBlock;
  outer.shape.erase(dense), outer.shape.push_back(blocks);
  outer.strides[0].erase(dense), outer.strides[0].push_back(kBlock * to_row);
  outer.strides[1].erase(dense), outer.strides[1].push_back(kBlock);
  std::int64_t tasks = 1;
  for (const std::int64_t n : outer.shape) tasks *= n;
  parallel_rows(tasks, std::max<std::int64_t>(1, kLoopGrain / (kBlock * columns)), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t task = begin; task < end; ++task) {
      const T* f = from;
      T* t = to;
      std::int64_t rest = task;
      for (int d = outer.shape.rank() - 1; d >= 0; --d) {
        const std::int64_t i = rest % outer.shape[d];
        rest /= outer.shape[d];
        t += i * outer.strides[0][d];
        f += i * outer.strides[1][d];
      }
      const std::int64_t height = std::min(kBlock, rows - task % blocks * kBlock);
      for (std::int64_t c = 0; c < columns; c += kBlock) {
        const std::int64_t width = std::min(kBlock, columns - c);
        for (std::int64_t r = 0; r < height; ++r)
          for (std::int64_t k = 0; k < width; ++k) t[r * to_row + c + k] = f[r + (c + k) * from_column];
      }
    }
  });
}

// to[i] = from[i], from broadcast to to's shape; they must not overlap.
template <class T>
void copy_elements(const Tensor<T>& from, const Tensor<T>& to) {
  if (to.numel() == 0) return;
  const Axes axes = merged(to.shape(), {to.strides(), broadcast_strides(from, to.shape())});
  if (const int dense = transposed_axis(axes); dense >= 0) return copy_transposed(from.data(), to.data(), axes, dense);
  for_runs(axes, [&](const Offsets& at, std::int64_t n, const Offsets& step) {
    T* t = to.data() + at[0];
    const T* f = from.data() + at[1];
    if (step[0] == 1 && step[1] == 1) {
      std::copy(f, f + n, t);
    } else if (step[0] == 1 && step[1] == 0) {
      std::fill_n(t, n, *f);
    } else {
      for (std::int64_t i = 0; i < n; ++i) t[i * step[0]] = f[i * step[1]];
    }
  });
}

template <class T>
void fill_elements(const Tensor<T>& y, T value) {
  copy_elements(Tensor<T>::scalar(value), y);
}

// f(x...) of the broadcast shape, which the caller has worked out.
template <class U, class F, class... Ts>
Tensor<U> mapped(const Shape& shape, F f, const Tensor<Ts>&... x) {
  const Tensor<U> y = Tensor<U>::empty(shape);
  map_into(y, f, x...);
  return y;
}

// y[i] = f(y[i], x[i]): written apart from map_into so that the compiler sees that reading and writing coincide.
template <class T, class U, class F>
void update(const Tensor<T>& y, F f, const Tensor<U>& x) {
  if (y.numel() == 0) return;
  const Axes axes = merged(y.shape(), {y.strides(), broadcast_strides(x, y.shape())});
  for_runs(axes, [&](const Offsets& at, std::int64_t n, const Offsets& step) {
    T* to = y.data() + at[0];
    const U* from = x.data() + at[1];
    if (step[0] == 1 && step[1] == 1) {
      for (std::int64_t i = 0; i < n; ++i) to[i] = f(to[i], from[i]);
    } else {
      for (std::int64_t i = 0; i < n; ++i) to[i * step[0]] = f(to[i * step[0]], from[i * step[1]]);
    }
  });
}

}  // namespace moelle::detail
