// JSON Schema to rules. Read: type (lists too), properties, required, additionalProperties, patternProperties, enum, const,
// items, prefixItems, min/maxItems, min/maxLength, pattern, format, minimum to exclusiveMaximum, multipleOf, anyOf, oneOf
// (branches that exclude one another), allOf, $ref into the document, nullable, minProperties and maxProperties where no
// property has a name, booleans. Refused by name: all other keywords that are no notes.
#include <algorithm>
#include <deque>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

#include "base/error.h"
#include "base/utf8.h"
#include "generate/grammar/disjoint.h"
#include "generate/grammar/frontends.h"
#include "generate/grammar/json_formats.h"
#include "generate/grammar/json_text.h"
#include "generate/grammar/key_patterns.h"
#include "generate/grammar/regex.h"
#include "generate/grammar/schema_merge.h"

namespace pagoda::grammar {

namespace {

constexpr size_t kMostTypes = 16;  // seven with different names
// Merging copies: schemas that double themselves end here, after a tenth of a second at most, since other requests wait.
constexpr int64_t kMostMerges = 100'000;
constexpr int64_t kMostMergedNodes = 1'000'000;
constexpr int64_t kMostDisjointWork = 1'000'000;  // to tell branches of oneOf apart
constexpr int64_t kMostKeyWork = 1'000'000;       // to tell keys of patternProperties apart

int64_t count_nodes(const Json& json) {
  int64_t total = 1;
  if (json.is_array()) {
    for (const Json& item : json.as_array("schema")) total += count_nodes(item);
  } else if (json.is_object()) {
    for (const JsonMember& member : json.as_object("schema")) total += count_nodes(member.value);
  }
  return total;
}

class Schema {
 public:
  Schema(Builder& builder, const Json& root, const JsonGrammarOptions& options)
      : builder_(builder),
        root_(root),
        text_(builder, options),
        disjointness_([this](const Json& reference) -> const Json& { return resolve(reference, "oneOf"); }, kMostDisjointWork) {
  }

  Rule run() {
    const Rule root = rule_of(root_, "#");
    // Schemas wait their turn in a list, so no nesting of theirs is ours.
    for (size_t at = 0; at < waiting_.size(); ++at) {
      const Waiting one = waiting_[at];
      builder_.define(one.rule, visit(*one.schema, one.path));
    }
    return root;
  }

 private:
  struct Waiting {
    const Json* schema;
    Rule rule;
    std::string path;
  };

  [[noreturn]] void fail(const std::string& path, const std::string& what) const {
    invalid(builder_.where(), "{}: {}", path, what);
  }
  [[noreturn]] void refuse(const std::string& path, const std::string& what) const {
    unsupported(builder_.where(), "{}: {} not supported", path, what);
  }

  // One rule for each place of the document, and for each text of what was merged.
  Rule rule_of(const Json& schema, const std::string& path) {
    const auto [at, fresh] = rules_.try_emplace(&schema, -1);
    if (!fresh) return at->second;
    const Rule made = builder_.add_rule(path);
    rules_[&schema] = made;
    waiting_.push_back({&schema, made, path});
    return made;
  }
  Expr use(const Json& schema, const std::string& path) { return builder_.use(rule_of(schema, path)); }
  Expr use_merged(Json schema, const std::string& path) {
    std::string text = schema.dump();
    const auto known = merged_.find(text);
    if (known != merged_.end()) return use(*known->second, path);
    kept_.push_back(std::move(schema));
    merged_.emplace(std::move(text), &kept_.back());
    return use(kept_.back(), path);
  }

  void check_keywords(const Json& schema, const std::string& path) const {
    for (const JsonMember& member : schema.as_object(path)) {
      if (keyword_kind(member.key) == Keyword::kRefused) refuse(path, "keyword `" + member.key + "` is");
    }
    if (const Json* const type = schema.find("type"); type != nullptr && type->is_array() && type->size() > kMostTypes)
      fail(path, "`type` lists more types than there are");
    if (const Json* const unique = schema.find("uniqueItems"); unique != nullptr && !(*unique == Json(false)))
      refuse(path, "keyword `uniqueItems` is");
  }

