// Runs a syntax tree: variables, statements, expressions, calls, and the limits that all of them work under.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/limits.h"
#include "text/jinja.h"
#include "text/jinja_ast.h"
#include "text/jinja_value.h"

namespace pagoda::jinja {

// The variables of one call of a function (the template itself, a macro, a recursive loop, a loop's condition).
class Frame final : public Heap, public std::enable_shared_from_this<Frame> {
 public:
  Frame(int slots, std::shared_ptr<Frame> outer)
      : slots_(static_cast<size_t>(slots), Value::missing()), parent(std::move(outer)) {}
  ~Frame() override { drain(); }
  void take_children(std::vector<Value>& out) override;
  Value& at(const Ref& ref) {
    Frame* frame = this;
    for (int i = 0; i < ref.hops; ++i) frame = frame->parent.get();
    return frame->slots_[static_cast<size_t>(ref.slot)];
  }
  Value& slot(int index) { return slots_[static_cast<size_t>(index)]; }

 private:
  std::vector<Value> slots_;

 public:
  std::shared_ptr<Frame> parent;
  bool watched = false;  // see Interp::watch
};

// Lets go of a frame; the values of one that nothing else holds go to `out` (see Heap).
void release(std::shared_ptr<Frame>& frame, std::vector<Value>& out);

class Interp {
 public:
  Interp(const TemplateCode& code, const Value& context, const RenderOptions& options,
         std::vector<std::pair<size_t, size_t>>* spans);
  Interp(const Interp&) = delete;
  Interp& operator=(const Interp&) = delete;
  ~Interp();

  std::string run();

  // --- errors: Python's exception of that type, at the line that runs
  [[noreturn]] void error(const char* type, std::string text) const;
  [[noreturn]] void type_error(std::string text) const { error("TypeError", std::move(text)); }
  [[noreturn]] void value_error(std::string text) const { error("ValueError", std::move(text)); }
  [[noreturn]] void overflow() const { error("OverflowError", "integer does not fit in 64 bits"); }
  [[noreturn]] void limit(std::string_view text) const;
  [[noreturn]] void raise(std::string text) const;       // raise_exception(text)
  [[noreturn]] void fail_undefined(const Value& value);  // using an undefined value

  // --- limits
  // Counts `amount` steps; about one a value touched or 64 bytes copied.
  void work(int64_t amount) {
    steps_ += amount;
    if (steps_ >= next_check_) check_work();
  }
  void work_bytes(size_t bytes) { work(static_cast<int64_t>(bytes / 64)); }
  void check_size(size_t bytes) const;  // of a string about to be made
  // One level of recursion, of evaluation or of nested data.
  class Guard {
   public:
    explicit Guard(Interp& interp) : interp_(interp) {
      if (++interp_.depth_ > interp_.max_depth_ || interp_.stack_used() > kMaxStack) {
        --interp_.depth_;
        interp_.too_deep();
      }
    }
    Guard(const Guard&) = delete;
    Guard& operator=(const Guard&) = delete;
    ~Guard() { --interp_.depth_; }

   private:
    Interp& interp_;
  };
  const Limits& limits() const { return limits_; }

  // --- making values, counted against the budget
  Value str(std::string text, bool markup = false);
  Value list(std::vector<Value> items) { return sequence(std::move(items), false); }
  Value tuple(std::vector<Value> items) { return sequence(std::move(items), true); }
  Value dict(std::shared_ptr<Dict> dict);
  template <class T, class... Args>
  Value object(Args&&... args) {
    auto made = std::make_shared<T>(std::forward<Args>(args)...);
    charge(*made, static_cast<int64_t>(sizeof(T)));
    return Value::of(std::shared_ptr<Object>(std::move(made)));
  }
  Value undefined_hint(std::string hint);
  Value undefined_name(std::string name);
  Value undefined_of(const Value& owner, const Value& name);
  Value unsafe(const Value& owner, const std::string& name);
  void charge(Heap& heap, int64_t bytes);
  // Mutable objects may come to hold each other; what is watched gives up its values when the rendering ends.
  void watch(const std::shared_ptr<Heap>& heap);
  void watch_frame(Frame& frame);

  // --- conversions
  std::string to_text(const Value& value);  // str(value)
  std::string repr(const Value& value);
  bool objects_equal(const Value& a, const Value& b);
  // A key for a dict: TypeError when it cannot be hashed.
  void check_key(const Value& key) const;

  // --- iteration
  std::unique_ptr<Iter> iter(const Value& value);  // TypeError when it has none
  bool iterable(const Value& value) const;
  std::vector<Value> collect(const Value& value);
  std::optional<int64_t> length(const Value& value);  // nothing: has no len()

