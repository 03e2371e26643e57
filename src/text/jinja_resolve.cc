// Gives every variable of a syntax tree its slot.
#include "text/jinja_resolve.h"

#include <algorithm>
#include <map>
#include <set>
#include <unordered_map>
#include <unordered_set>

#include "text/jinja_builtins.h"
#include "text/jinja_error.h"

namespace pagoda::jinja {

namespace {

[[noreturn]] void fail(const char* type, const std::string& text, int line) { throw TemplateError(type, text, line); }

// A Python function of the compiled template.
struct Function {
  Function* parent = nullptr;
  FunctionCode* code = nullptr;
  std::map<std::pair<int, std::string>, int> slots;  // (level, name)

  int slot(int level, const std::string& name) {
    const auto [at, added] = slots.emplace(std::make_pair(level, name), code->slots);
    if (added) ++code->slots;
    return at->second;
  }
};

struct Ident {
  Function* function = nullptr;
  int slot = -1;
};

struct Instruction {
  Scope::Load load = Scope::Load::kUndefined;
  Ident alias;
  std::string name;
};

// The names of one scope. A branch of an if is an overlay over the scope it is in (`base`), merged back afterwards.
class Symbols {
 public:
  Symbols(Symbols* parent, Function* function)
      : level_(parent == nullptr ? 0 : parent->level_ + 1), parent_(parent), function_(function) {}
  explicit Symbols(Symbols* base) : level_(base->level_), parent_(base->parent_), base_(base), function_(base->function_) {}

  const Ident* find(const std::string& name) const {
    if (const Ident* own = find_own(name); own != nullptr) return own;
    return parent_ == nullptr ? nullptr : parent_->find(name);
  }

  void load(const std::string& name) {
    if (find(name) == nullptr) define(name, {Scope::Load::kResolve, {}, name});
  }

  void store(const std::string& name) {
    stores_.insert(name);
    if (find_own(name) != nullptr) return;
    if (parent_ != nullptr) {
      if (const Ident* outer = parent_->find(name); outer != nullptr) {
        define(name, {Scope::Load::kAlias, *outer, {}});
        return;
      }
    }
    define(name, {Scope::Load::kUndefined, {}, {}});
  }

  Ident parameter(const std::string& name) {
    stores_.insert(name);
    return define(name, {Scope::Load::kParameter, {}, {}});
  }

  void merge(const std::vector<Symbols*>& branches) {
    std::set<std::string> stores;
    for (const Symbols* branch : branches) {
      for (const std::string& name : branch->stores_) {
        if (!stored(name)) stores.insert(name);
      }
    }
    for (const Symbols* branch : branches) {
      for (const auto& [name, ident] : branch->refs_) refs_[name] = ident;
      for (const auto& [slot, instruction] : branch->loads_) loads_[slot] = instruction;
      stores_.insert(branch->stores_.begin(), branch->stores_.end());
    }
    // Assigned in some branch only: what the variable is otherwise must be loaded first.
    for (const std::string& name : stores) {
      const Ident target = *find(name);
      const Ident* outer = parent_ == nullptr ? nullptr : parent_->find(name);
      loads_[target.slot] =
          outer != nullptr ? Instruction{Scope::Load::kAlias, *outer, {}} : Instruction{Scope::Load::kResolve, {}, name};
    }
  }

  // Names assigned in this scope and the ones around it, innermost first.
  void visible(std::vector<std::pair<std::string, Ident>>& out) const {
    std::unordered_set<std::string_view> known;
    for (const Symbols* scope = this; scope != nullptr; scope = scope->parent_) {
      for (const std::string& name : scope->stores_) {
        if (known.insert(name).second) out.emplace_back(name, *find(name));
      }
    }
  }

  Function* function() const { return function_; }
  const std::map<int, Instruction>& loads() const { return loads_; }

 private:
  const Ident* find_own(const std::string& name) const {
    const auto at = refs_.find(name);
    if (at != refs_.end()) return &at->second;
    return base_ == nullptr ? nullptr : base_->find_own(name);
  }
  bool stored(const std::string& name) const { return stores_.count(name) != 0 || (base_ != nullptr && base_->stored(name)); }
  Ident define(const std::string& name, Instruction instruction) {
    const Ident ident{function_, function_->slot(level_, name)};
    refs_[name] = ident;
    loads_[ident.slot] = std::move(instruction);
    return ident;
  }

