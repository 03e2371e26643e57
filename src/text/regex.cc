// PCRE2 behind the Regex interface.
#define PCRE2_CODE_UNIT_WIDTH 8
#include "text/regex.h"

#include <pcre2.h>

#include "base/error.h"
#include "base/utf8.h"

namespace pagoda {

namespace {
constexpr uint32_t kMatchLimit = 20'000'000;
constexpr uint32_t kHeapLimitKib = 512 * 1024;
constexpr size_t kJitStackBytes = size_t{256} << 20;  // reserved, and used only as far as a match needs it
// What an error shows of a pattern.
std::string_view beginning(std::string_view text) {
  text = text.substr(0, 200);
  return text.substr(0, utf8_complete_prefix(text));
}
}  // namespace

struct RegexScratch::State {
  pcre2_match_data* data = nullptr;
  pcre2_match_context* context = nullptr;
  pcre2_jit_stack* stack = nullptr;
};

RegexScratch::RegexScratch() : state_(std::make_unique<State>()) {
  state_->data = pcre2_match_data_create(1, nullptr);
  state_->context = pcre2_match_context_create(nullptr);
  if (state_->data == nullptr || state_->context == nullptr) fail(ErrorKind::kOutOfMemory, "pattern", "no memory to match");
  pcre2_set_match_limit(state_->context, kMatchLimit);
  pcre2_set_heap_limit(state_->context, kHeapLimitKib);
}

RegexScratch::~RegexScratch() {
  if (state_->stack != nullptr) pcre2_jit_stack_free(state_->stack);
  if (state_->context != nullptr) pcre2_match_context_free(state_->context);
  if (state_->data != nullptr) pcre2_match_data_free(state_->data);
}

struct Regex::Code {
  pcre2_code* code = nullptr;
  bool jit = false;
  ~Code() { pcre2_code_free(code); }
};

Regex::~Regex() = default;

std::shared_ptr<const Regex> Regex::compile(std::string_view pattern, PatternDialect dialect, std::string_view where,
                                            const Limits& limits) {
  const Pattern parsed = parse_pattern(pattern, dialect, where, limits);
  const std::string translated = to_pcre2(*parsed.root);
  std::shared_ptr<Regex> regex(new Regex);
  regex->source_ = pattern;
  regex->code_ = std::make_unique<Code>();
  int error = 0;
  PCRE2_SIZE offset = 0;
  pcre2_compile_context* context = pcre2_compile_context_create(nullptr);
  pcre2_set_newline(context, PCRE2_NEWLINE_LF);
  pcre2_set_bsr(context, PCRE2_BSR_UNICODE);
  regex->code_->code = pcre2_compile(reinterpret_cast<PCRE2_SPTR>(translated.data()), translated.size(),
                                     PCRE2_UTF | PCRE2_UCP | PCRE2_NO_UTF_CHECK, &error, &offset, context);
  pcre2_compile_context_free(context);
  if (regex->code_->code == nullptr) {
    PCRE2_UCHAR message[128] = {};
    pcre2_get_error_message(error, message, sizeof(message));
    invalid(where, "bad pattern: {} in '{}'", reinterpret_cast<const char*>(message), beginning(pattern));
  }
  regex->code_->jit = pcre2_jit_compile(regex->code_->code, PCRE2_JIT_COMPLETE) == 0;
  return regex;
}

std::shared_ptr<const Regex> Regex::literal(std::string_view text, std::string_view where) {
  std::string pattern;
  for (char c : text) {
    if (std::string_view("\\^$.|?*+()[]{}#-&~ ").find(c) != std::string_view::npos) pattern += '\\';
    pattern += c;
  }
  return compile(pattern, PatternDialect::kRust, where);
}

bool Regex::search(std::string_view text, size_t from, size_t& begin, size_t& end, RegexScratch& scratch) const {
  RegexScratch::State& state = *scratch.state_;
  const PCRE2_SPTR subject = reinterpret_cast<PCRE2_SPTR>(text.data() == nullptr ? "" : text.data());
  int rc = code_->jit ? pcre2_jit_match(code_->code, subject, text.size(), from, 0, state.data, state.context)
                      : pcre2_match(code_->code, subject, text.size(), from, PCRE2_NO_UTF_CHECK, state.data, state.context);
  if (rc == PCRE2_ERROR_JIT_STACKLIMIT && state.stack == nullptr) {
    state.stack = pcre2_jit_stack_create(32 * 1024, kJitStackBytes, nullptr);
    if (state.stack != nullptr) pcre2_jit_stack_assign(state.context, nullptr, state.stack);
    rc = pcre2_jit_match(code_->code, subject, text.size(), from, 0, state.data, state.context);
  }
  if (rc == PCRE2_ERROR_JIT_STACKLIMIT) {
    rc = pcre2_match(code_->code, subject, text.size(), from, PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT, state.data, state.context);
  }
  if (rc == PCRE2_ERROR_NOMATCH) return false;
  if (rc < 0) {
    PCRE2_UCHAR message[128] = {};
    pcre2_get_error_message(rc, message, sizeof(message));
    invalid("pattern", "cannot match '{}': {}", beginning(source_), reinterpret_cast<const char*>(message));
  }
  const PCRE2_SIZE* const vector = pcre2_get_ovector_pointer(state.data);
  begin = vector[0];
  end = vector[1];
  return true;
}

}  // namespace pagoda
