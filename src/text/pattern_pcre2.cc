// Patterns written in PCRE2's syntax.
#include "base/error.h"
#include "text/pattern_syntax.h"

namespace pagoda {

namespace {

using Kind = PatternNode::Kind;
using Node = std::unique_ptr<PatternNode>;

class Writer {
 public:
  std::string out;

  void write(const PatternNode& node) {
    switch (node.kind) {
      case Kind::kEmpty: out += "(?:)"; return;
      case Kind::kSet: return set(node);
      case Kind::kConcat:
        for (const Node& child : node.children) wrapped(*child, child->kind == Kind::kAlternate);
        return;
      case Kind::kAlternate:
        for (size_t i = 0; i < node.children.size(); ++i) {
          if (i > 0) out += '|';
          if (node.children[i]->kind != Kind::kEmpty) write(*node.children[i]);
        }
        return;
      case Kind::kRepeat: {
        const Kind kind = node.children[0]->kind;
        wrapped(*node.children[0],
                kind != Kind::kSet && kind != Kind::kGroup && kind != Kind::kAtomic && kind != Kind::kBackReference);
        if (node.max < 0) {
          out += node.min == 0 ? "*" : node.min == 1 ? "+" : fmt::format("{{{},}}", node.min);
        } else {
          out += node.min == 0 && node.max == 1 ? "?" : fmt::format("{{{},{}}}", node.min, node.max);
        }
        if (node.greed == PatternNode::Greed::kLazy) out += '?';
        if (node.greed == PatternNode::Greed::kPossessive) out += '+';
        return;
      }
      case Kind::kGroup:
        out += node.number == 0 ? std::string("(?:") : node.name.empty() ? std::string("(") : "(?<" + node.name + ">";
        write(*node.children[0]);
        out += ')';
        return;
      case Kind::kAtomic: return enclosed("(?>", *node.children[0]);
      case Kind::kLook:
        return enclosed(node.behind ? (node.negative ? "(?<!" : "(?<=") : (node.negative ? "(?!" : "(?="), *node.children[0]);
      case Kind::kAssert:
        if (node.assertion == '^' || node.assertion == '$') {
          out += std::string("(?m:") + node.assertion + ")";
        } else if (node.assertion == 'b' || node.assertion == 'B') {
          // PCRE2's own word border has another idea of words.
          const std::string word = "[" + node.class_text + "]";
          const char* const after = node.assertion == 'b' ? "!" : "=";
          const char* const else_after = node.assertion == 'b' ? "=" : "!";
          out += "(?:(?<=" + word + ")(?" + after + word + ")|(?<!" + word + ")(?" + else_after + word + "))";
        } else {
          out += std::string("\\") + node.assertion;
        }
        return;
      case Kind::kBackReference:
        if (node.ignore_case) out += "(?i:";
        out += node.name.empty() ? fmt::format("\\g{{{}}}", node.number) : "\\k<" + node.name + ">";
        if (node.ignore_case) out += ')';
        return;
    }
  }

 private:
  void enclosed(const char* open, const PatternNode& child) {
    out += open;
    write(child);
    out += ')';
  }
  void wrapped(const PatternNode& child, bool needed) {
    if (needed) return enclosed("(?:", child);
    write(child);
  }
  void set(const PatternNode& node) {
    if (node.ignore_case) out += "(?i:";
    if (node.class_text.empty()) {
      out += node.class_negated ? "(?s:.)" : "(?!)";  // everything, nothing
    } else {
      out += node.class_negated ? "[^" : "[";
      out += node.class_text;
      out += ']';
    }
    if (node.ignore_case) out += ')';
  }
};

}  // namespace

std::string to_pcre2(const PatternNode& root) {
  Writer writer;
  writer.write(root);
  return writer.out;
}

}  // namespace pagoda
