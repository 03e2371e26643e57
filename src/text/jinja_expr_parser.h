// Expressions and assignment targets from tokens to syntax tree, by jinja2's grammar.
#pragma once

#include <string>

#include "text/jinja_ast.h"
#include "text/jinja_cursor.h"

namespace pagoda::jinja {

// Each function reads at the current token and leaves the first one that does not belong. TemplateError where the text is
// wrong; what it returns is at most max_depth levels deep.
class ExprParser : public TokenCursor {
 public:
  using TokenCursor::TokenCursor;

  ExprPtr expression(bool with_condition = true);
  // One expression, or a tuple where a comma follows; an empty one only in parentheses.
  ExprPtr tuple_expr(bool with_condition, bool explicit_parentheses = false);
  // `| a | b(c)` around the operand, which is null for the text of a block; the first `|` is left out where `start_inline`.
  ExprPtr filters(ExprPtr operand, bool start_inline);

  ExprPtr name_target();
  // A name or a tuple of them; `a.b` too where `with_namespace`.
  ExprPtr assign_target(bool with_namespace);

 private:
  ExprPtr done(ExprPtr expr) const;
  ExprPtr binary(ExprKind kind, ExprPtr left, ExprPtr right, int line) const;

  // From the loosest binding to the tightest.
  ExprPtr conditional();
  ExprPtr disjunction();
  ExprPtr conjunction();
  ExprPtr negation();
  ExprPtr comparison();
  ExprPtr sum();
  ExprPtr concatenation();
  ExprPtr product();
  ExprPtr power();
  ExprPtr unary(bool with_filter);
  ExprPtr primary(bool with_namespace);

  bool compare_op(CompareOp& op);
  bool is_tuple_end() const;
  template <class Parse>
  ExprPtr tuple_of(const Parse& parse, bool explicit_parentheses);

  // What follows a primary.
  ExprPtr postfix(ExprPtr expr);
  ExprPtr filter_chain(ExprPtr expr);
  ExprPtr subscript(ExprPtr expr);
  ExprPtr subscribed();
  ExprPtr call(ExprPtr callee);
  void call_args(Expr& expr);
  ExprPtr test(ExprPtr operand);
  std::string dotted_name();
};

}  // namespace pagoda::jinja
