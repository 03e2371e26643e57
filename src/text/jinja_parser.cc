// Tokens to syntax tree: recursive descent, with the depth of blocks and expressions bounded.
#include "text/jinja_parser.h"

#include <algorithm>
#include <initializer_list>

#include "text/jinja_lexer.h"
#include "text/jinja_text.h"

namespace pagoda::jinja {

namespace {

using Names = std::vector<std::string>;

// 'a' as Python's repr shows a name or tag: these never hold quotes.
std::string quoted(const std::string& text) { return "'" + text + "'"; }

const char* class_name(const Expr& expr) {
  switch (expr.kind) {
    case ExprKind::kConst: return "const";
    case ExprKind::kName: return "name";
    case ExprKind::kNamespaceRef: return "nsref";
    case ExprKind::kTuple: return "tuple";
    case ExprKind::kList: return "list";
    case ExprKind::kDict: return "dict";
    case ExprKind::kGetattr: return "getattr";
    case ExprKind::kGetitem: return "getitem";
    case ExprKind::kSlice: return "slice";
    case ExprKind::kCall: return "call";
    case ExprKind::kFilter: return "filter";
    case ExprKind::kTest: return "test";
    case ExprKind::kCond: return "condexpr";
    case ExprKind::kAnd: return "and";
    case ExprKind::kOr: return "or";
    case ExprKind::kNot: return "not";
    case ExprKind::kNeg: return "neg";
    case ExprKind::kPos: return "pos";
    case ExprKind::kAdd: return "add";
    case ExprKind::kSub: return "sub";
    case ExprKind::kMul: return "mul";
    case ExprKind::kDiv: return "div";
    case ExprKind::kFloorDiv: return "floordiv";
    case ExprKind::kMod: return "mod";
    case ExprKind::kPow: return "pow";
    case ExprKind::kConcat: return "concat";
    case ExprKind::kCompare: return "compare";
  }
  return "expr";
}

bool can_assign(const Expr& expr) {
  if (expr.kind == ExprKind::kTuple) {
    return std::all_of(expr.items.begin(), expr.items.end(), [](const ExprPtr& item) { return can_assign(*item); });
  }
  if (expr.kind == ExprKind::kName) {
    static constexpr const char* kReserved[] = {"true", "false", "none", "True", "False", "None"};
    return std::none_of(std::begin(kReserved), std::end(kReserved), [&](const char* word) { return expr.name == word; });
  }
  return expr.kind == ExprKind::kNamespaceRef;
}

void mark_store(Expr& expr) {
  if (expr.kind == ExprKind::kName) expr.store = true;
  for (const ExprPtr& item : expr.items) mark_store(*item);
}

class Parser {
 public:
  Parser(std::string_view source, const Limits& limits) : limits_(limits), list_(tokenize(source, limits)) { check_error(); }

  std::unique_ptr<TemplateCode> run() {
    auto code = std::make_unique<TemplateCode>();
    code->body = subparse({});
    return code;
  }

 private:
  // Counts the levels of the recursive descent.
  class Level {
   public:
    explicit Level(Parser& parser) : parser_(parser) {
      if (++parser_.depth_ > parser_.limits_.max_depth) {
        --parser_.depth_;
        parser_.too_deep();
      }
    }
    Level(const Level&) = delete;
    Level& operator=(const Level&) = delete;
    ~Level() { --parser_.depth_; }

   private:
    Parser& parser_;
  };

  [[noreturn]] void too_deep() const {
    invalid("template", "line {}: nested too deeply: need at most {} levels (max_depth)", current().line, limits_.max_depth);
  }

  [[noreturn]] void fail(const std::string& text, int line) const { throw TemplateError("TemplateSyntaxError", text, line); }
  [[noreturn]] void fail(const std::string& text) const { fail(text, current().line); }

  const Token& current() const { return list_.tokens[at_]; }
  const Token& look() const { return list_.tokens[std::min(at_ + 1, list_.tokens.size() - 1)]; }
  bool is(TokenKind kind) const { return current().kind == kind; }
  bool is_name(const char* name) const { return current().kind == TokenKind::kName && current().text == name; }
  static bool is_name(const Token& token, const char* name) { return token.kind == TokenKind::kName && token.text == name; }

