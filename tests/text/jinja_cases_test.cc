// Chat templates: committed cases whose results jinja2 gave (tests/peers/jinja_cases.py), and the real templates at hand.
#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <map>

#include "base/file.h"
#include "tests/test_data.h"
#include "text/jinja.h"

namespace pagoda::jinja {

namespace {

RenderOptions fixed_time() {
  RenderOptions options;
  options.now = DateTime::parse("2024-07-26T12:00:00");
  return options;
}

// The result in the form of the case files: {"o": text, "s": spans}, or {"e": type, "m": text}.
Json outcome(const std::string& source, const Value& context) {
  Json result = Json::object();
  try {
    std::vector<std::pair<size_t, size_t>> spans;
    result.set("o", Template::parse(source)->render(context, fixed_time(), &spans));
    if (!spans.empty()) {
      Json list = Json::array();
      for (const auto& [begin, end] : spans) {
        list.push_back(Json::Array{static_cast<int64_t>(begin), static_cast<int64_t>(end)});
      }
      result.set("s", std::move(list));
    }
  } catch (const TemplateError& error) {
    result.set("e", error.type());
    result.set("m", error.text());
  } catch (const Error& error) {
    result.set("e", "limit");
    result.set("m", error.message());
  }
  return result;
}

}  // namespace

TEST(JinjaCases, SameAsJinja2) {
  std::ifstream file(std::string(PAGODA_SOURCE_DIR) + "/tests/text/jinja_cases.jsonl");
  ASSERT_TRUE(file.good());
  std::string line;
  ASSERT_TRUE(std::getline(file, line));
  const Value context = from_json(Json::parse(line, "context"));
  int count = 0, wrong = 0;
  while (std::getline(file, line)) {
    const Json row = Json::parse(line, "case");
    ++count;
    Json expected = Json::object();
    for (const char* key : {"o", "s", "e", "m"}) {
      if (const Json* value = row.find(key); value != nullptr) expected.set(key, *value);
    }
    const Json got = outcome(row.at("t", "case").as_string("case"), context);
    if (!(got == expected) && ++wrong <= 20) {
      ADD_FAILURE() << row.at("t", "case").as_string("case") << "\ngot:  " << got.dump() << "\nneed: " << expected.dump();
    }
  }
  EXPECT_GT(count, 1000);
  EXPECT_EQ(wrong, 0);
}

TEST(JinjaCases, RealTemplates) {
  const char* data = test::test_data();
  if (data == nullptr) GTEST_SKIP() << "needs PAGODA_TEST_DATA";
  const std::string folder = std::string(data) + "/chat_templates";
  const Json contexts = Json::parse(read_file(folder + "/contexts.json", 1 << 20), "contexts.json");
  std::ifstream file(folder + "/goldens.jsonl");
  ASSERT_TRUE(file.good());
  int rendered = 0, failed = 0;
  for (std::string line; std::getline(file, line);) {
    const Json row = Json::parse(line, "goldens");
    const std::string name = row.at("template", "goldens").as_string("goldens");
    const std::string which = row.at("context", "goldens").as_string("goldens");
    const Json result =
        outcome(read_file(folder + "/" + name, 1 << 24), from_json(contexts.at("contexts", "c").at(which, "c")));
    Json got = Json::object();  // the goldens do not tell of spans
    for (const char* key : {"o", "e", "m"}) {
      if (const Json* value = result.find(key); value != nullptr) got.set(key, *value);
    }
    Json expected = Json::object();
    if (const Json* text = row.find("output"); text != nullptr) {
      expected.set("o", *text);
      rendered += got == expected ? 1 : 0;
    } else {
      expected.set("e", row.at("error", "goldens"));
      expected.set("m", row.at("message", "goldens"));
      failed += got == expected ? 1 : 0;
    }
    EXPECT_TRUE(got == expected) << name << " with " << which << "\ngot:  " << got.dump() << "\nneed: " << expected.dump();
  }
  EXPECT_EQ(rendered, 360);
  EXPECT_EQ(failed, 18);
}

}  // namespace pagoda::jinja
