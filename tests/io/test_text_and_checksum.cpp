// tests/io/test_text_and_checksum.cpp -- the small tools under the readers: checksum, names, UTF-8, strict JSON, bytes as tokens.
#include <doctest/doctest.h>

#include <string>
#include <vector>

#include <moelle/io/checksum.hpp>
#include <moelle/io/json.hpp>
#include <moelle/io/suggest.hpp>
#include <moelle/io/utf8.hpp>
#include <moelle/text/bytes.hpp>

using namespace moelle;

TEST_CASE("XXH64 gives the published values, in one piece or in many") {
  CHECK(io::xxh64("", 0) == 0xEF46DB3751D8E999u);
  CHECK(io::xxh64("abc", 3) == 0x44BC2CF5AD770999u);
  const std::string text = "Nobody inspects the spammish repetition";
  CHECK(io::xxh64(text.data(), text.size()) == 0xFBCEA83C8A378BF1u);
  std::string data;
  for (int i = 0; i < 300; ++i) data += static_cast<char>(i * 37);
  for (const std::size_t piece : {1u, 3u, 8u, 31u, 32u, 33u, 200u}) {
    io::Xxh64 h;
    for (std::size_t at = 0; at < data.size(); at += piece) h.update(data.data() + at, std::min(piece, data.size() - at));
    CHECK(h.digest() == io::xxh64(data.data(), data.size()));
  }
  CHECK(io::from_hex(io::to_hex(0x0123456789abcdefu)) == 0x0123456789abcdefu);
  for (const char* bad : {"", "0123456789abcde", "0123456789abcdeg", "0123456789ABCDEF"}) CHECK_THROWS_AS(io::from_hex(bad), Error);
}

TEST_CASE("the nearest name is found through swaps, omissions and case, and nothing is suggested for noise") {
  const std::vector<std::string> names{"hidden_size", "num_hidden_layers", "rope_theta"};
  CHECK(io::nearest_name("hiden_size", names) == "hidden_size");
  CHECK(io::nearest_name("hidden_szie", names) == "hidden_size");
  CHECK(io::nearest_name("Rope_Theta", names) == "rope_theta");
  CHECK(io::nearest_name("xyz", names).empty());
  CHECK(io::nearest_name(std::string(1 << 20, 'h'), names).empty());
  CHECK(io::edit_distance("abcd", "acbd") == 1);
  CHECK(io::edit_distance("", "abc") == 3);
}

TEST_CASE("quoted text cannot move a terminal's cursor") {
  CHECK(io::in_quotes("a\"b\x1b[2J\n") == "\"a\\\"b\\x1b[2J\\x0a\"");
  CHECK(io::in_quotes(std::string(1000, 'x'), 10) == "\"xxxxxxxxxx...\"");
}

TEST_CASE("UTF-8 is accepted to its edges and not beyond") {
  for (const char* good : {"", "plain ascii text", "\xc2\x80", "\xdf\xbf", "\xe0\xa0\x80", "\xed\x9f\xbf", "\xee\x80\x80", "\xef\xbf\xbf", "\xf0\x90\x80\x80", "\xf4\x8f\xbf\xbf"}) CHECK(io::is_utf8(good));
  for (const char* bad : {"\x80", "\xc0\x80", "\xc1\xbf", "\xc2", "\xe0\x9f\xbf", "\xed\xa0\x80", "\xe2\x82", "\xf0\x8f\xbf\xbf", "\xf4\x90\x80\x80", "\xf5\x80\x80\x80", "12345678\xff"}) CHECK_FALSE(io::is_utf8(bad));
}

TEST_CASE("JSON from strangers: no key twice, no depth without end, no number that does not fit") {
  CHECK(io::as_int(io::parse_json("8", "x"), "n") == 8);
  CHECK(io::as_double(io::parse_json("8", "x"), "n") == 8.0);
  for (const char* bad : {"8.0", "\"8\"", "true", "null", "9223372036854775808", "1e3", "[8]"}) CHECK_THROWS_AS(io::as_int(io::parse_json(bad, "x"), "n"), Error);
  const std::string deep(100000, '[');
  for (const std::string& bad : {std::string(R"({"a":1,"a":2})"), std::string(R"({"b":{"a":1,"a":2}})"), std::string("\xEF\xBB\xBF{}"), std::string("{"),
                                 std::string("{}x"), std::string("1e999"), std::string("{'a':1}"), std::string("NaN"), deep, std::string("[1,]")}) {
    CAPTURE(bad.substr(0, 20));
    CHECK_THROWS_AS(io::parse_json(bad, "x"), Error);
  }
  CHECK(io::parse_json(R"([{"a":1},{"a":2}])", "x").size() == 2);
}

TEST_CASE("every byte is a token and every text comes back") {
  std::string all;
  for (int i = 0; i < 256; ++i) all += static_cast<char>(i);
  const auto ids = text::encode_bytes(all);
  CHECK(ids[255] == 255);
  CHECK(text::decode_bytes(ids) == all);
  CHECK(text::decode_bytes({}).empty());
  CHECK_THROWS_AS(text::decode_bytes({256}), Error);
  CHECK_THROWS_AS(text::decode_bytes({-1}), Error);
}
