// Random texts under a constraint, vocabularies to write them with, and a small checker of schemas.
#pragma once

#include <cmath>
#include <cstdint>
#include <limits>
#include <memory>
#include <random>
#include <regex>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "base/utf8.h"
#include "generate/grammar/grammar.h"

namespace pagoda::grammar_test {

constexpr int32_t kEnd = 0;

// Id 0 ends; then all bytes, then pieces that JSON and words are made of, some of them cut inside a character.
inline std::shared_ptr<const TokenVocabulary> toy_vocabulary() {
  std::vector<std::string> bytes(1);
  for (int byte = 0; byte < 256; ++byte) bytes.emplace_back(1, static_cast<char>(byte));
  for (const char* const piece :
       {"{\"",      "\": ",     "\", \"",       "\"}",   "\":",          "true", "false",    "null",    "}}",
        "]]",       "[[",       "[{",           "}]",    "12",           "123",  "0.",       "-1",      "\n  ",
        "  ",       "\\n",      "\\u",          "ab",    "abc",          "name", "\"name\"", "\xC3",    "\xA9",
        "\xC3\xA9", "\xE4\xB8", "\xE4\xB8\xAD", "a\xC3", "\xF0\x9F\x99", "x\"",  "x\",",     "\"a\":1", "1,",
        "],",       "},\"",     "\", ",         "e1",    "2024",         "-01",  "aa",       "aaaa",    "aaaaaaaa"}) {
    bytes.emplace_back(piece);
  }
  return std::make_shared<const TokenVocabulary>(bytes);
}

struct Walk {
  std::string text;
  bool finished = false;
  bool stuck = false;  // a mask without tokens before the end
  int steps = 0;
};

// Draws allowed tokens; from `hurry` steps on it takes what closes a text, where it can.
inline Walk walk(const GrammarPtr& grammar, const std::shared_ptr<const TokenVocabulary>& vocabulary, uint32_t seed,
                 int hurry = 40, int most = 600) {
  std::mt19937 random(seed);
  Walk out;
  const std::unique_ptr<TokenConstraint> constraint = make_constraint(grammar, vocabulary, {kEnd});
  const int64_t size = vocabulary->size() + 3;  // models have rows that no token has
  for (; out.steps < most; ++out.steps) {
    std::vector<float> logits(static_cast<size_t>(size), 0.0f);
    constraint->mask(logits.data(), size);
    std::vector<int32_t> allowed;
    for (int64_t id = 0; id < size; ++id) {
      if (std::isfinite(logits[static_cast<size_t>(id)])) allowed.push_back(static_cast<int32_t>(id));
    }
    if (allowed.empty()) {
      out.stuck = true;
      return out;
    }
    int32_t token = allowed[random() % allowed.size()];
    if (random() % 3 == 0) {
      // Rare pieces get their turn: any length alike.
      std::vector<int32_t> longer;
      for (const int32_t id : allowed) {
        if (id != kEnd && id < vocabulary->size() && vocabulary->bytes(id).size() > 1) longer.push_back(id);
      }
      if (!longer.empty()) token = longer[random() % longer.size()];
    }
    if (out.steps >= hurry) {
      const auto first = [&](int32_t id) { return id == kEnd ? '\x01' : vocabulary->bytes(id)[0]; };
      bool chosen = false;
      // In a string a quote ends it, elsewhere a bracket does; which it is shows by trying both orders.
      const std::string wishes = std::string(random() % 2 == 0 ? "\x01}]\"" : "\x01\"}]") + "0123456789bfnrtu:.,/a@-xcdez";
      for (const char wanted : wishes) {
        for (const int32_t id : allowed) {
          if (first(id) != wanted || (id != kEnd && vocabulary->bytes(id).size() > 1)) continue;
          token = id;
          chosen = true;
          break;
        }
        if (chosen) break;
      }
    }
    constraint->accept(token);
    if (token == kEnd) {
      out.finished = true;
      return out;
    }
    out.text += vocabulary->bytes(token);
    if (constraint->complete()) {
      out.finished = true;
      return out;
    }
  }
  return out;
}

// Tells whether a value fits a schema: the keywords that the tests use, written without regard to the code under test.
class Checker {
 public:
  explicit Checker(const Json& root) : root_(root) {}
  bool fits(const Json& value) const { return fits(value, root_); }

