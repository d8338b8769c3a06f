// tests/io/test_safetensors_malformed.cpp -- every known way to get a safetensors file wrong is refused, by name and at once.
#include <doctest/doctest.h>

#include <sys/stat.h>

#include <string>
#include <vector>

#include <moelle/io/safetensors.hpp>

#include "temp_dir.hpp"

using namespace moelle;
using testing::file_of;
using testing::length_bytes;

namespace {

// One tensor "a" of 4 bytes, with any field replaced.
std::string entry(const std::string& name = "\"a\"", const std::string& dtype = "\"U8\"", const std::string& shape = "[4]", const std::string& offsets = "[0,4]") {
  return name + ":{\"dtype\":" + dtype + ",\"shape\":" + shape + ",\"data_offsets\":" + offsets + "}";
}
std::string one(const std::string& e) { return file_of("{" + e + "}", 4); }
std::string shaped(const std::string& dtype, const std::string& shape) { return one(entry("\"a\"", dtype, shape)); }
std::string at(const std::string& offsets) { return one(entry("\"a\"", "\"U8\"", "[4]", offsets)); }

// What open() says about these bytes; "" if it accepts them.
std::string verdict(const std::string& bytes) {
  const testing::TempDir dir;
  testing::put(dir / "x.safetensors", bytes);
  try {
    io::SafetensorsFile::open(dir / "x.safetensors");
  } catch (const Error& e) {
    return e.what();
  }
  return "";
}

struct Case {
  std::string name;
  std::string bytes;
  const char* says;
};

void refuse_all(const std::vector<Case>& cases) {
  for (const Case& c : cases) {
    CAPTURE(c.name);
    const std::string said = verdict(c.bytes);
    CAPTURE(said);
    CHECK(said.find(c.says) != std::string::npos);
  }
}

}  // namespace

TEST_CASE("the file that all malformed ones are derived from is accepted") { CHECK(verdict(one(entry())) == ""); }

TEST_CASE("a file whose length word lies is refused before anything is allocated") {
  const std::string good = one(entry());
  refuse_all({{"01 empty", "", "at least 8 bytes"},
              {"02 seven bytes", std::string(7, 'x'), "at least 8 bytes"},
              {"03 length 0", length_bytes(0), "'{' expected"},
              {"04 length 2^63", length_bytes(std::uint64_t{1} << 63) + "{}", "header length"},
              {"05 length 2^64-1", length_bytes(~std::uint64_t{0}) + "{}", "header length"},
              {"06 length above the cap", length_bytes(100'000'001) + "{}", "header length"},
              {"07 length one beyond the file", length_bytes(3) + "{}", "header length"},
              {"52 big-endian length", std::string("\0\0\0\0\0\0\0\x02{}", 10), "header length"},
              {"39 last byte missing", good.substr(0, good.size() - 1), "lie inside the file"},
              {"38 bytes behind the data", good + "PK", "fill the file"}});
  for (std::size_t n = 0; n < good.size(); ++n) {
    CAPTURE(n);
    CHECK(verdict(good.substr(0, n)) != "");  // every prefix
  }
}

TEST_CASE("files of other formats are refused") {
  refuse_all({{"53 gzip", std::string("\x1f\x8b\x08\0\0\0\0\0\0\x03", 10) + std::string(64, 'z'), "header length"},
              {"53 pickle", "\x80\x04\x95" + std::string(64, 'z'), "header length"},
              {"53 GGUF", "GGUF" + std::string("\3\0\0\0", 4) + std::string(64, '\0'), "header length"}});
}

