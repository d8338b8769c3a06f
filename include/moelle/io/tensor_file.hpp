// moelle/io/tensor_file.hpp -- tensors to and from safetensors files.
#pragma once
#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include <moelle/core/dtype.hpp>
#include <moelle/core/error.hpp>
#include <moelle/core/tensor.hpp>
#include <moelle/io/safetensors.hpp>

namespace moelle::io {

using AnyTensor = std::variant<Tensor<float>, Tensor<double>, Tensor<bfloat16>, Tensor<std::int32_t>, Tensor<std::int64_t>,
                               Tensor<std::uint8_t>, Tensor<bool>>;
using TensorMap = std::map<std::string, AnyTensor>;

// Whether reading may change the element type: between F16, BF16, F32 and F64, never quietly.
enum class Convert : std::uint8_t { none, floats };

inline constexpr FileType file_type(DType t) {
  switch (t) {
    case DType::float32: return FileType::F32;
    case DType::float64: return FileType::F64;
    case DType::bfloat16: return FileType::BF16;
    case DType::int32: return FileType::I32;
    case DType::int64: return FileType::I64;
    case DType::uint8: return FileType::U8;
    case DType::boolean: return FileType::BOOL;
  }
  return FileType::U8;
}

// IEEE binary16, exactly.
inline float half_to_float(std::uint16_t h) {
  const auto sign = static_cast<std::uint32_t>(h & 0x8000u) << 16;
  const std::uint32_t exponent = (h >> 10) & 31u, mantissa = h & 1023u;
  if (exponent == 31) return std::bit_cast<float>(sign | 0x7F800000u | mantissa << 13);
  if (exponent == 0) return std::bit_cast<float>(sign | std::bit_cast<std::uint32_t>(std::ldexp(static_cast<float>(mantissa), -24)));
  return std::bit_cast<float>(sign | (exponent + 112) << 23 | mantissa << 13);
}

namespace detail {

inline bool is_float_type(FileType t) { return t == FileType::F16 || t == FileType::BF16 || t == FileType::F32 || t == FileType::F64; }

// f(value as double) for each element of a float tensor, read in pieces.
template <class F>
void each_float(const SafetensorsFile& file, const TensorInfo& t, F f) {
  const auto width = static_cast<std::size_t>(bits(t.dtype) / 8);
  std::vector<std::byte> piece(std::size_t{1} << 18);
  for (std::uint64_t at = t.begin; at < t.end; at += piece.size()) {
    TensorInfo part = t;
    part.begin = at;
    part.end = std::min<std::uint64_t>(t.end, at + piece.size());
    const std::span<std::byte> bytes(piece.data(), static_cast<std::size_t>(part.bytes()));
    file.read_bytes(part, bytes);
    for (std::size_t i = 0; i < bytes.size(); i += width) {
      const auto load = [&]<class W>(W w) { return std::memcpy(&w, &bytes[i], sizeof w), w; };
      if (t.dtype == FileType::F64) f(load(double{}));
      else if (t.dtype == FileType::F32) f(static_cast<double>(load(float{})));
      else if (t.dtype == FileType::F16) f(static_cast<double>(half_to_float(load(std::uint16_t{}))));
      else f(static_cast<double>(static_cast<float>(load(bfloat16{}))));
    }
  }
}

}  // namespace detail

// A copy of one tensor of the file. Element types must be equal unless `convert` allows another.
template <class T>
Tensor<T> read_tensor(const SafetensorsFile& file, const TensorInfo& t, Convert convert = Convert::none) {
  constexpr bool kFloat = std::is_same_v<T, float> || std::is_same_v<T, double> || std::is_same_v<T, bfloat16>;
  const bool same = t.dtype == file_type(dtype_of<T>);
  MOELLE_REQUIRE("read_tensor", same || (kFloat && convert == Convert::floats && detail::is_float_type(t.dtype)),
                 str("element type must be ", name(file_type(dtype_of<T>)), " or convertible on request; got tensor=", in_quotes(t.name),
                     " dtype=", name(t.dtype), " path=", in_quotes(file.path(), 300)));
  MOELLE_REQUIRE("read_tensor", t.shape.size() <= static_cast<std::size_t>(kMaxRank),
                 str("rank must be at most ", kMaxRank, "; got tensor=", in_quotes(t.name), " rank=", t.shape.size()));
  Tensor<T> out = Tensor<T>::empty(Shape(t.shape));
  if (same) {
    file.read_bytes(t, std::span(reinterpret_cast<std::byte*>(out.data()), static_cast<std::size_t>(t.bytes())));
    if constexpr (std::is_same_v<T, bool>) {  // any other byte in a bool is undefined behaviour
      const auto* p = reinterpret_cast<const unsigned char*>(out.data());
      MOELLE_REQUIRE("read_tensor", std::all_of(p, p + out.numel(), [](unsigned char b) { return b <= 1; }),
                     "BOOL elements must be 0 or 1; got tensor=" + in_quotes(t.name));
    }
  } else if constexpr (kFloat) {
    T* p = out.data();
    detail::each_float(file, t, [&](double v) { *p++ = static_cast<T>(v); });
  }
  return out;
}
template <class T>
Tensor<T> read_tensor(const SafetensorsFile& file, std::string_view name, Convert convert = Convert::none) {
  return read_tensor<T>(file, file.info(name), convert);
}

// One tensor in the file's own element type; Error for types that exist only in files.
inline AnyTensor read_any(const SafetensorsFile& file, const TensorInfo& t) {
  switch (t.dtype) {
    case FileType::F32: return read_tensor<float>(file, t);
    case FileType::F64: return read_tensor<double>(file, t);
    case FileType::BF16: return read_tensor<bfloat16>(file, t);
    case FileType::I32: return read_tensor<std::int32_t>(file, t);
    case FileType::I64: return read_tensor<std::int64_t>(file, t);
    case FileType::U8: return read_tensor<std::uint8_t>(file, t);
    case FileType::BOOL: return read_tensor<bool>(file, t);
    default: break;
  }
  moelle::detail::fail("read_tensor", str("element type must be F32, F64, BF16, I32, I64, U8 or BOOL; got tensor=", in_quotes(t.name), " dtype=", name(t.dtype)));
}

inline TensorMap read_tensors(const SafetensorsFile& file) {
  TensorMap all;
  for (std::size_t i = 0; i < file.size(); ++i) {
    TensorInfo t = file.info(i);
    all.emplace(t.name, read_any(file, t));
  }
  return all;
}
inline TensorMap read_tensors(const std::string& path) { return read_tensors(SafetensorsFile::open(path)); }

// How many elements of a float tensor are NaN or infinite; 0 for other types. The format allows them; weights should not.
inline std::int64_t count_nonfinite(const SafetensorsFile& file, std::string_view tensor) {
  const TensorInfo t = file.info(tensor);
  std::int64_t n = 0;
  if (detail::is_float_type(t.dtype)) detail::each_float(file, t, [&](double v) { n += std::isfinite(v) ? 0 : 1; });
  return n;
}

// Writes all or nothing; any strides.
inline FileDigest write_tensors(const std::string& path, const TensorMap& tensors, const std::map<std::string, std::string>& metadata = {}) {
  std::vector<TensorBytes> entries;
  std::vector<AnyTensor> copies;  // of those that are not contiguous
  for (const auto& entry : tensors) {
    const std::string& name = entry.first;
    std::visit(
        [&]<class T>(const Tensor<T>& given) {
          MOELLE_REQUIRE("write_tensors", given.defined() && given.device() == Device::cpu, "tensors must be defined and in host memory; got tensor=" + in_quotes(name));
          Tensor<T> t = given;
          if (!t.is_contiguous()) {
            t = Tensor<T>::from(given.to_vector(), given.shape());
            copies.emplace_back(t);
          }
          entries.push_back({name, file_type(dtype_of<T>), t.shape().vec(), t.data()});
        },
        entry.second);
  }
  return write_safetensors(path, std::move(entries), metadata);
}

}  // namespace moelle::io
