// Chat templates applied to messages, and the lines of the template verb.
#include "generate/chat/chat_template.h"

#include <gtest/gtest.h>

#include <filesystem>

#include <sstream>

#include "base/error.h"
#include "base/file.h"
#include "tests/temporary.h"

namespace pagoda::chat {

namespace {

constexpr const char* kSimple =
    "{{ bos_token }}{% for m in messages %}<{{ m.role }}>{{ m.content }}</>{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}";

Json json(std::string_view text) { return Json::parse(text, "test"); }

Prompt run(const std::string& source, std::string_view messages, const ApplyOptions& options = {},
           const Json& tokens = Json::object()) {
  return apply(*jinja::Template::parse(source), json(messages), tokens, options);
}

std::string failure(const std::string& source, std::string_view messages, const ApplyOptions& options) {
  try {
    run(source, messages, options);
  } catch (const Error& error) {
    return error.message();
  }
  return "";
}

}  // namespace

TEST(ChatTemplate, FromConfig) {
  const TemplateSet one = TemplateSet::from_config(json(R"({"chat_template": "x", "bos_token": "<s>"})"));
  EXPECT_EQ(one.pick("", false), "x");
  EXPECT_EQ(one.pick("", true), "x");
  EXPECT_EQ(one.special_tokens().size(), 0U) << "which tokens there are, its tokenizer knows";
  const TemplateSet two = TemplateSet::from_config(
      json(R"({"chat_template": [{"name": "default", "template": "d"}, {"name": "tool_use", "template": "t"}]})"));
  EXPECT_EQ(two.pick("", false), "d");
  EXPECT_EQ(two.pick("", true), "t");
  EXPECT_EQ(two.pick("tool_use", false), "t");
  EXPECT_THROW(two.pick("rag", false), Error);
  EXPECT_THROW(TemplateSet::from_config(json("{}")).pick("", false), Error);
  EXPECT_THROW(TemplateSet::from_config(json(R"({"chat_template": 5})")), Error);
  EXPECT_THROW(TemplateSet::from_config(json(R"({"chat_template": [{"name": "a"}]})")), Error);
}

TEST(ChatTemplate, FromFolder) {
  const std::string folder = pagoda::testing::temporary_path("chat_template_folder");
  std::filesystem::remove_all(folder);  // what an earlier run left
  make_directories(folder + "/additional_chat_templates");
  write_file_atomic(folder + "/tokenizer_config.json", R"({"chat_template": "config"})");
  TemplateSet set = TemplateSet::from_folder(folder);
  EXPECT_EQ(set.pick("", false), "config");
  write_file_atomic(folder + "/chat_template.jinja", "file");
  write_file_atomic(folder + "/additional_chat_templates/rag.jinja", "rag");
  set = TemplateSet::from_folder(folder);
  EXPECT_EQ(set.pick("", true), "file");
  EXPECT_EQ(set.pick("rag", false), "rag");
  EXPECT_EQ(set.names(), (std::vector<std::string>{"default", "rag"}));
}

TEST(ChatTemplate, Applies) {
  ApplyOptions options;
  options.add_generation_prompt = true;
  EXPECT_EQ(run(kSimple, R"([{"role": "user", "content": "Hi"}])", options, json(R"({"bos_token": "<s>"})")).text,
            "<s><user>Hi</><assistant>");
  options.variables = json(R"({"bos_token": "B"})");
  EXPECT_EQ(run(kSimple, R"([{"role": "user", "content": "Hi"}])", options, json(R"({"bos_token": "<s>"})")).text,
            "B<user>Hi</><assistant>");
}

TEST(ChatTemplate, ToolsAndDocumentsAreNoneWithout) {
  const char* source = "{{ tools is none }}{{ documents is none }}{{ add_generation_prompt }}";
  EXPECT_EQ(run(source, R"([{"role": "user"}])").text, "TrueTrueFalse");
  ApplyOptions options;
  options.tools = json(R"([{"type": "function"}])");
  options.documents = json(R"([{"title": "t"}])");
  EXPECT_EQ(run("{{ tools[0].type }}{{ documents[0].title }}", R"([{"role": "user"}])", options).text, "functiont");
  options.tools = json("[1]");
  EXPECT_NE(failure("", R"([{"role": "user"}])", options), "");
}

TEST(ChatTemplate, NullFieldsAreDroppedAndReasoningIsNamed) {
  EXPECT_EQ(run("{{ messages[0] }}", R"([{"role": "a", "content": null, "tool_calls": null}])").text, "{'role': 'a'}");
  EXPECT_EQ(run("{{ messages[0] }}", R"([{"role": "a", "reasoning": "r"}])").text,
            "{'thinking': 'r', 'role': 'a', 'reasoning': 'r', 'reasoning_content': 'r'}");
}

TEST(ChatTemplate, BadMessages) {
  EXPECT_NE(failure("", "[]", {}), "");
  EXPECT_NE(failure("", "{}", {}), "");
  EXPECT_NE(failure("", "[1]", {}), "");
}

TEST(ChatTemplate, ContinuesTheFinalMessage) {
  ApplyOptions options;
  options.continue_final_message = "content";
  const char* messages = R"([{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Sure, "}])";
  EXPECT_EQ(run(kSimple, messages, options).text, "<user>Hi</><assistant>Sure, ");
  EXPECT_EQ(run("{% for m in messages %}[{{ m.content|trim }}]{% endfor %}", messages, options).text, "[Hi][Sure,");
  EXPECT_EQ(run("{% for m in messages %}{{ m.content[0].text }}.{% endfor %}",
                R"([{"role": "assistant", "content": [{"type": "text", "text": "Go"}]}])", options)
                .text,
            "Go");
  options.add_generation_prompt = true;
  EXPECT_NE(failure(kSimple, messages, options), "");
  options.add_generation_prompt = false;
  EXPECT_NE(failure("{% if content %}{% endif %}x", messages, options), "");
  EXPECT_NE(failure("x", messages, options), "");
  EXPECT_NE(failure(kSimple, R"([{"role": "assistant"}])", options), "");
}

