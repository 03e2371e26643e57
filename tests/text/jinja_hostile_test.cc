// Chat templates that mean harm: each ends with a clear error, soon, without overflowing the stack.
#include <gtest/gtest.h>

#include <chrono>

#include "text/jinja.h"

namespace pagoda::jinja {

namespace {

std::string repeat(const std::string& text, size_t count) {
  std::string out;
  for (size_t i = 0; i < count; ++i) out += text;
  return out;
}

RenderOptions small() {
  RenderOptions options;
  options.limits.max_steps = 2'000'000;
  options.limits.max_output_bytes = 1 << 20;
  options.limits.max_string_bytes = 1 << 24;
  options.limits.max_items = 1 << 20;
  return options;
}

// The message of the error that a template ends with.
std::string refused(const std::string& source, const RenderOptions& options = small()) {
  const auto start = std::chrono::steady_clock::now();
  std::string message;
  try {
    Template::parse(source, options.limits)->render(Value::dict({}), options);
    ADD_FAILURE() << "accepted: " << source.substr(0, 200);
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kInvalidInput) << error.message();
    message = error.message();
  }
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(20)) << source.substr(0, 200);
  return message;
}

std::string accepted(const std::string& source) {
  RenderOptions options = small();
  options.limits.max_string_bytes = 1 << 28;  // of what is chained, all is alive
  return Template::parse(source, options.limits)->render(Value::dict({}), options);
}

}  // namespace

TEST(JinjaHostile, LongTexts) {
  EXPECT_NE(refused("{{ 'a' * 1000000000 }}").find("max_output_bytes"), std::string::npos);
  EXPECT_NE(refused("{{ 'a' * 9223372036854775807 }}").find("max_output_bytes"), std::string::npos);
  EXPECT_NE(refused("{{ [0] * 1000000000 }}").find("max_items"), std::string::npos);
  EXPECT_NE(
      refused("{% for i in range(100000) %}{{ 'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa' }}{% endfor %}").find("max_output_bytes"),
      std::string::npos);
  EXPECT_NE(refused("{% set n = namespace(x='aa') %}{% for i in range(100) %}{% set n.x = n.x ~ n.x %}{% endfor %}")
                .find("max_output_bytes"),
            std::string::npos);
  EXPECT_NE(refused("{{ ('a' * 1000000).replace('', 'bbbbbbbb') }}").find("max_output_bytes"), std::string::npos);
  for (const char* source :
       {"{{ 'x'.center(1000000000) }}", "{{ 'x'|center(1000000000) }}", "{{ '%1000000000d' % 1 }}",
        "{{ '%.1000000000f' % 1.5 }}", "{{ '{:1000000000}'.format(1) }}", "{{ '{:.1000000000f}'.format(1.5) }}",
        "{{ '%*d' % (1000000000, 1) }}", "{{ 'x'|indent(1000000000) }}", "{{ [1]|tojson(indent=1000000000) }}",
        "{{ '\\t'.expandtabs(1000000000) }}", "{{ 'x'.zfill(1000000000) }}", "{{ [1]|batch(1000000000, 0)|list }}",
        "{{ (('x' * 1000000) ~ ',')|list|join('yyyyyyyyyy') }}", "{{ strftime_now('%999999999Y' * 100000) }}"}) {
    refused(source);
  }
}

TEST(JinjaHostile, ManySteps) {
  EXPECT_NE(refused("{% for i in range(100000) %}{% for j in range(100000) %}{% endfor %}{% endfor %}").find("max_steps"),
            std::string::npos);
  EXPECT_NE(refused("{{ range(1000000000) }}").find("MAX_RANGE"), std::string::npos);
  refused("{{ range(100000)|map('string')|map('upper')|list|map('list')|map('join')|list * 50 }}");
  refused("{% set n = namespace(x=[1]) %}{% for i in range(60) %}{% set n.x = n.x + n.x %}{% endfor %}");
}

TEST(JinjaHostile, Memory) {
  EXPECT_NE(
      refused("{% set n = namespace(l=[]) %}{% for i in range(1000) %}{% set n.l = [n.l, 'a' * 100000 ~ i] %}{% endfor %}")
          .find("max_string_bytes"),
      std::string::npos);
}