  // The place that a reference names.
  const Json& resolve(const Json& reference, const std::string& path) const {
    if (!reference.is_string()) fail(path, "`$ref` must be a string");
    const std::string& text = reference.as_string(path);
    if (text.empty() || text[0] != '#') refuse(path, "`$ref` to another document (" + text + ") is");
    const Json* at = &root_;
    if (text.size() > 1 && text[1] != '/') refuse(path, "`$ref` to an anchor (" + text + ") is");
    for (size_t begin = 2; begin <= text.size() && text.size() > 1;) {
      const size_t end = std::min(text.find('/', begin), text.size());
      const std::string step = unescape(text.substr(begin, end - begin));
      const Json* next = find_member(*at, step);
      if (at->is_array() && !step.empty() && step.size() < 10 && step.find_first_not_of("0123456789") == std::string::npos) {
        const auto index = static_cast<size_t>(std::stoul(step));
        if (index < at->size()) next = &at->as_array(path)[index];
      }
      if (next == nullptr) fail(path, "`$ref` leads nowhere: " + text);
      at = next;
      begin = end + 1;
    }
    return *at;
  }

  // A member of an object of the document: there may be thousands of definitions and of references to them.
  const Json* find_member(const Json& object, const std::string& key) const {
    constexpr size_t kFewMembers = 32;
    if (!object.is_object() || object.size() <= kFewMembers) return object.find(key);
    const auto [at, fresh] = members_.try_emplace(&object);
    if (fresh) {
      for (const JsonMember& each : object.as_object("schema")) at->second[each.key] = &each.value;  // the last one counts
    }
    const auto found = at->second.find(key);
    return found == at->second.end() ? nullptr : found->second;
  }

  // JSON pointers in a URI: %41 first, then ~1 and ~0.
  static std::string unescape(const std::string& step) {
    std::string bytes, out;
    const auto hex = [](char c) {
      return c >= '0' && c <= '9' ? c - '0' : c >= 'A' && c <= 'F' ? c - 'A' + 10 : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
    };
    for (size_t i = 0; i < step.size(); ++i) {
      if (step[i] == '%' && i + 2 < step.size() && hex(step[i + 1]) >= 0 && hex(step[i + 2]) >= 0) {
        bytes += static_cast<char>(hex(step[i + 1]) * 16 + hex(step[i + 2]));
        i += 2;
      } else {
        bytes += step[i];
      }
    }
    for (size_t i = 0; i < bytes.size(); ++i) {
      const bool escaped = bytes[i] == '~' && i + 1 < bytes.size() && (bytes[i + 1] == '0' || bytes[i + 1] == '1');
      out += escaped ? (bytes[i + 1] == '0' ? '~' : '/') : bytes[i];
      if (escaped) ++i;
    }
    return out;
  }

  static bool only_notes_beside(const Json& schema, std::string_view keyword) {
    for (const JsonMember& member : schema.as_object("schema")) {
      if (member.key != keyword && member.key != "$defs" && member.key != "definitions" &&
          keyword_kind(member.key) != Keyword::kNote)
        return false;
    }
    return true;
  }

  Expr visit(const Json& schema, const std::string& path) {
    if (schema.is_bool()) return schema.as_bool(path) ? text_.any_value() : builder_.never();
    if (!schema.is_object()) fail(path, std::string("need a schema (an object or a boolean), got ") + schema.type_name());
    check_keywords(schema, path);
    if (schema.contains("$ref") && only_notes_beside(schema, "$ref")) return use(resolve(schema.at("$ref", path), path), path);
    for (const char* const name : {"anyOf", "oneOf"}) {
      if (schema.contains(name) && only_notes_beside(schema, name)) return choices(schema, name, path);
    }
    if (!schema.contains("$ref") && !schema.contains("allOf") && !schema.contains("anyOf") && !schema.contains("oneOf"))
      return plain(schema, path);
    return composed(schema, path);
  }

  const Json::Array& branches(const Json& schema, const char* name, const std::string& path) const {
    const Json& list = schema.at(name, path);
    if (!list.is_array() || list.size() == 0) fail(path, std::string("`") + name + "` must be a list with one schema at least");
    return list.as_array(path);
  }

