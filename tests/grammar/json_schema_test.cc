// JSON Schema: texts that fit and do not, random texts under the mask against a checker of their own, refusals, large schemas.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>

#include "base/error.h"
#include "tests/grammar/walk.h"

namespace pagoda {
namespace {

using grammar_test::Checker;
using grammar_test::toy_vocabulary;
using grammar_test::Walk;
using grammar_test::walk;

GrammarPtr schema(std::string_view text, const JsonGrammarOptions& options = {}) {
  return compile_json_schema(Json::parse(text, "test"), options);
}

void expect_texts(std::string_view text, const std::vector<std::string>& good, const std::vector<std::string>& bad) {
  const GrammarPtr grammar = schema(text);
  for (const std::string& one : good) EXPECT_TRUE(grammar->matches(one)) << text << ": " << one;
  for (const std::string& one : bad) EXPECT_FALSE(grammar->matches(one)) << text << ": " << one;
}

std::string error_of(std::string_view text, ErrorKind kind) {
  try {
    schema(text);
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), kind) << error.message();
    return error.message();
  }
  ADD_FAILURE() << "no error: " << text;
  return {};
}

TEST(JsonSchemaTest, Values) {
  expect_texts(R"({"type": "string"})", {R"("")", R"("a\nb\u00e9")", "\"\u00E9\U0001F642\"", R"("\ud83d\ude42")"},
               {"", "\"", "\"a\nb\"", R"("\x")", R"("\ud83d")", R"("\u12")", "1"});
  expect_texts(R"({"type": "integer"})", {"0", "-1", "1234567890"}, {"01", "1.0", "+1", "-", "1e3"});
  expect_texts(R"({"type": "number"})", {"0", "-1.5", "1e10", "2.5E-3"}, {"01", "1.", ".5", "1e", "NaN"});
  expect_texts(R"({"type": ["boolean", "null"]})", {"true", "false", "null"}, {"0", "nul"});
  expect_texts(R"({"enum": ["a", 1, null, {"x": [1, 2]}]})", {"\"a\"", "1", "null", R"({"x": [1,2]})"}, {"2", "a"});
  expect_texts(R"({"const": "it's \"1\"\n"})", {R"("it's \"1\"\n")"}, {"\"it's\""});
  expect_texts(R"({"type": "string", "enum": ["a", 1, "b"]})", {"\"a\"", "\"b\""}, {"1"});
  expect_texts("true", {"{}", "[1, {\"a\": null}]", "\"x\"", "-0.5"}, {"", "{", "[1,]"});
  expect_texts(R"({"type": "string", "nullable": true})", {"null", "\"a\""}, {"1"});
}

TEST(JsonSchemaTest, Objects) {
  const char* const text =
      R"({"type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "boolean"}, "c": {"const": 1}},
                               "required": ["b"]})";
  expect_texts(text,
               {R"({"b": true})", R"({"a":1,"b":false,"c":1})", "{\n  \"a\": 1,\n  \"b\": true\n}", R"({"b":true, "c" : 1})"},
               {"{}", R"({"a":1})", R"({"b":true,"a":1})", R"({"b":true,})", R"({"b":true,"d":1})", R"({"b":  true})"});
  expect_texts(R"({"properties": {"a": {}, "b": {}}})", {"{}", R"({"a":1})", R"({"b":[]})", R"({"a":{},"b":"x"})"},
               {R"({"b":1,"a":1})", R"({"a":1,"a":2})", R"({"a":1,})", R"({,"a":1})"});
  expect_texts(R"({"type": "object"})", {"{}", R"({"x": {"y": [1]}})"}, {"[]", "{\"x\"}"});
  expect_texts(R"({"type": "object", "properties": {}, "additionalProperties": false})", {"{}", "{ }"}, {R"({"x":1})"});
  expect_texts(R"({"type": "object", "additionalProperties": {"type": "integer"}})", {"{}", R"({"x": 1, "y": 2})"},
               {R"({"x": "1"})"});
  expect_texts(R"({"type": "object", "additionalProperties": {"type": "integer"}, "minProperties": 1, "maxProperties": 2})",
               {R"({"x": 1})", R"({"x": 1, "y": 2})"}, {"{}", R"({"x": 1, "y": 2, "z": 3})"});
  expect_texts(R"({"type": "object", "required": ["k"]})", {R"({"k": [1]})"}, {"{}"});
}

TEST(JsonSchemaTest, OtherPropertiesNeverRepeatNamedOnes) {
  const char* const text = R"({"properties": {"ab": {"type": "integer"}, "a": {"type": "integer"}}, "required": ["ab"],
                               "additionalProperties": {"type": "string"}})";
  expect_texts(text, {R"({"ab": 1, "abc": "x"})", R"({"ab": 1, "a": 2, "": "x", "b\n": "y"})", R"({"ab": 1, "x": "y"})"},
               {R"({"ab": 1, "ab": "x"})", R"({"ab": 1, "a": "x"})", R"({"ab": 1, "\u0061": "x"})", R"({"ab": 1, "x": 1})",
                R"({"x": "y"})"});
}

