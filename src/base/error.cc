// Kinds of error and their exit codes and HTTP statuses.
#include "base/error.h"

#include <cerrno>
#include <cstring>
#include <new>
#include <system_error>

namespace pagoda {

const char* error_kind_name(ErrorKind kind) {
  switch (kind) {
    case ErrorKind::kInvalidInput: return "invalid_input";
    case ErrorKind::kNotFound: return "not_found";
    case ErrorKind::kUnsupported: return "unsupported";
    case ErrorKind::kOutOfMemory: return "out_of_memory";
    case ErrorKind::kDevice: return "device";
    case ErrorKind::kInternal: return "internal";
  }
  return "internal";
}

int exit_code(ErrorKind kind) {
  switch (kind) {
    case ErrorKind::kInvalidInput: return 2;
    case ErrorKind::kNotFound: return 3;
    case ErrorKind::kUnsupported: return 4;
    case ErrorKind::kOutOfMemory: return 5;
    case ErrorKind::kDevice: return 6;
    case ErrorKind::kInternal: return 70;  // EX_SOFTWARE
  }
  return 70;
}

int http_status(ErrorKind kind) {
  switch (kind) {
    case ErrorKind::kInvalidInput: return 400;
    case ErrorKind::kNotFound: return 404;
    case ErrorKind::kUnsupported: return 501;
    case ErrorKind::kOutOfMemory: return 503;
    case ErrorKind::kDevice: return 500;
    case ErrorKind::kInternal: return 500;
  }
  return 500;
}

void fail(ErrorKind kind, std::string_view where, std::string_view text) {
  throw Error(kind, fmt::format("[{}] {}", where, text));
}

void fail_errno(std::string_view where, std::string_view what, int error_number) {
  const ErrorKind kind = error_number == ENOENT || error_number == ENOTDIR ? ErrorKind::kNotFound
                         : error_number == ENOMEM                          ? ErrorKind::kOutOfMemory
                         : error_number == EISDIR || error_number == EINVAL || error_number == ENAMETOOLONG
                             ? ErrorKind::kInvalidInput
                             : ErrorKind::kDevice;
  const std::string reason = std::error_code(error_number, std::generic_category()).message();
  fail(kind, where, "{}: {}", what, reason);
}

Error current_error() {
  try {
    throw;
  } catch (const Error& error) {
    return error;
  } catch (const std::bad_alloc&) {
    return Error(ErrorKind::kOutOfMemory, "[memory] allocation failed: the system has no memory left for this request");
  } catch (const std::exception& error) {
    return Error(ErrorKind::kInternal, fmt::format("[internal] {}", error.what()));
  } catch (...) {
    return Error(ErrorKind::kInternal, "[internal] unknown exception");
  }
}

void dcheck_failed(const char* file, int line, const char* expression) {
  fail(ErrorKind::kInternal, "dcheck", "{}:{}: {} does not hold", file, line, expression);
}

}  // namespace pagoda