  // oneOf is written as anyOf: no text may fit two of its branches.
  void check_exclusive(const Json& schema, const std::string& path) {
    if (!schema.contains("oneOf")) return;
    const Json::Array& list = branches(schema, "oneOf", path);
    for (size_t i = 0; i < list.size(); ++i) {
      for (size_t j = i + 1; j < list.size(); ++j) {
        if (disjointness_.proven(list[i], list[j], types_let_through(schema))) continue;
        refuse(path, "`oneOf` whose branches " + std::to_string(i) + " and " + std::to_string(j) +
                         " may both fit (no type, const, enum, range of numbers or required property tells them apart: anyOf "
                         "would take either) is");
      }
    }
  }

  Expr choices(const Json& schema, const char* name, const std::string& path) {
    check_exclusive(schema, path);
    std::vector<Expr> out;
    for (const Json& branch : branches(schema, name, path)) {
      out.push_back(use(branch, path + "/" + name + "/" + std::to_string(out.size())));
    }
    return builder_.alternation(out);
  }

  // $ref, allOf and anyOf with company: everything that must fit at once is merged; of the first choice that is left, each
  // branch is merged in turn.
  Expr composed(const Json& schema, const std::string& path) {
    Json base = Json::object();
    std::vector<Json> open;  // lists of branches
    std::vector<const Json*> followed;
    flatten(schema, path, base, open, followed);
    if (base.is_bool() && !base.as_bool(path)) return builder_.never();
    if (open.empty()) return use_merged(std::move(base), path);
    std::vector<Expr> out;
    for (const Json& branch : open[0].as_array(path)) {
      Json all = Json::array();
      all.push_back(base);
      all.push_back(branch);
      for (size_t i = 1; i < open.size(); ++i) {
        Json later = Json::object();
        later.set("anyOf", open[i]);
        all.push_back(std::move(later));
      }
      Json merged = Json::object();
      merged.set("allOf", std::move(all));
      pay(merged, path);
      out.push_back(use_merged(std::move(merged), path));
    }
    return builder_.alternation(out);
  }

  void pay(const Json& merged, const std::string& path) {
    merged_nodes_ += count_nodes(merged);
    if (++merges_ > kMostMerges || merged_nodes_ > kMostMergedNodes) fail(path, "schemas merged without end");
  }

  void flatten(const Json& schema, const std::string& path, Json& base, std::vector<Json>& open,
               std::vector<const Json*>& followed) {
    if (static_cast<int64_t>(followed.size()) > builder_.limits().max_depth) fail(path, "nested too deeply");
    if (schema.is_bool()) {
      base = merge_schemas(base, schema, builder_.where(), path);
      return;
    }
    if (!schema.is_object()) fail(path, std::string("need a schema (an object or a boolean), got ") + schema.type_name());
    check_keywords(schema, path);
    // A schema that comes to itself again without a step into the text.
    if (std::find(followed.begin(), followed.end(), &schema) != followed.end()) fail(path, "`$ref` leads back to itself");
    followed.push_back(&schema);
    Json own = Json::object();
    for (const JsonMember& member : schema.as_object(path)) {
      const std::string& name = member.key;
      if (name == "$ref") {
        flatten(resolve(member.value, path), path, base, open, followed);
      } else if (name == "allOf") {
        for (const Json& part : branches(schema, "allOf", path)) flatten(part, path, base, open, followed);
      } else if (name == "anyOf" || name == "oneOf") {
        if (name == "oneOf") check_exclusive(schema, path);
        open.emplace_back(branches(schema, name.c_str(), path));
        pay(open.back(), path);
      } else if (name != "$defs" && name != "definitions" && keyword_kind(name) != Keyword::kNote) {
        own.set(name, member.value);
      }
    }
    followed.pop_back();
    base = merge_schemas(base, own, builder_.where(), path);
    pay(base, path);
  }

