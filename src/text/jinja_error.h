// The error of a template: which Python exception jinja2 would have raised, its text, and the line.
#pragma once

#include <string>
#include <utility>

#include "base/error.h"

namespace pagoda::jinja {

// Where the template called raise_exception(text), message() is that text alone; else "[template] line N: Type: text".
class TemplateError : public Error {
 public:
  TemplateError(std::string exception_type, std::string exception_text, int at_line, bool by_template = false)
      : Error(
            ErrorKind::kInvalidInput,
            by_template ? exception_text : fmt::format("[template] line {}: {}: {}", at_line, exception_type, exception_text)),
        type_(std::move(exception_type)),
        text_(std::move(exception_text)),
        line_(at_line),
        raised_by_template_(by_template) {}

  const std::string& type() const { return type_; }  // "UndefinedError", "TypeError", "TemplateSyntaxError" ...
  const std::string& text() const { return text_; }  // the exception's own text
  int line() const { return line_; }                 // counted from 1
  bool raised_by_template() const { return raised_by_template_; }

 private:
  std::string type_;
  std::string text_;
  int line_;
  bool raised_by_template_;
};

}  // namespace pagoda::jinja
