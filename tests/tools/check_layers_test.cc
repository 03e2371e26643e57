// tools/check_layers.cc over small trees: what it refuses, and in which words.
#include <gtest/gtest.h>

#include <cstdio>
#include <filesystem>

#include "base/file.h"
#include "tests/temporary.h"

namespace pagoda::testing {
namespace {

class CheckLayers : public ::testing::Test {
 protected:
  CheckLayers() {
    std::filesystem::remove_all(root_);
    write("tools/layers.txt", "base: ; fmt/\ntext: base ;\ntext/bpe.cc: ; pcre2.h\n");
    write("src/base/error.h", "// Errors.\n#include <fmt/core.h>\n");
    write("src/text/bpe.cc", "// Merges.\n#include <pcre2.h>\n\n#include \"base/error.h\"\n");
  }
  ~CheckLayers() override { std::filesystem::remove_all(root_); }

  void write(const std::string& path, const std::string& text) {
    make_directories(parent_path(root_ + "/" + path));
    write_file_atomic(root_ + "/" + path, text);
  }
  // What it says, and behind it the exit code.
  std::string said() {
    const std::string command = std::string(PAGODA_CHECK_LAYERS) + " " + root_ + " 2>&1; echo $?";
    std::string text;
    std::FILE* pipe = ::popen(command.c_str(), "r");
    for (int c = std::fgetc(pipe); c != EOF; c = std::fgetc(pipe)) text.push_back(static_cast<char>(c));
    ::pclose(pipe);
    return text;
  }
  std::string root_ = temporary_path("layers");
};

TEST_F(CheckLayers, PassesWhereEveryWordIsNeeded) { EXPECT_EQ(said(), "0\n"); }

TEST_F(CheckLayers, RefusesWhatTheLineDoesNotName) {
  write("src/base/error.h", "// Errors.\n#include <fmt/core.h>\n#include \"text/bpe.h\"\n");
  EXPECT_EQ(said(), "src/base/error.h:3: 'base' may not include \"text/bpe.h\"\n1\n");
}

TEST_F(CheckLayers, RefusesWordsThatNobodyNeeds) {
  write("tools/layers.txt", "base: ; fmt/ spdlog/\ntext: base base/json.h ;\ntext/bpe.cc: ; pcre2.h CLI/\n");
  EXPECT_EQ(said(),
            "tools/layers.txt:1: 'base' neither includes nor links 'spdlog/'\n"
            "tools/layers.txt:2: 'text' neither includes nor links 'base/json.h'\n"
            "tools/layers.txt:3: 'text/bpe.cc' neither includes nor links 'CLI/'\n1\n");
}

TEST_F(CheckLayers, ALinkNeedsItsWordToo) {
  write("src/text/bpe.cc", "// Merges.\n#include <pcre2.h>\n");
  write("src/text/CMakeLists.txt", "pagoda_library(text DEPS base)\n");
  EXPECT_EQ(said(), "0\n");
  write("src/text/CMakeLists.txt", "pagoda_library(text DEPS base tensor)\n");
  EXPECT_EQ(said(), "src/text/CMakeLists.txt:1: 'text' may not link 'tensor'\n1\n");
}

}  // namespace
}  // namespace pagoda::testing
