// What programs before and after pagoda in a pipe see: readers that stop, disks that are full, Ctrl-C.
#include <gtest/gtest.h>

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <thread>

#include "tests/cli/child.h"
#include "tests/temporary.h"
#include "tests/word_model.h"

namespace pagoda::testing {
namespace {

// Output of a bash command, in which $PAGODA is the program; its exit code is the last line's own affair.
std::string bash(const std::string& command) {
  ::setenv("PAGODA", PAGODA_PROGRAM, 1);
  std::FILE* pipe = ::popen(("bash -c '" + command + "' 2>&1").c_str(), "r");
  std::string out;
  char piece[4096];
  for (size_t got = 0; (got = std::fread(piece, 1, sizeof piece, pipe)) > 0;) out.append(piece, got);
  ::pclose(pipe);
  return out;
}

TEST(Streams, AReaderThatStopsEndsTheProgramQuietly) {
  const std::string folder = temporary_path("streams_model");
  make_word_model(folder);
  // Endless input: whoever did not notice would never end.
  const auto endless = [&](const std::string& line, const std::string& verb) {
    return bash("yes \"" + line + "\" 2>/dev/null | $PAGODA " + verb + " " + folder +
                " --jsonl | head -n 2; echo ${PIPESTATUS[1]}");
  };
  EXPECT_EQ(endless(R"(\"w7\")", "tokenize"), "[1,7]\n[1,7]\n0\n");
  EXPECT_EQ(endless("[7]", "detokenize"), "\"w7\"\n\"w7\"\n0\n");
  EXPECT_EQ(endless(R"({\"messages\": [{\"role\": \"user\", \"content\": \"w7\"}], \"bos_token\": \"s\"})", "template"),
            "\"s user w7\"\n\"s user w7\"\n0\n");
}

TEST(Streams, AFullDiskIsAnError) {
  const std::string folder = temporary_path("streams_full");
  make_word_model(folder);
  for (const std::string command : {"--help", "--version", "tokenize --help", "completion bash"}) {
    EXPECT_EQ(bash("$PAGODA " + command + " > /dev/full; echo $?"),
              "error: [stdout] cannot write: No space left on device\n6\n")
        << command;
  }
  EXPECT_EQ(bash("yes \\\"w7\\\" 2>/dev/null | $PAGODA tokenize " + folder + " --jsonl > /dev/full; echo ${PIPESTATUS[1]}"),
            "error: [stdout] cannot write: No space left on device\n6\n");
  EXPECT_EQ(bash("echo \\\"w7\\\" | $PAGODA tokenize " + folder + " --jsonl > /dev/full; echo ${PIPESTATUS[1]}"),
            "error: [stdout] cannot write: No space left on device\n6\n");
}

// Whoever asks line by line is answered so.
TEST(Streams, LinesAreAnsweredAsTheyCome) {
  const std::string folder = temporary_path("streams_lines");
  make_word_model(folder);
  EXPECT_EQ(bash("coproc $PAGODA tokenize " + folder +
                 " --jsonl; echo \\\"w7\\\" >&${COPROC[1]}; read -t 60 line <&${COPROC[0]}; echo $line; echo \\\"w8\\\" "
                 ">&${COPROC[1]}; "
                 "read -t 60 line <&${COPROC[0]}; echo $line"),
            "[1,7]\n[1,8]\n");
}

// Whether the process has a handler for SIGINT: by then it is beyond what would end it anyway.
bool catches_interrupts(pid_t pid) {
  std::ifstream status("/proc/" + std::to_string(pid) + "/status");
  for (std::string line; std::getline(status, line);) {
    if (line.rfind("SigCgt:", 0) == 0) return (std::strtoull(line.c_str() + 7, nullptr, 16) & (1u << (SIGINT - 1))) != 0;
  }
  return false;
}

TEST(Streams, AnInterruptedDoctorExits130) {
  Running doctor({"doctor"});
  while (!catches_interrupts(doctor.pid())) std::this_thread::yield();
  ::kill(doctor.pid(), SIGINT);
  const Ended ended = doctor.end();
  EXPECT_EQ(ended.code, 130) << ended.err;
  EXPECT_EQ(ended.out, "");
}

}  // namespace
}  // namespace pagoda::testing
