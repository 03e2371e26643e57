// The interpreter: statements, expressions, macros and loops.
#include "base/utf8.h"
#include "text/jinja_builtins.h"
#include "text/jinja_interp.h"
#include "text/jinja_objects.h"
#include "text/jinja_ops.h"

namespace pagoda::jinja {

std::string Interp::run() {
  stack_base_ = static_cast<const char*>(__builtin_frame_address(0));
  const auto root = std::make_shared<Frame>(code_.root.slots, nullptr);
  watch_frame(*root);
  if (code_.self_slot >= 0) root->slot(code_.self_slot) = object<TemplateReference>();
  enter(code_.scope, *root);
  exec(code_.body, *root);
  return std::move(output_);
}

void Interp::write(std::string_view text) {
  check_size(out_->size() + text.size());
  work_bytes(text.size());
  out_->append(text);
}

void Interp::write_value(const Value& value) {
  if (autoescape_) {
    write(escaped(*this, value));
  } else if (value.is_string()) {
    write(value.text());
  } else {
    write(to_text(value));
  }
}

Value Interp::resolve(const std::string& name) {
  for (const auto& [key, value] : exported_) {
    if (key == name) return value;
  }
  if (context_.is_dict()) {
    if (const Value* found = context_.dict().find(std::string_view(name)); found != nullptr) return *found;
  }
  Value global;
  return find_global(*this, name, global) ? global : Value::missing();
}

void Interp::enter(const Scope& scope, Frame& frame) {
  for (const Scope::Entry& entry : scope.entries) {
    switch (entry.load) {
      case Scope::Load::kParameter: break;
      case Scope::Load::kResolve: frame.slot(entry.slot) = resolve(entry.name); break;
      case Scope::Load::kAlias: frame.slot(entry.slot) = Value(frame.at(entry.alias)); break;
      case Scope::Load::kUndefined: frame.slot(entry.slot) = Value::missing(); break;
    }
  }
}

void Interp::leave(const Scope& scope, Frame& frame) {
  for (const Scope::Entry& entry : scope.entries) frame.slot(entry.slot) = Value::missing();
}

Interp::Flow Interp::exec(const Block& body, Frame& frame) {
  for (const StmtPtr& stmt : body) {
    if (const Flow flow = exec(*stmt, frame); flow != Flow::kNormal) return flow;
  }
  return Flow::kNormal;
}

Interp::Flow Interp::exec(const Stmt& stmt, Frame& frame) {
  work(1);
  line_ = stmt.line;
  switch (stmt.kind) {
    case StmtKind::kData: write(stmt.text); return Flow::kNormal;
    case StmtKind::kOutput:
      for (const ExprPtr& item : stmt.items) write_value(eval(*item, frame));
      return Flow::kNormal;
    case StmtKind::kBreak: return Flow::kBreak;
    case StmtKind::kContinue: return Flow::kContinue;
    default: break;
  }
  const Guard guard(*this);
  switch (stmt.kind) {
    case StmtKind::kSet: exec_set(stmt, frame); break;
    case StmtKind::kSetBlock: return exec_set_block(stmt, frame);
    case StmtKind::kFor: return exec_for(stmt, frame);
    case StmtKind::kIf: return exec_if(stmt, frame);
    case StmtKind::kWith: return exec_with(stmt, frame);
    case StmtKind::kAutoescape: return exec_autoescape(stmt, frame);
    case StmtKind::kMacro: exec_macro(stmt, frame); break;
    case StmtKind::kCallBlock: exec_call_block(stmt, frame); break;
    case StmtKind::kFilterBlock: return exec_filter_block(stmt, frame);
    case StmtKind::kBlock: exec_block(stmt, frame); break;
    case StmtKind::kGeneration: exec_generation(stmt, frame); break;
    default: break;
  }
  return Flow::kNormal;
}

void Interp::export_names(const Stmt& stmt, Frame& frame) {
  if (code_.blocks.empty()) return;
  for (const auto& [name, ref] : stmt.exports) {
    bool found = false;
    for (auto& entry : exported_) {
      if (entry.first != name) continue;
      entry.second = frame.at(ref);
      found = true;
    }
    if (!found) exported_.emplace_back(name, frame.at(ref));
  }
}

void Interp::check_namespaces(const Expr& target, Frame& frame) {
  if (target.kind == ExprKind::kNamespaceRef && frame.at(target.ref).object_as<Namespace>() == nullptr) {
    error("TemplateRuntimeError", "cannot assign attribute on non-namespace object");
  }
  for (const ExprPtr& item : target.items) check_namespaces(*item, frame);
}

void Interp::exec_set(const Stmt& stmt, Frame& frame) {
  check_namespaces(*stmt.target, frame);
  assign(*stmt.target, eval(*stmt.expr, frame), frame);
  export_names(stmt, frame);
}

void Interp::assign(const Expr& target, Value value, Frame& frame) {
  switch (target.kind) {
    case ExprKind::kName: frame.at(target.ref) = std::move(value); return;
    case ExprKind::kNamespaceRef: {
      auto* space = frame.at(target.ref).object_as<Namespace>();
      if (space == nullptr) error("TemplateRuntimeError", "cannot assign attribute on non-namespace object");
      space->set(*this, str(target.attr), std::move(value));
      return;
    }
    default: break;
  }
  if (!iterable(value)) type_error("cannot unpack non-iterable " + jinja::type_name(value) + " object");
  const size_t wanted = target.items.size();
  std::vector<Value> parts;
  const std::unique_ptr<Iter> source = iter(value);
  for (Value part; source->next(*this, part);) {
    if (parts.size() == wanted) value_error(fmt::format("too many values to unpack (expected {})", wanted));
    parts.push_back(std::move(part));
  }
  if (parts.size() < wanted) {
    value_error(fmt::format("not enough values to unpack (expected {}, got {})", wanted, parts.size()));
  }
  for (size_t i = 0; i < wanted; ++i) assign(*target.items[i], std::move(parts[i]), frame);
}

namespace {

// Sends output to a text of its own while it lives.
class Capture {
 public:
  explicit Capture(std::string*& out) : text(*owned_), out_(out), outer_(out) { out_ = &text; }
  Capture(const Capture&) = delete;
  Capture& operator=(const Capture&) = delete;
  ~Capture() { out_ = outer_; }