  int level_;
  Symbols* parent_;
  Symbols* base_ = nullptr;
  Function* function_;
  std::unordered_map<std::string, Ident> refs_;
  std::map<int, Instruction> loads_;
  std::unordered_set<std::string> stores_;
};

// Calls `see` with every part of an expression.
template <class See>
void each_part(const Expr& expr, const See& see) {
  const auto part = [&](const ExprPtr& child) {
    if (child != nullptr) see(*child);
  };
  part(expr.a), part(expr.b), part(expr.c);
  for (const ExprPtr& item : expr.items) part(item);
  for (const ExprPtr& item : expr.args) part(item);
  for (const auto& keyword : expr.keywords) part(keyword.second);
  part(expr.dyn_args), part(expr.dyn_keywords);
}

// Loads and stores of the statements of one scope, in order; stops where an inner scope begins.
class Collector {
 public:
  explicit Collector(Symbols& symbols) : symbols_(&symbols) {}

  void body(const Block& block) {
    for (const StmtPtr& stmt : block) visit(*stmt);
  }

  void expr(const Expr& node, bool as_parameter = false) {
    if (node.kind == ExprKind::kName) {
      if (as_parameter) {
        symbols_->parameter(node.name);
      } else if (node.store) {
        symbols_->store(node.name);
      } else {
        symbols_->load(node.name);
      }
      return;
    }
    if (node.kind == ExprKind::kNamespaceRef) symbols_->load(node.name);
    each_part(node, [&](const Expr& part) { expr(part, as_parameter); });
  }

 private:
  void visit(const Stmt& stmt) {
    switch (stmt.kind) {
      case StmtKind::kOutput:
        for (const ExprPtr& item : stmt.items) expr(*item);
        break;
      case StmtKind::kSet:
        expr(*stmt.expr);
        expr(*stmt.target);
        break;
      case StmtKind::kSetBlock: expr(*stmt.target); break;
      case StmtKind::kFor:
      case StmtKind::kCallBlock:
      case StmtKind::kFilterBlock: expr(*stmt.expr); break;
      case StmtKind::kIf: branches(stmt); break;
      case StmtKind::kWith:
        for (const ExprPtr& value : stmt.values) expr(*value);
        break;
      case StmtKind::kMacro: symbols_->store(stmt.text); break;
      default: break;
    }
  }

  void branches(const Stmt& stmt) {
    expr(*stmt.expr);
    Symbols* const outer = symbols_;
    Symbols then(outer), elif (outer), otherwise(outer);
    symbols_ = &then;
    body(stmt.body);
    symbols_ = &elif;
    for (const StmtPtr& branch : stmt.elifs) branches(*branch);
    symbols_ = &otherwise;
    body(stmt.orelse);
    symbols_ = outer;
    outer->merge({&then, &elif, &otherwise});
  }

  Symbols* symbols_;
};

// Which of some names are read before they are assigned, anywhere below (inner scopes too, blocks not).
class Undeclared {
 public:
  explicit Undeclared(std::set<std::string> names) : names_(std::move(names)) {}

  void body(const Block& block) {
    for (const StmtPtr& stmt : block) visit(*stmt);
  }
  bool has(const char* name) const { return found_.count(name) != 0; }

 private:
  void expr(const Expr* node) {
    if (node == nullptr) return;
    if (node->kind == ExprKind::kName) {
      if (!node->store && names_.count(node->name) != 0) {
        found_.insert(node->name);
      } else {
        names_.erase(node->name);
      }
      return;
    }
    each_part(*node, [&](const Expr& part) { expr(&part); });
  }
  void exprs(const std::vector<ExprPtr>& nodes) {
    for (const ExprPtr& node : nodes) expr(node.get());
  }

