// moelle/moe/kernels.hpp -- the CPU kernels of this domain as one table per element type.
#pragma once
#include <cstdint>

#include <moelle/moe/gate.hpp>

namespace moelle::moe {

template <class T>
struct Kernels {
  // gate.hpp, over tokens [begin, end); documented in gate_simd.hpp.
  void (*gate_scores)(const T* logits, std::int64_t E, Score kind, T* scores, std::int64_t begin, std::int64_t end);
  void (*gate_select)(const T* scores, const T* bias, std::int64_t E, const GateParams& p, T* scratch, std::int32_t* experts,
                      std::int64_t begin, std::int64_t end);
  void (*gate_weights)(const T* scores, std::int64_t E, const GateParams& p, const std::int32_t* experts, T* weights,
                       std::int64_t begin, std::int64_t end);
  void (*gate_grad)(const T* logits, const T* scores, std::int64_t E, const GateParams& p, const std::int32_t* experts,
                    const T* grad_weights, const T* grad_scores, T* grad_logits, std::int64_t begin, std::int64_t end);
  // permute.hpp; documented in permute_simd.hpp.
  void (*gather_rows)(const T* x, std::int64_t D, const std::int32_t* slot, std::int64_t K, T* out, std::int64_t begin, std::int64_t end);
  void (*combine_rows)(const T* y, std::int64_t D, const T* weights, const std::int32_t* row, std::int64_t K, T* out, bool accumulate,
                       std::int64_t begin, std::int64_t end);
  void (*combine_grad)(const T* g, const T* y, std::int64_t D, const T* weights, const std::int32_t* slot, std::int64_t K, T* dy, T* dw,
                       std::int64_t begin, std::int64_t end);
  // experts.hpp; documented in experts_simd.hpp.
  void (*experts_grad)(const T* h, std::int64_t F, T limit, const T* weights, const std::int32_t* slot, T* p, T* dh, T* dweights,
                       std::int64_t begin, std::int64_t end);
};

template <class Arch, class T>
constexpr Kernels<T> make_kernels();  // the table of one instruction set: kernels_simd.hpp

#if defined(MOELLE_COMPILED_KERNELS)
template <class T>
const Kernels<T>& kernels();  // picked among the compiled tables
template <>
const Kernels<float>& kernels<float>();
template <>
const Kernels<double>& kernels<double>();
#endif

}  // namespace moelle::moe

#if !defined(MOELLE_COMPILED_KERNELS)
#include <moelle/cpu/isa.hpp>
#include <moelle/moe/kernels_simd.hpp>

namespace moelle::moe {
template <class T>
const Kernels<T>& kernels() {
  static constexpr Kernels<T> table = make_kernels<cpu::Arch, T>();
  return table;
}
}  // namespace moelle::moe
#endif