TEST(JinjaHostile, Time) {
  RenderOptions options = small();
  options.limits.max_steps = int64_t{1} << 60;
  options.limits.max_milliseconds = 100;
  EXPECT_NE(refused("{% for i in range(100000) %}{% for j in range(100000) %}{% endfor %}{% endfor %}", options)
                .find("max_milliseconds"),
            std::string::npos);
}

TEST(JinjaHostile, NestedSource) {
  for (const size_t count : {1000, 12000, 200000}) {
    EXPECT_NE(refused("{{ " + repeat("(", count) + "1" + repeat(")", count) + " }}").find("max_depth"), std::string::npos);
    refused("{{ " + repeat("[", count) + " }}");
    refused("{{ " + repeat("{1:", count) + " }}");
    refused("{{ " + repeat("not ", count) + "1 }}");
    refused("{{ " + repeat("-", count) + "1 }}");
    refused("{{ 1" + repeat(" + 1", count) + " }}");
    refused("{{ 1" + repeat(" if 1 else 1", count) + " }}");
    refused("{{ a" + repeat(".a", count) + " }}");
    refused("{{ a" + repeat("|upper", count) + " }}");
    refused("{{ a" + repeat("()", count) + " }}");
    refused("{{ f" + repeat("(f", count) + " }}");
    refused("{{ 1" + repeat(" ** 1", count) + " }}");
    refused(repeat("{% if 1 %}", count));
    refused(repeat("{% for x in [1] %}", count) + repeat("{% endfor %}", count));
    refused(repeat("{% macro m() %}", count));
    refused(repeat("{% set x %}", count));
    refused(repeat("{% call m(", count));
    refused(repeat("{% generation %}", count));
    refused("{% set " + repeat("(", count) + "a" + repeat(",)", count) + " = 1 %}");
    refused("{% for " + repeat("(", count) + "a" + repeat(",)", count) + " in x %}{% endfor %}");
  }
}

TEST(JinjaHostile, NestedCalls) {
  EXPECT_NE(refused("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}").find("max_depth"), std::string::npos);
  refused("{% macro m(n) %}{% for i in [1] %}{% if n %}{{ [m(n + 1)]|join }}{% endif %}{% endfor %}{% endmacro %}{{ m(1) }}");
  refused("{% for x in [[1]] recursive %}{{ loop([[1]]) }}{% endfor %}");
  refused("{% macro m() %}{{ caller() }}{% call m() %}x{% endcall %}{% endmacro %}{% call m() %}x{% endcall %}");
  refused(
      "{% set g = namespace(g=[1]) %}{% for i in range(10000) %}{% set g.g = g.g|map('string') %}{% endfor %}{{ g.g|list }}");
  refused("{% block a %}{{ self.a() }}{% endblock %}");
  // As deep as Python lets recursive macros go.
  EXPECT_EQ(accepted("{% macro m(n) %}{% if n %}{{ m(n - 1) }}{% endif %}{% endmacro %}{{ m(80) }}ok"), "ok");
}

TEST(JinjaHostile, NestedData) {
  const std::string deep = "{% set n = namespace(x=[]) %}{% for i in range(50000) %}{% set n.x = [n.x] %}{% endfor %}";
  EXPECT_EQ(accepted(deep + "ok"), "ok");  // building and freeing it is no recursion
  refused(deep + "{{ n.x }}");
  refused(deep + "{{ n.x|tojson }}");
  refused(deep + "{{ n.x|pprint }}");
  refused(deep + "{% set m = namespace(x=[]) %}{% for i in range(50000) %}{% set m.x = [m.x] %}{% endfor %}{{ n.x == m.x }}");
  refused(deep + "{% set m = namespace(x=[]) %}{% for i in range(50000) %}{% set m.x = [m.x] %}{% endfor %}{{ n.x < m.x }}");
  refused("{% set n = namespace(x=()) %}{% for i in range(50000) %}{% set n.x = (n.x,) %}{% endfor %}{{ {n.x: 1} }}");
  // Twice the same part at each level: short to build, endless to walk.
  const std::string wide = "{% set n = namespace(x=(1,)) %}{% for i in range(50) %}{% set n.x = (n.x, n.x) %}{% endfor %}";
  refused(wide + "{{ n.x }}");
  refused(wide + "{{ n.x|tojson }}");
  refused(wide + "{{ {n.x: 1} }}");
  refused(wide +
          "{% set m = namespace(x=(1,)) %}{% for i in range(50) %}{% set m.x = (m.x, m.x) %}{% endfor %}{{ n.x == m.x }}");
}