  void visit(const Stmt& stmt) {
    switch (stmt.kind) {
      case StmtKind::kBlock: return;
      case StmtKind::kIf:
        expr(stmt.expr.get());
        body(stmt.body);
        for (const StmtPtr& branch : stmt.elifs) visit(*branch);
        body(stmt.orelse);
        return;
      case StmtKind::kFor:
        expr(stmt.target.get());
        expr(stmt.expr.get());
        body(stmt.body);
        body(stmt.orelse);
        expr(stmt.test.get());
        return;
      case StmtKind::kMacro:
      case StmtKind::kCallBlock:
        if (stmt.kind == StmtKind::kCallBlock) expr(stmt.expr.get());
        exprs(stmt.parameters);
        exprs(stmt.defaults);
        body(stmt.body);
        return;
      case StmtKind::kFilterBlock:
        body(stmt.body);
        expr(stmt.expr.get());
        return;
      default:
        exprs(stmt.items);
        expr(stmt.target.get());
        expr(stmt.filter.get());
        exprs(stmt.values);
        expr(stmt.expr.get());
        body(stmt.body);
    }
  }

  std::set<std::string> names_;
  std::set<std::string> found_;
};

void store_lines(const Expr& expr, const char* name, int& line) {
  if (expr.kind == ExprKind::kName && expr.store && expr.name == name && line == 0) line = expr.line;
  each_part(expr, [&](const Expr& part) { store_lines(part, name, line); });
}

// Line of the first assignment to `name` at or below a statement; 0: none.
void store_lines(const Stmt& stmt, const char* name, int& line) {
  if (stmt.kind != StmtKind::kMacro && stmt.target != nullptr) store_lines(*stmt.target, name, line);
  for (const StmtPtr& child : stmt.body) store_lines(*child, name, line);
  for (const StmtPtr& child : stmt.elifs) store_lines(*child, name, line);
  for (const StmtPtr& child : stmt.orelse) store_lines(*child, name, line);
}

struct Frame {
  Symbols* symbols = nullptr;
  Function* function = nullptr;
  bool toplevel = false;
  bool soft = false;
  bool in_loop = false;  // break and continue have a loop to act on
};

class Resolver {
 public:
  explicit Resolver(TemplateCode& code) : code_(code) {}

  void run() {
    find_blocks(code_.body);
    Function function;
    function.code = &code_.root;
    Symbols symbols(nullptr, &function);
    Undeclared undeclared({"self"});
    undeclared.body(code_.body);
    if (undeclared.has("self")) code_.self_slot = symbols.parameter("self").slot;
    Collector(symbols).body(code_.body);
    Frame frame;
    frame.symbols = &symbols;
    frame.function = &function;
    frame.toplevel = true;
    enter(symbols, code_.scope);
    visit(code_.body, frame);
    for (auto& entry : code_.blocks) named_block(*entry.second);
  }

 private:
  void find_blocks(Block& body) {
    for (const StmtPtr& stmt : body) {
      if (stmt->kind == StmtKind::kBlock) {
        if (code_.block(stmt->text) != nullptr)
          fail("TemplateAssertionError", "block '" + stmt->text + "' defined twice", stmt->line);
        code_.block_index.emplace(stmt->text, code_.blocks.size());
        auto block = std::make_unique<TemplateCode::NamedBlock>();
        block->block = stmt.get();
        code_.blocks.emplace_back(stmt->text, std::move(block));
      }
      find_blocks(stmt->body);
      find_blocks(stmt->elifs);
      find_blocks(stmt->orelse);
    }
  }

  void named_block(TemplateCode::NamedBlock& named) {
    Function function;
    function.code = &named.function;
    Symbols symbols(nullptr, &function);
    Undeclared undeclared({"self", "super"});
    undeclared.body(named.block->body);
    if (undeclared.has("self")) named.self_slot = symbols.parameter("self").slot;
    if (undeclared.has("super")) named.super_slot = symbols.parameter("super").slot;
    Collector(symbols).body(named.block->body);
    Frame frame;
    frame.symbols = &symbols;
    frame.function = &function;
    enter(symbols, named.scope);
    visit(named.block->body, frame);
  }

  Ref reference(const Ident& ident, const Frame& frame) const {
    Ref ref;
    ref.slot = ident.slot;
    for (const Function* function = frame.function; function != nullptr && function != ident.function;
         function = function->parent) {
      ++ref.hops;
    }
    return ref;
  }
  Ref reference(const std::string& name, const Frame& frame) const { return reference(*frame.symbols->find(name), frame); }

