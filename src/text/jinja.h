// Chat templates: Jinja as jinja2 3.1.6 runs it in transformers (immutable sandbox, trim_blocks, lstrip_blocks, loop controls,
// {% generation %}), with the globals raise_exception and strftime_now and Python's tojson.
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/json.h"
#include "base/limits.h"
#include "text/jinja_error.h"
#include "text/jinja_value.h"

namespace pagoda::jinja {

struct TemplateCode;

// A time without zone, as strftime_now formats it.
struct DateTime {
  int year = 1970, month = 1, day = 1;  // month and day from 1
  int hour = 0, minute = 0, second = 0, microsecond = 0;
  // "2024-07-26T12:00:00", "2024-07-26 12:00", "2024-07-26"; throws kInvalidInput.
  static DateTime parse(std::string_view text);
  static DateTime local_now();
};

struct RenderOptions {
  std::optional<DateTime> now;  // without: the local time when strftime_now is called
  Limits limits;                // max_steps, max_output_bytes, max_depth, max_string_bytes (all values alive), max_milliseconds
};

// Immutable once parsed: one Template may render on many threads.
class Template {
 public:
  // Throws TemplateError (with the line) for a fault of the text, Error(kUnsupported) for include, import and extends.
  static std::shared_ptr<const Template> parse(std::string_view source, const Limits& limits = {});
  ~Template();

  // `context` is a dict: the template's variables. Throws TemplateError for what jinja2 raises, Error(kInvalidInput) naming the
  // limit that was reached. `generation_spans` gets the [start, end) of each {% generation %} block, in code points.
  std::string render(const Value& context, const RenderOptions& options = {},
                     std::vector<std::pair<size_t, size_t>>* generation_spans = nullptr) const;

  const std::string& source() const { return source_; }

 private:
  explicit Template(std::unique_ptr<TemplateCode> code, std::string source);
  std::unique_ptr<TemplateCode> code_;
  std::string source_;
};

// A key given twice takes its last value, as Python's json does.
Value from_json(const Json& json);

}  // namespace pagoda::jinja