 private:
  std::unique_ptr<std::string> owned_ = std::make_unique<std::string>();  // GCC 12 warns of a member's own address kept in out

 public:
  std::string& text;

 private:
  std::string*& out_;
  std::string* outer_;
};

template <class T>
class Restore {
 public:
  explicit Restore(T& value) : value_(value), old_(value) {}
  Restore(const Restore&) = delete;
  Restore& operator=(const Restore&) = delete;
  ~Restore() { value_ = old_; }

 private:
  T& value_;
  T old_;
};

}  // namespace

Interp::Flow Interp::capture(const Block& body, Frame& frame, Value& text) {
  Capture written(out_);
  if (const Flow flow = exec(body, frame); flow != Flow::kNormal) return flow;
  text = str(std::move(written.text), autoescape_);
  return Flow::kNormal;
}

Value Interp::filter_text(const Expr& filter, const Value& text, Frame& frame) {
  const Restore restore(block_text_);
  block_text_ = &text;
  return eval(filter, frame);
}

Interp::Flow Interp::exec_set_block(const Stmt& stmt, Frame& frame) {
  enter(stmt.scope, frame);
  Value text;
  if (const Flow flow = capture(stmt.body, frame, text); flow != Flow::kNormal) return flow;
  if (stmt.filter != nullptr) {
    Value filtered = filter_text(*stmt.filter, text, frame);
    text = autoescape_ && !filtered.is_markup() ? str(to_text(filtered), true) : std::move(filtered);
  }
  assign(*stmt.target, std::move(text), frame);
  export_names(stmt, frame);
  leave(stmt.scope, frame);
  return Flow::kNormal;
}

Interp::Flow Interp::exec_filter_block(const Stmt& stmt, Frame& frame) {
  enter(stmt.scope, frame);
  Value text;
  if (const Flow flow = capture(stmt.body, frame, text); flow != Flow::kNormal) return flow;
  write(to_text(filter_text(*stmt.expr, text, frame)));
  leave(stmt.scope, frame);
  return Flow::kNormal;
}

Interp::Flow Interp::exec_if(const Stmt& stmt, Frame& frame) {
  if (truthy(*this, eval(*stmt.expr, frame))) return exec(stmt.body, frame);
  for (const StmtPtr& branch : stmt.elifs) {
    line_ = branch->line;
    if (truthy(*this, eval(*branch->expr, frame))) return exec(branch->body, frame);
  }
  return exec(stmt.orelse, frame);
}

Interp::Flow Interp::exec_with(const Stmt& stmt, Frame& frame) {
  enter(stmt.scope, frame);
  for (size_t i = 0; i < stmt.items.size(); ++i) assign(*stmt.items[i], eval(*stmt.values[i], frame), frame);
  const Flow flow = exec(stmt.body, frame);
  leave(stmt.scope, frame);
  return flow;
}

Interp::Flow Interp::exec_autoescape(const Stmt& stmt, Frame& frame) {
  enter(stmt.scope, frame);
  const bool wanted = truthy(*this, eval(*stmt.expr, frame));
  Flow flow;
  {
    const Restore restore(autoescape_);
    autoescape_ = wanted;
    flow = exec(stmt.body, frame);
  }
  leave(stmt.scope, frame);
  return flow;
}

Value Interp::make_macro(const Stmt& stmt, Frame& frame) {
  watch_frame(frame);
  return object<Macro>(stmt, frame.shared_from_this());
}

void Interp::exec_macro(const Stmt& stmt, Frame& frame) {
  frame.at(stmt.ref) = make_macro(stmt, frame);
  export_names(stmt, frame);
}

void Interp::exec_call_block(const Stmt& stmt, Frame& frame) {
  const Value caller = make_macro(stmt, frame);
  line_ = stmt.line;
  write(to_text(eval_call(*stmt.expr, frame, &caller)));
}

void Interp::exec_generation(const Stmt& stmt, Frame& frame) {
  const Value text = call_macro(stmt, frame.shared_from_this(), {}, {}, {}, {});
  if (spans_ != nullptr) {
    counted_chars_ += utf8_length(std::string_view(output_).substr(counted_bytes_));
    counted_bytes_ = output_.size();
    spans_->emplace_back(counted_chars_, counted_chars_ + text.str().length);
  }
  write(text.text());
}

void Interp::exec_block(const Stmt& stmt, Frame& frame) {
  if (stmt.required) error("TemplateRuntimeError", "Required block '" + stmt.text + "' not found");
  std::vector<std::pair<std::string, Value>> outer;
  if (stmt.scoped) {
    // The variables of the place where the block stands come before those of the template.
    outer = exported_;
    std::vector<std::pair<std::string, Value>> local;
    for (const auto& [name, ref] : stmt.exports) {
      if (!frame.at(ref).is_missing()) local.emplace_back(name, frame.at(ref));
    }
    exported_.insert(exported_.begin(), local.begin(), local.end());
  }
  if (const TemplateCode::NamedBlock* const block = code_.block(stmt.text)) write(to_text(call_block(*block)));
  if (stmt.scoped) exported_ = std::move(outer);
}

Value Interp::call_block(const TemplateCode::NamedBlock& block) {
  const Guard guard(*this);
  const auto frame = std::make_shared<Frame>(block.function.slots, nullptr);
  watch_frame(*frame);
  if (block.self_slot >= 0) frame->slot(block.self_slot) = object<TemplateReference>();
  if (block.super_slot >= 0) {
    frame->slot(block.super_slot) = undefined_hint("there is no parent block called '" + block.block->text + "'.");
  }
  enter(block.scope, *frame);
  Capture capture(out_);
  exec(block.block->body, *frame);
  return str(std::move(capture.text), autoescape_);
}

Value Interp::call_macro(const Stmt& macro, const std::shared_ptr<Frame>& closure, std::vector<Value> arguments, Value caller,
                         Value kwargs, Value varargs) {
  const Guard guard(*this);
  const FunctionCode& code = *macro.function;
  const auto frame = std::make_shared<Frame>(code.slots, closure);
  charge(*frame, static_cast<int64_t>(sizeof(Frame)) + code.slots * static_cast<int64_t>(sizeof(Value)));
  for (size_t i = 0; i < arguments.size(); ++i) frame->slot(code.parameters[i]) = std::move(arguments[i]);
  if (code.caller_slot >= 0) frame->slot(code.caller_slot) = std::move(caller);
  if (code.kwargs_slot >= 0) frame->slot(code.kwargs_slot) = std::move(kwargs);
  if (code.varargs_slot >= 0) frame->slot(code.varargs_slot) = std::move(varargs);
  const Restore line(line_);
  enter(macro.scope, *frame);
  const size_t first_default = macro.parameters.size() - macro.defaults.size();
  for (size_t i = 0; i < macro.parameters.size(); ++i) {
    if (!frame->slot(code.parameters[i]).is_missing()) continue;
    if (i >= first_default) {
      frame->slot(code.parameters[i]) = eval(*macro.defaults[i - first_default], *frame);
    } else {
      frame->slot(code.parameters[i]) = undefined_hint("parameter '" + macro.parameters[i]->name + "' was not provided");
    }
  }
  Capture capture(out_);
  exec(macro.body, *frame);
  return str(std::move(capture.text), autoescape_);
}

namespace {

// The items of a loop that pass its condition, tested when they are asked for.
class FilteredIter final : public Iter {
 public:
  FilteredIter(const Stmt& stmt, Value iterable, std::shared_ptr<Frame> frame)
      : stmt_(stmt), iterable_(std::move(iterable)), frame_(std::move(frame)) {}

