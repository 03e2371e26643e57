// Expressions: recursive descent, a function for each level of precedence.
#include "text/jinja_expr_parser.h"

#include <algorithm>
#include <iterator>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace pagoda::jinja {

namespace {

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

ExprPtr make(ExprKind kind, int line) {
  auto expr = std::make_unique<Expr>();
  expr->kind = kind;
  expr->line = line;
  return expr;
}

ExprPtr constant(Value value, int line) {
  ExprPtr expr = make(ExprKind::kConst, line);
  expr->value = std::move(value);
  return expr;
}

}  // namespace

// Sets the depth of an expression whose parts are complete; evaluation recurses this deep.
ExprPtr ExprParser::done(ExprPtr expr) const {
  int depth = 0;
  const auto see = [&](const ExprPtr& part) {
    if (part != nullptr) depth = std::max(depth, part->depth);
  };
  see(expr->a), see(expr->b), see(expr->c), see(expr->dyn_args), see(expr->dyn_keywords);
  for (const ExprPtr& item : expr->items) see(item);
  for (const ExprPtr& item : expr->args) see(item);
  for (const auto& keyword : expr->keywords) see(keyword.second);
  expr->depth = depth + 1;
  if (expr->depth > max_depth()) too_deep();
  return expr;
}

ExprPtr ExprParser::binary(ExprKind kind, ExprPtr left, ExprPtr right, int line) const {
  ExprPtr expr = make(kind, line);
  expr->a = std::move(left);
  expr->b = std::move(right);
  return done(std::move(expr));
}

ExprPtr ExprParser::name_target() {
  const Token& token = expect(TokenKind::kName);
  ExprPtr target = make(ExprKind::kName, token.line);
  target->name = token.text;
  target->store = true;
  if (!can_assign(*target)) fail("can't assign to 'name'", target->line);
  return target;
}

ExprPtr ExprParser::assign_target(bool with_namespace) {
  ExprPtr target = tuple_of([&] { return primary(with_namespace); }, false);
  if (!can_assign(*target)) fail("can't assign to " + quoted(class_name(*target)), target->line);
  mark_store(*target);
  return target;
}

ExprPtr ExprParser::expression(bool with_condition) {
  const Level level(*this);
  return with_condition ? conditional() : disjunction();
}

ExprPtr ExprParser::conditional() {
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

ExprPtr ExprParser::disjunction() {
  int line = current().line;
  ExprPtr left = conjunction();
  while (skip_if("or")) {
    ExprPtr right = conjunction();
    left = binary(ExprKind::kOr, std::move(left), std::move(right), line);
    line = current().line;
  }
  return left;
}

ExprPtr ExprParser::conjunction() {
  int line = current().line;
  ExprPtr left = negation();
  while (skip_if("and")) {
    ExprPtr right = negation();
    left = binary(ExprKind::kAnd, std::move(left), std::move(right), line);
    line = current().line;
  }
  return left;
}

ExprPtr ExprParser::negation() {
  if (!is_name("not")) return comparison();
  const Level level(*this);
  ExprPtr expr = make(ExprKind::kNot, next().line);
  expr->a = negation();
  return done(std::move(expr));
}

bool ExprParser::compare_op(CompareOp& op) {
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

ExprPtr ExprParser::comparison() {
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

ExprPtr ExprParser::sum() {
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

ExprPtr ExprParser::concatenation() {
  const int line = current().line;
  ExprPtr first = product();
  if (!is(TokenKind::kTilde)) return first;
  ExprPtr concat = make(ExprKind::kConcat, line);
  concat->items.push_back(std::move(first));
  while (skip_if(TokenKind::kTilde)) concat->items.push_back(product());
  return done(std::move(concat));
}

ExprPtr ExprParser::product() {
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

ExprPtr ExprParser::power() {
  int line = current().line;
  ExprPtr left = unary(true);
  while (skip_if(TokenKind::kPow)) {
    ExprPtr right = unary(true);
    left = binary(ExprKind::kPow, std::move(left), std::move(right), line);
    line = current().line;
  }
  return left;
}

ExprPtr ExprParser::unary(bool with_filter) {
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

ExprPtr ExprParser::primary(bool with_namespace) {
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

bool ExprParser::is_tuple_end() const {
  return is(TokenKind::kVariableEnd) || is(TokenKind::kBlockEnd) || is(TokenKind::kRParen);
}

// One expression, or a tuple where a comma follows.
template <class Parse>
ExprPtr ExprParser::tuple_of(const Parse& parse, bool explicit_parentheses) {
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

ExprPtr ExprParser::tuple_expr(bool with_condition, bool explicit_parentheses) {
  return tuple_of([&] { return expression(with_condition); }, explicit_parentheses);
}

ExprPtr ExprParser::postfix(ExprPtr expr) {
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

ExprPtr ExprParser::filter_chain(ExprPtr expr) {
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

ExprPtr ExprParser::subscript(ExprPtr expr) {
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

ExprPtr ExprParser::subscribed() {
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

void ExprParser::call_args(Expr& expr) {
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

ExprPtr ExprParser::call(ExprPtr callee) {
  ExprPtr expr = make(ExprKind::kCall, current().line);
  expr->a = std::move(callee);
  call_args(*expr);
  return done(std::move(expr));
}

std::string ExprParser::dotted_name() {
  std::string name = expect(TokenKind::kName).text;
  while (skip_if(TokenKind::kDot)) name += "." + expect(TokenKind::kName).text;
  return name;
}

ExprPtr ExprParser::filters(ExprPtr operand, bool start_inline) {
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

ExprPtr ExprParser::test(ExprPtr operand) {
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

}  // namespace pagoda::jinja
