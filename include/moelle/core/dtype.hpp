// moelle/core/dtype.hpp -- the element types of a tensor, and bfloat16 as storage.
#pragma once
#include <bit>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <ostream>

#include <moelle/core/config.hpp>

namespace moelle {

// Brain float: the upper half of a float. Storage and conversion only; arithmetic is done in float.
// Conversion rounds to nearest, ties to even; NaN stays NaN (quiet), infinities and signed zeros are kept.
struct bfloat16 {
  std::uint16_t bits = 0;

  bfloat16() = default;
  explicit bfloat16(float v) {
    const auto u = std::bit_cast<std::uint32_t>(v);
    const bool nan = (u & 0x7fffffffu) > 0x7f800000u;
    bits = nan ? static_cast<std::uint16_t>((u >> 16) | 0x40u)
               : static_cast<std::uint16_t>((u + 0x7fffu + ((u >> 16) & 1u)) >> 16);
  }
  // By way of float: a double is rounded twice, as in every library with a storage-only bfloat16.
  explicit bfloat16(double v) : bfloat16(static_cast<float>(v)) {}
  template <std::integral I>
  explicit bfloat16(I v) : bfloat16(static_cast<float>(v)) {}
  operator float() const { return std::bit_cast<float>(std::uint32_t{bits} << 16); }
};

inline std::ostream& operator<<(std::ostream& out, bfloat16 v) { return out << static_cast<float>(v); }

enum class DType : std::uint8_t { float32, float64, bfloat16, int32, int64, uint8, boolean };

inline const char* name(DType t) {
  constexpr const char* kNames[] = {"float32", "float64", "bfloat16", "int32", "int64", "uint8", "bool"};
  return kNames[static_cast<int>(t)];
}
inline std::ostream& operator<<(std::ostream& out, DType t) { return out << name(t); }

inline std::size_t size_of(DType t) {
  constexpr std::size_t kBytes[] = {4, 8, 2, 4, 8, 1, 1};
  return kBytes[static_cast<int>(t)];
}

template <class T>
struct dtype_traits;
#define MOELLE_DTYPE(type, value) \
  template <>                     \
  struct dtype_traits<type> {     \
    static constexpr DType dtype = DType::value; \
  }
MOELLE_DTYPE(float, float32);
MOELLE_DTYPE(double, float64);
MOELLE_DTYPE(bfloat16, bfloat16);
MOELLE_DTYPE(std::int32_t, int32);
MOELLE_DTYPE(std::int64_t, int64);
MOELLE_DTYPE(std::uint8_t, uint8);
MOELLE_DTYPE(bool, boolean);
#undef MOELLE_DTYPE

template <class T>
inline constexpr DType dtype_of = dtype_traits<T>::dtype;

template <class T>
inline constexpr bool is_real = dtype_of<T> == DType::float32 || dtype_of<T> == DType::float64;  // takes gradients

enum class Device : std::uint8_t { cpu, cuda };
inline const char* name(Device d) { return d == Device::cpu ? "cpu" : "cuda"; }
inline std::ostream& operator<<(std::ostream& out, Device d) { return out << name(d); }

}  // namespace moelle
