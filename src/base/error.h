// One error type for the whole engine: a kind, and a text of the form "[where] what: got X, need Y".
#pragma once

#include <fmt/core.h>

#include <exception>
#include <string>
#include <string_view>
#include <utility>

namespace pagoda {

// Six kinds; each has one exit code and one HTTP status. Across the C ABI go kind and text only.
enum class ErrorKind {
  kInvalidInput,  // the caller's data or flags are wrong
  kNotFound,      // a file, model, tensor or name does not exist
  kUnsupported,   // valid, but this build or machine cannot do it
  kOutOfMemory,
  kDevice,    // hardware, operating system or network failed
  kInternal,  // a bug of ours
};

class Error : public std::exception {
 public:
  Error(ErrorKind kind, std::string message) : kind_(kind), message_(std::move(message)) {}
  ErrorKind kind() const { return kind_; }
  const std::string& message() const { return message_; }
  const char* what() const noexcept override { return message_.c_str(); }

 private:
  ErrorKind kind_;
  std::string message_;
};

const char* error_kind_name(ErrorKind kind);  // "invalid_input", ...
int exit_code(ErrorKind kind);    // 2 invalid input, 3 not found, 4 unsupported, 5 out of memory, 6 device, 70 internal
int http_status(ErrorKind kind);  // 400, 404, 501, 503, 500, 500

// Throws Error{kind, "[where] text"}.
[[noreturn]] void fail(ErrorKind kind, std::string_view where, std::string_view text);

template <class... Args>
[[noreturn]] void fail(ErrorKind kind, std::string_view where, fmt::format_string<Args...> format, Args&&... args) {
  fail(kind, where, std::string_view(fmt::format(format, std::forward<Args>(args)...)));
}

template <class... Args>
[[noreturn]] void invalid(std::string_view where, fmt::format_string<Args...> format, Args&&... args) {
  fail(ErrorKind::kInvalidInput, where, std::string_view(fmt::format(format, std::forward<Args>(args)...)));
}

template <class... Args>
[[noreturn]] void unsupported(std::string_view where, fmt::format_string<Args...> format, Args&&... args) {
  fail(ErrorKind::kUnsupported, where, std::string_view(fmt::format(format, std::forward<Args>(args)...)));
}

template <class... Args>
[[noreturn]] void not_found(std::string_view where, fmt::format_string<Args...> format, Args&&... args) {
  fail(ErrorKind::kNotFound, where, std::string_view(fmt::format(format, std::forward<Args>(args)...)));
}

// Error for a failed system call: takes errno at the time of the call; ENOENT is not found, ENOMEM out of memory, else device.
[[noreturn]] void fail_errno(std::string_view where, std::string_view what, int error_number);

// The current exception as an Error; call inside catch (...). std::bad_alloc becomes out of memory, anything unknown internal.
Error current_error();

[[noreturn]] void dcheck_failed(const char* file, int line, const char* expression);

}  // namespace pagoda

// DCHECK is for our own mistakes only, never reachable from input; it throws kInternal in builds that keep it.
#ifdef PAGODA_DCHECK
#define DCHECK(expression)                                                       \
  do {                                                                           \
    if (!(expression)) ::pagoda::dcheck_failed(__FILE__, __LINE__, #expression); \
  } while (false)
#else
#define DCHECK(expression)    \
  do {                        \
    (void)sizeof(expression); \
  } while (false)
#endif
