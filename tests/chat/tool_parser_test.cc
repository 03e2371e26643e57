// Tool calls in each format: right, several, malformed, cut off, and cut into pieces in every way.
#include "generate/chat/tool_parser.h"

#include <cstdlib>
#include <functional>

#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "generate/chat/json_scanner.h"
#include "tests/chat/answers.h"
#include "tests/test_data.h"

namespace pagoda::chat {
namespace {

using testing::read_every_way;

std::string with(ToolFormat format, const std::string& text) {
  return read_every_way([&] { return AnswerParser(std::nullopt, make_tool_parser(format, {"f", "get_weather"})); }, text);
}
std::string hermes(const std::string& text) { return with(ToolFormat::kHermes, text); }
std::string llama(const std::string& text) { return with(ToolFormat::kLlama3, text); }
std::string mistral(const std::string& text) { return with(ToolFormat::kMistral, text); }

TEST(HermesCalls, AreFound) {
  EXPECT_EQ(hermes(R"(<tool_call>{"name": "f", "arguments": {"x": 1}}</tool_call>)"), R"(f({"x": 1}))");
  EXPECT_EQ(
      hermes(
          "Let me see.\n<tool_call>\n{\"name\": \"get_weather\", \"arguments\": {\"city\": \"Z\xc3\xbcrich\"}}\n</tool_call>\n"
          "<tool_call>\n{\"arguments\": {}, \"name\": \"f\"}\n</tool_call>\n"),
      "Let me see.|get_weather({\"city\": \"Z\xc3\xbcrich\"})|f({})");
  // Numbers, order and spaces of the arguments stay as the model wrote them.
  EXPECT_EQ(hermes(R"(<tool_call>{"name":"f","arguments":{ "b":1.00, "a":[1e2,{"}":"\"]"}] }}</tool_call>)"),
            R"(f({ "b":1.00, "a":[1e2,{"}":"\"]"}] }))");
  EXPECT_EQ(hermes(R"(<tool_call>{"name": "f"}</tool_call>)"), "f({})");
  EXPECT_EQ(hermes(R"(<tool_call>{"name": "f", "arguments": null}</tool_call>)"), "f({})");
  EXPECT_EQ(hermes(R"(<tool_call>{"name": "f", "arguments": "{\"x\": 1}"}</tool_call>)"), R"(f({"x": 1}))");
  EXPECT_EQ(hermes(R"(<tool_call>{"name": "f", "arguments": {}}</tool_call> done)"), "f({})| done");
}

TEST(HermesCalls, WithoutTheirEnd) {
  EXPECT_EQ(hermes(R"(<tool_call>{"name": "f", "arguments": {}})"), "f({})");
  EXPECT_EQ(hermes(R"(<tool_call>{"name": "f", "arguments": {}}</tool)"), "f({})");
  EXPECT_EQ(hermes(R"(<tool_call>{"name": "f", "arguments": {}}
<tool_call>{"name": "f", "arguments": {"y": 2}})"),
            R"(f({})|f({"y": 2}))");
  EXPECT_EQ(hermes(R"(<tool_call>{"name": "f", "arguments": {}}<b>)"), "f({})|<b>");
}

TEST(HermesCalls, ThatAreMalformedAreContent) {
  for (const char* text :
       {R"(<tool_call>{"arguments": {"x": 1}, "name)", R"(<tool_call>{"arguments": {bad}, "name": "f"}</tool_call>)",
        R"(<tool_call>{"x\"arguments": {"name": "f"}}</tool_call>)",
        R"(<tool_call>{"name": "f", "arguments": [1]}</tool_call>)", R"(<tool_call>{"name": 5}</tool_call>)",
        R"(<tool_call>{"name": ""}</tool_call>)", R"(<tool_call>{"x": 1}</tool_call>)", "<tool_call>no</tool_call>",
        "<tool_call>", "<tool_call>  ", "a < b <tool_ call> <<tool_cal", "  \n ", "",
        R"(<tool_call>{"name": "f", "arguments": "no"}</tool_call>)",
        R"(<tool_call>{"arguments": {"x": 00}, "name": "f"}</tool_call>)",
        R"(<tool_call>{"name": "f" "arguments": {}}</tool_call>)"}) {
    EXPECT_EQ(hermes(text), text);
  }
  // A call behind a malformed one is found, even inside it.
  EXPECT_EQ(hermes(R"(<tool_call>{"name": <tool_call>{"name": "f", "arguments": {}}</tool_call>)"),
            R"(<tool_call>{"name": |f({}))");
  EXPECT_EQ(hermes(R"(<<tool_call>{"name": "f", "arguments": {}}</tool_call>)"), "<|f({})");
}