TEST(JsonSchemaTest, PatternProperties) {
  expect_texts(R"({"type": "object", "patternProperties": {"^x-[a-z]+$": {"type": "integer"}}, "additionalProperties": false})",
               {"{}", R"({"x-a": 1})", R"({"x-a": 1, "x-bc": 2})"},
               {R"({"x-": 1})", R"({"x-a": "1"})", R"({"y": 1})", R"({"x-a": 1, "y": 1})"});
  // Without additionalProperties, keys that are not asked for are not written; without a name for the type, it is an object.
  expect_texts(R"({"patternProperties": {"^\\d+$": {"type": "string"}}, "minProperties": 1, "maxProperties": 2})",
               {R"({"12": "a"})", R"({"1": "a", "2": "b"})"},
               {"{}", R"({"a": "b"})", R"({"1": "a", "2": "b", "3": "c"})", "1"});
  expect_texts(
      R"({"properties": {"id": {"type": "string"}}, "required": ["id"], "patternProperties": {"^x-": {"type": "boolean"}}})",
      {R"({"id": "1"})", R"({"id": "1", "x-": true})"},
      {R"({"x-": true})", R"({"id": "1", "x-": 1})", R"({"id": "1", "y": 1})"});
}

TEST(JsonSchemaTest, PatternsBindNamesAndLeaveTheRest) {
  // A name with a pattern in it is bound by both, and is written but once.
  expect_texts(
      R"({"properties": {"ab": {"type": "integer"}}, "patternProperties": {"^a[b-d]$": {"minimum": 10, "type": "number"}}})",
      {"{}", R"({"ab": 12})", R"({"ab": 12, "ac": 10.5})", R"({"ad": 11})"},
      {R"({"ab": 9})", R"({"ab": 12.5})", R"({"ac": 1})", R"({"ab": 12, "ab": 13.5})", R"({"ac": 12, "ab": 13})"});
  expect_texts(
      R"({"required": ["x1"], "patternProperties": {"^x[0-9]$": {"type": "null"}}, "additionalProperties": {"const": 1}})",
      {R"({"x1": null})", R"({"x1": null, "x2": null, "y": 1, "x": 1, "xx1": 1, "x12": 1})"},
      {"{}", R"({"x1": 1})", R"({"x1": null, "x2": 1})", R"({"x1": null, "y": null})"});
  // A pattern is found anywhere in a key, as the standard has it, and a key with two of them is not written.
  expect_texts(R"({"patternProperties": {"b": {"const": 1}, "[ac]+": {"const": 2}}, "additionalProperties": {"const": 3}})",
               {R"({"b": 1, "ac": 2, "": 3, "x": 3})", "{\"x\u00E9\u4E2D\": 3}"},
               {R"({"xb": 3})", R"({"xa": 3})", R"({"ab": 1})", R"({"ab": 2})", R"({"ab": 3})", R"({"\u0062": 3})"});
  // Digits of all scripts are digits to some, so a key with one is neither.
  expect_texts(R"({"patternProperties": {"\\d": {"const": 1}}, "additionalProperties": {"const": 2}})", {R"({"7": 1, "x": 2})"},
               {R"({"7": 2})", "{\"\u0667\": 1}", "{\"\u0667\": 2}"});
  expect_texts(R"({"patternProperties": {"^a": false}, "additionalProperties": true})", {R"({"b": 1})"}, {R"({"a": 1})"});
  expect_texts(R"({"allOf": [{"patternProperties": {"^a": {"type": "integer"}}}, {"properties": {"ab": {"minimum": 3}}}]})",
               {R"({"ab": 3})"}, {R"({"ab": 2})", R"({"ab": 3.5})"});
}