  // The loads of a scope; aliases are seen from the scope's own function.
  void enter(const Symbols& symbols, Scope& scope) {
    Frame frame;
    frame.function = symbols.function();
    for (const auto& [slot, instruction] : symbols.loads()) {
      Scope::Entry entry;
      entry.load = instruction.load;
      entry.slot = slot;
      entry.name = instruction.name;
      if (instruction.load == Scope::Load::kAlias) entry.alias = reference(instruction.alias, frame);
      scope.entries.push_back(std::move(entry));
    }
  }

  static Frame inner(const Frame& outer, Symbols& symbols) {
    Frame frame;
    frame.symbols = &symbols;
    frame.function = symbols.function();
    frame.in_loop = outer.in_loop && outer.function == symbols.function();
    return frame;
  }

  void expr(Expr* node, const Frame& frame) {
    if (node == nullptr) return;
    Frame soft = frame;
    switch (node->kind) {
      case ExprKind::kName:
      case ExprKind::kNamespaceRef: node->ref = reference(node->name, frame); return;
      case ExprKind::kCond: soft.soft = true; break;
      case ExprKind::kFilter:
        node->filter = find_filter(node->name);
        node->soft = frame.soft;
        if (node->filter == nullptr && !frame.soft) {
          fail("TemplateAssertionError", "No filter named '" + node->name + "'.", node->line);
        }
        break;
      case ExprKind::kTest:
        node->test = find_test(node->name);
        node->soft = frame.soft;
        if (node->test == nullptr && !frame.soft) {
          fail("TemplateAssertionError", "No test named '" + node->name + "'.", node->line);
        }
        break;
      default: break;
    }
    expr(node->a.get(), soft), expr(node->b.get(), soft), expr(node->c.get(), soft);
    exprs(node->items, soft);
    exprs(node->args, soft);
    std::set<std::string> names;
    for (auto& keyword : node->keywords) {
      if (!names.insert(keyword.first).second) fail("SyntaxError", "keyword argument repeated: " + keyword.first, node->line);
      expr(keyword.second.get(), soft);
    }
    expr(node->dyn_args.get(), soft), expr(node->dyn_keywords.get(), soft);
  }
  void exprs(std::vector<ExprPtr>& nodes, const Frame& frame) {
    for (ExprPtr& node : nodes) expr(node.get(), frame);
  }

  void visit(const Block& body, const Frame& frame) {
    for (const StmtPtr& stmt : body) visit(*stmt, frame);
  }