 private:
  const Json& target(const std::string& reference) const {
    const Json* at = &root_;
    for (size_t begin = 2; begin <= reference.size() && reference.size() > 1;) {
      const size_t end = std::min(reference.find('/', begin), reference.size());
      at = at->find(reference.substr(begin, end - begin));
      begin = end + 1;
    }
    return *at;
  }
  static bool of_type(const Json& value, const std::string& type) {
    if (type == "integer") return value.is_int();
    if (type == "number") return value.is_number();
    if (type == "array") return value.is_array();
    return type == value.type_name();
  }
  bool fits(const Json& value, const Json& schema) const {
    if (schema.is_bool()) return schema.as_bool("schema");
    const auto number = [&](const char* name, double fallback) { return schema.get_double(name, fallback, "schema"); };
    constexpr double kInf = std::numeric_limits<double>::infinity();
    if (const Json* const ref = schema.find("$ref"); ref != nullptr && !fits(value, target(ref->as_string("$ref"))))
      return false;
    if (const Json* const type = schema.find("type")) {
      bool any = value.is_null() && schema.get_bool("nullable", false, "schema");
      if (type->is_string()) any |= of_type(value, type->as_string("type"));
      if (type->is_array()) {
        for (const Json& one : type->as_array("type")) any |= of_type(value, one.as_string("type"));
      }
      if (!any) return false;
    }
    if (const Json* const one = schema.find("const"); one != nullptr && !(value == *one)) return false;
    if (const Json* const list = schema.find("enum")) {
      bool any = false;
      for (const Json& one : list->as_array("enum")) any |= value == one;
      if (!any) return false;
    }
    if (const Json* const list = schema.find("allOf")) {
      for (const Json& one : list->as_array("allOf")) {
        if (!fits(value, one)) return false;
      }
    }
    for (const char* const name : {"anyOf", "oneOf"}) {
      const Json* const list = schema.find(name);
      if (list == nullptr) continue;
      int64_t count = 0;
      for (const Json& one : list->as_array(name)) count += fits(value, one) ? 1 : 0;
      if (count == 0 || (count > 1 && std::string_view(name) == "oneOf")) return false;
    }
    if (value.is_number()) {
      const double v = value.as_double("value");
      if (v < number("minimum", -kInf) || v > number("maximum", kInf)) return false;
      if (v <= number("exclusiveMinimum", -kInf) || v >= number("exclusiveMaximum", kInf)) return false;
      const double quotient = v / number("multipleOf", v);
      if (v != 0 && std::abs(quotient - std::round(quotient)) > 1e-9 * std::abs(quotient)) return false;
    }
    if (value.is_string()) {
      const auto length = static_cast<double>(utf8_length(value.as_string("value")));
      if (length < number("minLength", 0) || length > number("maxLength", kInf)) return false;
    }
    if (value.is_array()) {
      const auto length = static_cast<double>(value.size());
      if (length < number("minItems", 0) || length > number("maxItems", kInf)) return false;
      const Json* const prefix = schema.find("prefixItems");
      const Json* const items = schema.find("items");
      for (size_t i = 0; i < value.size(); ++i) {
        const Json* const own = prefix != nullptr && i < prefix->size() ? &prefix->as_array("prefixItems")[i] : items;
        if (own != nullptr && !fits(value.as_array("value")[i], *own)) return false;
      }
    }
    if (value.is_object()) {
      const auto count = static_cast<double>(value.size());
      if (count < number("minProperties", 0) || count > number("maxProperties", kInf)) return false;
      if (const Json* const required = schema.find("required")) {
        for (const Json& one : required->as_array("required")) {
          if (!value.contains(one.as_string("required"))) return false;
        }
      }
      const Json* const named = schema.find("properties");
      const Json* const rest = schema.find("additionalProperties");
      for (const JsonMember& member : value.as_object("value")) {
        const Json* const own = named != nullptr ? named->find(member.key) : nullptr;
        bool known = own != nullptr;
        if (own != nullptr && !fits(member.value, *own)) return false;
        if (const Json* const patterns = schema.find("patternProperties")) {
          for (const JsonMember& pattern : patterns->as_object("patternProperties")) {
            if (!std::regex_search(member.key, std::regex(pattern.key))) continue;
            known = true;
            if (!fits(member.value, pattern.value)) return false;
          }
        }
        if (!known && rest != nullptr && !fits(member.value, *rest)) return false;
      }
    }
    return true;
  }
  const Json& root_;
};

}  // namespace pagoda::grammar_test
