// Conversations: labels on the assistant's words alone, with and without marks in the template.
#include "train/conversations.h"

#include <gtest/gtest.h>

#include "formats/tokenizer_loader.h"
#include "tests/folder.h"
#include "train/data/dataset.h"

namespace pagoda::train {
namespace {

using ::pagoda::testing::Folder;
using ::pagoda::testing::message_of;

constexpr const char* kPlain =
    "{% for m in messages %}<{{ m.role }}>{{ m.content }}<end>{{ '\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}";
constexpr const char* kMarked =
    "{% for m in messages %}<{{ m.role }}>{% if m.role == 'assistant' %}{% generation %}{{ m.content }}<end>{% endgeneration %}"
    "{% else %}{{ m.content }}<end>{% endif %}{{ '\\n' }}{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}";
// Shows the last answer alone in full, as templates do that drop earlier thoughts.
constexpr const char* kForgetful =
    "{% for m in messages %}<{{ m.role }}>{{ m.content if loop.last else '...' }}{{ '\\n' }}{% endfor %}";
constexpr const char* kRow = R"({"messages": [{"role": "user", "content": "Wie geht's? äöü"},
  {"role": "assistant", "content": "Gut, 你好!"}, {"role": "user", "content": "And?"}, {"role": "assistant", "content": "Fine"}]})";

class Conversations : public ::testing::Test {
 protected:
  Conversations() : tokenizer_(load_tokenizer(PAGODA_SOURCE_DIR "/tests/fixtures/encoders/roberta")) {}
  Example example(const char* row, const char* chat_template) {
    return conversation_example(Json::parse(row, "row"), chat::TemplateSet::from_text(chat_template), cache_, *tokenizer_,
                                options_, "rows:1");
  }
  // What the labelled tokens say; a "|" where unlabelled ones lie between.
  std::string labelled(const Example& example) const {
    std::string text;
    std::vector<int32_t> run;
    for (size_t t = 0; t <= example.labels.size(); ++t) {
      if (t < example.labels.size() && example.labels[t] >= 0) {
        EXPECT_EQ(example.labels[t], example.input_ids[t]);
        run.push_back(example.labels[t]);
      } else if (!run.empty()) {
        text += (text.empty() ? "" : "|") + tokenizer_->decode(run, false);
        run.clear();
      }
    }
    return text;
  }
  std::shared_ptr<const Tokenizer> tokenizer_;
  chat::TemplateCache cache_;
  ConversationOptions options_;
};

TEST_F(Conversations, LabelsAreTheAssistantsWords) {
  EXPECT_EQ(labelled(example(kRow, kMarked)), "Gut, 你好!<end>|Fine<end>");
  EXPECT_EQ(labelled(example(kRow, kPlain)), "Gut, 你好!<end>\n|Fine<end>\n");
  EXPECT_EQ(example(kRow, kPlain).input_ids, example(kRow, kMarked).input_ids);
}

TEST_F(Conversations, PromptAndCompletion) {
  options_.eos_token = "</s>";
  const Example text = example(R"({"prompt": "1 + 1 =", "completion": " 2"})", kPlain);
  EXPECT_EQ(labelled(text), " 2</s>");
  const Example messages = example(R"({"prompt": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"},
    {"role": "user", "content": "c"}], "completion": [{"role": "assistant", "content": "d"}]})",
                                   kMarked);
  EXPECT_EQ(labelled(messages), "d<end>\n");
}

TEST_F(Conversations, PromptsEndWhereTheLastAnswerBegins) {
  const Folder folder("prompts");
  std::string row = kRow;
  std::replace(row.begin(), row.end(), '\n', ' ');
  const std::string file = folder.write("rows.jsonl", row + "\n" + R"({"prompt": "a b", "completion": " c"})" + "\n");
  const auto prompts = [&](int64_t most) {
    return conversation_prompts({file}, most, chat::TemplateSet::from_text(kPlain), *tokenizer_, options_, {});
  };
  const auto all = prompts(0);
  ASSERT_EQ(all.size(), 2u);
  EXPECT_EQ(prompts(1).size(), 1u);
  EXPECT_EQ(all[0].reference, "Fine");
  EXPECT_EQ(tokenizer_->decode(all[0].ids, false),
            "<user>Wie geht's? äöü<end>\n<assistant>Gut, 你好!<end>\n<user>And?<end>\n<assistant>");
  EXPECT_EQ(all[1].reference, " c");
  EXPECT_EQ(tokenizer_->decode(all[1].ids, false), "<s>a b");  // without the end that the tokenizer adds
  const std::string none = folder.write("none.jsonl", R"({"messages": [{"role": "user", "content": "x"}]})"
                                                      "\n");
  EXPECT_NE(message_of([&] {
              conversation_prompts({none}, 0, chat::TemplateSet::from_text(kPlain), *tokenizer_, options_, {});
            }).find("none.jsonl:1] got no message of the assistant"),
            std::string::npos);
}

TEST_F(Conversations, WhatCannotBeLabelledIsRefused) {
  const auto refusal = [&](const char* row, const char* chat_template) {
    return message_of([&] { example(row, chat_template); });
  };
  EXPECT_NE(refusal(kRow, kForgetful).find("{% generation %}"), std::string::npos) << refusal(kRow, kForgetful);
  EXPECT_NE(refusal(R"({"messages": []})", kPlain).find("need at least one"), std::string::npos);
  EXPECT_NE(refusal(R"({"messages": [{"role": "user", "content": "x"}]})", kPlain).find("assistant"), std::string::npos);
  EXPECT_NE(refusal(R"({"text": "x"})", kPlain).find("got neither messages nor prompt"), std::string::npos);
  EXPECT_NE(message_of([&] {
              conversation_example(Json::parse(kRow, "row"), chat::TemplateSet(), cache_, *tokenizer_, options_, "rows:1");
            }).find("no chat template"),
            std::string::npos);
}

TEST_F(Conversations, LongOnesLoseTheirEndAndThoseWithoutAnAnswerGo) {
  const Folder folder("conversations");
  const std::string file =
      folder.write("rows.jsonl", std::string(R"({"prompt": "a b c d e f g", "completion": "h"})") + "\n\n" +
                                     R"({"prompt": "a", "completion": "b c d e f g h i j k l m n o p"})" + "\n");
  options_.max_seq_length = 6;
  const ConversationReport report =
      prepare_conversations({file}, folder / "shards", chat::TemplateSet::from_text(kPlain), *tokenizer_, options_, {});
  EXPECT_EQ(report.rows, 2);
  EXPECT_EQ(report.examples, 1);
  EXPECT_EQ(report.cut, 2);
  DatasetReader reader({folder / "shards"}, {});
  Example first;
  ASSERT_TRUE(reader.next(first));
  EXPECT_EQ(first.input_ids.size(), 6u);
  options_.max_seq_length = 2;
  EXPECT_NE(message_of([&] {
              prepare_conversations({file}, folder / "shards", chat::TemplateSet::from_text(kPlain), *tokenizer_, options_, {});
            }).find("--max-seq-length"),
            std::string::npos);
}

}  // namespace
}  // namespace pagoda::train