  void check_error() {
    if (list_.error.has_value() && at_ + 1 >= list_.tokens.size()) throw TemplateError(*list_.error);
  }
  // The token passed.
  const Token& next() {
    const Token& token = list_.tokens[at_];
    if (at_ + 1 < list_.tokens.size()) {
      ++at_;
      check_error();
    }
    return token;
  }
  bool skip_if(TokenKind kind) {
    if (!is(kind)) return false;
    next();
    return true;
  }
  bool skip_if(const char* name) {
    if (!is_name(name)) return false;
    next();
    return true;
  }
  const Token& expect(TokenKind kind) {
    if (!is(kind)) expected(describe(kind));
    return next();
  }
  const Token& expect(const char* name) {
    if (!is_name(name)) expected(name);
    return next();
  }
  [[noreturn]] void expected(const std::string& what) const {
    if (is(TokenKind::kEof)) fail("unexpected end of template, expected " + quoted(what) + ".");
    fail("expected token " + quoted(what) + ", got " + quoted(describe(current())));
  }

  ExprPtr make(ExprKind kind, int line) {
    auto expr = std::make_unique<Expr>();
    expr->kind = kind;
    expr->line = line;
    return expr;
  }
  // Sets the depth of an expression whose parts are complete; evaluation recurses this deep.
  ExprPtr done(ExprPtr expr) {
    int depth = 0;
    const auto see = [&](const ExprPtr& part) {
      if (part != nullptr) depth = std::max(depth, part->depth);
    };
    see(expr->a), see(expr->b), see(expr->c), see(expr->dyn_args), see(expr->dyn_keywords);
    for (const ExprPtr& item : expr->items) see(item);
    for (const ExprPtr& item : expr->args) see(item);
    for (const auto& keyword : expr->keywords) see(keyword.second);
    expr->depth = depth + 1;
    if (expr->depth > limits_.max_depth) too_deep();
    return expr;
  }

  // --- statements

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

  ExprPtr name_target() {
    const Token& token = expect(TokenKind::kName);
    ExprPtr target = make(ExprKind::kName, token.line);
    target->name = token.text;
    target->store = true;
    if (!can_assign(*target)) fail("can't assign to 'name'", target->line);
    return target;
  }

  ExprPtr assign_target(bool with_namespace) {
    ExprPtr target = tuple_of([&] { return primary(with_namespace); }, false);
    if (!can_assign(*target)) fail("can't assign to " + quoted(class_name(*target)), target->line);
    mark_store(*target);
    return target;
  }

  // --- expressions

  ExprPtr expression(bool with_condition = true) {
    const Level level(*this);
    return with_condition ? conditional() : disjunction();
  }

  ExprPtr conditional() {
    int line = current().line;
    ExprPtr expr = disjunction();
    while (skip_if("if")) {
      ExprPtr cond = make(ExprKind::kCond, line);
      cond->a = std::move(expr);
      cond->b = disjunction();
      if (skip_if("else")) {
        const Level level(*this);
        cond->c = conditional();
      }
      expr = done(std::move(cond));
      line = current().line;
    }
    return expr;
  }

  ExprPtr binary(ExprKind kind, ExprPtr left, ExprPtr right, int line) {
    ExprPtr expr = make(kind, line);
    expr->a = std::move(left);
    expr->b = std::move(right);
    return done(std::move(expr));
  }

  ExprPtr disjunction() {
    int line = current().line;
    ExprPtr left = conjunction();
    while (skip_if("or")) {
      ExprPtr right = conjunction();
      left = binary(ExprKind::kOr, std::move(left), std::move(right), line);
      line = current().line;
    }
    return left;
  }

  ExprPtr conjunction() {
    int line = current().line;
    ExprPtr left = negation();
    while (skip_if("and")) {
      ExprPtr right = negation();
      left = binary(ExprKind::kAnd, std::move(left), std::move(right), line);
      line = current().line;
    }
    return left;
  }

  ExprPtr negation() {
    if (!is_name("not")) return comparison();
    const Level level(*this);
    ExprPtr expr = make(ExprKind::kNot, next().line);
    expr->a = negation();
    return done(std::move(expr));
  }