TEST(JinjaHostile, LongChainsAreFreedWithoutRecursion) {
  for (const char* link :
       {"n.x|map('string')", "n.x|select", "n.x|batch(2)", "n.x|unique", "cycler(n.x)", "joiner(n.x)", "dict(a=n.x)",
        "(n.x, 1)", "namespace(x=n.x)", "dict(a=n.x).items()", "dict(a=n.x).get", "[n.x]|reverse", "[n.x]|slice(2)"}) {
    const std::string source = "{% set n = namespace(x=[]) %}{% for i in range(30000) %}{% set n.x = " + std::string(link) +
                               " %}{% endfor %}{% set n.x = 0 %}ok";
    EXPECT_EQ(accepted(source), "ok") << link;
  }
  // Through macros, loops and the frames they keep.
  EXPECT_EQ(accepted("{% set n = namespace(x=0) %}{% macro o() %}{% set p = n.x %}{% macro i() %}{{ p }}{% endmacro %}"
                     "{% set n.x = i %}{% endmacro %}{% for k in range(20000) %}{{ o() }}{% endfor %}{% set n.x = 0 %}ok"),
            "ok");
  EXPECT_EQ(accepted("{% set n = namespace(x=0) %}{% for k in range(20000) %}{% for j in [1] %}{{ loop.changed(n.x) and '' }}"
                     "{% set n.x = loop %}{% endfor %}{% endfor %}{% set n.x = 0 %}ok"),
            "ok");
  EXPECT_EQ(
      accepted("{% set n = namespace(x=0) %}{% macro o() %}{% set p = n.x %}{% for j in [1] recursive %}{% set n.x = loop %}"
               "{% endfor %}{% endmacro %}{% for k in range(20000) %}{{ o() }}{% endfor %}{% set n.x = 0 %}ok"),
      "ok");
}

TEST(JinjaHostile, Circles) {
  EXPECT_EQ(accepted("{% set n = namespace() %}{% set n.n = n %}{{ n }}"), "<Namespace {'n': <Namespace {...}>}>");
  refused(
      "{% set a = namespace() %}{% set b = namespace(a=a) %}{% set a.b = [b] %}{{ a == b }}{{ [a.b] == [a.b, a] }}{{ a|tojson "
      "}}");
}

TEST(JinjaHostile, SlowSearches) {
  // A search that looks back costs the product of both lengths; these must cost their sum.
  const std::string text = "{% set t = 'a' * 500000 %}{% set p = 'a' * 250000 ~ 'b' %}";
  EXPECT_EQ(
      accepted(text +
               "{{ t.find(p) }}{{ t.rfind('b' ~ 'a' * 250000) }}{{ p in t }}{{ t.count(p) }}{{ t.replace(p, '')|length }}"),
      "-1-1False0500000");
  EXPECT_EQ(accepted(text + "{{ t.split(p)|length }}{{ t.rsplit(p)|length }}"), "11");
}

TEST(JinjaHostile, ManyBlocks) {
  std::string source;
  for (int i = 0; i < 30'000; ++i) source += "{%block b" + std::to_string(i) + "%}{%endblock%}";
  EXPECT_EQ(accepted(source + "{{ self.b7() }}"), "");
  EXPECT_NE(refused(source + "{% block b7 %}{% endblock %}").find("defined twice"), std::string::npos);
  std::string scoped = "{% if true %}";
  for (int i = 0; i < 10'000; ++i) scoped += "{% set v" + std::to_string(i) + " = 1 %}";
  for (int i = 0; i < 10'000; ++i) scoped += "{% block s" + std::to_string(i) + " scoped %}{% endblock %}";
  EXPECT_NE(refused(scoped + "{% endif %}").find("scoped blocks"), std::string::npos);
}

}  // namespace pagoda::jinja