TEST(JsonSchemaTest, MultiplesOfANumber) {
  for (const int step : {2, 3, 7, 10, 60, 97, 1000}) {
    const std::string text = R"({"type": "integer", "multipleOf": )" + std::to_string(step);
    const GrammarPtr all = schema(text + "}"), some = schema(text + R"(, "minimum": -205, "exclusiveMaximum": 1994})");
    for (int value = -2100; value <= 2100; ++value) {
      const bool fits = value % step == 0;
      ASSERT_EQ(all->matches(std::to_string(value)), fits) << value << " of " << step;
      ASSERT_EQ(some->matches(std::to_string(value)), fits && value >= -205 && value < 1994) << value << " of " << step;
    }
    EXPECT_TRUE(all->matches(std::to_string(int64_t{step} * 987'654'321'012)));
    EXPECT_FALSE(all->matches(std::to_string(int64_t{step} * 987'654'321'012 + 1)));
    EXPECT_FALSE(all->matches("00"));
  }
  expect_texts(R"({"type": "number", "multipleOf": 0.01})", {"0", "1", "-3.1", "3.14", "-0.07", "12.50"},
               {"3.141", "1e2", "01", "1.", "0.001"});
  expect_texts(R"({"type": "number", "multipleOf": 0.25, "minimum": 0.5, "maximum": 10})",
               {"0.5", "0.75", "1", "10", "9.50", "10.0"}, {"0.25", "0.6", "0.70", "10.25", "1.05"});
  expect_texts(R"({"type": "number", "multipleOf": 3})", {"3", "-12"}, {"4", "3.0", "1.5"});
  expect_texts(R"({"type": "integer", "multipleOf": 1.5})", {"0", "3", "-6"}, {"1", "2", "1.5"});
  expect_texts(R"({"type": "integer", "multipleOf": 0.5})", {"0", "1", "-7"}, {"0.5"});
  expect_texts(R"({"multipleOf": 4, "enum": [4, 6, 8]})", {"4", "8"}, {"6"});
  expect_texts(R"({"type": "integer", "multipleOf": 3000, "minimum": 0, "maximum": 99999})", {"0", "3000", "99000"},
               {"1000", "102000"});
}

TEST(JsonSchemaTest, Arrays) {
  expect_texts(R"({"type": "array", "items": {"type": "integer"}})", {"[]", "[1]", "[1, 2,3]", "[\n 1\n]"},
               {"[,]", "[1,]", "[true]"});
  expect_texts(R"({"items": {"const": 1}, "minItems": 2, "maxItems": 3})", {"[1,1]", "[1,1,1]"}, {"[]", "[1]", "[1,1,1,1]"});
  expect_texts(R"({"items": {"const": 1}, "maxItems": 0})", {"[]"}, {"[1]"});
  expect_texts(R"({"items": {"const": 1}, "minItems": 100, "maxItems": 1000000})", {}, {"[1]"});
  expect_texts(R"({"prefixItems": [{"const": 1}, {"const": 2}], "items": {"const": 3}})", {"[]", "[1]", "[1,2]", "[1,2,3,3]"},
               {"[2]", "[1,3]", "[1,2,4]"});
  expect_texts(R"({"prefixItems": [{"const": 1}, {"const": 2}], "items": false, "minItems": 2})", {"[1,2]"},
               {"[]", "[1]", "[1,2,3]"});
  expect_texts(R"({"prefixItems": [{"const": 1}], "minItems": 2})", {"[1, {}]", "[1, 5]"}, {"[1]", "[1,2,3]"});
  expect_texts(R"({"prefixItems": [{"const": 1}, {"const": 2}], "maxItems": 1})", {"[]", "[1]"}, {"[1,2]"});
}

TEST(JsonSchemaTest, Strings) {
  expect_texts(R"({"minLength": 2, "maxLength": 3})", {"\"ab\"", "\"a\\n\u4E2D\"", R"("\ud83d\ude42x")"},
               {"\"a\"", "\"abcd\""});
  expect_texts(R"({"type": "string", "maxLength": 100000})", {"\"\"", "\"" + std::string(100000, 'x') + "\""},
               {"\"" + std::string(100001, 'x') + "\""});
  expect_texts(R"({"pattern": "^[a-z\"]{2,3}\\n?$"})", {R"("ab")", R"("a\"b\n")"}, {R"("a")", "\"ab\n\"", R"("a"b")"});
  expect_texts(R"({"pattern": "^[a-z]+$", "minLength": 2, "maxLength": 4})", {"\"ab\"", "\"abcd\""}, {"\"a\"", "\"abcde\""});
  expect_texts(R"({"pattern": "^[A-Z]{3}-[0-9]$", "minLength": 1, "maxLength": 10})", {"\"ABC-1\""}, {"\"ABC\""});
}

TEST(JsonSchemaTest, Formats) {
  const auto format = [](const std::string& name, const std::vector<std::string>& good, const std::vector<std::string>& bad) {
    const auto quote = [](std::vector<std::string> texts) {
      for (std::string& text : texts) text = "\"" + text + "\"";
      return texts;
    };
    expect_texts(R"({"type": "string", "format": ")" + name + "\"}", quote(good), quote(bad));
  };
  format("date", {"2024-02-29", "2023-12-31", "2000-02-29", "2023-04-30"},
         {"2023-02-29", "1900-02-29", "2023-13-01", "2023-04-31", "23-01-01"});
  format("time", {"23:59:59Z", "00:00:00.123+02:00"}, {"24:00:00Z", "12:00:00", "12:60:00Z"});
  format("date-time", {"2024-02-29T12:00:00Z", "2023-01-01T00:00:00.5-08:00"}, {"2024-02-29", "2024-02-29 12:00:00Z"});
  format("duration", {"P1D", "PT5M", "P1Y2M3DT4H5M6S", "P2W"}, {"P", "PT", "1D"});
  format("uuid", {"123e4567-e89b-12d3-a456-426614174000"},
         {"123e4567e89b12d3a456426614174000", "g23e4567-e89b-12d3-a456-426614174000"});
  format("email", {"a.b+c@example.com", "x@a-b.org"}, {"a@", "a@b", ".a@b.com", "a b@c.com"});
  format("ipv4", {"0.0.0.0", "255.1.20.199"}, {"256.1.1.1", "1.1.1", "01.1.1.1"});
  format("ipv6", {"::", "::1", "1:2:3:4:5:6:7:8", "fe80::1:2", "1::8"}, {"1:2:3:4:5:6:7", ":::", "12345::"});
  format("hostname", {"a", "example.com", "a-b.c"}, {"-a", "a-", "a..b", ""});
  format("uri", {"https://example.com/a?b=c#d", "ftp://[::1]:80/%20"}, {"example.com", "http://", "http://a b"});
}

TEST(JsonSchemaTest, Numbers) {
  expect_texts(R"({"type": "integer", "minimum": -12, "maximum": 105})", {"-12", "-1", "0", "9", "10", "99", "100", "105"},
               {"-13", "-20", "106", "110", "200", "-100", "00", "-0"});
  expect_texts(R"({"type": "integer", "exclusiveMinimum": 0, "exclusiveMaximum": 10})", {"1", "9"}, {"0", "10", "-1"});
  expect_texts(R"({"type": "integer", "minimum": 1.5, "maximum": 3.2})", {"2", "3"}, {"1", "4"});
  expect_texts(R"({"type": "integer", "minimum": 18})", {"18", "19", "20", "100", "99999"}, {"17", "1", "-20", "0"});
  expect_texts(R"({"type": "integer", "maximum": -5})", {"-5", "-6", "-10", "-12345"}, {"-4", "0", "5"});
  expect_texts(R"({"type": "number", "minimum": 0, "maximum": 1})", {"0", "1", "0.5", "1.0", "0.999"},
               {"1.1", "-0.1", "2", "1.01", "1e0"});
  expect_texts(R"({"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1})", {"0.5", "0.001", "0.99"},
               {"0", "1", "0.0", "1.0"});
  expect_texts(R"({"type": "number", "minimum": -1.25, "maximum": 2.5})", {"-1.25", "-1.2", "0", "2.5", "2.50", "-1", "2.49"},
               {"-1.26", "-1.251", "2.51", "2.501", "-2", "3"});
  expect_texts(R"({"type": "number", "minimum": 0.1})", {"0.1", "0.11", "1", "10.5"}, {"0", "0.09", "0.0"});
  expect_texts(R"({"type": "number", "maximum": 1e3})", {"1000", "999.9", "-5000"}, {"1000.1", "1001", "2000"});
}

TEST(JsonSchemaTest, EveryIntegerOfARangeAndNoOther) {
  for (const auto& [low, high] :
       std::vector<std::pair<int, int>>{{-7, 13}, {0, 0}, {5, 5}, {98, 203}, {-120, -8}, {1, 1000}, {-1, 1}}) {
    const GrammarPtr grammar =
        schema(R"({"type":"integer","minimum":)" + std::to_string(low) + R"(,"maximum":)" + std::to_string(high) + "}");
    for (int i = -1300; i <= 1300; ++i) {
      ASSERT_EQ(grammar->matches(std::to_string(i)), i >= low && i <= high) << low << " " << i << " " << high;
    }
  }
}

TEST(JsonSchemaTest, Composition) {
  expect_texts(R"({"anyOf": [{"type": "integer"}, {"type": "string", "maxLength": 1}]})", {"1", "\"a\""}, {"\"ab\"", "true"});
  expect_texts(
      R"({"allOf": [{"properties": {"a": {"type": "integer"}}, "required": ["a"]}, {"properties": {"b": {"type": "null"}}}]})",
      {R"({"a":1})", R"({"a":1,"b":null})"}, {"{}", R"({"b":null})"});
  expect_texts(R"({"allOf": [{"type": "integer", "minimum": 3}, {"minimum": 5, "maximum": 9}, {"maximum": 7}]})", {"5", "7"},
               {"4", "8"});
  expect_texts(R"({"type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}},
                   "anyOf": [{"required": ["a"]}, {"required": ["b"]}]})",
               {R"({"a":1})", R"({"b":1})", R"({"a":1,"b":2})"}, {"{}"});
  expect_texts(R"({"allOf": [{"type": "string"}, {"type": ["string", "null"]}]})", {"\"x\""}, {"null"});
  expect_texts(R"({"$ref": "#/$defs/a~1b", "maximum": 5, "$defs": {"a/b": {"type": "integer"}}})", {"5", "-3"}, {"6"});
  expect_texts(R"({"allOf": [{"additionalProperties": false, "properties": {"a": {}}}, {"properties": {"b": {}}}]})",
               {"{}", R"({"a":1})"}, {R"({"b":1})"});
  expect_texts(R"({"allOf": [{"items": {"type": "integer"}}, {"prefixItems": [{"minimum": 3}]}]})", {"[3]", "[3,1]"},
               {"[2]", "[\"x\"]"});
}

