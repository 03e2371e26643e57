// Chat templates: errors, spans, options, threads.
#include "text/jinja.h"

#include <gtest/gtest.h>

#include <thread>
#include <vector>

namespace pagoda::jinja {

namespace {

Value context(std::string_view json) { return from_json(Json::parse(json, "test")); }

std::string render(std::string_view source, std::string_view json = "{}") {
  return Template::parse(source)->render(context(json));
}

TemplateError error_of(std::string_view source, std::string_view json = "{}") {
  try {
    const std::string text = render(source, json);
    ADD_FAILURE() << "no error from: " << source << "\ngot: " << text;
  } catch (const TemplateError& error) {
    return error;
  }
  return {"", "", 0};
}

}  // namespace

TEST(Jinja, MessageOfRaiseExceptionStandsAlone) {
  const TemplateError error = error_of("a\n{{ raise_exception('Roles must \"alternate\" é') }}");
  EXPECT_TRUE(error.raised_by_template());
  EXPECT_EQ(error.message(), "Roles must \"alternate\" é");
  EXPECT_EQ(error.type(), "TemplateError");
  EXPECT_EQ(error.kind(), ErrorKind::kInvalidInput);
  EXPECT_EQ(error.line(), 2);
}

TEST(Jinja, OtherErrorsNamePlaceAndCause) {
  const TemplateError error = error_of("a\nb\n{{ foo.bar }}");
  EXPECT_FALSE(error.raised_by_template());
  EXPECT_EQ(error.type(), "UndefinedError");
  EXPECT_EQ(error.text(), "'foo' is undefined");
  EXPECT_EQ(error.message(), "[template] line 3: UndefinedError: 'foo' is undefined");
}

TEST(Jinja, SyntaxErrorsHaveLines) {
  const TemplateError error = error_of("a\n{% if x %}\n{{ 1 +* 2 }}\n{% endif %}");
  EXPECT_EQ(error.type(), "TemplateSyntaxError");
  EXPECT_EQ(error.line(), 3);
}

TEST(Jinja, OtherFilesAreNotSupported) {
  for (const char* source : {"{% include 'a' %}", "{% extends 'a' %}", "{% import 'a' as b %}", "{% from 'a' import b %}"}) {
    try {
      Template::parse(source);
      ADD_FAILURE() << source;
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kUnsupported);
    }
  }
}

TEST(Jinja, SandboxRefusesChanges) {
  EXPECT_EQ(error_of("{% set l = [] %}{{ l.append(1) }}").message(),
            "[template] line 1: SecurityError: access to attribute 'append' of 'list' object is unsafe.");
  EXPECT_EQ(error_of("{{ {}.update({}) }}").type(), "SecurityError");
  EXPECT_EQ(error_of("{{ ''.__class__.__mro__ }}").type(), "SecurityError");
}

TEST(Jinja, GenerationSpansCountCodePoints) {
  const auto parsed = Template::parse("é{% generation %}a🙂{% endgeneration %}b{% generation %}c{% endgeneration %}");
  std::vector<std::pair<size_t, size_t>> spans;
  EXPECT_EQ(parsed->render(Value::dict({}), {}, &spans), "éa🙂bc");
  const std::vector<std::pair<size_t, size_t>> expected{{1, 3}, {4, 5}};
  EXPECT_EQ(spans, expected);
}

TEST(Jinja, FixedTime) {
  RenderOptions options;
  options.now = DateTime::parse("2024-07-26T12:00:00");
  EXPECT_EQ(Template::parse("{{ strftime_now('%d %b %Y, %-I %p') }}")->render(Value::dict({}), options), "26 Jul 2024, 12 PM");
}

TEST(Jinja, TimeThatIsNone) {
  for (const char* text : {"", "now", "2024-13-01", "2024-02-30", "2024-07-26T25:00:00", "2024-07-26T12:00:00Z", "2024-7-26"}) {
    EXPECT_THROW(DateTime::parse(text), Error) << text;
  }
  EXPECT_EQ(DateTime::parse("2024-02-29T23:59:58.25").microsecond, 250000);
}

TEST(Jinja, IntegersAre64Bits) {
  EXPECT_EQ(render("{{ 9223372036854775807 }}"), "9223372036854775807");
  EXPECT_EQ(error_of("{{ 9223372036854775807 + 1 }}").type(), "OverflowError");
  EXPECT_EQ(error_of("{{ 2 ** 64 }}").type(), "OverflowError");
  EXPECT_EQ(error_of("{{ 99999999999999999999 }}").type(), "TemplateSyntaxError");
}

TEST(Jinja, LaterKeysWin) { EXPECT_EQ(render("{{ d }}", R"({"d": {"a": 1, "b": 2, "a": 3}})"), "{'a': 3, 'b': 2}"); }

TEST(Jinja, OneTemplateOnManyThreads) {
  const auto parsed = Template::parse(
      "{% macro m(x) %}[{{ x|upper }}]{% endmacro %}{% set ns = namespace(n=0) %}"
      "{% for x in xs %}{% set ns.n = ns.n + loop.index %}{{ m(x) }}{% endfor %}{{ ns.n }}");
  const Value shared = context(R"({"xs": ["a", "b", "c"]})");
  std::vector<std::thread> threads;
  std::vector<int> wrong(4, 0);
  for (size_t t = 0; t < wrong.size(); ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 200; ++i) wrong[t] += parsed->render(shared) == "[A][B][C]6" ? 0 : 1;
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const int count : wrong) EXPECT_EQ(count, 0);
}

TEST(Jinja, NotUtf8) { EXPECT_THROW(Template::parse("a\xFF"), Error); }

}  // namespace pagoda::jinja
