// moelle/nn/packed_weight.hpp -- a weight of a module in a packed format, in place of its tensor.
#pragma once
#include <algorithm>
#include <cstdint>
#include <string>
#include <type_traits>

#include <moelle/gemm/packed_op.hpp>
#include <moelle/nn/init.hpp>
#include <moelle/nn/module.hpp>  // WeightSource
#include <moelle/tensor/ops.hpp>  // concat

namespace moelle::nn {

// Packs `weight` and lets it go.
template <class T>
void pack_away(const char* module, Tensor<T>& weight, gemm::PackedMatrix& packed, gemm::Format format, bool gated = false) {
  MOELLE_REQUIRE(module, (std::is_same_v<T, float>), str("only float32 modules can be packed; got dtype=", dtype_of<T>));
  MOELLE_REQUIRE(module, !packed.defined(), str("weights must not be packed twice; got format=", gemm::name(format), " for weights in ", packed.defined() ? gemm::name(packed.format()) : ""));
  if constexpr (std::is_same_v<T, float>) packed = gemm::pack(weight.detach(), format, gated);
  weight = Tensor<T>();
}

// What a constructor makes: a tensor, or uninitialised packed weights of the format that `init` asks for.
template <class T>
Tensor<T> weight_or_packed(const Shape& shape, std::int64_t fan_in, const Init& init, const std::string& name, gemm::PackedMatrix& packed, bool gated = false) {
  if (!init.format) return make_weight<T>(shape, fan_in, init, name);
  MOELLE_REQUIRE("pack", (std::is_same_v<T, float>), str("only float32 modules can be packed; got dtype=", dtype_of<T>));
  const bool one = shape.rank() == 2;
  packed = gemm::PackedMatrix({.groups = one ? 1 : shape[0], .n = shape[one ? 0 : 1], .k = shape[one ? 1 : 2], .format = *init.format, .gated = gated});
  return {};
}

inline gemm::Matrix<float> matrix_of(const Tensor<float>& weight) { return {weight.data(), weight.strides()[0], weight.strides()[1]}; }

inline Tensor<float> whole(const WeightSource& source, const std::string& name, const Shape& shape) { return source(name, shape, 0, shape[0]); }

// A matrix [n, k] from a source, at most 64 MB of it at a time.
inline void fill_group(const gemm::PackedMatrix& packed, std::int64_t group, const WeightSource& source, const std::string& name) {
  const std::int64_t n = packed.shape().n, k = packed.shape().k, nr = packed.kernels().nr;
  const std::int64_t step = std::max<std::int64_t>(1, (std::int64_t{1} << 24) / std::max<std::int64_t>(1, nr * k)) * nr;
  for (std::int64_t begin = 0; begin < n; begin += step) {
    const std::int64_t end = std::min(n, begin + step);
    gemm::pack_rows(packed, group, begin, end, matrix_of(source(name, {n, k}, begin, end)));
  }
}
// Two matrices [F, D] as one [2 F, D].
inline void fill_gated(const gemm::PackedMatrix& packed, std::int64_t group, const Tensor<float>& gate, const Tensor<float>& up) {
  gemm::pack_group(packed, group, matrix_of(concat<float>({gate, up}, 0)));
}

}  // namespace moelle::nn
