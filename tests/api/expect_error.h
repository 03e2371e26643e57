// Errors of the API by their kind.
#pragma once

#include <gtest/gtest.h>
#include <pagoda/pagoda.h>

#include <string>

namespace pagoda::testing {

// fn throws an Error of this kind, whose text holds `part` and is of the form "[where] what".
template <class Fn>
void expect_error(ErrorKind kind, const std::string& part, Fn fn) {
  try {
    fn();
    FAIL() << "no error";
  } catch (const Error& error) {
    EXPECT_STREQ(error_kind_name(error.kind()), error_kind_name(kind)) << error.what();
    EXPECT_NE(error.message().find(part), std::string::npos) << error.what();
    EXPECT_EQ(error.message().front(), '[') << error.what();
    EXPECT_EQ(error.message(), error.what());
  }
}

}  // namespace pagoda::testing
