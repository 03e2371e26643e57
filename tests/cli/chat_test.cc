// Chat over a fixture with a small tokenizer and template of its own: through pipes, and on a terminal with Ctrl-C.
#include <gtest/gtest.h>

#include <filesystem>

#include "base/file.h"
#include "tests/cli/child.h"
#include "tests/temporary.h"
#include "tests/word_model.h"

namespace pagoda::testing {
namespace {

namespace fs = std::filesystem;

class Chat : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ =
        pagoda::testing::temporary_path("chat_" + std::string(::testing::UnitTest::GetInstance()->current_test_info()->name()));
    make_word_model(folder_);
  }
  void TearDown() override { fs::remove_all(folder_); }

  void write(const std::string& name, const std::string& text) { write_file_atomic(folder_ + "/" + name, text); }

  // The greedy answer to these ids, by generate.
  Json expected(const std::string& ids, int tokens) {
    const Ended ended =
        run_pagoda({"generate", folder_, "--prompt-ids", ids, "--max-new-tokens", std::to_string(tokens), "--json"});
    return ended.json().at("outputs", "generate").as_array("generate")[0];
  }
  std::vector<Json> turns(const std::vector<std::string>& flags, const std::string& input) {
    std::vector<std::string> all{"chat", folder_, "--json", "--max-new-tokens", "6"};
    all.insert(all.end(), flags.begin(), flags.end());
    const Ended ended = run_pagoda(all, input);
    EXPECT_EQ(ended.code, 0) << ended.err;
    std::vector<Json> lines;
    for (size_t at = 0; at < ended.out.size();) {
      const size_t end = ended.out.find('\n', at);
      lines.push_back(Json::parse(ended.out.substr(at, end - at), "turn"));
      at = end + 1;
    }
    return lines;
  }
  std::string folder_;
};

TEST_F(Chat, PromptIsTheTemplatesAloneAndHistoryGrows) {
  const std::vector<Json> lines = turns({}, "w10 w11\nw12");
  ASSERT_EQ(lines.size(), 2u);
  // <s> user w10 w11 assistant: the start token once, though the tokenizer would add one itself.
  EXPECT_EQ(lines[0].get_int("prompt_tokens", 0, "turn"), 5);
  const Json first = expected("[1,3,10,11,4]", 6);
  EXPECT_EQ(lines[0].at("token_ids", "turn"), first.at("token_ids", "generate"));
  EXPECT_EQ(lines[0].at("assistant", "turn"), first.at("text", "generate"));
  EXPECT_EQ(lines[0].at("finish_reason", "turn"), first.at("finish_reason", "generate"));
  EXPECT_EQ(lines[0].at("user", "turn"), Json("w10 w11"));
  std::string ids = "[1,3,10,11,4";
  for (const Json& id : lines[0].at("token_ids", "turn").as_array("turn")) ids += "," + id.dump();
  EXPECT_EQ(lines[1].at("token_ids", "turn"), expected(ids + ",3,12,4]", 6).at("token_ids", "generate"));
}

TEST_F(Chat, SystemToolsAndReset) {
  write("tools.json", R"([{"type": "function"}, {"type": "function"}, {}, {}, {}, {}, {}])");
  const std::vector<Json> lines =
      turns({"--system", "w20", "--tools", folder_ + "/tools.json"}, "w10\n/reset\nw10\n\n/exit\nw11\n");
  ASSERT_EQ(lines.size(), 2u);                                 // /exit ends it
  EXPECT_EQ(lines[0].get_int("prompt_tokens", 0, "turn"), 7);  // <s> system w20 user w10 w7 assistant
  EXPECT_EQ(lines[0], lines[1]);
  EXPECT_EQ(lines[0].at("token_ids", "turn"), expected("[1,5,20,3,10,7,4]", 6).at("token_ids", "generate"));
}

TEST_F(Chat, TextAloneOnStdout) {
  const Ended ended = run_pagoda({"chat", folder_, "--max-new-tokens", "6"}, "w10 w11\n");
  EXPECT_EQ(ended.out, expected("[1,3,10,11,4]", 6).at("text", "generate").as_string("text") + "\n");
  EXPECT_EQ(ended.err, "");
}