TEST(HermesCalls, AreToldAsTheyCome) {
  const auto make = [] { return AnswerParser(std::nullopt, make_tool_parser(ToolFormat::kHermes, {"f"})); };
  AnswerParser parser = make();
  EXPECT_EQ(testing::show(parser.feed(R"(<tool_call>{"name": "f", "arguments": )")), "");
  EXPECT_EQ(testing::show(parser.feed(R"({"a": [1,)")), R"(f({"a": [1,))");
  std::vector<AnswerPiece> more = parser.feed(R"( 2]} , "id": 5)");
  ASSERT_EQ(more.size(), 1u);
  EXPECT_EQ(more[0].kind, AnswerPiece::Kind::kArguments);
  EXPECT_EQ(more[0].text, " 2]}");
  EXPECT_EQ(testing::show(parser.feed("}</tool_call>")), "");
  EXPECT_EQ(testing::show(parser.feed("!")), "!");
  // What was told stays told where the rest is missing or is no JSON.
  EXPECT_EQ(hermes(R"(<tool_call>{"name": "f", "arguments": {"x": 1)"), R"(f({"x": 1))");
  EXPECT_EQ(hermes(R"(<tool_call>{"name": "f", "arguments": {"x": 1})"), R"(f({"x": 1}))");
  EXPECT_EQ(hermes(R"(<tool_call>{"name": "f", "arguments": {"x": 1}, "id)"), R"(f({"x": 1}))");
  EXPECT_EQ(hermes(R"(<tool_call>{"name": "f", "arguments": {bad}}</tool_call>)"), "f({)|bad}}</tool_call>");
  EXPECT_EQ(hermes(R"(<tool_call>{"name": "f", "arguments": {"a": 01}}</tool_call>)"), R"(f({"a": 0)|1}}</tool_call>)");
  EXPECT_EQ(hermes(R"(<tool_call>{"name": "f", "arguments": {"a": bad}}</tool_call>)"), R"(f({"a": )|bad}}</tool_call>)");
  EXPECT_EQ(hermes(R"(<tool_call>{"name": "f", "arguments": {"x": 1}; }</tool_call>)"), R"(f({"x": 1})|; }</tool_call>)");
  // Only behind a name, and behind the right key.
  EXPECT_EQ(hermes(R"(<tool_call>{"arguments": {"x": {}}, "name": "f"}</tool_call>)"), R"(f({"x": {}}))");
  EXPECT_EQ(hermes(R"(<tool_call>{"name": "f", "meta": {"arguments": {}}, "arguments": {"x": 1}}</tool_call>)"),
            R"(f({"x": 1}))");
  EXPECT_EQ(hermes(R"(<tool_call>{"name": "f", "x\"arguments": {}, "parameters" : {"x": 1}}</tool_call>)"), R"(f({"x": 1}))");
}

TEST(LlamaCalls, AreFound) {
  EXPECT_EQ(llama(R"({"name": "f", "parameters": {"x": [1, 2]}})"), R"(f({"x": [1, 2]}))");
  EXPECT_EQ(llama(R"( <|python_tag|>{"name": "f", "parameters": {}}; {"name": "get_weather", "arguments": {"a": "b"}})"),
            R"(f({})|get_weather({"a": "b"}))");
  EXPECT_EQ(llama(R"({"type": "function", "name": "f", "parameters": {}};)"), "f({})");
  EXPECT_EQ(llama(R"(Sure. <|python_tag|>{"name": "f", "parameters": {}})"), "Sure.|f({})");
  EXPECT_EQ(llama(R"({"name": "f", "parameters": {}} and more)"), "f({})| and more");
}

TEST(LlamaCalls, ElseContent) {
  for (const char* text :
       {"Hello", R"({"name": "Bob", "parameters": {}})", R"({"name": "f"})", R"({"answer": 42})",
        R"({"name": "f", "parameters": {)", R"(Well: {"name": "f", "parameters": {}})", R"(< {"name": "f", "parameters": {}})",
        "<|python_tag|>print(1)", "<|python", "{}", R"({"name": "f", "parameters": 5})", "", " \n"}) {
    EXPECT_EQ(llama(text), text);
  }
}

TEST(MistralCalls, AreFound) {
  EXPECT_EQ(mistral(R"([TOOL_CALLS][{"name": "f", "arguments": {"x": 1}}])"), R"(f({"x": 1}))");
  EXPECT_EQ(mistral(R"([TOOL_CALLS] [{"name": "f", "arguments": {}}, {"name": "get_weather", "arguments": {"a": "]"}}] )"),
            R"(f({})|get_weather({"a": "]"}))");
  EXPECT_EQ(mistral(R"(Hm [TOOL_CALLS]f{"x": {"y": 1}}[TOOL_CALLS]get_weather[CALL_ID]abc123def[ARGS]{})"),
            R"(Hm|f({"x": {"y": 1}})|get_weather({}))");
  EXPECT_EQ(mistral(R"([TOOL_CALLS]f[ARGS]{"x": 1})"), R"(f({"x": 1}))");
}