  Expr plain(const Json& schema, const std::string& path) {
    if (const Json* const one = schema.find("const")) {
      return value_fits(*one, schema, builder_.where(), path) ? text_.value(*one) : builder_.never();
    }
    if (const Json* const list = schema.find("enum")) {
      if (!list->is_array()) fail(path, "`enum` must be a list");
      // Each is one of them: only the other keywords are asked.
      Json others = Json::object();
      for (const JsonMember& member : schema.as_object(path)) {
        if (member.key != "enum" && keyword_kind(member.key) != Keyword::kNote) others.set(member.key, member.value);
      }
      std::vector<Expr> out;
      for (const Json& value : list->as_array(path)) {
        if (value_fits(value, others, builder_.where(), path)) out.push_back(text_.value(value));
      }
      return builder_.alternation(out);
    }
    std::vector<Expr> out;
    for (const std::string& type : types(schema, path)) {
      if (type == "object") {
        out.push_back(object(schema, path));
      } else if (type == "array") {
        out.push_back(array(schema, path));
      } else if (type == "string") {
        out.push_back(string(schema, path));
      } else if (type == "integer" || type == "number") {
        out.push_back(number(schema, type == "integer", path));
      } else if (type == "boolean") {
        out.push_back(text_.boolean());
      } else if (type == "null") {
        out.push_back(builder_.literal("null"));
      } else {
        fail(path, "unknown type '" + type + "'");
      }
    }
    return builder_.alternation(out);
  }

  std::vector<std::string> types(const Json& schema, const std::string& path) const {
    std::vector<std::string> out;
    const auto add = [&](const std::string& name) {
      if (std::find(out.begin(), out.end(), name) == out.end()) out.push_back(name);
    };
    if (const Json* const type = schema.find("type")) {
      if (type->is_array()) {
        for (const Json& one : type->as_array(path)) add(one.as_string(path));
      } else {
        add(type->as_string(path));
      }
      if (std::find(out.begin(), out.end(), "number") != out.end())
        out.erase(std::remove(out.begin(), out.end(), "integer"), out.end());
    } else {
      // Keywords of a type mean that type: narrower than what the standard says, and what is meant.
      for (const JsonMember& member : schema.as_object(path)) {
        const std::string& name = member.key;
        if (name == "properties" || name == "required" || name == "additionalProperties" || name == "patternProperties" ||
            name == "minProperties" || name == "maxProperties" || name == "unevaluatedProperties") {
          add("object");
        } else if (name == "items" || name == "prefixItems" || name == "minItems" || name == "maxItems" ||
                   name == "uniqueItems") {
          add("array");
        } else if (name == "minLength" || name == "maxLength" || name == "pattern" || name == "format") {
          add("string");
        } else if (name == "minimum" || name == "maximum" || name == "exclusiveMinimum" || name == "exclusiveMaximum" ||
                   name == "multipleOf") {
          add("number");
        }
      }
      if (out.empty()) out = {"object", "array", "string", "number", "boolean", "null"};
    }
    if (schema.get_bool("nullable", false, path)) add("null");
    return out;
  }

  // A count that is not negative; `fallback` where it is missing.
  int64_t count(const Json& schema, const char* name, int64_t fallback, const std::string& path) const {
    const Json* const value = schema.find(name);
    if (value == nullptr) return fallback;
    if (!value->is_number() || !is_of_type(*value, "integer") || value->as_double(path) < 0)
      fail(path, std::string("`") + name + "` must be a whole number, not negative");
    if (value->as_double(path) > static_cast<double>(builder_.limits().max_count))
      fail(path, std::string("`") + name + "` is too large");
    return value->as_int(path);
  }

  Expr string(const Json& schema, const std::string& path) {
    const int64_t min = count(schema, "minLength", 0, path), max = count(schema, "maxLength", kUnbounded, path);
    if (max != kUnbounded && max < min) return builder_.never();
    const Json* const pattern = schema.find("pattern");
    const Json* const format = schema.find("format");
    if (pattern == nullptr && format == nullptr) return text_.string(min, max);
    if (pattern != nullptr && format != nullptr) refuse(path, "`pattern` together with `format` is");
    const std::string_view known = format != nullptr ? format_pattern(format->as_string(path)) : pattern->as_string(path);
    if (format != nullptr && known.empty()) refuse(path, "`format` \"" + format->as_string(path) + "\" is");
    RegexExpr regex = add_regex(builder_, known, [&](const CodeSet& set) { return text_.character(set); });
    const int64_t least = std::max(min, regex.min_chars);
    const int64_t most = max == kUnbounded               ? regex.max_chars
                         : regex.max_chars == kUnbounded ? max
                                                         : std::min(max, regex.max_chars);
    if (most != kUnbounded && most < least) return builder_.never();
    if (least != regex.min_chars || most != regex.max_chars) {
      if (!regex.one_set) refuse(path, "`minLength` or `maxLength` that narrows a `pattern` or `format` is");
      regex.expr = builder_.repeat(text_.character(regex.set), least, most);
    }
    const Expr quote = builder_.literal("\"");
    return builder_.sequence({quote, regex.expr, quote});
  }

