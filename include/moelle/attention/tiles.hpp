// moelle/attention/tiles.hpp -- attention and its gradient over all sequences and heads: how the work is cut into tasks.
//
// No cut changes a result, therefore all of them may depend on the number of threads.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <type_traits>

#include <moelle/attention/backward_tiles.hpp>
#include <moelle/attention/decode.hpp>
#include <moelle/attention/forward_tiles.hpp>
#include <moelle/core/parallel.hpp>

namespace moelle::attention {

namespace detail {

inline std::int64_t query_blocks(std::int64_t queries) { return (queries + kQueryBlock - 1) / kQueryBlock; }

// Calls f(head, first query, queries) for the blocks [first, last) of all query heads of key head j.
template <class T, class F>
void each_query_block(const Problem<T>& p, std::int64_t j, std::int64_t first, std::int64_t last, F f) {
  const std::int64_t group = p.H / p.J;
  for (std::int64_t h = j * group; h < (j + 1) * group; ++h)
    for (std::int64_t block = first; block < last; ++block) f(h, block * kQueryBlock, std::min(kQueryBlock, p.Tq - block * kQueryBlock));
}

// Into how many pieces of at most `most` the work of one key head is cut, so that every thread finds several tasks.
template <class T>
std::int64_t pieces(const Problem<T>& p, std::int64_t most) {
  const std::int64_t wanted = num_threads() == 1 ? 1 : std::int64_t{4} * num_threads(), heads = std::max<std::int64_t>(1, p.B * p.J);
  return std::clamp<std::int64_t>((wanted + heads - 1) / heads, 1, std::max<std::int64_t>(1, most));
}

// One pass per key head takes 5 products; one for the queries and one for the keys, each of which any number of threads can share, take 7.
template <class T>
bool one_pass(const Problem<T>& p) {
  const std::int64_t threads = num_threads(), heads = p.B * p.J, rounds = (heads + threads - 1) / threads;
  return rounds * threads * 5 <= heads * 7;
}

}  // namespace detail

namespace detail {

template <class T, class Unit>
void forward_tiles(const Problem<T>& p, const Heads<T>& out, T* lse) {
  const std::int64_t blocks = query_blocks(p.Tq), cuts = pieces(p, blocks);
  parallel_for(p.B * p.J * cuts, [&](std::int64_t task) {
    const std::int64_t heads = p.B * p.J, cut = cuts - 1 - task / heads, b = task % heads / p.J, j = task % heads % p.J;  // the longest first
    const std::int64_t first = cut * blocks / cuts, last = (cut + 1) * blocks / cuts, begin = first * kQueryBlock;
    const auto keys = p.visible(b, begin, std::min(p.Tq, last * kQueryBlock) - begin);
    ForwardTiles<T, Unit> tiles(p, b, j, keys.begin, keys.end);
    each_query_block(p, j, first, last, [&](std::int64_t h, std::int64_t at, std::int64_t rows) { tiles.run(h, at, rows, out, lse); });
  });
}

template <class T, class Unit>
void backward_tiles(const Problem<T>& p, const Gradients<T>& g) {
  const std::int64_t blocks = query_blocks(p.Tq), heads = p.B * p.J;
  const auto run = [&](std::int64_t b, std::int64_t j, std::int64_t first, std::int64_t last, std::int64_t key, std::int64_t end, Wanted wanted) {
    BackwardTiles<T, Unit> tiles(p, g, b, j, key, end, wanted);
    each_query_block(p, j, first, last, [&](std::int64_t h, std::int64_t at, std::int64_t rows) { tiles.run(h, at, rows); });
    tiles.finish();
  };
  if (one_pass(p)) {
    parallel_for(heads, [&](std::int64_t task) { run(task / p.J, task % p.J, 0, blocks, 0, p.Tk, Wanted::all); });
    return;
  }
  const std::int64_t key_blocks = (p.Tk + kGradKeyBlock - 1) / kGradKeyBlock;
  const std::int64_t key_cuts = pieces(p, key_blocks), query_cuts = pieces(p, blocks);
  parallel_for(heads * (key_cuts + query_cuts), [&](std::int64_t task) {
    const std::int64_t piece = task / heads, b = task % heads / p.J, j = task % heads % p.J;
    if (piece < key_cuts) {  // the first keys are seen by the most queries
      const std::int64_t begin = piece * key_blocks / key_cuts * kGradKeyBlock, end = (piece + 1) * key_blocks / key_cuts * kGradKeyBlock;
      return run(b, j, 0, blocks, begin, std::min(p.Tk, end), Wanted::keys);
    }
    const std::int64_t cut = query_cuts - 1 - (piece - key_cuts), first = cut * blocks / query_cuts, last = (cut + 1) * blocks / query_cuts;
    const auto keys = p.visible(b, first * kQueryBlock, std::min(p.Tq, last * kQueryBlock) - first * kQueryBlock);
    run(b, j, first, last, keys.begin / kGradKeyBlock * kGradKeyBlock, keys.end, Wanted::queries);
  });
}

}  // namespace detail

// lse [B, Tq, H] or null.
template <class T>
void run_forward(const Problem<T>& p, const Heads<T>& out, T* lse) {
  if (p.B * p.Tq * p.H == 0) return;
  if constexpr (std::is_same_v<T, float>)
    if (p.rounded) return detail::forward_tiles<T, std::uint32_t>(p, out, lse);
  if (detail::decodes(p)) return run_decode(p, out, lse);
  detail::forward_tiles<T, T>(p, out, lse);
}

template <class T>
void run_backward(const Problem<T>& p, const Gradients<T>& g) {
  if constexpr (std::is_same_v<T, float>)
    if (p.rounded) return detail::backward_tiles<T, std::uint32_t>(p, g);
  detail::backward_tiles<T, T>(p, g);
}

}  // namespace moelle::attention