// oneOf is read where no value fits two of its branches, and refused where that does not show: anyOf would write such values.
TEST(JsonSchemaTest, OneOfWhoseBranchesExcludeOneAnother) {
  expect_texts(R"({"oneOf": [{"type": "integer"}, {"type": ["string", "null"]}]})", {"1", "\"a\"", "null"}, {"true", "[]"});
  expect_texts(R"({"oneOf": [{"type": "integer", "maximum": 5}, {"type": "number", "exclusiveMinimum": 5}]})",
               {"5", "5.5", "-3"}, {"4.5", "\"a\""});
  expect_texts(R"({"oneOf": [{"const": 1}, {"enum": [2, "a"]}, {"type": "number", "minimum": 7}, {"type": "boolean"}]})",
               {"1", "2", "\"a\"", "7.5", "true"}, {"3", "null"});
  expect_texts(
      R"({"type": "object", "oneOf": [{"properties": {"kind": {"const": "a"}, "x": {"type": "integer"}}, "required": ["kind"]},
                   {"properties": {"kind": {"enum": ["b", "c"]}}, "required": ["kind"]}]})",
      {R"({"kind":"a","x":1})", R"({"kind":"c"})"}, {"{}", R"({"kind":"b","x":1})", R"({"kind":"d"})"});
  expect_texts(R"({"$defs": {"base": {"type": "object", "properties": {"id": {"type": "integer"}}},
                   "cat": {"allOf": [{"$ref": "#/$defs/base"}, {"properties": {"kind": {"const": "cat"}}, "required": ["kind"]}]},
                   "dog": {"type": "object", "properties": {"kind": {"const": "dog"}}, "required": ["kind"]}},
                   "oneOf": [{"$ref": "#/$defs/cat"}, {"$ref": "#/$defs/dog"}, {"type": "null"}]})",
               {R"({"id":1,"kind":"cat"})", R"({"kind":"dog"})", "null"}, {R"({"id":1})", R"({"kind":"cow"})"});
  expect_texts(
      R"({"oneOf": [{"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"], "additionalProperties": false},
                   {"type": "object", "properties": {"b": {"type": "integer"}}, "required": ["b"], "additionalProperties": false}]})",
      {R"({"a":1})", R"({"b":1})"}, {"{}", R"({"a":1,"b":1})"});
  expect_texts(R"({"minimum": 0, "type": "integer", "oneOf": [{"maximum": 3}, {"minimum": 8}]})", {"0", "3", "8"}, {"-1", "4"});
  for (
      const char* const text :
      {R"({"oneOf": [{"type": "integer", "minimum": 0, "maximum": 5}, {"type": "integer", "minimum": 3, "maximum": 9}]})",
       R"({"oneOf": [{"type": "integer", "maximum": 5}, {"type": "number", "minimum": 5}]})",
       R"({"oneOf": [{"type": "string"}, {"type": "integer"}, {"type": ["null", "integer"]}]})",
       R"({"oneOf": [{"enum": [1, 2]}, {"enum": [2.0, 3]}]})", R"({"oneOf": [{"const": 4}, {"type": "number"}]})",
       R"({"oneOf": [{"type": "string", "pattern": "a"}, {"type": "string", "pattern": "b"}]})",
       R"({"oneOf": [{"required": ["a"]}, {"required": ["b"]}], "type": "object", "properties": {"a": {}, "b": {}}})",
       R"({"oneOf": [{"properties": {"k": {"const": 1}}}, {"properties": {"k": {"const": 2}}}], "type": "object"})",
       R"({"oneOf": [{"properties": {"k": {"const": 1}}, "required": ["k"]}, {"type": "string"}]})",
       R"({"oneOf": [{"type": "integer", "exclusiveMaximum": 9007199254740993}, {"type": "integer", "minimum": 9007199254740992}]})",
       R"({"oneOf": [{}, {"type": "integer"}]})", R"({"oneOf": [true, {"type": "integer"}]})"}) {
    EXPECT_THAT(error_of(text, ErrorKind::kUnsupported), testing::HasSubstr("`oneOf` whose branches")) << text;
  }
  EXPECT_THAT(error_of(R"({"oneOf": [{"type": "string"}, {"type": "integer"}, {"type": ["null", "integer"]}]})",
                       ErrorKind::kUnsupported),
              testing::HasSubstr("branches 1 and 2"));
}

