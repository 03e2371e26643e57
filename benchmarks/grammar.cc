// What structured outputs cost a step: masks met for the first time and again, over one tokenizer or the union of several.
// bench_grammar TOKENIZER... [--size N]   (N: tokens of the union, in order)
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <unordered_set>
#include <vector>

#include "base/error.h"
#include "formats/tokenizer_loader.h"
#include "generate/grammar/grammar.h"
#include "generate/grammar/machine.h"

namespace pagoda {
namespace {

double seconds() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

const char* const kSchema = R"({"type": "object", "properties": {
  "name": {"type": "string"}, "age": {"type": "integer", "minimum": 0, "maximum": 150}, "bio": {"type": "string", "maxLength": 400},
  "tags": {"type": "array", "items": {"type": "string"}}, "kind": {"enum": ["person", "robot", "company"]},
  "address": {"type": "object", "properties": {"street": {"type": "string"}, "zip": {"type": "string", "pattern": "^[0-9]{5}$"}},
              "required": ["street", "zip"]}, "extra": {}}, "required": ["name", "age", "bio", "tags", "kind", "address"]})";
const char* const kText =
    "{\"name\": \"Ada Lovelace\", \"age\": 36, \"bio\": \"An English mathematician, known for her work on the Analytical "
    "Engine.\\nShe wrote the first programs.\", \"tags\": [\"mathematics\", \"poetry\", \"caf\xC3\xA9\"], \"kind\": "
    "\"person\", "
    "\"address\": {\"street\": \"St James's Square 12\", \"zip\": \"12345\"}, \"extra\": {\"a\": [1, 2.5, null, {\"b\": "
    "true}]}}";

// The longest token at each place, as most tokenizers would have it.
std::vector<int32_t> cut(const TokenVocabulary& vocabulary, const std::string& text) {
  std::vector<int32_t> out;
  for (size_t at = 0; at < text.size();) {
    int32_t best = -1;
    size_t node = 0;
    const auto& nodes = vocabulary.nodes();
    for (size_t i = at; i < text.size(); ++i) {
      size_t child = node + 1;
      while (child < static_cast<size_t>(nodes[node].end) && nodes[child].byte != static_cast<uint8_t>(text[i])) {
        child = static_cast<size_t>(nodes[child].end);
      }
      if (child >= static_cast<size_t>(nodes[node].end)) break;
      node = child;
      if (nodes[node].first_token < nodes[node + 1].first_token)
        best = vocabulary.tokens()[static_cast<size_t>(nodes[node].first_token)];
    }
    if (best < 0) invalid("bench", "no token at byte {}", at);
    out.push_back(best);
    at += vocabulary.bytes(best).size();
  }
  return out;
}

void print_times(const char* what, std::vector<double>& times) {
  std::sort(times.begin(), times.end());
  double total = 0;
  for (const double time : times) total += time;
  std::printf("  %-34s mean %9.1f us   median %9.1f   p99 %9.1f   max %9.1f\n", what,
              total / static_cast<double>(times.size()) * 1e6, times[times.size() / 2] * 1e6,
              times[times.size() * 99 / 100] * 1e6, times.back() * 1e6);
}

void follow(const GrammarPtr& grammar, const std::shared_ptr<const TokenVocabulary>& vocabulary,
            const std::vector<int32_t>& tokens, const char* what) {
  for (const char* const round : {"first", "again"}) {
    std::vector<double> masks, accepts;
    const auto constraint = make_constraint(grammar, vocabulary, {});
    std::vector<float> logits(static_cast<size_t>(vocabulary->size()));
    for (const int32_t token : tokens) {
      std::fill(logits.begin(), logits.end(), 0.0f);
      const double begin = seconds();
      constraint->mask(logits.data(), vocabulary->size());
      const double masked = seconds();
      if (logits[static_cast<size_t>(token)] != 0.0f) invalid("bench", "token '{}' is masked", vocabulary->bytes(token));
      constraint->accept(token);
      const double accepted = seconds();
      masks.push_back(masked - begin);
      accepts.push_back(accepted - masked);
    }
    print_times((std::string(what) + ", mask, " + round).c_str(), masks);
    print_times((std::string(what) + ", accept, " + round).c_str(), accepts);
  }
}

int run(int argc, char** argv) {
  std::vector<std::string> bytes;
  std::unordered_set<std::string> seen;
  size_t most = SIZE_MAX;
  int files = 0;
  for (int i = 1; i < argc; ++i) {
    if (std::strcmp(argv[i], "--size") == 0 && i + 1 < argc) most = static_cast<size_t>(std::atoll(argv[++i]));
  }
  for (int i = 1; i < argc; ++i) {
    if (std::strcmp(argv[i], "--size") == 0) {
      ++i;
      continue;
    }
    const auto tokenizer = load_tokenizer(argv[i]);
    const TokenVocabulary one(*tokenizer);
    ++files;
    for (int32_t id = 0; id < one.size() && bytes.size() < most; ++id) {
      if (files == 1 || (!one.bytes(id).empty() && seen.count(one.bytes(id)) == 0)) bytes.push_back(one.bytes(id));
      seen.insert(one.bytes(id));
    }
  }
  if (files == 0) invalid("bench_grammar", "need a tokenizer");
  double begin = seconds();
  const auto vocabulary = std::make_shared<const TokenVocabulary>(bytes);
  std::printf("%lld tokens, %zu nodes, %.1f MB, made in %.1f ms\n", static_cast<long long>(vocabulary->size()),
              vocabulary->nodes().size(), static_cast<double>(vocabulary->memory_bytes()) * 1e-6, (seconds() - begin) * 1e3);
  const std::vector<int32_t> tokens = cut(*vocabulary, kText);
  const Json schema = Json::parse(kSchema, "bench");
  begin = seconds();
  const GrammarPtr by_schema = compile_json_schema(schema);
  std::printf("schema compiled in %.2f ms; text of %zu tokens\n", (seconds() - begin) * 1e3, tokens.size());
  follow(by_schema, vocabulary, tokens, "schema");
  std::printf("  memory %.1f MB\n", static_cast<double>(by_schema->memory_bytes()) * 1e-6);
  follow(compile_json_object(), vocabulary, tokens, "json object");
  std::string large = R"({"anyOf": [)";
  for (int tool = 0; tool < 120; ++tool) {
    large += (tool > 0 ? ", " : "") + std::string(R"({"type": "object", "properties": {"name": {"const": "tool_)") +
             std::to_string(tool) + R"("}, "arguments": {"type": "object", "properties": {)";
    for (int i = 0; i < 12; ++i) {
      large += (i > 0 ? ", " : "") + std::string(R"("argument_)") + std::to_string(i) +
               R"(": {"type": "string", "description": "what this argument is about"})";
    }
    large += R"(}, "required": ["argument_3"]}}, "required": ["name", "arguments"]})";
  }
  large += "]}";
  const Json tools = Json::parse(large, "bench");
  begin = seconds();
  const GrammarPtr by_tools = compile_json_schema(tools);
  std::printf("%zu bytes of tool schemas compiled in %.2f ms\n", large.size(), (seconds() - begin) * 1e3);
  follow(
      by_tools, vocabulary,
      cut(*vocabulary,
          R"({"name": "tool_77", "arguments": {"argument_0": "some text for it", "argument_3": "more", "argument_11": "x"}})"),
      "tools");
  return 0;
}

}  // namespace
}  // namespace pagoda

int main(int argc, char** argv) {
  try {
    return pagoda::run(argc, argv);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}