  Expr number(const Json& schema, bool whole, const std::string& path) {
    const auto bound = [&](const char* name) {
      const Json* const value = schema.find(name);
      if (value != nullptr && !value->is_number()) {
        if (value->is_bool()) refuse(path, std::string("`") + name + "` as a boolean (draft 4) is");
        fail(path, std::string("`") + name + "` must be a number");
      }
      return value == nullptr ? Json() : *value;
    };
    NumberBounds bounds;
    bounds.low = bound("minimum");
    bounds.high = bound("maximum");
    const Json low = bound("exclusiveMinimum"), high = bound("exclusiveMaximum");
    if (low.is_number() && (bounds.low.is_null() || low.as_double(path) >= bounds.low.as_double(path))) {
      bounds.low = low;
      bounds.low_open = true;
    }
    if (high.is_number() && (bounds.high.is_null() || high.as_double(path) <= bounds.high.as_double(path))) {
      bounds.high = high;
      bounds.high_open = true;
    }
    bounds.multiple_of = bound("multipleOf");
    if (whole && bounds.multiple_of == Json(1)) bounds.multiple_of = Json();
    if (bounds.low.is_null() && bounds.high.is_null() && bounds.multiple_of.is_null())
      return whole ? text_.integer() : text_.number();
    const std::string key = (whole ? "i" : "n") + bounds.low.dump() + (bounds.low_open ? "(" : "[") + bounds.high.dump() +
                            (bounds.high_open ? ")" : "]") + bounds.multiple_of.dump();
    const auto known = numbers_.find(key);
    if (known != numbers_.end()) return builder_.use(known->second);
    const Rule made = builder_.rule_of(bounded_number(builder_, bounds, whole, path), "number");
    numbers_.emplace(key, made);
    return builder_.use(made);
  }

  Expr array(const Json& schema, const std::string& path) {
    const int64_t min = count(schema, "minItems", 0, path), max = count(schema, "maxItems", kUnbounded, path);
    if (max != kUnbounded && max < min) return builder_.never();
    std::vector<Expr> first;
    if (const Json* const prefix = schema.find("prefixItems")) {
      for (const Json& item : prefix->as_array(path))
        first.push_back(use(item, path + "/prefixItems/" + std::to_string(first.size())));
    }
    const Json* const items = schema.find("items");
    if (items != nullptr && items->is_array()) refuse(path, "`items` as a list (use `prefixItems`) is");
    const auto named = static_cast<int64_t>(first.size());
    Expr rest = items != nullptr ? use(*items, path + "/items") : text_.any_value();
    // Behind a prefix, items that nothing describes are written only where their number is asked for.
    int64_t most = max;
    if (items == nullptr && named > 0) most = max == kUnbounded ? std::max(min, named) : std::min(max, std::max(min, named));
    const Expr end = builder_.sequence({text_.space(), builder_.literal("]")});
    const Expr open = builder_.sequence({builder_.literal("["), text_.space()});
    if (most == 0) return builder_.sequence({open, builder_.literal("]")});
    // From the last named item to the first: what may follow when i items are written.
    Expr after = builder_.never();
    if (most == kUnbounded || most >= named) {
      const int64_t written = std::max<int64_t>(named, 1);
      const Expr more = builder_.repeat(builder_.sequence({text_.comma(), rest}), std::max<int64_t>(min - written, 0),
                                        most == kUnbounded ? kUnbounded : most - written);
      after = builder_.sequence({more, end});
    }
    if (named == 0) {
      const Expr some = builder_.sequence({rest, after});
      return builder_.sequence({open, min == 0 ? builder_.alternation({builder_.literal("]"), some}) : some});
    }
    for (int64_t i = named - 1; i > 0; --i) {
      std::vector<Expr> choices;
      if (i >= min) choices.push_back(end);
      if (most == kUnbounded || i < most)
        choices.push_back(builder_.sequence({text_.comma(), first[static_cast<size_t>(i)], after}));
      after = builder_.use(builder_.rule_of(builder_.alternation(choices), path));
    }
    const Expr some = builder_.sequence({first[0], after});
    return builder_.sequence({open, min == 0 ? builder_.alternation({builder_.literal("]"), some}) : some});
  }

