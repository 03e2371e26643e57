// Reading of grammar notations: a position in the source, errors that name the line, and what both notations share.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>

#include "base/error.h"
#include "generate/grammar/expression.h"

namespace pagoda::grammar {

class SourceReader {
 public:
  SourceReader(Builder& builder, std::string_view source);

  bool done() const { return at_ >= source_.size(); }
  char look(size_t ahead = 0) const { return at_ + ahead < source_.size() ? source_[at_ + ahead] : '\0'; }
  bool starts(std::string_view text) const { return source_.substr(at_, text.size()) == text; }
  bool take(std::string_view text);
  void expect(std::string_view text);
  [[noreturn]] void fail(std::string_view what) const;
  [[noreturn]] void refuse(std::string_view what) const;  // "... is not supported"
  size_t line() const;

  // Letters, digits, '_' and '-'; empty: none here.
  std::string name();
  uint32_t code();
  // A number of up to ten digits; false: none here.
  bool number(int64_t& out);
  // Text in quotes of the kind that stands here, escapes undone.
  std::string quoted();
  // {m}, {m,}, {m,n} or {,n}.
  void counts(int64_t& min, int64_t& max);
  // After the backslash of a string or class.
  uint32_t escape();

  // Rules by name, made when first named.
  Rule rule(const std::string& name);
  void define(const std::string& name, Expr body);
  bool known(const std::string& name) const { return rules_.count(name) != 0; }
  // Throws where a rule was used and not defined.
  void check_defined() const;

 protected:
  Builder& builder_;
  std::string_view source_;
  size_t at_ = 0;

 private:
  std::unordered_map<std::string, Rule> rules_;
};

}  // namespace pagoda::grammar
