// Files that are written whole or not at all, and what is no file.
#include "base/file.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <memory>
#include <vector>

#include "base/error.h"
#include "base/links.h"
#include "base/temporary.h"

namespace pagoda {
namespace {

class FileTest : public ::testing::Test {
 protected:
  void SetUp() override { std::filesystem::create_directories(folder_); }
  void TearDown() override { std::filesystem::remove_all(folder_); }
  const std::string folder_ = ::testing::TempDir() + "pagoda_file_" + std::to_string(::getpid());
};

TEST_F(FileTest, AFileIsThereOnceItIsCommitted) {
  const std::string path = folder_ + "/file";
  {
    AtomicFile lost(path);
    lost.write("half");
  }
  EXPECT_TRUE(list_directory(folder_).empty());
  write_file_atomic(path, "whole");
  EXPECT_EQ(read_file(path, 100), "whole");
  EXPECT_EQ(list_directory(folder_).size(), 1u);
}

TEST_F(FileTest, APipeIsWrittenToAndNotReplaced) {
  const std::string path = folder_ + "/pipe";
  ASSERT_EQ(::mkfifo(path.c_str(), 0600), 0);
  const int reader = ::open(path.c_str(), O_RDONLY | O_NONBLOCK);
  ASSERT_GE(reader, 0);
  write_file_atomic(path, "text");
  char bytes[8];
  EXPECT_EQ(::read(reader, bytes, sizeof bytes), 4);
  ::close(reader);
  struct stat info{};
  ASSERT_EQ(::stat(path.c_str(), &info), 0);
  EXPECT_TRUE(S_ISFIFO(info.st_mode));
}

// Links inside a folder may lead to what others share: they are replaced.
TEST_F(FileTest, ALinkIsReplacedAndWhatItLeadsToStays) {
  const std::string shared = folder_ + "/shared", link = folder_ + "/link", nowhere = folder_ + "/nowhere";
  write_file_atomic(shared, "shared");
  std::filesystem::create_symlink("shared", link);
  std::filesystem::create_symlink("/no/such/folder/file", nowhere);
  for (const std::string& path : {link, nowhere}) {
    write_file_atomic(path, "own");
    EXPECT_FALSE(std::filesystem::is_symlink(path));
    EXPECT_EQ(read_file(path, 100), "own");
  }
  EXPECT_EQ(read_file(shared, 100), "shared");
}

TEST_F(FileTest, ALinkThatIsNamedStaysAndWhatItLeadsToIsReplaced) {
  const std::string target = folder_ + "/target", link = folder_ + "/link", beside = folder_ + "/sub/link";
  write_file_atomic(target, "before");
  std::filesystem::create_directory(folder_ + "/sub");
  std::filesystem::create_symlink("target", link);
  std::filesystem::create_symlink("../link", beside);  // by way of the other
  for (const std::string& path : {link, beside}) {
    write_file_atomic(behind_links(path), path);
    EXPECT_TRUE(std::filesystem::is_symlink(path));
    EXPECT_FALSE(std::filesystem::is_symlink(target));
    EXPECT_EQ(read_file(target, 1000), path);
  }
  EXPECT_EQ(list_directory(folder_ + "/sub").size(), 1u);
  EXPECT_EQ(behind_links(folder_ + "/new"), folder_ + "/new");
  std::filesystem::create_symlink("loop", folder_ + "/loop");
  EXPECT_THROW(behind_links(folder_ + "/loop"), Error);
}

// /dev/stdout leads to the process's own open file, which others (a shell) write to as well.
TEST_F(FileTest, AnOpenFileOfTheProcessIsWrittenTo) {
  const std::string path = folder_ + "/redirected", link = folder_ + "/stdout";
  const int fd = ::open(path.c_str(), O_WRONLY | O_CREAT, 0600);
  ASSERT_GE(fd, 0);
  ASSERT_EQ(::write(fd, "first ", 6), 6);
  struct stat before{}, after{};
  ASSERT_EQ(::fstat(fd, &before), 0);
  std::filesystem::create_symlink("/proc/self/fd/" + std::to_string(fd), link);
  EXPECT_EQ(behind_links(link), link);
  write_file_atomic(link, "second");
  ::close(fd);
  ASSERT_EQ(::stat(path.c_str(), &after), 0);
  EXPECT_EQ(before.st_ino, after.st_ino);
  EXPECT_TRUE(std::filesystem::is_symlink(link));
  EXPECT_EQ(read_file(path, 100), "first second");
}

// As the handler of a second Ctrl-C does.
TEST_F(FileTest, WhatIsHalfWrittenCanBeRemoved) {
  const std::string path = folder_ + "/file";
  {
    AtomicFile first(path), second(folder_ + "/other"), done(folder_ + "/done");
    done.write("whole");
    done.commit();
    first.write("half");
    EXPECT_EQ(list_directory(folder_).size(), 3u);
    remove_temporaries();
    EXPECT_EQ(list_directory(folder_), std::vector<std::string>{"done"});
    EXPECT_THROW(first.commit(), Error);
  }
  remove_temporaries();
  // More than are remembered: those are written all the same.
  std::vector<std::unique_ptr<AtomicFile>> many;
  for (int i = 0; i < 100; ++i) many.push_back(std::make_unique<AtomicFile>(folder_ + "/many" + std::to_string(i)));
  for (const auto& each : many) each->commit();
  EXPECT_EQ(list_directory(folder_).size(), 101u);
  many.clear();
  remove_temporaries();
  EXPECT_EQ(list_directory(folder_).size(), 101u);
}

TEST_F(FileTest, AFolderIsNoFile) { EXPECT_THROW(write_file_atomic(folder_, "text"), Error); }

}  // namespace
}  // namespace pagoda
