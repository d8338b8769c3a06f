// moelle/moe/turned_simd.hpp -- what is found in the lanes of several rows, as a lane for each row.
#pragma once
#include <utility>

#include <moelle/activation/lanes_simd.hpp>
#include <moelle/cpu/xsimd.hpp>
#include <moelle/gemm/pack_simd.hpp>  // Square

namespace moelle::moe::simd {

// A transposition of which each round joins what it has shuffled: a third of the shuffles of folding row by row, and one chain of them for all rows.
template <class Arch, class T>
struct Turned {
  using B = xsimd::batch<T, Arch>;
  using Square = gemm::simd::Square<Arch, T>;
  using Row = typename Square::Row;
  static constexpr int L = static_cast<int>(moelle::simd::kLanes<Arch, T>);

  // Lane by lane of 128 bits: the lower or upper (High = 1) halves of x and y in turn.
  template <int High>
  MOELLE_INLINE static B halves(const B& x, const B& y) {
    return __builtin_bit_cast(B, Square::template interleave<High>(std::make_integer_sequence<int, L>(), __builtin_bit_cast(Row, x), __builtin_bit_cast(Row, y)));
  }
  // The even or odd (Odd = 1) lanes of 128 bits of x, then those of y.
  template <int Odd>
  MOELLE_INLINE static B lanes(const B& x, const B& y) {
    return __builtin_bit_cast(B, Square::template lanes<Odd>(std::make_integer_sequence<int, L>(), __builtin_bit_cast(Row, x), __builtin_bit_cast(Row, y)));
  }

  // v[L][N], N vectors for each row -> v[0], of which lane r holds what the lanes of v[r] come to. join(a, b) joins the N vectors b to a. Only the
  // first `rows` lanes are wanted. The order in which lanes are joined is the same for all of them and for any number.
  template <int N, class J>
  MOELLE_INLINE static void fold(B (*v)[N], int rows, J join) {
    const auto pair = [&](B* x, const B* y, auto lower, auto upper) {
      B a[N], b[N];
      for (int k = 0; k < N; ++k) a[k] = lower(x[k], y[k]), b[k] = upper(x[k], y[k]);
      join(a, b);
      for (int k = 0; k < N; ++k) x[k] = a[k];
    };
    constexpr int kLane = Square::kLane;
    for (int g = 0; g < rows; g += kLane)
#pragma GCC unroll 2
      for (int half = kLane / 2; half >= 1; half /= 2)
#pragma GCC unroll 2
        for (int i = g; i < g + half; ++i)
          pair(v[i], v[i + half], [](const B& x, const B& y) { return halves<0>(x, y); }, [](const B& x, const B& y) { return halves<1>(x, y); });
#pragma GCC unroll 2
    for (int n = kLane; n < L; n *= 2)
      for (int i = 0; i < rows; i += 2 * n)
        pair(v[i], v[i + n], [](const B& x, const B& y) { return lanes<0>(x, y); }, [](const B& x, const B& y) { return lanes<1>(x, y); });
  }
};

}  // namespace moelle::moe::simd