  bool compare_op(CompareOp& op) {
    switch (current().kind) {
      case TokenKind::kEq: op = CompareOp::kEq; break;
      case TokenKind::kNe: op = CompareOp::kNe; break;
      case TokenKind::kLt: op = CompareOp::kLt; break;
      case TokenKind::kLe: op = CompareOp::kLe; break;
      case TokenKind::kGt: op = CompareOp::kGt; break;
      case TokenKind::kGe: op = CompareOp::kGe; break;
      default:
        if (is_name("in")) {
          op = CompareOp::kIn;
        } else if (is_name("not") && is_name(look(), "in")) {
          op = CompareOp::kNotIn;
          next();
        } else {
          return false;
        }
    }
    next();
    return true;
  }

  ExprPtr comparison() {
    const int line = current().line;
    ExprPtr expr = sum();
    CompareOp op;
    if (!compare_op(op)) return expr;
    ExprPtr compare = make(ExprKind::kCompare, line);
    compare->a = std::move(expr);
    do {
      compare->ops.push_back(op);
      compare->items.push_back(sum());
    } while (compare_op(op));
    return done(std::move(compare));
  }

  ExprPtr sum() {
    int line = current().line;
    ExprPtr left = concatenation();
    while (is(TokenKind::kAdd) || is(TokenKind::kSub)) {
      const ExprKind kind = next().kind == TokenKind::kAdd ? ExprKind::kAdd : ExprKind::kSub;
      ExprPtr right = concatenation();
      left = binary(kind, std::move(left), std::move(right), line);
      line = current().line;
    }
    return left;
  }

  ExprPtr concatenation() {
    const int line = current().line;
    ExprPtr first = product();
    if (!is(TokenKind::kTilde)) return first;
    ExprPtr concat = make(ExprKind::kConcat, line);
    concat->items.push_back(std::move(first));
    while (skip_if(TokenKind::kTilde)) concat->items.push_back(product());
    return done(std::move(concat));
  }

  ExprPtr product() {
    int line = current().line;
    ExprPtr left = power();
    while (true) {
      ExprKind kind;
      switch (current().kind) {
        case TokenKind::kMul: kind = ExprKind::kMul; break;
        case TokenKind::kDiv: kind = ExprKind::kDiv; break;
        case TokenKind::kFloorDiv: kind = ExprKind::kFloorDiv; break;
        case TokenKind::kMod: kind = ExprKind::kMod; break;
        default: return left;
      }
      next();
      ExprPtr right = power();
      left = binary(kind, std::move(left), std::move(right), line);
      line = current().line;
    }
  }

  ExprPtr power() {
    int line = current().line;
    ExprPtr left = unary(true);
    while (skip_if(TokenKind::kPow)) {
      ExprPtr right = unary(true);
      left = binary(ExprKind::kPow, std::move(left), std::move(right), line);
      line = current().line;
    }
    return left;
  }

  ExprPtr unary(bool with_filter) {
    ExprPtr expr;
    if (is(TokenKind::kSub) || is(TokenKind::kAdd)) {
      const Level level(*this);
      const Token& sign = next();
      expr = make(sign.kind == TokenKind::kSub ? ExprKind::kNeg : ExprKind::kPos, sign.line);
      expr->a = unary(false);
      expr = done(std::move(expr));
    } else {
      expr = primary(false);
    }
    expr = postfix(std::move(expr));
    return with_filter ? filter_chain(std::move(expr)) : std::move(expr);
  }

  ExprPtr constant(Value value, int line) {
    ExprPtr expr = make(ExprKind::kConst, line);
    expr->value = std::move(value);
    return expr;
  }

