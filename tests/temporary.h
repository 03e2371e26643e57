// Files that tests write: under names that two checkouts whose tests run at once do not share, and gone with the program.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <string>
#include <system_error>
#include <vector>

namespace pagoda::testing {

inline std::string temporary_path(const std::string& name) {
  struct Made {
    std::vector<std::string> paths;
    ~Made() {
      std::error_code ignored;
      for (const std::string& path : paths) std::filesystem::remove_all(path, ignored);
    }
  };
  static Made made;
  made.paths.push_back(::testing::TempDir() + "pagoda_" + std::to_string(::getpid()) + "_" + name);
  return made.paths.back();
}

}  // namespace pagoda::testing
