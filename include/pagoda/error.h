// The one exception that Pagoda throws: a kind, and a text of the form "[where] what: got X, need Y" (of what a chat template
// raises, the template's own words).
#pragma once

#include <exception>
#include <string>
#include <utility>

namespace pagoda::api {

enum class ErrorKind {
  kInvalidInput,  // the caller's data or options are wrong
  kNotFound,      // a file, model or name does not exist
  kUnsupported,   // valid, but this build or machine cannot do it
  kOutOfMemory,
  kDevice,    // hardware, operating system or network failed
  kInternal,  // a bug of ours
};

const char* error_kind_name(ErrorKind kind);  // "invalid_input", "not_found", ...

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

}  // namespace pagoda::api