  ExprPtr primary(bool with_namespace) {
    const Token& token = current();
    switch (token.kind) {
      case TokenKind::kName: {
        next();
        const std::string& name = token.text;
        if (name == "true" || name == "True") return constant(Value::boolean(true), token.line);
        if (name == "false" || name == "False") return constant(Value::boolean(false), token.line);
        if (name == "none" || name == "None") return constant(Value::none(), token.line);
        if (with_namespace && skip_if(TokenKind::kDot)) {
          ExprPtr ref = make(ExprKind::kNamespaceRef, token.line);
          ref->name = name;
          ref->attr = expect(TokenKind::kName).text;
          return ref;
        }
        ExprPtr expr = make(ExprKind::kName, token.line);
        expr->name = name;
        return expr;
      }
      case TokenKind::kString: {
        std::string text = next().text;
        while (is(TokenKind::kString)) text += next().text;
        return constant(Value::string(std::move(text)), token.line);
      }
      case TokenKind::kInteger: next(); return constant(Value::integer(token.integer), token.line);
      case TokenKind::kFloat: next(); return constant(Value::real(token.real), token.line);
      case TokenKind::kLParen: {
        const Level level(*this);
        next();
        ExprPtr expr = tuple_expr(true, true);
        expect(TokenKind::kRParen);
        return expr;
      }
      case TokenKind::kLBracket: {
        ExprPtr list = make(ExprKind::kList, next().line);
        while (!is(TokenKind::kRBracket)) {
          if (!list->items.empty()) expect(TokenKind::kComma);
          if (is(TokenKind::kRBracket)) break;
          list->items.push_back(expression());
        }
        next();
        return done(std::move(list));
      }
      case TokenKind::kLBrace: {
        ExprPtr dict = make(ExprKind::kDict, next().line);
        while (!is(TokenKind::kRBrace)) {
          if (!dict->items.empty()) expect(TokenKind::kComma);
          if (is(TokenKind::kRBrace)) break;
          dict->items.push_back(expression());
          expect(TokenKind::kColon);
          dict->items.push_back(expression());
        }
        next();
        return done(std::move(dict));
      }
      default: fail("unexpected " + quoted(describe(token)), token.line);
    }
  }

  bool is_tuple_end() const { return is(TokenKind::kVariableEnd) || is(TokenKind::kBlockEnd) || is(TokenKind::kRParen); }

  // One expression, or a tuple where a comma follows.
  template <class Parse>
  ExprPtr tuple_of(const Parse& parse, bool explicit_parentheses) {
    int line = current().line;
    std::vector<ExprPtr> items;
    bool is_tuple = false;
    while (true) {
      if (!items.empty()) expect(TokenKind::kComma);
      if (is_tuple_end()) break;
      items.push_back(parse());
      if (!is(TokenKind::kComma)) break;
      is_tuple = true;
      line = current().line;
    }
    if (!is_tuple) {
      if (!items.empty()) return std::move(items.front());
      if (!explicit_parentheses) fail("Expected an expression, got " + quoted(describe(current())));
    }
    ExprPtr tuple = make(ExprKind::kTuple, line);
    tuple->items = std::move(items);
    return done(std::move(tuple));
  }

  ExprPtr tuple_expr(bool with_condition, bool explicit_parentheses = false) {
    return tuple_of([&] { return expression(with_condition); }, explicit_parentheses);
  }

  ExprPtr postfix(ExprPtr expr) {
    while (true) {
      if (is(TokenKind::kDot) || is(TokenKind::kLBracket)) {
        expr = subscript(std::move(expr));
      } else if (is(TokenKind::kLParen)) {
        expr = call(std::move(expr));
      } else {
        return expr;
      }
    }
  }

  ExprPtr filter_chain(ExprPtr expr) {
    while (true) {
      if (is(TokenKind::kPipe)) {
        expr = filters(std::move(expr), false);
      } else if (is_name("is")) {
        expr = test(std::move(expr));
      } else if (is(TokenKind::kLParen)) {
        expr = call(std::move(expr));
      } else {
        return expr;
      }
    }
  }

  ExprPtr subscript(ExprPtr expr) {
    const Token& token = next();
    if (token.kind == TokenKind::kDot) {
      const Token& attr = current();
      next();
      if (attr.kind == TokenKind::kName) {
        ExprPtr get = make(ExprKind::kGetattr, token.line);
        get->a = std::move(expr);
        get->name = attr.text;
        get->value = Value::string(attr.text);
        return done(std::move(get));
      }
      if (attr.kind != TokenKind::kInteger) fail("expected name or number", attr.line);
      return binary(ExprKind::kGetitem, std::move(expr), constant(Value::integer(attr.integer), attr.line), token.line);
    }
    std::vector<ExprPtr> parts;
    while (!is(TokenKind::kRBracket)) {
      if (!parts.empty()) expect(TokenKind::kComma);
      parts.push_back(subscribed());
    }
    next();
    ExprPtr argument;
    if (parts.size() == 1) {
      argument = std::move(parts.front());
    } else {
      for (const ExprPtr& part : parts) {
        if (part->kind == ExprKind::kSlice) fail("a slice cannot be part of a tuple", token.line);
      }
      argument = make(ExprKind::kTuple, token.line);
      argument->items = std::move(parts);
      argument = done(std::move(argument));
    }
    return binary(ExprKind::kGetitem, std::move(expr), std::move(argument), token.line);
  }