// Merging waits for nobody, and others wait for it: what takes seconds is refused.
TEST(JsonSchemaTest, MergingHasABudget) {
  const auto choices = [](int lists, int branches) {
    std::string text = "{\"allOf\":[";
    for (int i = 0; i < lists; ++i) {
      text += i > 0 ? ",{\"anyOf\":[" : "{\"anyOf\":[";
      for (int j = 0; j < branches; ++j) {
        text += (j > 0 ? "," : "") + std::string("{\"properties\":{\"a") + std::to_string(i) +
                "\":{\"const\":" + std::to_string(j) + "}}}";
      }
      text += "]}";
    }
    return text + "]}";
  };
  EXPECT_TRUE(schema(choices(3, 6))->matches(R"({"a0":1,"a2":5})"));
  EXPECT_THAT(error_of(choices(6, 6), ErrorKind::kInvalidInput), testing::HasSubstr("merged without end"));
}

// What is searched in long lists is found at once: each of these was the square of its length.
TEST(JsonSchemaTest, LongLists) {
  std::string numbers, odd, names, first, backwards, second, defs, refs;
  const int count = 20'000;
  for (int i = 0; i < count; ++i) {
    const std::string comma = i > 0 ? "," : "", number = std::to_string(i), name = "\"p" + number + "\"";
    numbers += comma + number;
    if (i % 2 == 1) odd += (i > 1 ? "," : "") + number + ".0";
    names += comma + name;
    first += comma + name + ":{\"type\":\"integer\"}";
    second += comma + name + ":{\"minimum\":5}";
    defs += comma + name + ":{\"const\":" + number + "}";
    refs += comma + "{\"$ref\":\"#/$defs/p" + number + "\"}";
  }
  for (int i = count; i-- > 0;) backwards += "\"p" + std::to_string(i) + "\":{\"type\":\"integer\"}" + (i > 0 ? "," : "");
  expect_texts("{\"enum\":[" + numbers + "]}", {"0", "19999"}, {"20000"});
  expect_texts("{\"enum\":[" + numbers + "],\"minimum\":5}", {"5", "19999"}, {"4"});
  expect_texts("{\"allOf\":[{\"enum\":[" + numbers + "]},{\"enum\":[" + odd + "]}]}", {"1", "19999"}, {"2"});
  expect_texts("{\"$defs\":{" + defs + "},\"anyOf\":[" + refs + "]}", {"0", "19999"}, {"20000"});
  expect_texts("{\"allOf\":[{\"const\":{" + first + "}},{\"const\":{" + first + "}}]}", {}, {"{}"});
  EXPECT_EQ(Json::parse("{" + first + "}", "test"), Json::parse("{" + backwards + "}", "test"));
  EXPECT_FALSE(Json::parse("{" + first + "}", "test") == Json::parse("{" + second + "}", "test"));
  expect_texts("{\"allOf\":[{\"properties\":{" + first + "}},{\"properties\":{" + second + "}},{\"required\":[\"p7\"]}]}",
               {R"({"p7":7})", R"({"p7":8,"p19999":20000})"}, {R"({"p7":4})", R"({"p9":9})", R"({"p7":7,"p19999":3})"});
  const GrammarPtr required = schema("{\"allOf\":[{\"required\":[" + names + "]},{\"required\":[" + names + "]}]}");
  EXPECT_FALSE(required->matches("{}"));
}

