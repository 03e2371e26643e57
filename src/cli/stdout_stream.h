// std::ostream over write_out(), for what writes lines to a stream.
#pragma once

#include <optional>
#include <ostream>
#include <streambuf>

#include "base/error.h"
#include "cli/cli.h"

namespace pagoda::cli {

// A reader that has seen enough ends the program at once, however much input is left; a full disk ends the work. finish()
// writes what is held and throws what went wrong. std::cin is tied to it meanwhile, so that who asks line by line is answered
// so.
class StdoutStream : public std::ostream {
 public:
  StdoutStream();
  ~StdoutStream() override;
  StdoutStream(const StdoutStream&) = delete;
  StdoutStream& operator=(const StdoutStream&) = delete;
  void finish();

 private:
  class Buffer : public std::streambuf {
   public:
    Buffer() { setp(bytes_, bytes_ + sizeof bytes_); }
    int sync() override;
    int_type overflow(int_type c) override;
    const std::optional<Error>& error() const { return error_; }

   private:
    char bytes_[size_t{64} << 10];
    std::optional<Error> error_;
  };
  Buffer buffer_;
  std::ostream* tied_;
};

}  // namespace pagoda::cli
