// moelle/gemm/pack_bf16_simd.hpp -- operands of a product rounded to bfloat16 (nearest, ties to even) while they are packed.
#pragma once
#include <cstdint>
#include <cstring>

#include <moelle/core/config.hpp>
#include <moelle/gemm/dot_simd.hpp>
#include <moelle/gemm/gemm.hpp>  // Matrix, kPackedRow
#include <moelle/gemm/pack_simd.hpp>
#include <moelle/gemm/rows_simd.hpp>  // round_to_bf16
#include <moelle/gemm/tile_simd.hpp>

namespace moelle::gemm::simd {

MOELLE_INLINE std::int64_t at_most(std::int64_t n, std::int64_t most) { return n < most ? n : most; }

#if defined(MOELLE_GEMM_PAIRS)

// Units (two bfloat16) from floats. Denormals become zero, as the multiplication would have it.
template <class Arch>
struct PairMaker {
  using Row = typename Square<Arch, float>::Row;
  static constexpr std::int64_t kLanes = 16;
  // The instruction puts the first operand's 16 numbers behind the second's; this puts them in turn.
  __m512i in_turn = [] {
    alignas(64) std::uint16_t index[32];
    for (int i = 0; i < 16; ++i) index[2 * i] = static_cast<std::uint16_t>(i), index[2 * i + 1] = static_cast<std::uint16_t>(i + 16);
    return _mm512_load_si512(index);
  }();

  // Unit j = (low[j], high[j]).
  MOELLE_INLINE __m512i across(__m512 low, __m512 high) const {
    return _mm512_permutexvar_epi16(in_turn, __builtin_bit_cast(__m512i, _mm512_cvtne2ps_pbh(high, low)));
  }
  // Unit j = (x[2 j], x[2 j + 1]).
  MOELLE_INLINE static __m512i along(const float* x) { return __builtin_bit_cast(__m512i, _mm512_cvtne2ps_pbh(_mm512_loadu_ps(x + 16), _mm512_loadu_ps(x))); }

  // Row-major in [units of 2 k][n]: out[p * ld + j], n columns of k terms.
  MOELLE_INLINE void rows(const float* in, std::int64_t ld_in, std::int64_t k, std::int64_t n, std::uint32_t* out, std::int64_t ld_out) const {
    for (std::int64_t p = 0; p < k; p += 2, in += 2 * ld_in, out += ld_out)
      for (std::int64_t j = 0; j < n; j += kLanes) {
        const __mmask16 mask = n - j >= kLanes ? __mmask16(0xffff) : static_cast<__mmask16>((1u << (n - j)) - 1u);
        __builtin_prefetch(in + kAhead * ld_in + j, 0, 2);
        __builtin_prefetch(in + (kAhead + 1) * ld_in + j, 0, 2);
        const __m512 low = _mm512_maskz_loadu_ps(mask, in + j), high = p + 1 < k ? _mm512_maskz_loadu_ps(mask, in + ld_in + j) : _mm512_setzero_ps();
        _mm512_mask_storeu_epi32(out + j, mask, across(low, high));
      }
  }
  // The same transposed: out[j * ld + p].
  MOELLE_INLINE void rows_turned(const float* in, std::int64_t ld_in, std::int64_t k, std::int64_t n, std::uint32_t* out, std::int64_t ld_out) const {
    alignas(64) std::uint32_t square[kLanes * kLanes], turned[kLanes * kLanes];
    for (std::int64_t p = 0; p < k; p += 2 * kLanes)
      for (std::int64_t j = 0; j < n; j += kLanes) {
        const std::int64_t terms = at_most(k - p, 2 * kLanes), cols = at_most(n - j, kLanes);
        if (terms < 2 * kLanes || cols < kLanes) std::memset(square, 0, sizeof square);
        rows(in + p * ld_in + j, ld_in, terms, cols, square, kLanes);
        put(square, (terms + 1) / 2, cols, turned, out + j * ld_out + p / 2, ld_out);
      }
  }
  // in[n][k], k contiguous: out[p * ld + j].
  MOELLE_INLINE void columns_turned(const float* in, std::int64_t ld_in, std::int64_t k, std::int64_t n, std::uint32_t* out, std::int64_t ld_out) const {
    alignas(64) std::uint32_t square[kLanes * kLanes], turned[kLanes * kLanes];
    for (std::int64_t j = 0; j < n; j += kLanes)
      for (std::int64_t p = 0; p < k; p += 2 * kLanes) {
        const std::int64_t terms = at_most(k - p, 2 * kLanes), cols = at_most(n - j, kLanes);
        if (terms < 2 * kLanes || cols < kLanes) std::memset(square, 0, sizeof square);
        for (std::int64_t i = 0; i < cols; ++i) {
          const float* x = in + (j + i) * ld_in + p;
          __builtin_prefetch(x + kLanes * ld_in, 0, 2);
          __builtin_prefetch(x + kLanes * ld_in + kLanes, 0, 2);
          if (terms == 2 * kLanes)
            _mm512_store_si512(square + i * kLanes, along(x));
          else
            rows_to_bf16<Arch>(x, terms, 0.0f, square + i * kLanes);
        }
        put(square, cols, (terms + 1) / 2, turned, out + p / 2 * ld_out + j, ld_out);
      }
  }