  void visit(Stmt& stmt, const Frame& frame) {
    switch (stmt.kind) {
      case StmtKind::kData: return;
      case StmtKind::kOutput: exprs(stmt.items, frame); return;
      case StmtKind::kSet:
        expr(stmt.target.get(), frame);
        expr(stmt.expr.get(), frame);
        export_names(stmt, *stmt.target, frame);
        return;
      case StmtKind::kSetBlock: {
        Symbols symbols(frame.symbols, frame.function);
        Collector(symbols).body(stmt.body);
        enter(symbols, stmt.scope);
        const Frame body = inner(frame, symbols);
        visit(stmt.body, body);
        expr(stmt.target.get(), frame);
        if (stmt.filter != nullptr) check_known(*stmt.filter, symbols);
        expr(stmt.filter.get(), body);
        export_names(stmt, *stmt.target, frame);
        return;
      }
      case StmtKind::kFor: loop(stmt, frame); return;
      case StmtKind::kIf: {
        Frame soft = frame;
        soft.soft = true;
        expr(stmt.expr.get(), soft);
        visit(stmt.body, soft);
        for (const StmtPtr& branch : stmt.elifs) visit(*branch, soft);
        visit(stmt.orelse, soft);
        return;
      }
      case StmtKind::kWith: {
        Symbols symbols(frame.symbols, frame.function);
        for (const ExprPtr& target : stmt.items) Collector(symbols).expr(*target, true);
        Collector(symbols).body(stmt.body);
        enter(symbols, stmt.scope);
        exprs(stmt.values, frame);
        const Frame body = inner(frame, symbols);
        exprs(stmt.items, body);
        visit(stmt.body, body);
        return;
      }
      case StmtKind::kAutoescape: {
        Symbols symbols(frame.symbols, frame.function);
        Collector collector(symbols);
        collector.expr(*stmt.expr);
        collector.body(stmt.body);
        enter(symbols, stmt.scope);
        const Frame body = inner(frame, symbols);
        expr(stmt.expr.get(), body);
        visit(stmt.body, body);
        return;
      }
      case StmtKind::kMacro:
        macro(stmt, frame);
        stmt.ref = reference(stmt.text, frame);
        stmt.toplevel = frame.toplevel;
        if (frame.toplevel) stmt.exports.emplace_back(stmt.text, stmt.ref);
        return;
      case StmtKind::kCallBlock:
        macro(stmt, frame);
        expr(stmt.expr.get(), frame);
        for (const auto& keyword : stmt.expr->keywords) {
          if (keyword.first == "caller") fail("SyntaxError", "keyword argument repeated: caller", stmt.line);
        }
        return;
      case StmtKind::kGeneration: macro(stmt, frame); return;
      case StmtKind::kFilterBlock: {
        Symbols symbols(frame.symbols, frame.function);
        Collector collector(symbols);
        collector.body(stmt.body);
        collector.expr(*stmt.expr);
        enter(symbols, stmt.scope);
        const Frame body = inner(frame, symbols);
        visit(stmt.body, body);
        expr(stmt.expr.get(), body);
        return;
      }
      case StmtKind::kBlock: {  // its body is resolved on its own
        if (!stmt.scoped) return;
        std::vector<std::pair<std::string, Ident>> visible;
        frame.symbols->visible(visible);
        exports_ += visible.size();
        if (exports_ > kMaxExports)
          fail("RuntimeError", fmt::format("scoped blocks see more than {} variables", kMaxExports), stmt.line);
        for (const auto& [name, ident] : visible) stmt.exports.emplace_back(name, reference(ident, frame));
        return;
      }
      case StmtKind::kBreak:
      case StmtKind::kContinue:
        if (!frame.in_loop) {
          const bool is_break = stmt.kind == StmtKind::kBreak;
          fail("SyntaxError", is_break ? "'break' outside loop" : "'continue' not properly in loop", stmt.line);
        }
        return;
    }
  }

  // The filter of a block set is compiled in the block's scope, though its names were not collected there: a name that the
  // scope does not know ends jinja2's compiler. Here it is an error with a line.
  void check_known(const Expr& node, const Symbols& symbols) {
    if (node.kind == ExprKind::kName && symbols.find(node.name) == nullptr) {
      fail("AssertionError", "Tried to resolve a name to a reference that was unknown to the frame ('" + node.name + "')",
           node.line);
    }
    each_part(node, [&](const Expr& part) { check_known(part, symbols); });
  }

  void export_names(Stmt& stmt, const Expr& target, const Frame& frame) {
    if (!frame.toplevel || code_.blocks.empty()) return;
    if (target.kind == ExprKind::kName) stmt.exports.emplace_back(target.name, target.ref);
    for (const ExprPtr& item : target.items) export_names(stmt, *item, frame);
  }

  void loop(Stmt& stmt, const Frame& frame) {
    Function own;
    Function* function = frame.function;
    if (stmt.recursive) {
      stmt.function = std::make_unique<FunctionCode>();
      own.parent = frame.function;
      own.code = stmt.function.get();
      function = &own;
    }
    Symbols body(frame.symbols, function);
    Symbols otherwise(frame.symbols, function);
    Undeclared undeclared({"loop"});
    undeclared.body(stmt.body);
    if (stmt.recursive || undeclared.has("loop") || has_scoped_block(stmt)) stmt.loop_slot = body.parameter("loop").slot;
    {
      Collector collector(body);
      collector.expr(*stmt.target, true);
      collector.body(stmt.body);
    }
    Collector(otherwise).body(stmt.orelse);
    if (stmt.test != nullptr) loop_test(stmt, frame);

    int line = 0;
    store_lines(stmt, "loop", line);
    if (line != 0) fail("TemplateAssertionError", "Can't assign to special loop variable in for-loop target", line);

    enter(body, stmt.scope);
    enter(otherwise, stmt.else_scope);
    expr(stmt.expr.get(), frame);
    Frame body_frame = inner(frame, body);
    body_frame.in_loop = true;
    expr(stmt.target.get(), body_frame);
    visit(stmt.body, body_frame);
    Frame else_frame = inner(frame, otherwise);
    visit(stmt.orelse, else_frame);
  }