TEST_CASE("a header that is not one JSON object in UTF-8 is refused") {
  refuse_all({{"08 not UTF-8", one(entry("\"\xff\"")), "UTF-8"},
              {"09 overlong", one(entry("\"\xc0\xaf\"")), "UTF-8"},
              {"09 surrogate", one(entry("\"\xed\xa0\x80\"")), "UTF-8"},
              {"10 byte order mark", file_of("\xef\xbb\xbf{}", 0), "'{' expected"},
              {"11 open brace only", file_of("{", 0), "string expected"},
              {"12 trailing comma", one(entry() + ","), "string expected"},
              {"13 garbage inside the header", file_of("{" + entry() + "}x", 4), "nothing but spaces"},
              {"14 array", file_of("[]", 0), "'{' expected"},
              {"14 string", file_of("\"a\"", 0), "'{' expected"},
              {"14 null", file_of("null", 0), "'{' expected"},
              {"no colon", one("\"a\" {}"), "':' expected"},
              {"open string", file_of("{\"a", 0), "not closed"},
              {"newline in a string", one(entry("\"a\nb\"")), "control characters"},
              {"unknown escape", one(entry("\"\\x\"")), "unknown escape"},
              {"short unicode escape", one(entry("\"\\u00\"")), "hexadecimal"},
              {"lone surrogate escape", one(entry("\"\\ud800\"")), "pairs"},
              {"low surrogate escape", one(entry("\"\\udc00\"")), "pairs"}});
}

TEST_CASE("no key may be given twice, however it is spelled") {
  const std::string zero = ":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]}";
  refuse_all({{"15 name twice", file_of("{\"a\"" + zero + ",\"a\"" + zero + "}", 0), "named once"},
              {"16 twice by an escape", file_of("{\"a\"" + zero + ",\"\\u0061\"" + zero + "}", 0), "named once"},
              {"17 metadata twice", file_of("{\"__metadata__\":{},\"__metadata__\":{}}", 0), "given once"},
              {"17 metadata key twice", file_of("{\"__metadata__\":{\"k\":\"1\",\"k\":\"2\"}}", 0), "each key once"},
              {"18 dtype twice", one("\"a\":{\"dtype\":\"U8\",\"dtype\":\"I8\",\"shape\":[4],\"data_offsets\":[0,4]}"), "given once"},
              {"19 unknown inner key", one("\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4],\"x\":1}"), "nothing else"},
              {"20 no dtype", one("\"a\":{\"shape\":[4],\"data_offsets\":[0,4]}"), "must have dtype"},
              {"20 no shape", one("\"a\":{\"dtype\":\"U8\",\"data_offsets\":[0,4]}"), "must have dtype"},
              {"20 no offsets", one("\"a\":{\"dtype\":\"U8\",\"shape\":[4]}"), "must have dtype"}});
}

TEST_CASE("element types and shapes must be exactly what the format knows") {
  std::string long_shape = "[1";
  for (int i = 1; i < 10000; ++i) long_shape += ",1";
  refuse_all({{"21 unknown dtype", shaped("\"F7\"", "[4]"), "dtype=\"F7\""},
              {"21 lower case", shaped("\"u8\"", "[4]"), "dtype=\"u8\""},
              {"21 number", shaped("8", "[4]"), "string expected"},
              {"22 negative", shaped("\"U8\"", "[-4]"), "not negative"},
              {"23 4.0", shaped("\"U8\"", "[4.0]"), "must be integers"},
              {"23 4e0", shaped("\"U8\"", "[4e0]"), "must be integers"},
              {"23 1.9", shaped("\"U8\"", "[1.9]"), "must be integers"},
              {"24 beyond 2^53 bytes", shaped("\"U8\"", "[9007199254740993]"), "as many bytes"},
              {"24 beyond 2^64", shaped("\"U8\"", "[18446744073709551620]"), "63 bits"},
              {"25 string", shaped("\"U8\"", "[\"4\"]"), "integers"},
              {"26 rank 9", shaped("\"U8\"", "[4,1,1,1,1,1,1,1,1]"), "rank"},
              {"26 rank 10,000", shaped("\"U8\"", long_shape + "]"), "rank"},
              {"27 product overflows", shaped("\"U8\"", "[2,9223372036854775807]"), "63 bits"},
              {"28 bytes overflow", shaped("\"F64\"", "[2305843009213693952]"), "63 bits"},
              {"29 overflow behind a zero", shaped("\"U8\"", "[1099511627776,1099511627776,0]"), "63 bits"},
              {"41 half a byte", one(entry("\"a\"", "\"F4\"", "[3]", "[0,1]")), "whole bytes"},
              {"50 NaN", shaped("\"U8\"", "[NaN]"), "integers"},
              {"51 leading zero", shaped("\"U8\"", "[04]"), "begin with 0"},
              {"51 plus", shaped("\"U8\"", "[+4]"), "integers"},
              {"51 hexadecimal", shaped("\"U8\"", "[0x4]"), "']' expected"},
              {"no array", shaped("\"U8\"", "4"), "'[' expected"}});
}