 private:
  // square [rows][cols] transposed -> out.
  MOELLE_INLINE static void put(const std::uint32_t* square, std::int64_t rows, std::int64_t cols, std::uint32_t* turned, std::uint32_t* out, std::int64_t ld_out) {
    const bool whole = rows == kLanes && cols == kLanes;
    std::uint32_t* to = whole ? out : turned;
    Square<Arch, float>::transpose(reinterpret_cast<const float*>(square), kLanes, reinterpret_cast<float*>(to), whole ? ld_out : kLanes);
    if (whole) return;
    for (std::int64_t c = 0; c < cols; ++c) std::memcpy(out + c * ld_out, turned + c * kLanes, static_cast<std::size_t>(rows) * sizeof(std::uint32_t));
  }
};

// in[r * row_stride + c * col_stride] of any strides as if it were row-major, a few rows at a time, in scratch.
template <class Arch>
MOELLE_INLINE void gathered(Matrix<float> m, std::int64_t rows, std::int64_t cols, float* out) {
  for (std::int64_t r = 0; r < rows; ++r)
    for (std::int64_t c = 0; c < cols; ++c) out[r * cols + c] = m.data[r * m.row_stride + c * m.col_stride];
}

// A[m, k] -> out[m][kPackedRow] units.
template <class Arch>
void pack_a_pairs(Matrix<float> a, std::int64_t m, std::int64_t k, std::uint32_t* out) {
  constexpr std::int64_t kRow = kPackedRow<std::uint32_t>;
  if (a.col_stride == 1) {
    for (std::int64_t i = 0; i < m; ++i) {
      const float* row = a.data + i * a.row_stride;
      for (std::int64_t p = 0; p < k && i + kAhead < m; p += 16) __builtin_prefetch(row + kAhead * a.row_stride + p, 0, 2);
      rows_to_bf16<Arch>(row, k, 0.0f, out + i * kRow);
    }
  } else if (a.row_stride == 1) {
    PairMaker<Arch>().rows_turned(a.data, a.col_stride, k, m, out, kRow);
  } else {
    float row[2 * kBlockK];
    for (std::int64_t i = 0; i < m; ++i) {
      gathered<Arch>({a.data + i * a.row_stride, a.row_stride, a.col_stride}, 1, k, row);
      rows_to_bf16<Arch>(row, k, 0.0f, out + i * kRow);
    }
  }
}

// B[k, n] -> out[panel][k / 2][nr], the last panel as wide as its columns need.
template <class Arch>
void pack_b_pairs(Matrix<float> b, std::int64_t k, std::int64_t n, std::uint32_t* out) {
  constexpr std::int64_t kNr = Tile<Arch, float>::kNr, kLanes = Tile<Arch, float>::kLanes;
  const std::int64_t units = (k + 1) / 2;
  const PairMaker<Arch> make;
  for (std::int64_t j = 0; j < n; j += kNr, out += kNr * units) {
    const std::int64_t cols = at_most(n - j, kNr), wide = (cols + kLanes - 1) / kLanes * kLanes;
    if (cols != wide)
      for (std::int64_t p = 0; p < units; ++p)
        for (std::int64_t c = cols; c < wide; ++c) out[p * wide + c] = 0;
    if (b.col_stride == 1) {
      make.rows(b.data + j, b.row_stride, k, cols, out, wide);
    } else if (b.row_stride == 1) {
      make.columns_turned(b.data + j * b.col_stride, b.col_stride, k, cols, out, wide);
    } else {
      float two[2 * kNr];
      for (std::int64_t p = 0; p < k; p += 2) {
        const std::int64_t terms = at_most(k - p, 2);
        gathered<Arch>({b.data + p * b.row_stride + j * b.col_stride, b.row_stride, b.col_stride}, terms, cols, two);
        make.rows(two, cols, terms, cols, out + p / 2 * wide, wide);
      }
    }
  }
}

#else

template <class Arch>
MOELLE_INLINE void round_all(std::uint32_t* x, std::int64_t n) {
  using R = Registers<Arch>;
  for (std::int64_t i = 0; i < n; i += R::kLanes) store_as(x + i, round_to_bf16<Arch>(load_as<typename R::F32>(x + i)));
}

template <class Arch>
void pack_a_rounded(Matrix<float> a, std::int64_t m, std::int64_t k, std::uint32_t* out) {
  pack_a<Arch, float>(a, m, k, reinterpret_cast<float*>(out));
  for (std::int64_t i = 0; i < m; ++i) round_all<Arch>(out + i * kPackedRow<std::uint32_t>, k);
}

template <class Arch>
void pack_b_rounded(Matrix<float> b, std::int64_t k, std::int64_t n, std::uint32_t* out) {
  constexpr std::int64_t kLanes = Tile<Arch, float>::kLanes;
  pack_b<Arch, float>(b, k, n, reinterpret_cast<float*>(out));
  round_all<Arch>(out, (n + kLanes - 1) / kLanes * kLanes * k);
}

// block() on floats that are passed as units of 4 bytes.
template <class Arch>
void block_of_units(std::int64_t m, std::int64_t n, std::int64_t k, const std::uint32_t* a, std::int64_t lda, const std::uint32_t* b, float* c,
                    std::int64_t ldc, bool accumulate) {
  block<Arch, Multiply<Arch, float>>(m, n, k, reinterpret_cast<const float*>(a), lda, reinterpret_cast<const float*>(b), c, ldc, accumulate);
}

#endif

}  // namespace moelle::gemm::simd
