// Syntax tree of a template, with the variable slots that jinja_resolve fills in.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "text/jinja_value.h"

namespace pagoda::jinja {

struct Expr;
struct Stmt;
using ExprPtr = std::unique_ptr<Expr>;
using StmtPtr = std::unique_ptr<Stmt>;
using Block = std::vector<StmtPtr>;

using FilterFunction = Value (*)(Interp& interp, const Value& value, CallArgs& args);
using TestFunction = bool (*)(Interp& interp, const Value& value, CallArgs& args);

// A variable: the slot in the frame `hops` functions out from the one that runs.
struct Ref {
  int hops = 0;
  int slot = -1;
};

enum class ExprKind : uint8_t {
  kConst,
  kName,          // name, ref
  kNamespaceRef,  // target `name.attr`: name, attr, ref
  kTuple,         // items
  kList,          // items
  kDict,          // items: key, value, key, value ...
  kGetattr,       // a, name
  kGetitem,       // a, b
  kSlice,         // only as b of kGetitem: items of three, each may be null
  kCall,          // a, args
  kFilter,        // a (null: the block's text), name, args
  kTest,          // a, name, args
  kCond,          // a if b else c (c may be null)
  kAnd,
  kOr,
  kNot,
  kNeg,
  kPos,
  kAdd,
  kSub,
  kMul,
  kDiv,
  kFloorDiv,
  kMod,
  kPow,
  kConcat,   // items
  kCompare,  // a, then ops with items
};

enum class CompareOp : uint8_t { kEq, kNe, kLt, kLe, kGt, kGe, kIn, kNotIn };

struct Expr {
  ExprKind kind = ExprKind::kConst;
  bool store = false;  // kName: an assignment target (parameters too)
  bool soft = false;   // kFilter, kTest: inside an if, where an unknown name fails only when it runs
  int line = 1;
  int depth = 1;  // levels of expressions below and including this one
  Value value;
  std::string name;
  std::string attr;
  Ref ref;
  ExprPtr a, b, c;
  std::vector<ExprPtr> items;
  std::vector<CompareOp> ops;
  // Arguments of calls, filters and tests.
  std::vector<ExprPtr> args;
  std::vector<std::pair<std::string, ExprPtr>> keywords;
  ExprPtr dyn_args, dyn_keywords;
  FilterFunction filter = nullptr;
  TestFunction test = nullptr;
};

// What a scope does when it is entered, and the slots it forgets when it is left.
struct Scope {
  enum class Load : uint8_t { kParameter, kResolve, kAlias, kUndefined };
  struct Entry {
    Load load = Load::kUndefined;
    int slot = 0;
    Ref alias;         // kAlias
    std::string name;  // kResolve
  };
  std::vector<Entry> entries;
};

enum class StmtKind : uint8_t {
  kData,      // text
  kOutput,    // items
  kSet,       // target, expr
  kSetBlock,  // target, filter (or null), body
  kFor,
  kIf,           // expr, body, elifs, orelse
  kWith,         // targets, values, body
  kAutoescape,   // expr, body
  kMacro,        // name, parameters, defaults, body
  kCallBlock,    // expr (a call), parameters, defaults, body
  kFilterBlock,  // expr (filters whose innermost has no operand), body
  kBlock,        // name, body, scoped
  kGeneration,   // body: what the assistant wrote
  kBreak,
  kContinue,
};

// The body of a macro, call block, recursive loop or loop filter: variables of its own.
struct FunctionCode {
  int slots = 0;
  std::vector<int> parameters;                                 // slots in order of the parameters
  int caller_slot = -1, kwargs_slot = -1, varargs_slot = -1;   // -1: not asked for
  bool explicit_caller = false, explicit_caller_used = false;  // `caller` is in the parameter list; and is read
};

struct Stmt {
  StmtKind kind = StmtKind::kData;
  int line = 1;
  std::string text;  // kData; name of macros and blocks
  ExprPtr target, expr, filter;
  std::vector<ExprPtr> items;  // kOutput; targets of kWith
  std::vector<ExprPtr> values;
  Block body, orelse;
  std::vector<StmtPtr> elifs;
  // kFor: target in expr if test
  ExprPtr test, test_target;  // the test has its own function with its own target variables
  bool recursive = false;
  bool scoped = false, required = false;
  int loop_slot = -1;  // -1: the body does not use `loop`
  // kMacro, kCallBlock
  std::vector<ExprPtr> parameters, defaults;
  std::unique_ptr<FunctionCode> function;  // also of recursive loops
  std::unique_ptr<FunctionCode> test_function;
  Scope scope, else_scope, test_scope;
  Ref ref;                                           // kMacro: where it is stored
  bool toplevel = false;                             // assignments here are visible to blocks
  std::vector<std::pair<std::string, Ref>> exports;  // toplevel assignments
};

// A parsed template; immutable once made.
struct TemplateCode {
  Block body;
  FunctionCode root;
  Scope scope;
  struct NamedBlock {
    const Stmt* block = nullptr;
    FunctionCode function;
    Scope scope;
    int self_slot = -1, super_slot = -1;
  };
  std::vector<std::pair<std::string, std::unique_ptr<NamedBlock>>> blocks;
  std::map<std::string, size_t, std::less<>> block_index;  // of blocks, by name
  const NamedBlock* block(std::string_view name) const {   // null: none
    const auto found = block_index.find(name);
    return found == block_index.end() ? nullptr : blocks[found->second].second.get();
  }
  int self_slot = -1;
};

}  // namespace pagoda::jinja