TEST(MistralCalls, ElseContent) {
  for (const char* text :
       {"[TOOL_CALLS]", "[TOOL_CALLS][]", "[TOOL_CALLS]f", "[TOOL_CALLS]f{", "[TOOL_CALLS]{}", "[TOOL_CALLS]a b{}",
        "[TOOL_CALLS][{]", "[TOOL_CALLS][{\"x\": 1}]", "[1] [TOOL", "[TOOL_CALLS]f[X]{}", "[TOOL_CALLS]f{bad}", ""}) {
    EXPECT_EQ(mistral(text), text);
  }
  EXPECT_EQ(mistral(R"([TOOL_CALLS][{"name": "f", "arguments": {}}, {"name": 3}])"), R"(f({})|, {"name": 3}])");
}

TEST(ForcedCalls, AreToldAsTheyCome) {
  const auto named = [] { return AnswerParser(std::nullopt, make_named_call_parser("f")); };
  EXPECT_EQ(read_every_way(named, R"( {"x": 1})"), R"(f({"x": 1}))");
  EXPECT_EQ(read_every_way(named, ""), "");
  const auto required = [] { return AnswerParser(std::nullopt, make_required_calls_parser()); };
  EXPECT_EQ(read_every_way(required, R"( [ {"name": "f", "parameters": {"x": {"y": "}"}}}, {"name":"g","parameters":{} } ] )"),
            R"(f({"x": {"y": "}"}})|g({}))");
  EXPECT_EQ(read_every_way(required, R"([{"name": "f", "parameters": {"x": 1)"), R"(f({"x": 1))");  // the length was reached
  // Cut off before the call is known: no call, and no text either.
  EXPECT_EQ(read_every_way(required, R"([{"name": "f)"), "");
  EXPECT_EQ(read_every_way(required, R"([{"name": "f", "parameters": {}}, { "name" : "g")"), "f({})");
  EXPECT_EQ(read_every_way(required, "Hello"), "Hello");
  AnswerParser parser = required();
  EXPECT_EQ(testing::show(parser.feed(R"([{"name": "f", "parameters": {"a": )")), R"(f({"a": ))");
  AnswerParser other = named();
  EXPECT_EQ(testing::show(other.feed("{\"a\"")), "f({\"a\")");
}

TEST(ToolFormats, NamesAndDetection) {
  EXPECT_EQ(tool_format("hermes"), ToolFormat::kHermes);
  EXPECT_EQ(tool_format("llama3_json"), ToolFormat::kLlama3);
  EXPECT_EQ(tool_format("mistral"), ToolFormat::kMistral);
  EXPECT_THROW(tool_format("xml"), Error);
  EXPECT_EQ(detect_tool_format("... '<tool_call>\\n{\"name\": ..."), ToolFormat::kHermes);
  EXPECT_EQ(detect_tool_format("[TOOL_CALLS]"), ToolFormat::kMistral);
  EXPECT_EQ(detect_tool_format("<|start_header_id|> <|python_tag|>"), ToolFormat::kLlama3);
  EXPECT_EQ(detect_tool_format("<tool_call><function="), ToolFormat::kNone);
  EXPECT_EQ(detect_tool_format("{{ messages }}"), ToolFormat::kNone);
}

