// JSON reading and writing against Python's json.
#include "base/json.h"

#include <gtest/gtest.h>

#include "base/error.h"

namespace pagoda {
namespace {

std::string round_trip(std::string_view text) { return Json::parse(text, "test").dump(); }

TEST(Json, KeepsOrderAndSpellsNumbersAsPython) {
  EXPECT_EQ(round_trip(R"({"b":1,"a":[1.0,1e-5,1e16,-0.0,true,null],"c":{}})"),
            R"({"b":1,"a":[1.0,1e-05,1e+16,-0.0,true,null],"c":{}})");
}

TEST(Json, TakesNanAndInfinity) { EXPECT_EQ(round_trip("[NaN, Infinity, -Infinity]"), "[NaN,Infinity,-Infinity]"); }

TEST(Json, NumbersOfAnyLength) {
  const auto number = [](const std::string& text) { return Json::parse(text, "test"); };
  for (const int zeros : {300, 340, 360, 455, 5000}) {
    EXPECT_EQ(number("0." + std::string(static_cast<size_t>(zeros), '0')).as_double("x"), 0.0) << zeros;
    EXPECT_EQ(number("[-0." + std::string(static_cast<size_t>(zeros), '0') + "]").dump(), "[-0.0]") << zeros;
  }
  EXPECT_EQ(number("0." + std::string(319, '0') + "15").as_double("x"), 1.5e-320);
  EXPECT_EQ(number("0." + std::string(200, '3')).as_double("x"), 1.0 / 3);
  EXPECT_EQ(number("4.9e-324").as_double("x"), 5e-324);
  EXPECT_EQ(number("1e-400").as_double("x"), 0.0);
  EXPECT_EQ(number("1.7976931348623157e308").as_double("x"), 1.7976931348623157e308);
  EXPECT_EQ(number("9007199254740993.0").as_double("x"), 9007199254740992.0);
  EXPECT_EQ(number("9223372036854775807").as_int("x"), INT64_MAX);
  EXPECT_EQ(number("-9223372036854775808").as_int("x"), INT64_MIN);
  EXPECT_EQ(number("9223372036854775808").type(), Json::Type::kDouble);
  EXPECT_EQ(number("123456789012345678901234567890").as_double("x"), 123456789012345678901234567890.0);
  EXPECT_EQ(number("-0").dump(), "0");
  EXPECT_THROW(number("1e400"), Error);
  EXPECT_THROW(number("-"), Error);
  EXPECT_THROW(number("1."), Error);
  EXPECT_THROW(number("01"), Error);
}

TEST(Json, RefusesBadInput) {
  for (const char* text : {"", "{", "[1,]", "{\"a\":1,}", "nul", "\"\xff\"", "1 2", "{\"a\" 1}", "\"\\ud800\""}) {
    EXPECT_THROW(Json::parse(text, "test"), Error) << text;
  }
  EXPECT_THROW(Json::parse(std::string_view("1\0", 2), "test"), Error);
}

TEST(Json, DepthIsLimited) {
  Limits limits;
  limits.max_depth = 10;
  EXPECT_NO_THROW(Json::parse(std::string(10, '[') + std::string(10, ']'), "test", limits));
  EXPECT_THROW(Json::parse(std::string(11, '[') + std::string(11, ']'), "test", limits), Error);
  EXPECT_THROW(Json::parse(std::string(10'000'000, '['), "test"), Error);
}

TEST(Json, LastOfEqualKeysWins) { EXPECT_EQ(Json::parse(R"({"a":1,"a":2})", "test").at("a", "test").as_int("a"), 2); }

TEST(Json, EscapesAsPython) {
  const Json value("é\"\n\x01🙂");
  EXPECT_EQ(value.dump(), "\"é\\\"\\n\\u0001🙂\"");
  Json::DumpOptions ascii;
  ascii.ensure_ascii = true;
  EXPECT_EQ(value.dump(ascii), "\"\\u00e9\\\"\\n\\u0001\\ud83d\\ude42\"");
}

TEST(Json, WrongTypeNamesTheField) {
  const Json value = Json::parse(R"({"hidden_size":"x"})", "config.json");
  try {
    value.get_int("hidden_size", 0, "config.json");
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kInvalidInput);
    EXPECT_EQ(error.message(), "[config.json: hidden_size] wrong type: got string, need integer");
  }
}

}  // namespace
}  // namespace pagoda
