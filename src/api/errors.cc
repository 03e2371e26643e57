// Translates kinds.
#include "api/errors.h"

#include "base/error.h"

namespace pagoda::api {

namespace {

ErrorKind translated_kind(pagoda::ErrorKind kind) {
  switch (kind) {
    case pagoda::ErrorKind::kInvalidInput: return ErrorKind::kInvalidInput;
    case pagoda::ErrorKind::kNotFound: return ErrorKind::kNotFound;
    case pagoda::ErrorKind::kUnsupported: return ErrorKind::kUnsupported;
    case pagoda::ErrorKind::kOutOfMemory: return ErrorKind::kOutOfMemory;
    case pagoda::ErrorKind::kDevice: return ErrorKind::kDevice;
    case pagoda::ErrorKind::kInternal: return ErrorKind::kInternal;
  }
  return ErrorKind::kInternal;
}

}  // namespace

void throw_translated() {
  try {
    throw;
  } catch (const Error&) {
    throw;
  } catch (...) {
    const pagoda::Error error = current_error();
    throw Error(translated_kind(error.kind()), error.message());
  }
}

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

}  // namespace pagoda::api