TEST_F(Chat, OwnTemplateAndItsErrors) {
  write("other.jinja", "{{ bos_token }} {{ messages[-1].content }}");
  fs::remove(folder_ + "/chat_template.jinja");
  const Ended none = run_pagoda({"chat", folder_}, "w10\n");
  EXPECT_EQ(none.code, 3);
  EXPECT_NE(none.err.find("--chat-template"), std::string::npos);
  EXPECT_EQ(turns({"--chat-template", folder_ + "/other.jinja"}, "w10\n")[0].get_int("prompt_tokens", 0, "turn"), 2);
  write("chat_template.jinja", kWordTemplate);
  const Ended raised = run_pagoda({"chat", folder_}, "w90\n");
  EXPECT_EQ(raised.code, 2);
  EXPECT_NE(raised.err.find("no w90 here"), std::string::npos);
  const Ended bytes = run_pagoda({"chat", folder_}, "\xff\n");
  EXPECT_EQ(bytes.code, 2);
  EXPECT_NE(bytes.err.find("not UTF-8"), std::string::npos);
}

TEST_F(Chat, LongHistory) {
  std::string words = "w10";
  for (int i = 0; i < 70; ++i) words += " w10";
  const Ended ended = run_pagoda({"chat", folder_, "--max-new-tokens", "2"}, words + "\n" + words + "\n");
  EXPECT_EQ(ended.code, 2);
  EXPECT_NE(ended.err.find("the conversation is too long"), std::string::npos) << ended.err;
  const std::vector<Json> lines = turns({"--truncate-history", "--system", "w9"}, words + "\n" + words + "\n");
  ASSERT_EQ(lines.size(), 2u);
  EXPECT_EQ(lines[1].get_int("prompt_tokens", 0, "turn"), 76);  // the first turn is gone, the system text is not
  EXPECT_EQ(lines[0].at("token_ids", "turn"), lines[1].at("token_ids", "turn"));
  const Ended message = run_pagoda({"chat", folder_, "--truncate-history"}, words + " " + words + "\n");
  EXPECT_EQ(message.code, 2);
  EXPECT_NE(message.err.find("the message is too long"), std::string::npos) << message.err;
}

TEST_F(Chat, OnATerminal) {
  OnTerminal terminal({"chat", folder_, "--max-new-tokens", "4"});
  ASSERT_TRUE(terminal.wait_for("> ")) << terminal.seen();
  terminal.type("/help\n");
  ASSERT_TRUE(terminal.wait_for("/reset    forget")) << terminal.seen();
  terminal.type("/nonsense\n");
  ASSERT_TRUE(terminal.wait_for("no such command: /nonsense")) << terminal.seen();
  terminal.type("w90\n");  // an error does not end it
  ASSERT_TRUE(terminal.wait_for("error: no w90 here")) << terminal.seen();
  terminal.type("w10 w11\n");
  ASSERT_TRUE(terminal.wait_for(expected("[1,3,10,11,4]", 4).at("text", "generate").as_string("text"))) << terminal.seen();
  terminal.type("/history\n");
  ASSERT_TRUE(terminal.wait_for("user: w10 w11")) << terminal.seen();
  ASSERT_TRUE(terminal.wait_for("> ")) << terminal.seen();
  terminal.type("\x03");
  ASSERT_TRUE(terminal.wait_for("(Ctrl-C again")) << terminal.seen();
  terminal.type("\x03");
  EXPECT_EQ(terminal.end(), 130);
}

TEST_F(Chat, ControlCStopsTheAnswerNotTheProgram) {
  // An answer too long to end by itself: the reference kernels, no end token, a context of 100000.
  Json config = Json::parse(read_file(folder_ + "/config.json", 1 << 20), "config");
  config.set("max_position_embeddings", 100000);
  write("config.json", config.dump());
  OnTerminal terminal({"chat", folder_, "--ignore-eos", "--isa", "reference", "--threads", "1"});
  ASSERT_TRUE(terminal.wait_for("> ")) << terminal.seen();
  terminal.type("w10 w11\n");
  ASSERT_TRUE(terminal.wait_for(" w")) << terminal.seen();
  ASSERT_TRUE(terminal.wait_for(" w")) << terminal.seen();
  terminal.type("\x03");
  ASSERT_TRUE(terminal.wait_for("\n> ")) << terminal.seen();
  terminal.type("\x04");
  EXPECT_EQ(terminal.end(), 0);
}

}  // namespace
}  // namespace pagoda::testing
