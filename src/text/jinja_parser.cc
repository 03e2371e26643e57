// Statements: tags and their bodies, with the depth of blocks bounded.
#include "text/jinja_parser.h"

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "text/jinja_expr_parser.h"
#include "text/jinja_text.h"

namespace pagoda::jinja {

namespace {

using Names = std::vector<std::string>;

class Parser : private ExprParser {
 public:
  using ExprParser::ExprParser;

  std::unique_ptr<TemplateCode> run() {
    auto code = std::make_unique<TemplateCode>();
    code->body = subparse({});
    return code;
  }

 private:
  Block subparse(const Names& end_names) {
    const Level level(*this);
    Block body;
    if (!end_names.empty()) end_stack_.push_back(end_names);
    while (!is(TokenKind::kEof)) {
      if (is(TokenKind::kData)) {
        auto stmt = statement(StmtKind::kData, current().line);
        stmt->text = next().text;
        body.push_back(std::move(stmt));
      } else if (is(TokenKind::kVariableBegin)) {
        const int line = next().line;
        auto stmt = statement(StmtKind::kOutput, line);
        stmt->items.push_back(tuple_expr(true));
        expect(TokenKind::kVariableEnd);
        body.push_back(std::move(stmt));
      } else if (is(TokenKind::kBlockBegin)) {
        next();
        if (is(TokenKind::kName) && std::find(end_names.begin(), end_names.end(), current().text) != end_names.end()) {
          end_stack_.pop_back();
          return body;
        }
        body.push_back(parse_statement());
        expect(TokenKind::kBlockEnd);
      } else {
        fail("unexpected " + quoted(describe(current())));
      }
    }
    if (!end_names.empty()) end_stack_.pop_back();
    return body;
  }

  StmtPtr statement(StmtKind kind, int line) {
    auto stmt = std::make_unique<Stmt>();
    stmt->kind = kind;
    stmt->line = line;
    return stmt;
  }

  // A body up to one of the end tags; the current token is then that tag's name.
  Block statements(const Names& end_names, bool drop_needle = false) {
    skip_if(TokenKind::kColon);
    expect(TokenKind::kBlockEnd);
    Block body = subparse(end_names);
    if (is(TokenKind::kEof)) {
      std::vector<Names> stack = end_stack_;
      stack.push_back(end_names);
      fail_unknown("", stack, current().line);
    }
    if (drop_needle) next();
    return body;
  }

  [[noreturn]] void fail_unknown(const std::string& name, const std::vector<Names>& stack, int line) const {
    std::string looking;
    bool known = false;
    for (const Names& names : stack) known = known || std::find(names.begin(), names.end(), name) != names.end();
    if (!stack.empty()) {
      for (const std::string& tag : stack.back()) looking += (looking.empty() ? "" : " or ") + quoted(tag);
    }
    std::string text = name.empty() ? "Unexpected end of template." : "Encountered unknown tag " + quoted(name) + ".";
    if (!looking.empty()) {
      if (!name.empty() && known) {
        text += " You probably made a nesting mistake. Jinja is expecting this tag, but currently looking for " + looking + ".";
      } else {
        text += " Jinja was looking for the following tags: " + looking + ".";
      }
    }
    if (!tags_.empty()) text += " The innermost block that needs to be closed is " + quoted(tags_.back()) + ".";
    fail(text, line);
  }

  StmtPtr parse_statement() {
    const Token& token = current();
    if (token.kind != TokenKind::kName) fail("tag name expected", token.line);
    const std::string& tag = token.text;
    using Parse = StmtPtr (Parser::*)();
    struct Tag {
      const char* name;
      Parse parse;
    };
    static constexpr Tag kTags[] = {{"for", &Parser::parse_for},
                                    {"if", &Parser::parse_if},
                                    {"set", &Parser::parse_set},
                                    {"with", &Parser::parse_with},
                                    {"macro", &Parser::parse_macro},
                                    {"call", &Parser::parse_call},
                                    {"filter", &Parser::parse_filter_block},
                                    {"block", &Parser::parse_block},
                                    {"autoescape", &Parser::parse_autoescape},
                                    {"print", &Parser::parse_print},
                                    {"generation", &Parser::parse_generation},
                                    {"break", &Parser::parse_break},
                                    {"continue", &Parser::parse_continue},
                                    {"include", &Parser::parse_other_file},
                                    {"import", &Parser::parse_other_file},
                                    {"from", &Parser::parse_other_file},
                                    {"extends", &Parser::parse_other_file}};
    for (const Tag& known : kTags) {
      if (tag != known.name) continue;
      tags_.push_back(tag);
      StmtPtr stmt = (this->*known.parse)();
      tags_.pop_back();
      return stmt;
    }
    fail_unknown(tag, end_stack_, token.line);
  }

  StmtPtr parse_other_file() {
    unsupported("template", "line {}: tag '{}' is not supported: a chat template is one file", current().line, current().text);
  }