  static bool has_scoped_block(const Stmt& stmt) {
    if (stmt.kind == StmtKind::kBlock && stmt.scoped) return true;
    const auto any = [](const Block& body) {
      return std::any_of(body.begin(), body.end(), [](const StmtPtr& child) { return has_scoped_block(*child); });
    };
    return any(stmt.body) || any(stmt.elifs) || any(stmt.orelse);
  }

  static ExprPtr copy_target(const Expr& target) {
    auto copy = std::make_unique<Expr>();
    copy->kind = target.kind;
    copy->store = target.store;
    copy->line = target.line;
    copy->name = target.name;
    copy->attr = target.attr;
    for (const ExprPtr& item : target.items) copy->items.push_back(copy_target(*item));
    return copy;
  }

  // The condition of a loop is a function of its own that yields the items that pass.
  void loop_test(Stmt& stmt, const Frame& frame) {
    stmt.test_function = std::make_unique<FunctionCode>();
    Function function;
    function.parent = frame.function;
    function.code = stmt.test_function.get();
    Symbols symbols(frame.symbols, &function);
    Collector collector(symbols);
    collector.expr(*stmt.target, true);
    collector.expr(*stmt.test);
    enter(symbols, stmt.test_scope);
    const Frame test_frame = inner(frame, symbols);
    stmt.test_target = copy_target(*stmt.target);
    expr(stmt.test_target.get(), test_frame);
    expr(stmt.test.get(), test_frame);
  }

  void macro(Stmt& stmt, const Frame& frame) {
    stmt.function = std::make_unique<FunctionCode>();
    FunctionCode& code = *stmt.function;
    Function function;
    function.parent = frame.function;
    function.code = &code;
    Symbols symbols(frame.symbols, &function);
    std::set<std::string> names;
    for (const ExprPtr& parameter : stmt.parameters) {
      if (!names.insert(parameter->name).second) {
        fail("SyntaxError", "duplicate argument '" + parameter->name + "' in function definition", stmt.line);
      }
      code.parameters.push_back(symbols.parameter(parameter->name).slot);
    }
    {
      Collector collector(symbols);
      for (const ExprPtr& value : stmt.defaults) collector.expr(*value);
      collector.body(stmt.body);
    }
    Undeclared undeclared({"caller", "kwargs", "varargs"});
    undeclared.body(stmt.body);
    const auto position = [&](const char* name) {
      for (size_t i = 0; i < stmt.parameters.size(); ++i) {
        if (stmt.parameters[i]->name == name) return static_cast<int>(i);
      }
      return -1;
    };
    code.explicit_caller = position("caller") >= 0;
    if (undeclared.has("caller")) {
      if (code.explicit_caller) {
        const int needs = static_cast<int>(stmt.parameters.size() - stmt.defaults.size());
        if (position("caller") < needs) {
          fail("TemplateAssertionError",
               "When defining macros or call blocks the special \"caller\" argument must be omitted or be given a default.",
               stmt.line);
        }
        code.explicit_caller_used = true;
      } else {
        code.caller_slot = symbols.parameter("caller").slot;
      }
    }
    if (undeclared.has("kwargs") && position("kwargs") < 0) code.kwargs_slot = symbols.parameter("kwargs").slot;
    if (undeclared.has("varargs") && position("varargs") < 0) code.varargs_slot = symbols.parameter("varargs").slot;
    enter(symbols, stmt.scope);
    const Frame body = inner(frame, symbols);
    exprs(stmt.defaults, body);
    visit(stmt.body, body);
  }

  static constexpr size_t kMaxExports = size_t{1} << 20;  // each scoped block lists every variable around it
  TemplateCode& code_;
  size_t exports_ = 0;
};

}  // namespace

void resolve_template(TemplateCode& code) { Resolver(code).run(); }

}  // namespace pagoda::jinja