TEST_CASE("offsets must cover the data exactly: no hole, no overlap, nothing behind") {
  const auto two = [](const std::string& a, const std::string& b, std::size_t data) {
    return file_of("{" + entry("\"a\"", "\"U8\"", "[4]", a) + "," + entry("\"b\"", "\"U8\"", "[4]", b) + "}", data);
  };
  refuse_all({{"30 one offset", at("[4]"), "two integers"},
              {"30 three offsets", at("[0,4,8]"), "two integers"},
              {"31 begin after end", at("[4,0]"), "ordered"},
              {"32 end past the file", at("[1,5]"), "inside the file"},
              {"33 negative", at("[-4,0]"), "not negative"},
              {"34 partial overlap", two("[0,4]", "[2,6]", 6), "holes nor overlaps"},
              {"35 same range", two("[0,4]", "[0,4]", 4), "holes nor overlaps"},
              {"36 hole at the start", two("[2,6]", "[6,10]", 10), "holes nor overlaps"},
              {"37 hole in the middle", two("[0,4]", "[6,10]", 10), "holes nor overlaps"},
              {"40 size differs", at("[0,3]"), "as many bytes"},
              {"44 no tensors, but data", file_of("{}", 4), "fill the file"}});
}

TEST_CASE("names that could fool a terminal, a shell or a reader are refused or shown escaped") {
  refuse_all({{"46 empty", one(entry("\"\"")), "1 to 4096"},
              {"46 one megabyte", one(entry("\"" + std::string(1 << 20, 'n') + "\"")), "1 to 4096"},
              {"46 NUL", one(entry("\"a\\u0000b\"")), "control characters"},
              {"46 newline", one(entry("\"a\\nb\"")), "control characters"},
              {"46 escape code", one(entry("\"\\u001b[31m\"")), "control characters"}});
  CHECK(verdict(one(entry("\"../a\""))) == "");  // a tensor's name is never a path
}

TEST_CASE("metadata must map strings to strings, however deep somebody nests it") {
  std::string deep = "{\"__metadata__\":{\"k\":";
  deep += std::string(1'000'000, '[');
  refuse_all({{"48 nesting", file_of(deep, 0), "strings to strings"},
              {"49 number", file_of("{\"__metadata__\":{\"k\":1}}", 0), "strings to strings"},
              {"49 null", file_of("{\"__metadata__\":null}", 0), "'{' expected"}});
}

TEST_CASE("pipes, directories and devices are not waited for") {
  const testing::TempDir dir;
  REQUIRE(::mkfifo((dir / "pipe").c_str(), 0600) == 0);
  for (const std::string& path : {dir / "pipe", dir.path(), std::string("/dev/zero"), dir / "missing"}) {
    CAPTURE(path);
    CHECK_THROWS_AS(io::SafetensorsFile::open(path), Error);
  }
}

TEST_CASE("a file with any one byte changed is read or refused, never anything else") {
  const std::string good = file_of("{\"__metadata__\":{\"format\":\"pt\"}," + entry("\"a\\u00e9\"") + "," + entry("\"b\"", "\"F32\"", "[1,0,2]", "[4,4]") + "}", 4);
  REQUIRE(verdict(good) == "");
  const testing::TempDir dir;
  int accepted = 0, refused = 0;
  for (std::size_t i = 0; i < good.size(); ++i)
    for (const int value : std::initializer_list<int>{0, 1, '"', '\\', '{', '}', '[', ']', ',', ':', ' ', '0', '9', '-', 'e', 'u', 0x7f, 0x80, 0xc3, 0xff}) {
      std::string bad = good;
      bad[i] = static_cast<char>(value);
      testing::put(dir / "x", bad);
      try {
        const auto f = io::SafetensorsFile::open(dir / "x");
        for (std::size_t t = 0; t < f.size(); ++t) {
          std::vector<std::byte> data(f.info(t).bytes());
          f.read_bytes(f.info(t), data);
        }
        ++accepted;
      } catch (const Error&) {
        ++refused;
      }
    }
  CHECK(accepted > 100);  // data bytes, letters of names
  CHECK(refused > 1000);
}