TEST(JsonSchemaTest, Recursion) {
  const char* const list = R"({"$defs": {"node": {"type": "object", "properties": {"v": {"type": "integer"},
      "next": {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]}}, "required": ["v", "next"]}}, "$ref": "#/$defs/node"})";
  expect_texts(list, {R"({"v":1,"next":null})", R"({"v":1,"next":{"v":2,"next":null}})"},
               {R"({"v":1})", R"({"v":1,"next":{}})"});
  expect_texts(R"({"type": "array", "items": {"$ref": "#"}})", {"[]", "[[],[[]]]"}, {"[1]"});
  const char* const grown = R"({"$defs": {"base": {"type": "object", "properties": {"id": {"type": "integer"}}},
      "tree": {"allOf": [{"$ref": "#/$defs/base"}, {"properties": {"kids": {"type": "array", "items": {"$ref": "#/$defs/tree"}}}}]}},
      "$ref": "#/$defs/tree"})";
  expect_texts(grown, {"{}", R"({"id":1,"kids":[{"id":2},{"kids":[]}]})"}, {R"({"kids":[1]})"});
}

TEST(JsonSchemaTest, LoopsOfReferences) {
  error_of(R"({"$ref": "#"})", ErrorKind::kInvalidInput);
  error_of(R"({"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"})",
           ErrorKind::kInvalidInput);
  EXPECT_THAT(
      error_of(R"({"$defs": {"a": {"allOf": [{"$ref": "#/$defs/a"}]}}, "$ref": "#/$defs/a"})", ErrorKind::kInvalidInput),
      testing::HasSubstr("back to itself"));
  error_of(R"({"type": "object", "properties": {"a": {"$ref": "#"}}, "required": ["a"]})", ErrorKind::kInvalidInput);
  // Merging that doubles at every step ends at its bound.
  std::string text = R"({"$ref": "#/$defs/d0", "$defs": {)";
  for (int i = 0; i < 60; ++i) {
    const std::string next = "{\"$ref\": \"#/$defs/d" + std::to_string(i + 1) + "\"}";
    text += "\"d" + std::to_string(i) + "\": {\"allOf\": [" + next + ", " + next + "]}, ";
  }
  error_of(text + R"("d60": {"type": "string"}}})", ErrorKind::kInvalidInput);
}

TEST(JsonSchemaTest, RefusedByName) {
  const std::pair<const char*, const char*> cases[] = {
      {R"({"not": {}})", "`not`"},
      {R"({"if": {}, "then": {}})", "`if`"},
      {R"({"patternProperties": {"^(a|b)*a(a|b){14}$": {}}, "additionalProperties": true})", "`patternProperties`"},
      {R"X({"patternProperties": {"a(?=b)": {}}})X", "look-ahead"},
      {R"({"allOf": [{"patternProperties": {"^a": {}}}, {"additionalProperties": false}]})", "`patternProperties`"},
      {R"({"allOf": [{"patternProperties": {"^a": {}}}, {"patternProperties": {"b$": {}}}]})", "`patternProperties`"},
      {R"({"uniqueItems": true})", "`uniqueItems`"},
      {R"({"type": "integer", "multipleOf": 3001})", "`multipleOf` 3001"},
      {R"({"type": "number", "multipleOf": 1e-20})", "`multipleOf`"},
      {R"({"contains": {}})", "`contains`"},
      {R"({"dependentRequired": {}})", "`dependentRequired`"},
      {R"({"propertyNames": {}})", "`propertyNames`"},
      {R"({"nonsense": 1})", "`nonsense`"},
      {R"({"format": "iri"})", "`format` \"iri\""},
      {R"({"$ref": "http://x/y"})", "`$ref` to another document"},
      {R"X({"properties": {"a": {"pattern": "(?=x)"}}})X", "look-ahead"},
      {R"({"pattern": "ab+", "maxLength": 3})", "narrows"},
      {R"({"properties": {"a": {"not": {}}}})", "#/properties/a"},
      {R"({"properties": {"a": {}, "b": {}}, "maxProperties": 1})", "`maxProperties`"}};
  for (const auto& [text, name] : cases) EXPECT_THAT(error_of(text, ErrorKind::kUnsupported), testing::HasSubstr(name)) << text;
  for (const char* const text :
       {R"({"type": "strange"})", R"({"anyOf": []})", "1", R"({"properties": []})", R"({"required": [1]})",
        R"({"minItems": -1})", R"({"$ref": "#/nowhere"})", R"({"type": "integer", "minimum": 3, "maximum": 2})", "false",
        R"({"enum": []})", R"({"items": 3})", R"({"multipleOf": 0})", R"({"multipleOf": "2"})",
        R"({"type": "integer", "multipleOf": 7, "minimum": 1, "maximum": 6})", R"({"patternProperties": 1})",
        R"({"patternProperties": {"(": {}}})", R"({"minimum": "1"})"}) {
    error_of(text, ErrorKind::kInvalidInput);
  }
  std::string types;
  for (int i = 0; i < 17; ++i) types += i > 0 ? ",\"null\"" : "\"null\"";
  EXPECT_THAT(error_of("{\"type\": [" + types + "]}", ErrorKind::kInvalidInput), testing::HasSubstr("more types"));
}

TEST(JsonSchemaTest, NotesAreIgnored) {
  expect_texts(
      R"({"title": "T", "description": "D", "default": 3, "examples": [1], "$schema": "s", "x-mine": 1, "type": "integer",
                   "format": "int32"})",
      {"1"}, {"true"});
}

TEST(JsonSchemaTest, WhitespaceOff) {
  JsonGrammarOptions options;
  options.any_whitespace = false;
  const GrammarPtr grammar = schema(R"({"properties": {"a": {"items": {}}, "b": {}}, "required": ["a", "b"]})", options);
  EXPECT_TRUE(grammar->matches(R"({"a": [1, {"x": 2}], "b": {}})"));
  for (const char* const text : {R"({"a":[],"b":1})", R"({ "a": [], "b": 1})", R"({"a": [],  "b": 1})"})
    EXPECT_FALSE(grammar->matches(text)) << text;
}

const char* const kWalked[] = {
    R"({"type": "object", "properties": {"name": {"type": "string", "maxLength": 8}, "age": {"type": "integer", "minimum": 0, "maximum": 150},
        "tags": {"type": "array", "items": {"enum": ["red", "green", "caf\u00e9", "a\"b"]}, "maxItems": 4}, "ok": {"type": "boolean"}},
        "required": ["name", "age"]})",
    R"({"type": "array", "items": {"anyOf": [{"type": "number", "exclusiveMinimum": -2.5, "maximum": 3.75}, {"type": "null"}]}, "minItems": 2})",
    R"({"$defs": {"tree": {"type": "object", "properties": {"v": {"type": ["integer", "string"]}, "kids": {"type": "array",
        "items": {"$ref": "#/$defs/tree"}, "maxItems": 2}}, "required": ["v"]}}, "$ref": "#/$defs/tree"})",
    R"({"properties": {"a": {"const": 1}, "ab": {"const": 2}}, "additionalProperties": {"type": "string", "minLength": 1, "maxLength": 3}})",
    R"({"allOf": [{"properties": {"x": {"type": "number"}}, "required": ["x"]}, {"properties": {"x": {"minimum": 10}, "y": {"type": "null"}}}]})",
    R"({"type": "object", "properties": {"a": {}, "b": {}}, "anyOf": [{"required": ["a"]}, {"required": ["b"]}]})",
    R"({"prefixItems": [{"type": "string", "minLength": 3, "maxLength": 5}, {"type": "boolean"}], "items": {"type": "integer"}, "minItems": 1, "maxItems": 4})",
    R"({"type": "object", "additionalProperties": {"type": "integer", "minimum": -3}, "minProperties": 2, "maxProperties": 3})",
    R"({"type": "integer", "multipleOf": 37})",
    R"({"type": "array", "items": {"type": "number", "multipleOf": 0.25, "minimum": -3.1, "exclusiveMaximum": 12.5}, "minItems": 3, "maxItems": 4})",
    R"({"properties": {"ab": {"type": "integer"}, "c": {"type": "null"}}, "patternProperties": {"b": {"multipleOf": 5},
        "^x?[a-c]+$": {"type": ["integer", "null"]}}, "additionalProperties": {"type": "boolean"}, "required": ["ab", "xc"]})",
    "true",
};