  struct Property {
    std::string name;
    Expr value;
    bool required;
  };

  // Members whose names are not given, but of a kind.
  struct OpenMembers {
    Expr key, value;
  };

  // The schemas that bind the value of a key by its patterns, `own` first (null: there is none). Null: nothing binds it.
  Expr bound_value(const Json* own, const std::string& name, KeyPatterns& patterns, const std::vector<const Json*>& schemas,
                   const Json& otherwise, const std::string& path) {
    std::vector<const Json*> all;
    if (own != nullptr) all.push_back(own);
    for (size_t i = 0; i < patterns.size(); ++i) {
      if (patterns.found_in(i, name)) all.push_back(schemas[i]);
    }
    if (all.empty()) return use(otherwise, path + "/additionalProperties");
    if (all.size() == 1) return use(*all[0], path + "/properties/" + name);
    Json list = Json::array(), merged = Json::object();
    for (const Json* const each : all) list.push_back(*each);
    merged.set("allOf", std::move(list));
    pay(merged, path);
    return use_merged(std::move(merged), path + "/properties/" + name);
  }

  Expr object(const Json& schema, const std::string& path) {
    static const Json kAny(true);
    const Json* rest = schema.find("additionalProperties");
    const Json* const unevaluated = schema.find("unevaluatedProperties");
    if (rest == nullptr && unevaluated != nullptr) rest = unevaluated;
    KeyPatterns patterns(builder_, text_, key_work_left_, path);
    std::vector<const Json*> schemas;  // of the patterns
    if (const Json* const list = schema.find("patternProperties")) {
      if (!list->is_object()) fail(path, "`patternProperties` must be an object");
      for (const JsonMember& member : list->as_object(path)) {
        patterns.add(member.key);
        schemas.push_back(&member.value);
      }
    }
    std::vector<Property> properties;
    std::unordered_map<std::string, size_t> places;
    if (const Json* const named = schema.find("properties")) {
      if (!named->is_object()) fail(path, "`properties` must be an object");
      for (const JsonMember& member : named->as_object(path)) {
        const auto [at, fresh] = places.try_emplace(member.key, properties.size());
        if (!fresh) fail(path, "property '" + member.key + "' is there twice");
        properties.push_back({member.key, bound_value(&member.value, member.key, patterns, schemas, kAny, path), false});
      }
    }
    if (const Json* const required = schema.find("required")) {
      if (!required->is_array()) fail(path, "`required` must be a list");
      for (const Json& one : required->as_array(path)) {
        const std::string& name = one.as_string(path);
        const auto [at, fresh] = places.try_emplace(name, properties.size());
        if (fresh) {
          properties.push_back(
              {name, bound_value(nullptr, name, patterns, schemas, rest != nullptr ? *rest : kAny, path), true});
        }
        properties[at->second].required = true;
      }
    }
    if (rest == nullptr && properties.empty() && patterns.empty() && !schema.contains("properties")) rest = &kAny;
    if (rest != nullptr && rest->is_bool() && !rest->as_bool(path)) rest = nullptr;
    const int64_t min = count(schema, "minProperties", 0, path), max = count(schema, "maxProperties", kUnbounded, path);
    if (max != kUnbounded && max < min) return builder_.never();
    const bool any = properties.empty() && patterns.empty() && rest != nullptr && rest->is_bool();
    if (any && min == 0 && max == kUnbounded) return text_.any_object();

    std::vector<std::string> names;
    for (const Property& property : properties) names.push_back(property.name);
    std::vector<OpenMembers> open;
    for (size_t i = 0; i < patterns.size(); ++i) {
      open.push_back({patterns.key(i, names), use(*schemas[i], path + "/patternProperties/" + std::to_string(i))});
    }
    if (rest != nullptr) open.push_back({patterns.other_key(names), use(*rest, path + "/additionalProperties")});
    if (properties.empty()) return dictionary(open, min, max);
    int64_t required = 0;
    for (const Property& property : properties) required += property.required ? 1 : 0;
    const bool fits =
        min <= required && (max == kUnbounded || (open.empty() && max >= static_cast<int64_t>(properties.size())));
    if (!fits) refuse(path, "`minProperties` or `maxProperties` beside `properties` is");
    return record(properties, open, path);
  }