  bool next(Interp& interp, Value& out) override {
    if (source_ == nullptr) {
      source_ = interp.iter(iterable_);
      interp.enter(stmt_.test_scope, *frame_);
    }
    for (Value item; source_->next(interp, item);) {
      interp.assign(*stmt_.test_target, item, *frame_);
      if (!truthy(interp, interp.eval(*stmt_.test, *frame_))) continue;
      out = rebuild(interp, *stmt_.test_target, item);
      return true;
    }
    return false;
  }
  void take_children(std::vector<Value>& out) override {
    out.push_back(std::move(iterable_));
    if (source_ != nullptr) source_->take_children(out);
    release(frame_, out);
  }

 private:
  // jinja2 yields the target's variables again: a tuple target gives a tuple whatever the item was.
  Value rebuild(Interp& interp, const Expr& target, const Value& item) {
    if (target.kind != ExprKind::kTuple) return target.kind == ExprKind::kName ? frame_->at(target.ref) : item;
    std::vector<Value> parts;
    for (const ExprPtr& part : target.items) parts.push_back(rebuild(interp, *part, item));
    return interp.tuple(std::move(parts));
  }

  const Stmt& stmt_;
  Value iterable_;
  std::shared_ptr<Frame> frame_;
  std::unique_ptr<Iter> source_;
};

// So that LoopContext can be given a filtered loop, which has no length.
class FilteredLoop final : public Generator {
 public:
  FilteredLoop(const Stmt& stmt, Value iterable, std::shared_ptr<Frame> frame)
      : iter_(stmt, std::move(iterable), std::move(frame)) {}
  ~FilteredLoop() override { drain(); }
  void take_children(std::vector<Value>& out) override { iter_.take_children(out); }
  bool next(Interp& interp, Value& out) override { return iter_.next(interp, out); }

