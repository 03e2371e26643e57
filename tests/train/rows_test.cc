// Rows of every format, and files that are something else.
#include "train/data/rows.h"

#include "formats/tfrecord.h"
#include "tests/folder.h"

namespace pagoda::train {
namespace {

using pagoda::testing::Folder;
using pagoda::testing::message_of;

std::vector<std::string> texts_of(const std::vector<std::string>& files, RowOptions options = {}) {
  RowReader reader(files, std::move(options));
  std::vector<std::string> texts;
  for (Row row; reader.next(row);) texts.push_back(row.text);
  EXPECT_EQ(reader.bytes_read(), reader.bytes_total());
  return texts;
}

TEST(Rows, OfText) {
  const Folder folder("rows_text");
  const std::string file = folder.write("a.txt", "\xEF\xBB\xBFone\r\ntwo\n\n  \nthree\nfour");
  EXPECT_EQ(texts_of({file}), (std::vector<std::string>{"one", "two", "three", "four"}));
  RowOptions options;
  options.keep_linebreaks = true;
  EXPECT_EQ(texts_of({file}, options), (std::vector<std::string>{"one\n", "two\n", "\n", "  \n", "three\n", "four"}));
  options = {};
  options.sample_by = "paragraph";
  EXPECT_EQ(texts_of({file}, options), (std::vector<std::string>{"one\ntwo", "  \nthree\nfour"}));
  options.sample_by = "document";
  EXPECT_EQ(texts_of({file, file}, options).size(), 2u);
  EXPECT_EQ(texts_of({file}, options)[0], "one\ntwo\n\n  \nthree\nfour");
}

// "\r\n" and "\r" are line ends as "\n" is, and paragraphs stand between two of them: load_dataset("text") of datasets 5.2.
TEST(Rows, OfTextHaveTheLinesOfDatasets) {
  const Folder folder("rows_newlines");
  const std::string a = folder.write("a.txt", "one\r\ntwo\n\n  \nthree\rfour\n\n\nfive\r\n\r\n"),
                    b = folder.write("b.txt", "\n\na\r\r\rb\n \nc\n\n\n\n\nd\n"), c = folder.write("c.txt", "a\r\nb\r");
  using Texts = std::vector<std::string>;
  RowOptions options;
  EXPECT_EQ(texts_of({a}, options), (Texts{"one", "two", "three", "four", "five"}));  // less the blank ones
  options.keep_linebreaks = true;
  EXPECT_EQ(texts_of({a}, options), (Texts{"one\n", "two\n", "\n", "  \n", "three\n", "four\n", "\n", "\n", "five\n", "\n"}));
  EXPECT_EQ(texts_of({b}, options), (Texts{"\n", "\n", "a\n", "\n", "\n", "b\n", " \n", "c\n", "\n", "\n", "\n", "\n", "d\n"}));
  EXPECT_EQ(texts_of({c}, options), (Texts{"a\n", "b\n"}));
  options.sample_by = "paragraph";
  EXPECT_EQ(texts_of({a}, options), (Texts{"one\ntwo", "  \nthree\nfour", "\nfive"}));
  EXPECT_EQ(texts_of({b}, options), (Texts{"a", "\nb\n \nc", "\nd\n"}));
  options.sample_by = "document";
  EXPECT_EQ(texts_of({b}, options), Texts{"\n\na\n\n\nb\n \nc\n\n\n\n\nd\n"});
}

TEST(Rows, OfJsonLines) {
  const Folder folder("rows_jsonl");
  const std::string file =
      folder.write("a.jsonl", "{\"text\": \"one\", \"n\": 1}\n\n{\"body\": \"x\", \"text\": \"tw\\u00f6\"}\n");
  EXPECT_EQ(texts_of({file}), (std::vector<std::string>{"one", "tw\u00F6"}));
  RowOptions options;
  options.text_column = "body";
  EXPECT_NE(message_of([&] { texts_of({file}, options); }).find("a.jsonl:1"), std::string::npos);
  const auto error = [&](std::string_view text) { return message_of([&] { texts_of({folder.write("b.jsonl", text)}); }); };
  EXPECT_NE(error("[{\"text\": \"a\"}]\n").find("one object a line"), std::string::npos);
  EXPECT_NE(error("{\"text\": \"a\"}\n{\"text\": 3}\n").find("b.jsonl:2"), std::string::npos);
  EXPECT_NE(error("{\"text\": \"a\"}\n{\"text\": \n").find("b.jsonl:2"), std::string::npos);
}

TEST(Rows, OfTokenIds) {
  const Folder folder("rows_ids");
  const std::string file =
      folder.write("a.jsonl", R"({"input_ids": [1, 2, 3], "labels": [-100, 2, 3], "token_type_ids": [0, 0, 1], "other": 1})");
  RowReader reader({file}, {});
  Row row;
  ASSERT_TRUE(reader.next(row));
  EXPECT_TRUE(row.tokenised);
  EXPECT_EQ(row.example.input_ids, (std::vector<int32_t>{1, 2, 3}));
  EXPECT_EQ(row.example.labels, (std::vector<int32_t>{-100, 2, 3}));
  EXPECT_EQ(row.example.token_type_ids, (std::vector<int32_t>{0, 0, 1}));
  EXPECT_TRUE(row.example.attention_mask.empty());
  const auto error = [&](std::string_view text) { return message_of([&] { texts_of({folder.write("b.jsonl", text)}); }); };
  EXPECT_NE(error(R"({"input_ids": [1, 2], "labels": [1]})").find("labels: got 1 values, need 2"), std::string::npos);
  EXPECT_NE(error(R"({"input_ids": []})").find("empty list"), std::string::npos);
  EXPECT_NE(error(R"({"input_ids": [-1]})").find("got -1"), std::string::npos);
  EXPECT_NE(error(R"({"input_ids": [4294967296]})").find("32-bit"), std::string::npos);
  EXPECT_NE(error(R"({"input_ids": [1.5]})").find("input_ids"), std::string::npos);
}

TEST(Rows, OfCsv) {
  const Folder folder("rows_csv");
  const std::string file =
      folder.write("a.csv", "id,text\r\n1,\"a \"\"b\"\", c\nd\"\r\n\r\n2,plain\r\n3,\"\"\n4,last \"quote\"");
  EXPECT_EQ(texts_of({file}), (std::vector<std::string>{"a \"b\", c\nd", "plain", "", "last \"quote\""}));
  EXPECT_EQ(texts_of({folder.write("b.tsv", "text\tlabel\nx, y\t1\n")}), (std::vector<std::string>{"x, y"}));
  const auto error = [&](std::string_view text) { return message_of([&] { texts_of({folder.write("c.csv", text)}); }); };
  EXPECT_NE(error("id,body\n1,x\n").find("got id, body"), std::string::npos);
  EXPECT_NE(error("id,text\n1,x\n2\n").find("c.csv:3"), std::string::npos);
  EXPECT_NE(error("id,text\n1,\"x\n2,y\n").find("not closed"), std::string::npos);
}

TEST(Rows, OfTfRecord) {
  const Folder folder("rows_tfrecord");
  std::string file;
  append_tfrecord(file, write_tf_example({{{"text", BytesList{"one"}}}}));
  append_tfrecord(file, write_tf_example({{{"input_ids", Int64List{5, 6}}, {"attention_mask", Int64List{1, 0}}}}));
  RowReader reader({folder.write("a.tfrecord", file)}, {});
  Row row;
  ASSERT_TRUE(reader.next(row));
  EXPECT_EQ(row.text, "one");
  ASSERT_TRUE(reader.next(row));
  EXPECT_EQ(row.example.input_ids, (std::vector<int32_t>{5, 6}));
  EXPECT_EQ(row.example.attention_mask, (std::vector<int32_t>{1, 0}));
  EXPECT_FALSE(reader.next(row));
}

TEST(Rows, OfWhatIsNoText) {
  const Folder folder("rows_bad");
  const auto error = [&](const char* name, std::string_view bytes) {
    return message_of([&] { texts_of({folder.write(name, bytes)}); });
  };
  EXPECT_NE(error("a.txt", "").find("empty"), std::string::npos);
  EXPECT_NE(error("a.txt", "\n \n").find("no rows"), std::string::npos);
  EXPECT_NE(error("a.txt", std::string_view("ok\nab\0c\n", 8)).find("NUL byte at offset 5"), std::string::npos);
  EXPECT_NE(error("a.txt", "ok\nf\xFF\n").find("byte 0xff at offset 4"), std::string::npos);
  EXPECT_NE(error("a.txt", "\xFF\xFEh").find("UTF-16"), std::string::npos);
  EXPECT_NE(error("a.txt", "\x1F\x8B\x08").find("gunzip"), std::string::npos);
  EXPECT_NE(error("a.parquet", "PAR1....").find("to_json"), std::string::npos);
  EXPECT_NE(error("a.tfrecord", "\x1F\x8B\x08 and the rest of it").find("gunzip"), std::string::npos);
  EXPECT_NE(error("a.json", "[\n  {\"text\": \"a\"}\n]\n").find("a.json:1] got a JSON list"), std::string::npos);
  EXPECT_NE(error("a.json", "{\n  \"text\": \"a\"\n}\n").find("over several lines"), std::string::npos);
  RowOptions options;
  options.limits.max_string_bytes = 8;
  EXPECT_NE(message_of([&] { texts_of({folder.write("a.txt", "short\nfar too long\n")}, options); }).find("line 2"),
            std::string::npos);
  options.sample_by = "document";
  EXPECT_NE(message_of([&] { texts_of({folder.write("a.txt", "short\nlong\n")}, options); }).find("too long"),
            std::string::npos);
  EXPECT_NE(message_of([&] { texts_of({folder.path()}); }).find("directory"), std::string::npos);
  EXPECT_NE(message_of([&] { texts_of({folder / "none.txt"}); }).find("No such file"), std::string::npos);
}

}  // namespace
}  // namespace pagoda::train