  ExprPtr subscribed() {
    const int line = current().line;
    ExprPtr start, stop, step;
    if (is(TokenKind::kColon)) {
      next();
    } else {
      start = expression();
      if (!is(TokenKind::kColon)) return start;
      next();
    }
    if (!is(TokenKind::kColon) && !is(TokenKind::kRBracket) && !is(TokenKind::kComma)) stop = expression();
    if (skip_if(TokenKind::kColon)) {
      if (!is(TokenKind::kRBracket) && !is(TokenKind::kComma)) step = expression();
    }
    ExprPtr slice = make(ExprKind::kSlice, line);
    slice->items.push_back(std::move(start));
    slice->items.push_back(std::move(stop));
    slice->items.push_back(std::move(step));
    return done(std::move(slice));
  }

  void call_args(Expr& expr) {
    const int line = expect(TokenKind::kLParen).line;
    const auto ensure = [&](bool fine) {
      if (!fine) fail("invalid syntax for function call expression", line);
    };
    bool first = true;
    while (!is(TokenKind::kRParen)) {
      if (!first) {
        expect(TokenKind::kComma);
        if (is(TokenKind::kRParen)) break;
      }
      first = false;
      if (is(TokenKind::kMul)) {
        ensure(expr.dyn_args == nullptr && expr.dyn_keywords == nullptr);
        next();
        expr.dyn_args = expression();
      } else if (is(TokenKind::kPow)) {
        ensure(expr.dyn_keywords == nullptr);
        next();
        expr.dyn_keywords = expression();
      } else if (is(TokenKind::kName) && look().kind == TokenKind::kAssign) {
        ensure(expr.dyn_keywords == nullptr);
        std::string key = next().text;
        next();
        ExprPtr value = expression();
        expr.keywords.emplace_back(std::move(key), std::move(value));
      } else {
        ensure(expr.dyn_args == nullptr && expr.dyn_keywords == nullptr && expr.keywords.empty());
        expr.args.push_back(expression());
      }
    }
    expect(TokenKind::kRParen);
  }

  ExprPtr call(ExprPtr callee) {
    ExprPtr expr = make(ExprKind::kCall, current().line);
    expr->a = std::move(callee);
    call_args(*expr);
    return done(std::move(expr));
  }

  std::string dotted_name() {
    std::string name = expect(TokenKind::kName).text;
    while (skip_if(TokenKind::kDot)) name += "." + expect(TokenKind::kName).text;
    return name;
  }

  ExprPtr filters(ExprPtr operand, bool start_inline) {
    while (is(TokenKind::kPipe) || start_inline) {
      if (!start_inline) next();
      start_inline = false;
      ExprPtr expr = make(ExprKind::kFilter, current().line);
      expr->a = std::move(operand);
      expr->name = dotted_name();
      if (is(TokenKind::kLParen)) call_args(*expr);
      operand = done(std::move(expr));
    }
    return operand;
  }

  ExprPtr test(ExprPtr operand) {
    const int line = next().line;
    const bool negated = skip_if("not");
    ExprPtr expr = make(ExprKind::kTest, line);
    expr->a = std::move(operand);
    expr->name = dotted_name();
    switch (current().kind) {
      case TokenKind::kLParen: call_args(*expr); break;
      case TokenKind::kName:
        if (is_name("else") || is_name("or") || is_name("and")) break;
        if (is_name("is")) fail("You cannot chain multiple tests with is");
        [[fallthrough]];
      case TokenKind::kString:
      case TokenKind::kInteger:
      case TokenKind::kFloat:
      case TokenKind::kLBracket:
      case TokenKind::kLBrace: expr->args.push_back(postfix(primary(false))); break;
      default: break;
    }
    expr = done(std::move(expr));
    if (!negated) return expr;
    ExprPtr inverse = make(ExprKind::kNot, line);
    inverse->a = std::move(expr);
    return done(std::move(inverse));
  }

  const Limits& limits_;
  TokenList list_;
  size_t at_ = 0;
  int64_t depth_ = 0;
  std::vector<Names> end_stack_;
  std::vector<std::string> tags_;
};

}  // namespace

std::unique_ptr<TemplateCode> parse_template(std::string_view source, const Limits& limits) {
  return Parser(source, limits).run();
}

}  // namespace pagoda::jinja