  StmtPtr parse_set() {
    auto stmt = statement(StmtKind::kSet, next().line);
    stmt->target = assign_target(true);
    if (skip_if(TokenKind::kAssign)) {
      stmt->expr = tuple_expr(true);
      return stmt;
    }
    stmt->kind = StmtKind::kSetBlock;
    if (is(TokenKind::kPipe)) stmt->filter = filters(nullptr, false);
    stmt->body = statements({"endset"}, true);
    return stmt;
  }

  StmtPtr parse_for() {
    auto stmt = statement(StmtKind::kFor, next().line);
    stmt->target = assign_target(false);
    expect("in");
    stmt->expr = tuple_expr(false);
    if (skip_if("if")) stmt->test = expression();
    stmt->recursive = skip_if("recursive");
    stmt->body = statements({"endfor", "else"});
    if (next().text != "endfor") stmt->orelse = statements({"endfor"}, true);
    return stmt;
  }

  StmtPtr parse_if() {
    auto result = statement(StmtKind::kIf, next().line);
    Stmt* stmt = result.get();
    while (true) {
      stmt->expr = tuple_expr(false);
      stmt->body = statements({"elif", "else", "endif"});
      const Token& tag = next();
      if (tag.text == "elif") {
        result->elifs.push_back(statement(StmtKind::kIf, current().line));
        stmt = result->elifs.back().get();
        continue;
      }
      if (tag.text == "else") result->orelse = statements({"endif"}, true);
      return result;
    }
  }

  StmtPtr parse_with() {
    auto stmt = statement(StmtKind::kWith, next().line);
    while (!is(TokenKind::kBlockEnd)) {
      if (!stmt->items.empty()) expect(TokenKind::kComma);
      stmt->items.push_back(assign_target(false));
      expect(TokenKind::kAssign);
      stmt->values.push_back(expression());
    }
    stmt->body = statements({"endwith"}, true);
    return stmt;
  }

  StmtPtr parse_autoescape() {
    auto stmt = statement(StmtKind::kAutoescape, next().line);
    stmt->expr = expression();
    stmt->body = statements({"endautoescape"}, true);
    return stmt;
  }

  StmtPtr parse_block() {
    auto stmt = statement(StmtKind::kBlock, next().line);
    stmt->text = expect(TokenKind::kName).text;
    stmt->scoped = skip_if("scoped");
    stmt->required = skip_if("required");
    if (is(TokenKind::kSub)) {
      fail("Block names in Jinja have to be valid Python identifiers and may not contain hyphens, use an underscore instead.");
    }
    stmt->body = statements({"endblock"}, true);
    if (stmt->required) {
      const bool blank = std::all_of(stmt->body.begin(), stmt->body.end(), [](const StmtPtr& part) {
        return part->kind == StmtKind::kData && strip_text(part->text, nullptr, true, true).empty();
      });
      if (!blank) fail("Required blocks can only contain comments or whitespace");
    }
    skip_if(stmt->text.c_str());
    return stmt;
  }

  StmtPtr parse_print() {
    auto stmt = statement(StmtKind::kOutput, next().line);
    while (!is(TokenKind::kBlockEnd)) {
      if (!stmt->items.empty()) expect(TokenKind::kComma);
      stmt->items.push_back(expression());
    }
    return stmt;
  }

  StmtPtr parse_generation() {
    auto stmt = statement(StmtKind::kGeneration, next().line);
    stmt->body = statements({"endgeneration"}, true);
    return stmt;
  }

  StmtPtr parse_break() { return statement(StmtKind::kBreak, next().line); }
  StmtPtr parse_continue() { return statement(StmtKind::kContinue, next().line); }

  void signature(Stmt& stmt) {
    expect(TokenKind::kLParen);
    while (!is(TokenKind::kRParen)) {
      if (!stmt.parameters.empty()) expect(TokenKind::kComma);
      ExprPtr parameter = name_target();
      if (skip_if(TokenKind::kAssign)) {
        stmt.defaults.push_back(expression());
      } else if (!stmt.defaults.empty()) {
        fail("non-default argument follows default argument");
      }
      stmt.parameters.push_back(std::move(parameter));
    }
    next();
  }

  StmtPtr parse_macro() {
    auto stmt = statement(StmtKind::kMacro, next().line);
    stmt->target = name_target();
    stmt->text = stmt->target->name;
    signature(*stmt);
    stmt->body = statements({"endmacro"}, true);
    return stmt;
  }

  StmtPtr parse_call() {
    auto stmt = statement(StmtKind::kCallBlock, next().line);
    if (is(TokenKind::kLParen)) signature(*stmt);
    stmt->expr = expression();
    if (stmt->expr->kind != ExprKind::kCall) fail("expected call", stmt->line);
    stmt->body = statements({"endcall"}, true);
    return stmt;
  }

  StmtPtr parse_filter_block() {
    auto stmt = statement(StmtKind::kFilterBlock, next().line);
    stmt->expr = filters(nullptr, true);
    stmt->body = statements({"endfilter"}, true);
    return stmt;
  }

  std::vector<Names> end_stack_;
  std::vector<std::string> tags_;
};

}  // namespace

std::unique_ptr<TemplateCode> parse_template(std::string_view source, const Limits& limits) {
  return Parser(source, limits).run();
}

}  // namespace pagoda::jinja