TEST(JsonSchemaTest, RandomTextsFit) {
  for (const char* const text : kWalked) {
    const Json parsed = Json::parse(text, "test");
    const Checker checker(parsed);
    const GrammarPtr grammar = compile_json_schema(parsed);
    int finished = 0;
    for (uint32_t seed = 0; seed < 40; ++seed) {
      const Walk one = walk(grammar, toy_vocabulary(), seed);
      EXPECT_FALSE(one.stuck) << text << ": " << one.text;
      if (!one.finished) continue;
      ++finished;
      ASSERT_TRUE(utf8_valid(one.text));
      const Json value = Json::parse(one.text, "answer");
      EXPECT_TRUE(checker.fits(value)) << text << ": " << one.text;
    }
    EXPECT_GT(finished, 20) << text;
  }
}

TEST(JsonSchemaTest, AnyObject) {
  const GrammarPtr grammar = compile_json_object();
  int finished = 0;
  for (uint32_t seed = 0; seed < 40; ++seed) {
    const Walk one = walk(grammar, toy_vocabulary(), seed);
    EXPECT_FALSE(one.stuck);
    if (!one.finished) continue;
    ++finished;
    EXPECT_TRUE(Json::parse(one.text, "answer").is_object()) << one.text;
  }
  EXPECT_GT(finished, 20);
}

