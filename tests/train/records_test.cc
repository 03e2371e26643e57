// Rows with columns: every format to the same objects, SQuAD flattened, what is refused.
#include "train/data/records.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "formats/tfrecord.h"
#include "tests/folder.h"

namespace pagoda::train {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

class Records : public ::testing::Test {
 protected:
  std::vector<std::string> read(const std::string& path) {
    std::vector<std::string> rows;
    for_each_record({path}, options_, [&](const Json& record, const std::string&) { rows.push_back(record.dump()); });
    return rows;
  }
  std::string error(const std::string& path) {
    try {
      read(path);
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kInvalidInput);
      return error.message();
    }
    return "";
  }
  testing::Folder folder_{"records"};
  RecordOptions options_;
};

TEST_F(Records, FormatsAgree) {
  const char* want = R"({"text":"a, \"b\"","label":"x"})";
  EXPECT_THAT(read(folder_.write("a.csv", "text,label\n\"a, \"\"b\"\"\",x\n")), ElementsAre(want));
  EXPECT_THAT(read(folder_.write("a.tsv", "text\tlabel\na, \"b\"\tx\n")), ElementsAre(want));
  EXPECT_THAT(read(folder_.write("a.jsonl", std::string(want) + "\n\n" + want + "\n")), ElementsAre(want, want));
  EXPECT_THAT(read(folder_.write("a.json", std::string("[\n") + want + ",\n" + want + "]")), ElementsAre(want, want));
  EXPECT_THAT(read(folder_.write("b.json", std::string("{\"version\": 1, \"data\": [") + want + "]}")), ElementsAre(want));
  EXPECT_THAT(read(folder_.write("c.json", want)), ElementsAre(want));  // one line
  std::string records;
  append_tfrecord(records, write_tf_example({{{"label", BytesList{"x"}}, {"n", Int64List{1, 2}}, {"text", BytesList{"a"}}}}));
  EXPECT_THAT(read(folder_.write("a.tfrecord", records)), ElementsAre(R"({"label":"x","n":[1,2],"text":"a"})"));
}

TEST_F(Records, SquadArticlesBecomeQuestions) {
  const std::string path =
      folder_.write("squad.json", R"({"version": "v2.0", "data": [{"title": "T", "paragraphs": [{"context": "C c",
    "qas": [{"id": "1", "question": "Q?", "answers": [{"text": "c", "answer_start": 2}]},
            {"id": "2", "question": "R?", "is_impossible": true, "answers": []}]}]}]})");
  EXPECT_THAT(
      read(path),
      ElementsAre(R"({"id":"1","title":"T","context":"C c","question":"Q?","answers":{"text":["c"],"answer_start":[2]}})",
                  R"({"id":"2","title":"T","context":"C c","question":"R?","answers":{"text":[],"answer_start":[]}})"));
}

TEST_F(Records, Refused) {
  EXPECT_THAT(error(folder_.write("a.csv", "text,label\nonly\n")), HasSubstr("got 1 fields, need 2"));
  EXPECT_THAT(error(folder_.write("b.csv", "text,label\n")), HasSubstr("no rows"));
  EXPECT_THAT(error(folder_.write("c.csv", "")), HasSubstr("empty"));
  EXPECT_THAT(error(folder_.write("d.jsonl", "{\"a\": 1}\n[1]\n")), HasSubstr("d.jsonl:2"));
  EXPECT_THAT(error(folder_.write("e.json", "[{\"a\": 1},")), HasSubstr("e.json"));
  EXPECT_THAT(error(folder_.write("f.txt", "text")), HasSubstr("have columns"));
  EXPECT_THAT(error(folder_.write("g.jsonl", "PAR1xxxx")), HasSubstr("to_json"));
}

}  // namespace
}  // namespace pagoda::train