  // --- access and calls
  Value get_attr(const Value& owner, const std::string& name);  // foo.name
  Value get_item(const Value& owner, const Value& key);         // foo[key]
  Value get_slice(const Value& owner, const Value& start, const Value& stop, const Value& step);
  Value call(const Value& callee, CallArgs& args);
  bool callable(const Value& value) const;

  bool autoescape() const { return autoescape_; }
  int line() const { return line_; }
  const RenderOptions& options() const { return options_; }

  // --- used by macros, loops and blocks
  Value call_macro(const Stmt& macro, const std::shared_ptr<Frame>& closure, std::vector<Value> arguments, Value caller,
                   Value kwargs, Value varargs);
  Value call_loop(const Stmt& loop, const std::shared_ptr<Frame>& closure, const Value& iterable, int64_t depth);
  Value call_block(const TemplateCode::NamedBlock& block);
  const TemplateCode& code() const { return code_; }
  Value eval(const Expr& expr, Frame& frame);
  void assign(const Expr& target, Value value, Frame& frame);
  void enter(const Scope& scope, Frame& frame);

 private:
  enum class Flow : uint8_t { kNormal, kBreak, kContinue };

  static constexpr size_t kMaxStack = size_t{3} << 20;

  size_t stack_used() const;
  [[noreturn]] void too_deep() const;
  void check_work();
  Value sequence(std::vector<Value> items, bool is_tuple);
  void write(std::string_view text);
  void write_value(const Value& value);
  void leave(const Scope& scope, Frame& frame);
  Value resolve(const std::string& name);

  Flow exec(const Block& body, Frame& frame);
  Flow exec(const Stmt& stmt, Frame& frame);
  Flow exec_for(const Stmt& stmt, Frame& frame);
  Flow exec_if(const Stmt& stmt, Frame& frame);
  Flow exec_set_block(const Stmt& stmt, Frame& frame);
  Flow exec_filter_block(const Stmt& stmt, Frame& frame);
  Flow exec_with(const Stmt& stmt, Frame& frame);
  Flow exec_autoescape(const Stmt& stmt, Frame& frame);
  void exec_set(const Stmt& stmt, Frame& frame);
  void exec_macro(const Stmt& stmt, Frame& frame);
  void exec_call_block(const Stmt& stmt, Frame& frame);
  void exec_generation(const Stmt& stmt, Frame& frame);
  void exec_block(const Stmt& stmt, Frame& frame);
  Flow run_loop(const Stmt& stmt, Frame& frame, const Value& iterable, const std::shared_ptr<Frame>& closure, int64_t depth);
  Flow capture(const Block& body, Frame& frame, Value& text);  // what the body writes
  Value filter_text(const Expr& filter, const Value& text, Frame& frame);
  void export_names(const Stmt& stmt, Frame& frame);
  void check_namespaces(const Expr& target, Frame& frame);
  Value make_macro(const Stmt& stmt, Frame& frame);

  Value eval_name(const Expr& expr, Frame& frame);
  Value eval_sequence(const Expr& expr, Frame& frame);
  Value eval_dict(const Expr& expr, Frame& frame);
  Value eval_getitem(const Expr& expr, Frame& frame);
  Value eval_call(const Expr& expr, Frame& frame, const Value* caller);
  Value eval_filter(const Expr& expr, Frame& frame);
  Value eval_test(const Expr& expr, Frame& frame);
  Value eval_cond(const Expr& expr, Frame& frame);
  Value eval_concat(const Expr& expr, Frame& frame);
  Value eval_compare(const Expr& expr, Frame& frame);
  Value eval_binary(const Expr& expr, Frame& frame);
  void eval_args(const Expr& expr, Frame& frame, CallArgs& args);

  const TemplateCode& code_;
  const Value& context_;
  const RenderOptions& options_;
  const Limits& limits_;
  std::vector<std::pair<size_t, size_t>>* spans_;
  Budget budget_;
  std::vector<std::weak_ptr<Heap>> watched_;
  std::vector<std::pair<std::string, Value>> exported_;  // toplevel assignments, for blocks
  std::string output_;
  std::string* out_ = &output_;
  size_t counted_bytes_ = 0, counted_chars_ = 0;  // of the output, for the spans
  const Value* block_text_ = nullptr;             // what a filter without operand works on
  int64_t steps_ = 0, next_check_ = 0;
  int64_t depth_ = 0, max_depth_;
  const char* stack_base_ = nullptr;
  int line_ = 1;
  bool autoescape_ = false;
  std::chrono::steady_clock::time_point start_;
};

}  // namespace pagoda::jinja