TEST(ChatTemplate, GenerationSpans) {
  const Prompt prompt = run("{% for m in messages %}{% generation %}{{ m.content }}{% endgeneration %};{% endfor %}",
                            R"([{"role": "a", "content": "é"}, {"role": "a", "content": "bc"}])");
  EXPECT_EQ(prompt.text, "é;bc;");
  const std::vector<std::pair<size_t, size_t>> expected{{0, 1}, {2, 4}};
  EXPECT_EQ(prompt.generation_spans, expected);
}

TEST(ChatTemplate, Lines) {
  std::istringstream in(
      "{\"messages\": [{\"role\": \"user\", \"content\": \"H\\u00e9 \\\"x\\\"\\n\"}]}\n"
      "not json\n"
      "\n"
      "[]\n"
      "{\"messages\": []}\n"
      "{\"messages\": 5}\n"
      "{\"messages\": [{\"role\": \"user\"}], \"bos_token\": \"B\", \"tools\": null}");
  std::ostringstream out;
  const TemplateSet set = TemplateSet::from_text(
      "{% if not messages %}{{ raise_exception('No \"messages\"!') }}{% endif %}{{ bos_token }}{{ messages[0].content }}");
  EXPECT_EQ(template_jsonl(in, out, set), 5);
  std::istringstream lines(out.str());
  std::vector<Json> got;
  for (std::string line; std::getline(lines, line);) got.push_back(json(line));
  ASSERT_EQ(got.size(), 7U);
  EXPECT_EQ(got[0].dump(), R"("Hé \"x\"\n")");
  for (const size_t i : {1, 2, 3}) EXPECT_TRUE(got[i].contains("error")) << i;
  EXPECT_EQ(got[4].dump(), R"({"error":"No \"messages\"!"})");
  EXPECT_EQ(got[5].at("error", "t").as_string("t"), "[template] line 1: UndefinedError: int object has no element 0");
  EXPECT_EQ(got[6].dump(), R"("B")");
}

// Of a model: what apply_chat_template passes is there, and its own tokens by name.
TEST(ChatTemplate, LinesOverAModelsTemplate) {
  TemplateSet set = TemplateSet::from_config(json(
      R"({"chat_template": "{{ tools is none }} {{ documents is none }} {{ add_generation_prompt }} {{ image_token }}{{ im }}"})"));
  set.set_special_tokens(json(R"({"image_token": "<img>", "im": "<im>"})"));
  std::istringstream in("{}\n{\"tools\": [], \"add_generation_prompt\": true}\n");
  std::ostringstream out;
  EXPECT_EQ(template_jsonl(in, out, set), 0);
  EXPECT_EQ(out.str(), "\"True True False <img><im>\"\n\"False True True <img><im>\"\n");
  std::istringstream bare("{}\n");
  std::ostringstream text;
  EXPECT_EQ(template_jsonl(bare, text, TemplateSet::from_text("{{ tools is defined }}")), 0);
  EXPECT_EQ(text.str(), "\"False\"\n") << "a template alone sees what it is given";
}

TEST(ChatTemplate, LinesOfABrokenTemplate) {
  std::istringstream in("{}\n{}\n");
  std::ostringstream out;
  EXPECT_EQ(template_jsonl(in, out, TemplateSet::from_text("{% if %}")), 2);
  EXPECT_NE(out.str().find("line 1"), std::string::npos);
}

}  // namespace pagoda::chat