 private:
  FilteredIter iter_;
};

}  // namespace

Interp::Flow Interp::exec_for(const Stmt& stmt, Frame& frame) {
  const Value iterable = eval(*stmt.expr, frame);
  if (!stmt.recursive) return run_loop(stmt, frame, iterable, frame.shared_from_this(), 0);
  watch_frame(frame);
  write(to_text(call_loop(stmt, frame.shared_from_this(), iterable, 0)));
  return Flow::kNormal;
}

Value Interp::call_loop(const Stmt& loop, const std::shared_ptr<Frame>& closure, const Value& iterable, int64_t depth) {
  const Guard guard(*this);
  const auto frame = std::make_shared<Frame>(loop.function->slots, closure);
  watch_frame(*frame);
  const Restore line(line_);
  Capture capture(out_);
  run_loop(loop, *frame, iterable, closure, depth);
  return str(std::move(capture.text), autoescape_);
}

Interp::Flow Interp::run_loop(const Stmt& stmt, Frame& frame, const Value& iterable, const std::shared_ptr<Frame>& closure,
                              int64_t depth) {
  Value source = iterable;
  if (stmt.test != nullptr) {
    watch_frame(frame);
    source = object<FilteredLoop>(stmt, iterable, std::make_shared<Frame>(stmt.test_function->slots, closure));
  }
  std::unique_ptr<Iter> items;
  Value loop_value;
  LoopContext* loop = nullptr;
  if (stmt.loop_slot >= 0) {
    loop_value =
        object<LoopContext>(source, iter(source), stmt.recursive ? &stmt : nullptr, stmt.recursive ? closure : nullptr, depth);
    watch(loop_value.heap());
    loop = loop_value.object_as<LoopContext>();
  } else {
    items = iter(source);
  }
  bool none_finished = true;
  Value item;
  while (loop != nullptr ? loop->next(*this, item) : items->next(*this, item)) {
    work(1);
    line_ = stmt.line;
    assign(*stmt.target, std::move(item), frame);
    if (loop != nullptr) frame.slot(stmt.loop_slot) = loop_value;
    enter(stmt.scope, frame);
    const Flow flow = exec(stmt.body, frame);
    if (flow == Flow::kBreak) break;
    if (flow == Flow::kNormal) none_finished = false;
  }
  leave(stmt.scope, frame);
  if (!stmt.orelse.empty() && none_finished) {
    enter(stmt.else_scope, frame);
    const Flow flow = exec(stmt.orelse, frame);
    leave(stmt.else_scope, frame);
    return flow;
  }
  return Flow::kNormal;
}

// --- expressions

Value Interp::eval(const Expr& expr, Frame& frame) {
  work(1);
  switch (expr.kind) {
    case ExprKind::kConst: return expr.value;
    case ExprKind::kName: return eval_name(expr, frame);
    default: break;
  }
  const Guard guard(*this);
  switch (expr.kind) {
    case ExprKind::kTuple:
    case ExprKind::kList: return eval_sequence(expr, frame);
    case ExprKind::kDict: return eval_dict(expr, frame);
    case ExprKind::kGetattr: return get_attr(eval(*expr.a, frame), expr.name);
    case ExprKind::kGetitem: return eval_getitem(expr, frame);
    case ExprKind::kCall: return eval_call(expr, frame, nullptr);
    case ExprKind::kFilter: return eval_filter(expr, frame);
    case ExprKind::kTest: return eval_test(expr, frame);
    case ExprKind::kCond: return eval_cond(expr, frame);
    case ExprKind::kAnd: {
      Value left = eval(*expr.a, frame);
      return truthy(*this, left) ? eval(*expr.b, frame) : left;
    }
    case ExprKind::kOr: {
      Value left = eval(*expr.a, frame);
      return truthy(*this, left) ? left : eval(*expr.b, frame);
    }
    case ExprKind::kNot: return Value::boolean(!truthy(*this, eval(*expr.a, frame)));
    case ExprKind::kNeg: return negative(*this, eval(*expr.a, frame));
    case ExprKind::kPos: return positive(*this, eval(*expr.a, frame));
    case ExprKind::kConcat: return eval_concat(expr, frame);
    case ExprKind::kCompare: return eval_compare(expr, frame);
    default: return eval_binary(expr, frame);
  }
}

Value Interp::eval_name(const Expr& expr, Frame& frame) {
  const Value& value = frame.at(expr.ref);
  return value.is_missing() ? undefined_name(expr.name) : value;
}

Value Interp::eval_sequence(const Expr& expr, Frame& frame) {
  std::vector<Value> items;
  items.reserve(expr.items.size());
  for (const ExprPtr& item : expr.items) items.push_back(eval(*item, frame));
  return sequence(std::move(items), expr.kind == ExprKind::kTuple);
}

Value Interp::eval_dict(const Expr& expr, Frame& frame) {
  auto made = std::make_shared<Dict>();
  for (size_t i = 0; i + 1 < expr.items.size(); i += 2) {
    Value key = eval(*expr.items[i], frame);
    Value value = eval(*expr.items[i + 1], frame);
    check_key(key);
    made->set(std::move(key), std::move(value));
  }
  return dict(std::move(made));
}

Value Interp::eval_getitem(const Expr& expr, Frame& frame) {
  const Value owner = eval(*expr.a, frame);
  if (expr.b->kind != ExprKind::kSlice) return get_item(owner, eval(*expr.b, frame));
  Value parts[3];
  for (size_t i = 0; i < 3; ++i) {
    if (expr.b->items[i] != nullptr) parts[i] = eval(*expr.b->items[i], frame);
  }
  return get_slice(owner, parts[0], parts[1], parts[2]);
}

void Interp::eval_args(const Expr& expr, Frame& frame, CallArgs& args) {
  args.positional.reserve(expr.args.size());
  for (const ExprPtr& item : expr.args) args.positional.push_back(eval(*item, frame));
  for (const auto& [name, value] : expr.keywords) args.keywords.emplace_back(name, eval(*value, frame));
  if (expr.dyn_args != nullptr) {
    const Value rest = eval(*expr.dyn_args, frame);
    if (!iterable(rest)) {
      type_error("Value after * must be an iterable, not " + jinja::type_name(rest));
    }
    for (Value& value : collect(rest)) args.positional.push_back(std::move(value));
  }
  if (expr.dyn_keywords != nullptr) {
    const Value rest = eval(*expr.dyn_keywords, frame);
    if (!rest.is_dict())
      type_error((expr.kind == ExprKind::kCall ? "jinja2.sandbox.SandboxedEnvironment.call() argument" : "argument") +
                 std::string(" after ** must be a mapping, not ") + jinja::type_name(rest));
    for (const auto& [key, value] : rest.dict().entries()) {
      if (!key.is_string()) type_error("keywords must be strings");
      for (const auto& keyword : args.keywords) {
        if (keyword.first == key.text()) type_error("got multiple values for keyword argument '" + key.text() + "'");
      }
      work(static_cast<int64_t>(args.keywords.size()));
      args.keywords.emplace_back(key.text(), value);
    }
  }
}

Value Interp::eval_call(const Expr& expr, Frame& frame, const Value* caller) {
  const Value callee = eval(*expr.a, frame);
  CallArgs args;
  eval_args(expr, frame, args);
  if (caller != nullptr) {
    for (const auto& keyword : args.keywords) {
      if (keyword.first == "caller") type_error("got multiple values for keyword argument 'caller'");
    }
    args.keywords.emplace_back("caller", *caller);
  }
  line_ = expr.line;
  return call(callee, args);
}

Value Interp::eval_filter(const Expr& expr, Frame& frame) {
  const Value operand = expr.a != nullptr ? eval(*expr.a, frame) : *block_text_;
  CallArgs args;
  eval_args(expr, frame, args);
  line_ = expr.line;
  if (expr.filter == nullptr) error("TemplateRuntimeError", "No filter named '" + expr.name + "' found.");
  return expr.filter(*this, operand, args);
}

Value Interp::eval_test(const Expr& expr, Frame& frame) {
  const Value operand = eval(*expr.a, frame);
  CallArgs args;
  eval_args(expr, frame, args);
  line_ = expr.line;
  if (expr.test == nullptr) error("TemplateRuntimeError", "No test named '" + expr.name + "' found.");
  return Value::boolean(expr.test(*this, operand, args));
}

Value Interp::eval_cond(const Expr& expr, Frame& frame) {
  if (truthy(*this, eval(*expr.b, frame))) return eval(*expr.a, frame);
  if (expr.c != nullptr) return eval(*expr.c, frame);
  return undefined_hint(
      fmt::format("the inline if-expression on line {} evaluated to false and no else section was defined.", expr.line));
}

Value Interp::eval_concat(const Expr& expr, Frame& frame) {
  std::vector<Value> parts;
  parts.reserve(expr.items.size());
  bool markup = false;
  for (const ExprPtr& item : expr.items) {
    parts.push_back(eval(*item, frame));
    markup = markup || (autoescape_ && parts.back().is_markup());
  }
  std::string out;
  for (const Value& part : parts) {
    if (markup) {
      out += escaped(*this, part);
    } else if (part.is_string()) {
      out += part.text();
    } else {
      out += to_text(part);
    }
    check_size(out.size());
  }
  return str(std::move(out), markup);
}

Value Interp::eval_compare(const Expr& expr, Frame& frame) {
  Value left = eval(*expr.a, frame);
  for (size_t i = 0; i < expr.ops.size(); ++i) {
    Value right = eval(*expr.items[i], frame);
    if (!compare(*this, expr.ops[i], left, right)) return Value::boolean(false);
    left = std::move(right);
  }
  return Value::boolean(true);
}

Value Interp::eval_binary(const Expr& expr, Frame& frame) {
  const Value left = eval(*expr.a, frame);
  const Value right = eval(*expr.b, frame);
  line_ = expr.line;
  switch (expr.kind) {
    case ExprKind::kAdd: return add(*this, left, right);
    case ExprKind::kSub: return subtract(*this, left, right);
    case ExprKind::kMul: return multiply(*this, left, right);
    case ExprKind::kDiv: return divide(*this, left, right);
    case ExprKind::kFloorDiv: return floor_divide(*this, left, right);
    case ExprKind::kMod: return modulo(*this, left, right);
    default: return power(*this, left, right);
  }
}

}  // namespace pagoda::jinja