TEST(ToolFormats, DetectionOnRealTemplates) {
  const char* data = test::test_data();
  if (data == nullptr) GTEST_SKIP() << "needs PAGODA_TEST_DATA";
  const std::string folder = std::string(data) + "/chat_templates/";
  for (const auto& [file, format] : {std::pair<const char*, ToolFormat>{"llama.cpp/Qwen-Qwen3-0.6B.jinja", ToolFormat::kHermes},
                                     {"llama.cpp/NousResearch-Hermes-3-Llama-3.1-8B-tool_use.jinja", ToolFormat::kHermes},
                                     {"llama.cpp/meta-llama-Llama-3.2-3B-Instruct.jinja", ToolFormat::kLlama3},
                                     {"llama.cpp/Mistral-Small-3.2-24B-Instruct-2506.jinja", ToolFormat::kMistral},
                                     {"mistral-common/v3.jinja", ToolFormat::kMistral},
                                     {"llama.cpp/Qwen3-Coder.jinja", ToolFormat::kNone},
                                     {"llama.cpp/GLM-4.6.jinja", ToolFormat::kNone},
                                     {"llama.cpp/google-gemma-2-2b-it.jinja", ToolFormat::kNone}}) {
    EXPECT_EQ(detect_tool_format(read_file(folder + file, 1 << 20)), format) << file;
  }
}

TEST(JsonScanner, EndsWhereTheValueEnds) {
  const auto scan = [](std::string_view text) {
    JsonScanner scanner;
    for (size_t i = 0; i < text.size(); ++i) {
      const JsonScanner::State state = scanner.feed(text[i]);
      if (state == JsonScanner::State::kDone) return std::to_string(i);
      if (state == JsonScanner::State::kBad) return "bad " + std::to_string(i);
    }
    return std::string("more");
  };
  EXPECT_EQ(scan(R"({"a": [1, -2.5e3, true, null, "x\u00e9\n"], "b": {}}x)"), "51");
  EXPECT_EQ(scan("[]"), "1");
  EXPECT_EQ(scan("[1,]"), "bad 3");
  EXPECT_EQ(scan("{,"), "bad 1");
  EXPECT_EQ(scan("{\"a\",}"), "bad 4");
  EXPECT_EQ(scan("[}"), "bad 1");
  EXPECT_EQ(scan("[\"\\q"), "bad 3");
  EXPECT_EQ(scan("[\"\\u00g"), "bad 6");
  EXPECT_EQ(scan("[\"\t"), "bad 2");
  EXPECT_EQ(scan("5"), "bad 0");
  EXPECT_EQ(scan(std::string(129, '[')), "bad 128");
  EXPECT_EQ(scan("{\"a\": 1"), "more");
  for (const char* good : {"0", "-0", "10", "0.5", "-12.050", "1e3", "0E-2", "2.5e+10", "true", "false", "null", " 7 "}) {
    const std::string text = std::string("[") + good + "," + good + "]";
    EXPECT_EQ(scan(text), std::to_string(text.size() - 1)) << text;
  }
  // The first byte that cannot be there is where the place says.
  const std::pair<const char*, int> bad[] = {{"01", 1},    {"-a", 1},       {"--1", 1}, {"+1", 0},   {"1.", 2},
                                             {".5", 0},    {"1.e3", 2},     {"1e", 2},  {"1e+", 3},  {"1-", 1},
                                             {"1.2.3", 3}, {"bad", 0},      {"nul", 3}, {"nuLl", 2}, {"truer", 4},
                                             {"NaN", 0},   {"Infinity", 0}, {"1 2", 2}, {"0x1", 1}};
  for (const auto& [text, place] : bad) {
    EXPECT_EQ(scan(std::string("[") + text + "]"), "bad " + std::to_string(1 + place)) << text;
  }
  EXPECT_EQ(member_text(R"({"a": {"b": 1} , "b":2, "b": [ 3 ] })", "b"), "[ 3 ]");
  EXPECT_EQ(member_text(R"({"x": "\"b\": 1", "c": 1})", "b"), "");
}