  Expr member(Expr key, Expr value) { return builder_.sequence({key, text_.colon(), value}); }
  Expr any_of(const std::vector<OpenMembers>& open) {
    std::vector<Expr> choices;
    for (const OpenMembers& each : open) choices.push_back(member(each.key, each.value));
    return builder_.alternation(choices);
  }

  Expr dictionary(const std::vector<OpenMembers>& members, int64_t min, int64_t max) {
    const Expr open = builder_.sequence({builder_.literal("{"), text_.space()}), close = builder_.literal("}");
    if (members.empty() || max == 0) return min > 0 ? builder_.never() : builder_.sequence({open, close});
    const Expr one = any_of(members);
    const Expr more = builder_.repeat(builder_.sequence({text_.comma(), one}), std::max<int64_t>(min - 1, 0),
                                      max == kUnbounded ? kUnbounded : max - 1);
    const Expr some = builder_.sequence({one, more, text_.space()});
    return builder_.sequence({open, min == 0 ? builder_.optional(some) : some, close});
  }

  // Named properties in order, each written or (where it may be) left out. `rest[i]` writes one of those from i on and what
  // follows it; `after[i]` ends, or goes on with a comma. Each rule calls the next as its last act, so that no stack grows, and
  // what is common to all choices (the comma) stands once.
  Expr record(const std::vector<Property>& properties, const std::vector<OpenMembers>& others, const std::string& path) {
    const Expr end = builder_.sequence({text_.space(), builder_.literal("}")});
    Expr rest = builder_.never(), after = end;
    if (!others.empty()) {
      const Rule more = builder_.add_rule(path);
      rest = builder_.use(builder_.rule_of(builder_.sequence({any_of(others), builder_.use(more)}), path));
      builder_.define(more, builder_.alternation({end, builder_.sequence({text_.comma(), rest})}));
      after = builder_.use(more);
    }
    bool may_end = true;  // no property from here on is required
    for (size_t i = properties.size(); i-- > 0;) {
      const Property& property = properties[i];
      const Expr here = builder_.sequence({member(text_.key(property.name), property.value), after});
      rest = builder_.use(builder_.rule_of(property.required ? here : builder_.alternation({here, rest}), path));
      may_end = may_end && !property.required;
      const Expr go_on = builder_.sequence({text_.comma(), rest});
      after = builder_.use(builder_.rule_of(may_end ? builder_.alternation({end, go_on}) : go_on, path));
    }
    const Expr begin = builder_.sequence({builder_.literal("{"), text_.space()});
    return builder_.sequence({begin, may_end ? builder_.alternation({builder_.literal("}"), rest}) : rest});
  }

  Builder& builder_;
  const Json& root_;
  JsonText text_;
  Disjointness disjointness_;
  std::deque<Waiting> waiting_;
  std::unordered_map<const Json*, Rule> rules_;
  mutable std::unordered_map<const Json*, std::unordered_map<std::string_view, const Json*>> members_;
  std::unordered_map<std::string, Rule> numbers_;
  std::deque<Json> kept_;  // schemas made by merging
  std::unordered_map<std::string, const Json*> merged_;
  int64_t merges_ = 0, merged_nodes_ = 0;
  int64_t key_work_left_ = kMostKeyWork;
};

}  // namespace

Rule add_json_schema(Builder& builder, const Json& schema, const JsonGrammarOptions& options) {
  return Schema(builder, schema, options).run();
}

Rule add_json_object(Builder& builder, const JsonGrammarOptions& options) {
  JsonText text(builder, options);
  return builder.rule_of(text.any_object(), "root");
}

}  // namespace pagoda::grammar
