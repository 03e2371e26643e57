// The buffer and its errors.
#include "cli/stdout_stream.h"

#include <iostream>

namespace pagoda::cli {

int StdoutStream::Buffer::sync() {
  if (error_) return -1;
  try {
    write_out({pbase(), static_cast<size_t>(pptr() - pbase())});
  } catch (const Error& error) {
    error_ = error;
    throw;
  }
  setp(bytes_, bytes_ + sizeof bytes_);
  return 0;
}

StdoutStream::Buffer::int_type StdoutStream::Buffer::overflow(int_type c) {
  if (sync() != 0) return traits_type::eof();
  if (!traits_type::eq_int_type(c, traits_type::eof())) sputc(traits_type::to_char_type(c));
  return traits_type::not_eof(c);
}

StdoutStream::StdoutStream() : std::ostream(nullptr) {
  std::ios::sync_with_stdio(false);
  rdbuf(&buffer_);
  exceptions(std::ios::badbit);  // what is thrown below comes through
  tied_ = std::cin.tie(this);
}

StdoutStream::~StdoutStream() { std::cin.tie(tied_); }

// A write that failed while std::cin was asked for more has ended the input alone.
void StdoutStream::finish() {
  if (!buffer_.error()) flush();
  if (buffer_.error()) throw Error(*buffer_.error());
}

}  // namespace pagoda::cli
