// tests/core/test_dtype.cpp -- bfloat16 as storage, names and sizes of element types.
#include <doctest/doctest.h>

#include <bit>
#include <cmath>
#include <limits>

#include <moelle/core/dtype.hpp>

using namespace moelle;

namespace {
bfloat16 code(std::uint32_t bits) {
  bfloat16 v;
  v.bits = static_cast<std::uint16_t>(bits);
  return v;
}
float float_of(std::uint32_t bits) { return std::bit_cast<float>(bits); }
}  // namespace

TEST_CASE("each of the 65,536 codes survives the way to float and back; NaN stays NaN with its sign") {
  int nans = 0;
  for (std::uint32_t c = 0; c < 65536; ++c) {
    const float v = code(c);
    const bfloat16 back(v);
    if (std::isnan(v)) {
      ++nans;
      CHECK(std::isnan(static_cast<float>(back)));
      CHECK((back.bits >> 15) == (c >> 15));
    } else {
      CHECK(back.bits == c);
    }
  }
  CHECK(nans == 2 * 127);
}

TEST_CASE("a float between two codes goes to the nearer, a tie to the even one") {
  for (std::uint32_t c = 0; c < 0x7f7f; ++c) {  // all positive finite codes that have a finite successor
    const std::uint32_t low = c << 16;
    CHECK(bfloat16(float_of(low + 0x7fff)).bits == c);
    CHECK(bfloat16(float_of(low + 0x8000)).bits == (c % 2 == 0 ? c : c + 1));
    CHECK(bfloat16(float_of(low + 0x8001)).bits == c + 1);
    CHECK(bfloat16(float_of(0x80000000u + low + 0x8000)).bits == (0x8000u | (c % 2 == 0 ? c : c + 1)));
  }
}

TEST_CASE("beyond the largest bfloat16 comes infinity; signed zeros and infinities are kept") {
  CHECK(bfloat16(float_of(0x7f7f7fff)).bits == 0x7f7f);
  CHECK(bfloat16(float_of(0x7f7f8000)).bits == 0x7f80);
  CHECK(bfloat16(-std::numeric_limits<float>::infinity()).bits == 0xff80);
  CHECK(bfloat16(-0.0f).bits == 0x8000);
  CHECK(std::isnan(static_cast<float>(bfloat16(float_of(0x7f800001)))));  // a NaN whose upper half is infinity
}

TEST_CASE("element types know their size and name") {
  CHECK(size_of(dtype_of<float>) == sizeof(float));
  CHECK(size_of(dtype_of<double>) == sizeof(double));
  CHECK(size_of(dtype_of<bfloat16>) == sizeof(bfloat16));
  CHECK(size_of(dtype_of<std::int32_t>) == 4);
  CHECK(size_of(dtype_of<std::int64_t>) == 8);
  CHECK(size_of(dtype_of<std::uint8_t>) == 1);
  CHECK(size_of(dtype_of<bool>) == sizeof(bool));
  CHECK(std::string(name(DType::bfloat16)) == "bfloat16");
  CHECK(std::string(name(DType::boolean)) == "bool");
}