// Time grows with the length alone: what made parsers of others take minutes (CVE-2025-48887) takes as long as plain text.
// Operations are not counted here; a quadratic parser would not end within the test's time-out.
TEST(ToolParsers, CVE_2025_48887_HostileTextIsLinearSlow) {
  const std::string opening = "<tool_call>{\"name\": \"f\", \"arguments\": {\"a\": [";
  const std::vector<std::string> units = {"<tool_call>",
                                          opening,
                                          "<tool_call>{",
                                          "[TOOL_CALLS][{",
                                          "[TOOL_CALLS]f",
                                          "[TOOL_CALLS][",
                                          "<|python_tag|>",
                                          "{\"name\":",
                                          "<",
                                          "\n",
                                          "{",
                                          "[",
                                          "\"",
                                          ";{\"name\": \"f\", \"parameters\": {}}"};
  for (const ToolFormat format : {ToolFormat::kHermes, ToolFormat::kLlama3, ToolFormat::kMistral}) {
    for (const std::string& unit : units) {
      AnswerParser parser(std::nullopt, make_tool_parser(format, {"f"}));
      size_t told = 0;
      const size_t count = (size_t{1} << 20) / unit.size();
      const auto add = [&](const std::vector<AnswerPiece>& pieces) {
        for (const AnswerPiece& piece : pieces) told += piece.text.size();
      };
      for (size_t i = 0; i < count; ++i) add(parser.feed(unit));
      add(parser.finish());
      const bool calls = unit.front() == ';' || (unit == opening && format == ToolFormat::kHermes);
      if (calls) continue;
      EXPECT_EQ(told, count * unit.size()) << unit;  // nothing was lost
    }
  }
}

// The same of one long text at once, of forced calls and of thoughts: objects that never end, with ever more members, keys and
// brackets (vLLM's patterns for lists of calls and for the chat endpoint's tools took exponential time).
TEST(ToolParsers, CVE_2025_71379_OneLongTextIsLinearSlow) {
  const auto long_text = [](const std::string& before, const std::string& unit) {
    std::string text = before;
    while (text.size() < size_t{1} << 20) text += unit;
    return text;
  };
  const std::vector<std::string> texts = {long_text("functools[", "{\"name\": \"f\", \"arguments\": {}}, "),
                                          long_text("<tool_call>{", "\"a\": {\"b\": {}}, "),
                                          long_text("<tool_call>{\"name\": \"f\", ", "\"arguments\": {}, "),
                                          long_text("{\"name\": \"f\", \"parameters\": {", "\"a\": [], "),
                                          long_text("[TOOL_CALLS][{\"name\": \"f\", ", "\"arguments\": {}, "),
                                          long_text("[{\"name\": \"f\", ", "\"parameters\": [{}], "),
                                          long_text("<think>", "</think"),
                                          long_text("[f(", "a=[1, 2], "),
                                          long_text("", "\\\"")};
  for (const std::string& text : texts) {
    std::vector<std::function<AnswerParser()>> makers;
    for (const ToolFormat format : {ToolFormat::kHermes, ToolFormat::kLlama3, ToolFormat::kMistral}) {
      makers.emplace_back([format] { return AnswerParser(ReasoningStart::kPossible, make_tool_parser(format, {"f"})); });
    }
    makers.emplace_back([] { return AnswerParser(std::nullopt, make_required_calls_parser()); });
    makers.emplace_back([] { return AnswerParser(std::nullopt, make_named_call_parser("f")); });
    for (const auto& make : makers) {
      AnswerParser parser = make();
      std::vector<AnswerPiece> pieces = parser.feed(text);
      for (AnswerPiece& piece : parser.finish()) pieces.push_back(std::move(piece));
      EXPECT_LE(pieces.size(), text.size());
    }
  }
}

// Arguments are JSON and nothing else: what is a program in some language stays text, and what a string holds is not looked at.
TEST(ToolParsers, CVE_2025_9141_ArgumentsAreNeverRun) {
  for (const std::string value : {"__import__('os').system('id')", "{'x': 1}", "{\"x\": 1 + 1}", "{\"x\": open('/etc/passwd')}",
                                  "\"__import__('os')\"", "{\"x\": True}"}) {
    const std::string object = "{\"name\": \"f\", \"arguments\": " + value + "}";
    for (const std::string& text : {"[TOOL_CALLS][" + object + "]", "[TOOL_CALLS]f[ARGS]" + value}) {
      EXPECT_EQ(mistral(text).find("f("), std::string::npos) << text;
    }
    std::string parameters = object;
    parameters.replace(parameters.find("arguments"), 9, "parameters");
    EXPECT_EQ(llama(parameters), parameters);
    // Hermes' calls are told as they come: no byte of a value is changed on the way.
    const std::string told = hermes("<tool_call>" + object + "</tool_call>");
    if (value[0] != '{') {
      EXPECT_EQ(told.find("f("), std::string::npos) << told;
    }
  }
  EXPECT_EQ(llama(R"x({"name": "f", "parameters": {"x": "__import__('os').system('id')"}})x"),
            R"x(f({"x": "__import__('os').system('id')"}))x");
}

}  // namespace
}  // namespace pagoda::chat
