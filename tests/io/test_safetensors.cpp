// tests/io/test_safetensors.cpp -- what a valid file gives back, at what cost, and that writing is all or nothing.
#include <doctest/doctest.h>

#include <sys/resource.h>

#include <chrono>
#include <csignal>
#include <cstring>
#include <limits>
#include <new>
#include <string>
#include <vector>

#include <moelle/io/tensor_file.hpp>

#include "temp_dir.hpp"

using namespace moelle;
using testing::file_of;

namespace {
std::int64_t g_live = 0, g_peak = 0;  // bytes in the heap of this test
}
// Counted by hand because "no more than twice the file" is a promise. A block carries its size in front.
void* operator new(std::size_t n) {
  auto* p = static_cast<std::size_t*>(std::malloc(n + 16));
  if (p == nullptr) throw std::bad_alloc();
  *p = n;
  g_live += static_cast<std::int64_t>(n);
  g_peak = std::max(g_peak, g_live);
  return p + 2;
}
void operator delete(void* p) noexcept {
  if (p == nullptr) return;
  auto* q = static_cast<std::size_t*>(p) - 2;
  g_live -= static_cast<std::int64_t>(*q);
  std::free(q);
}
void operator delete(void* p, std::size_t) noexcept { operator delete(p); }

namespace {
io::SafetensorsFile open(const testing::TempDir& dir, const std::string& bytes) {
  testing::put(dir / "x.safetensors", bytes);
  return io::SafetensorsFile::open(dir / "x.safetensors");
}
std::string many(int n) {  // n empty tensors
  std::string h = "{";
  for (int i = 0; i < n; ++i) h += (i > 0 ? ",\"" : "\"") + std::to_string(i * 7919LL % n) + "\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]}";
  return file_of(h + "}", 0);
}
double seconds_to_open(const std::string& path) {
  double best = 1e9;
  for (int i = 0; i < 5; ++i) {
    const auto start = std::chrono::steady_clock::now();
    io::SafetensorsFile::open(path);
    best = std::min(best, std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
  }
  return best;
}
}  // namespace

TEST_CASE("empty tensors may share an offset, scalars have rank 0, and a file may hold nothing") {
  const testing::TempDir dir;
  const auto f = open(dir, file_of(R"({"e":{"dtype":"F32","shape":[2,0],"data_offsets":[4,4]},"s":{"dtype":"F32","shape":[],"data_offsets":[0,4]},)"
                                   R"("t":{"dtype":"U8","shape":[1],"data_offsets":[4,5]}})", 5));
  CHECK(f.info("e").shape == std::vector<std::int64_t>{2, 0});
  CHECK(f.info("s").shape.empty());
  CHECK(f.info("t").begin == 4);
  CHECK(open(dir, file_of("{}", 0)).size() == 0);
}

TEST_CASE("white space around the header, escapes in names, sub-byte types and metadata are read as written") {
  const testing::TempDir dir;
  const auto f = open(dir, file_of(" \t\r\n{ \"\\u0061\\u00e9\\ud83d\\ude00\\u4e2d\\/\" : { \"shape\" : [ 4 ] , \"data_offsets\" : [ 0 , 2 ] , \"dtype\" : \"F4\" } , "
                                   "\"__metadata__\" : { \"format\" : \"pt\", \"n\" : \"a\\nb\" } } \n ", 2));
  CHECK(f.names() == std::vector<std::string>{"aé😀中/"});
  CHECK(f.info(0).dtype == io::FileType::F4);
  CHECK(f.metadata().at("format") == "pt");
  CHECK(f.metadata().at("n") == "a\nb");
}

TEST_CASE("data that is not aligned is read correctly") {
  const testing::TempDir dir;
  const double value = 1.0 / 3;
  std::string bytes = file_of(R"({"b":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"d":{"dtype":"F64","shape":[1],"data_offsets":[1,9]}})", 9);
  std::memcpy(bytes.data() + bytes.size() - 8, &value, 8);
  CHECK(io::read_tensor<double>(open(dir, bytes), "d").item() == value);
}

TEST_CASE("opening allocates less than twice the file and one megabyte, whatever the file says") {
  const testing::TempDir dir;
  std::string shapes = "{";
  for (int i = 0; i < 20000; ++i) shapes += (i > 0 ? ",\"" : "\"") + std::to_string(i) + "\":{\"dtype\":\"U8\",\"shape\":[0,1,1,1,1,1,1,1],\"data_offsets\":[0,0]}";
  std::string metadata = "{\"__metadata__\":{";
  for (int i = 0; i < 5000; ++i) metadata += (i > 0 ? ",\"" : "\"") + std::to_string(i) + "\":\"\"";
  const std::string huge = "{\"a\":{\"dtype\":\"F64\",\"shape\":[1152921504606846975],\"data_offsets\":[0,9223372036854775800]}}";
  for (const std::string& bytes : {many(100000), file_of(shapes + "}", 0), file_of(metadata + "}}", 0), file_of(huge, 0),
                                   file_of("{\"" + std::string(3 << 20, '{'), 0), testing::length_bytes(99'999'999) + std::string(1000, ' ')}) {
    testing::put(dir / "x", bytes);
    const std::int64_t before = g_live;
    g_peak = g_live;
    try {
      io::SafetensorsFile::open(dir / "x");
    } catch (const Error&) {
    }
    CAPTURE(bytes.size());
    CHECK(g_peak - before < 2 * static_cast<std::int64_t>(bytes.size()) + (1 << 20));
  }
}

#if defined(__SANITIZE_ADDRESS__)
constexpr bool kSanitized = true;
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
constexpr bool kSanitized = true;
#else
constexpr bool kSanitized = false;
#endif
#else
constexpr bool kSanitized = false;
#endif

TEST_CASE("200,000 tensors open in a fraction of a second, and four times as many in about four times the time") {
  const testing::TempDir dir;
  testing::put(dir / "50k", many(50000));
  testing::put(dir / "200k", many(200000));
  const double small = seconds_to_open(dir / "50k"), large = seconds_to_open(dir / "200k");
  CAPTURE(small);
  CAPTURE(large);
  CHECK(large < (kSanitized ? 30 : 2));  // 0.05 s where this was written; room for a busy machine
  CHECK(large < 12 * small);  // what is quadratic takes 16 times as long
  testing::put(dir / "1M", many(1000001));
  CHECK_THROWS_WITH_AS(io::SafetensorsFile::open(dir / "1M"), doctest::Contains("at most 1000000 tensors"), Error);
}

TEST_CASE("a missing tensor is reported with the nearest name") {
  const testing::TempDir dir;
  io::write_tensors(dir / "x", {{"lm_head.weight", Tensor<float>::zeros({2})}});
  const auto f = io::SafetensorsFile::open(dir / "x");
  CHECK_THROWS_WITH_AS(f.info("lm_head.wieght"), doctest::Contains("did you mean \"lm_head.weight\"?"), Error);
}

TEST_CASE("tensors of every element type come back bit for bit, strided ones in row-major order") {
  const testing::TempDir dir;
  const auto x = Tensor<float>::from({1, 2, 3, 4, 5, 6}, {2, 3});
  io::TensorMap m{{"f", x}, {"transposed", x.alias({3, 2}, {1, 3})}, {"d", Tensor<double>::from({0.1, -0.0})}, {"i", Tensor<std::int32_t>::from({-1, 7})},
                  {"l", Tensor<std::int64_t>::scalar(std::numeric_limits<std::int64_t>::min())}, {"u", Tensor<std::uint8_t>::from({0, 255})},
                  {"b", Tensor<bool>::from({true, false})}, {"h", Tensor<bfloat16>::from({bfloat16(1.5f)})}, {"none", Tensor<float>::empty({0, 3})}};
  io::write_tensors(dir / "x", m, {{"format", "pt"}, {"quote", "\"\\\n\x01"}});
  const auto f = io::SafetensorsFile::open(dir / "x");
  CHECK(f.metadata().at("quote") == "\"\\\n\x01");
  const io::TensorMap back = io::read_tensors(f);
  REQUIRE(back.size() == m.size());
  CHECK(std::get<Tensor<float>>(back.at("transposed")).to_vector() == std::vector<float>{1, 4, 2, 5, 3, 6});
  CHECK(std::get<Tensor<double>>(back.at("d")).to_vector()[0] == 0.1);
  CHECK(std::signbit(std::get<Tensor<double>>(back.at("d")).to_vector()[1]));
  CHECK(std::get<Tensor<std::int64_t>>(back.at("l")).item() == std::numeric_limits<std::int64_t>::min());
  CHECK(std::get<Tensor<bool>>(back.at("b")).to_vector() == std::vector<bool>{true, false});
  CHECK(std::get<Tensor<float>>(back.at("none")).shape() == Shape{0, 3});
  for (const auto& name : f.names()) CHECK(f.info(name).begin % (static_cast<std::uint64_t>(io::bits(f.info(name).dtype)) / 8) == 0);
}

TEST_CASE("element types change only on request") {
  const testing::TempDir dir;
  io::write_tensors(dir / "x", {{"h", Tensor<bfloat16>::from({bfloat16(1.5f), bfloat16(-2.f)})}, {"f", Tensor<float>::from({0.1f})}, {"i", Tensor<std::int32_t>::from({3})}});
  const auto f = io::SafetensorsFile::open(dir / "x");
  CHECK_THROWS_WITH_AS(io::read_tensor<float>(f, "h"), doctest::Contains("must be F32"), Error);
  CHECK(io::read_tensor<float>(f, "h", io::Convert::floats).to_vector() == std::vector<float>{1.5f, -2.f});
  CHECK(io::read_tensor<bfloat16>(f, "f", io::Convert::floats).item() == bfloat16(0.1f));
  CHECK_THROWS_AS(io::read_tensor<float>(f, "i", io::Convert::floats), Error);
}

TEST_CASE("all 65,536 half-precision values are converted exactly") {
  const testing::TempDir dir;
  std::string bytes = file_of(R"({"h":{"dtype":"F16","shape":[65536],"data_offsets":[0,131072]}})", 131072);
  for (std::uint32_t i = 0; i < 65536; ++i) {
    bytes[bytes.size() - 131072 + 2 * i] = static_cast<char>(i);
    bytes[bytes.size() - 131072 + 2 * i + 1] = static_cast<char>(i >> 8);
  }
  const auto f = open(dir, bytes);
  const auto t = io::read_tensor<double>(f, "h", io::Convert::floats);
  int wrong = 0;
  for (int i = 0; i < 65536; ++i) {
    const int e = i >> 10 & 31, m = i & 1023;
    const double v = (i >> 15 != 0 ? -1 : 1) * (e == 0 ? std::ldexp(m, -24) : std::ldexp(1024 + m, e - 25));
    const double got = t.data()[i];
    if (e < 31) wrong += got == v && std::signbit(got) == (i >> 15 != 0) ? 0 : 1;
    else wrong += m == 0 ? !std::isinf(got) : !std::isnan(got);
  }
  CHECK(wrong == 0);
  CHECK(io::count_nonfinite(f, "h") == 2048);
}

TEST_CASE("a BOOL byte other than 0 and 1 is refused") {
  const testing::TempDir dir;
  std::string bytes = file_of(R"({"b":{"dtype":"BOOL","shape":[1],"data_offsets":[0,1]}})", 1);
  bytes.back() = 2;
  const auto f = open(dir, bytes);
  CHECK_THROWS_WITH_AS(io::read_tensor<bool>(f, "b"), doctest::Contains("0 or 1"), Error);
}

TEST_CASE("a file that becomes shorter after it was opened gives an error, not zeros") {
  const testing::TempDir dir;
  io::write_tensors(dir / "x", {{"a", Tensor<float>::ones({1000})}});
  const auto f = io::SafetensorsFile::open(dir / "x");
  std::filesystem::resize_file(dir / "x", 1000);
  CHECK_THROWS_WITH_AS(io::read_tensor<float>(f, "a"), doctest::Contains("as long as it was"), Error);
}

TEST_CASE("a write that fails leaves the old file as it was and no other behind") {
  const testing::TempDir dir;
  io::write_tensors(dir / "x", {{"a", Tensor<float>::ones({2})}});
  const std::string before = testing::get(dir / "x");
  rlimit old{};
  REQUIRE(::getrlimit(RLIMIT_FSIZE, &old) == 0);
  std::signal(SIGXFSZ, SIG_IGN);
  const rlimit small{4096, old.rlim_max};
  REQUIRE(::setrlimit(RLIMIT_FSIZE, &small) == 0);
  CHECK_THROWS_WITH_AS(io::write_tensors(dir / "x", {{"a", Tensor<float>::ones({10000})}}), doctest::Contains("writable"), Error);
  ::setrlimit(RLIMIT_FSIZE, &old);
  CHECK(testing::get(dir / "x") == before);
  CHECK(std::distance(std::filesystem::directory_iterator(dir.path()), std::filesystem::directory_iterator()) == 1);
}

TEST_CASE("names and shapes that could not be read back are not written") {
  const testing::TempDir dir;
  const float x[1] = {1};
  for (const std::string& name : {std::string(), std::string("a\nb"), std::string("\xff"), std::string("__metadata__"), std::string(5000, 'a')})
    CHECK_THROWS_AS(io::write_safetensors(dir / "x", {{name, io::FileType::F32, {1}, x}}), Error);
  CHECK_THROWS_AS(io::write_safetensors(dir / "x", {{"a", io::FileType::F32, {1}, x}, {"a", io::FileType::I32, {1}, x}}), Error);
  CHECK_THROWS_AS(io::write_safetensors(dir / "x", {{"a", io::FileType::F32, {-1}, x}}), Error);
  CHECK(std::filesystem::is_empty(dir.path()));
}
