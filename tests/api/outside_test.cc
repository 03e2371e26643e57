// The library as others use it: installed, found by CMake and by pkg-config, and as a folder of another project.
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "tests/api/models.h"
#include "tests/temporary.h"

namespace pagoda {
namespace {

constexpr const char* kCMake = PAGODA_CMAKE;
constexpr const char* kExamples = PAGODA_SOURCE_DIR "/examples";

std::string quoted(const std::string& text) { return "'" + text + "'"; }

// The generator and compiler of this build: a machine need not have any other.
std::string configured(const std::string& source, const std::string& build) {
  return quoted(kCMake) + " -G " + quoted(PAGODA_GENERATOR) + " -S " + quoted(source) + " -B " + quoted(build) +
         " -DCMAKE_CXX_COMPILER=" + quoted(PAGODA_CXX);
}

// Runs a command of the shell; its output where it failed.
::testing::AssertionResult runs(const std::string& command) {
  const std::string log = testing::temporary_path("outside.log");
  if (std::system(("{ " + command + "; } >" + quoted(log) + " 2>&1").c_str()) == 0) return ::testing::AssertionSuccess();
  std::ostringstream text;
  text << std::ifstream(log).rdbuf();
  return ::testing::AssertionFailure() << command << "\n" << text.str();
}

const char* why_not() {
#if defined(__SANITIZE_ADDRESS__)
  return "sanitized: a program outside would have to be, too";
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
  return "sanitized: a program outside would have to be, too";
#endif
#endif
  if (!runs(quoted(kCMake) + " --version")) return "no cmake here";
  return nullptr;
}

class OutsideSlow : public ::testing::Test {
 protected:
  void SetUp() override {
    if (const char* reason = why_not()) GTEST_SKIP() << reason;
    ASSERT_TRUE(
        runs(quoted(kCMake) + " --install " + quoted(PAGODA_BUILD_DIR) + " --component library --prefix " + quoted(prefix_)));
  }
  static ::testing::AssertionResult tells_a_story(const std::string& program) {
    return runs(quoted(program) + " " + quoted(testing::kStories) + " 'once upon a time' | grep 'little girl'");
  }
  const std::string prefix_ = testing::temporary_path("prefix");
};

TEST_F(OutsideSlow, ProgramsBuildAgainstTheInstalledPackage) {
  const std::string build = testing::temporary_path("outside");
  ASSERT_TRUE(runs(configured(kExamples, build) + " -DCMAKE_PREFIX_PATH=" + quoted(prefix_)));
  ASSERT_TRUE(runs(quoted(kCMake) + " --build " + quoted(build)));
  EXPECT_TRUE(tells_a_story(build + "/generate"));
  EXPECT_TRUE(runs("echo 'tell me a story about a cat.' | " + quoted(build + "/chat") + " " + quoted(testing::kStories) +
                   " | grep cat"));
  EXPECT_TRUE(runs(quoted(build + "/classify") + " fill-mask " + quoted(testing::kMaskedLm) +
                   " '\"once upon a [MASK], there was a frog.\"' | grep time"));
  EXPECT_TRUE(runs(quoted(build + "/classify") + " similarity " + quoted(testing::kMaskedLm) + " 'a cat' 'a dog' | grep dog"));
}

TEST_F(OutsideSlow, ProgramsBuildByPkgConfig) {
  if (!runs("pkg-config --version")) GTEST_SKIP() << "no pkg-config here";
  const std::string program = testing::temporary_path("by_pkg_config");
  const std::string path = "PKG_CONFIG_PATH=" + quoted(prefix_ + "/lib/pkgconfig") + " pkg-config ";
  ASSERT_TRUE(runs("flags=$(" + path + "--cflags --libs pagoda) && " + PAGODA_CXX + " " +
                   quoted(std::string(kExamples) + "/generate.cc") + " $flags -o " + quoted(program)));
  EXPECT_TRUE(tells_a_story(program));
}

// Configured only: building it is building Pagoda once more.
TEST_F(OutsideSlow, IsAFolderOfAnotherProject) {
  const std::string source = testing::temporary_path("parent");
  std::filesystem::create_directories(source);
  std::ofstream(source + "/CMakeLists.txt")
      << "cmake_minimum_required(VERSION 3.25)\nproject(parent LANGUAGES CXX)\n"
      << "add_subdirectory(" PAGODA_SOURCE_DIR " pagoda EXCLUDE_FROM_ALL)\n"
      << "add_executable(app " << kExamples << "/generate.cc)\n"
      << "target_link_libraries(app PRIVATE pagoda::pagoda)\n"
      << "foreach(none pagoda pagoda_cli pagoda_train base_test example_chat)\n"
      << "  if(TARGET ${none})\n    message(FATAL_ERROR ${none})\n  endif()\nendforeach()\n";
  EXPECT_TRUE(runs(configured(source, source + "/build")));
}

}  // namespace
}  // namespace pagoda