// So many tools with a dozen arguments each: 120 are about 100 kB.
std::string tool_schemas(int tools) {
  std::string text = R"({"anyOf": [)";
  for (int tool = 0; tool < tools; ++tool) {
    text += tool > 0 ? ", " : "";
    text += R"({"type": "object", "properties": {"name": {"const": "tool_)" + std::to_string(tool) +
            R"("}, "arguments": {"type": "object", "properties": {)";
    for (int i = 0; i < 12; ++i) {
      text += (i > 0 ? ", " : "") + std::string(R"("argument_)") + std::to_string(i) +
              R"(": {"type": "string", "description": "what this argument is about"})";
    }
    text += R"(}, "required": ["argument_3"]}}, "required": ["name", "arguments"]})";
  }
  return text + "]}";
}

std::string optional_properties(int count) {
  std::string text = R"({"type": "object", "properties": {)";
  for (int i = 0; i < count; ++i)
    text += (i > 0 ? ", " : "") + std::string("\"property_") + std::to_string(i) + "\": {\"type\": \"integer\"}";
  return text + "}}";
}

// Twice the schema is at most twice the automaton, and a little: what grows faster would be more than any machine's speed.
TEST(JsonSchemaTest, LargeSchemas) {
  const std::string text = tool_schemas(120);
  ASSERT_GT(text.size(), 97000u);
  const GrammarPtr grammar = schema(text);
  EXPECT_LT(grammar->memory_bytes(), schema(tool_schemas(60))->memory_bytes() * 5 / 2);
  EXPECT_TRUE(grammar->matches(R"({"name": "tool_77", "arguments": {"argument_0": "x", "argument_3": "y"}})"));
  EXPECT_FALSE(grammar->matches(R"({"name": "tool_77", "arguments": {"argument_0": "x"}})"));
  const Json parsed = Json::parse(text, "test");
  int finished = 0;
  for (uint32_t seed = 0; seed < 5; ++seed) {
    const Walk one = walk(grammar, toy_vocabulary(), seed);
    if (!one.finished) continue;
    ++finished;
    EXPECT_TRUE(Checker(parsed).fits(Json::parse(one.text, "answer"))) << one.text;
  }
  EXPECT_GT(finished, 0);

  const GrammarPtr optional = schema(optional_properties(3000));
  EXPECT_LT(optional->memory_bytes(), schema(optional_properties(1500))->memory_bytes() * 5 / 2);
  EXPECT_TRUE(optional->matches(R"({"property_5": 1, "property_2999": 2})"));
  EXPECT_FALSE(optional->matches(R"({"property_2999": 1, "property_5": 2})"));
}

}  // namespace
}  // namespace pagoda
