// TensorBoard's files and the report: what is written of a training's log.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>

#include "formats/tfrecord.h"
#include "tests/folder.h"
#include "train/watch/html_report.h"
#include "train/watch/tensorboard.h"

namespace pagoda::train {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::SizeIs;

Json entry(const char* text) { return Json::parse(text, "entry"); }

std::vector<std::string> records_of(const std::string& folder) {
  std::vector<std::string> records;
  for (const std::string& name : list_directory(folder)) {
    TfRecordReader reader(join_path(folder, name));
    std::string data;
    while (reader.next(data)) records.push_back(data);
  }
  return records;
}

TEST(TensorBoard, WritesEventsWithHfTags) {
  const testing::Folder folder("tensorboard");
  TensorBoardCallback callback(folder / "runs");
  callback.on_train_begin(entry(R"({"arguments": {"learning_rate": 0.001}, "global_step": 0})"));
  callback.on_log(entry(R"({"loss": 2.5, "learning_rate": 0.001, "epoch": 0.5, "step": 300})"));
  callback.on_evaluate(entry(R"({"eval_loss": 1.5, "epoch": 0.5, "step": 300})"));
  const auto records = records_of(folder / "runs");
  ASSERT_THAT(records, SizeIs(4));
  EXPECT_THAT(records[0], HasSubstr("brain.Event:2"));
  EXPECT_THAT(records[1], HasSubstr("learning_rate"));
  // Summary.Value {tag: "train/loss", simple_value: 2.5}; the step is a varint of two bytes.
  EXPECT_THAT(records[2], HasSubstr(std::string("\x0a\x0atrain/loss\x15\x00\x00\x20\x40", 17)));
  EXPECT_EQ(records[2].substr(9, 3), std::string("\x10\xac\x02", 3));
  EXPECT_THAT(records[2], Not(HasSubstr("train/step")));
  EXPECT_THAT(records[3], HasSubstr("eval/loss"));
}

TEST(TensorBoard, ResumedRunTakesBackLaterSteps) {
  const testing::Folder folder("tensorboard_resumed");
  TensorBoardCallback callback(folder / "runs");
  callback.on_train_begin(entry(R"({"global_step": 5})"));
  const auto records = records_of(folder / "runs");
  ASSERT_THAT(records, SizeIs(2));
  EXPECT_EQ(records[1].substr(9), std::string("\x10\x06\x3a\x02\x08\x01", 6));  // step 6, SessionLog{START}
}

TEST(Report, ShowsCurvesMetricsAndSamples) {
  const testing::Folder folder("report");
  int asked = 0;
  HtmlReportCallback report(folder / "report.html", "stories <1>", [&] {
    ++asked;
    return std::vector<ReportSample>{{"Once & ", "there was <b>"}};
  });
  report.on_train_begin(entry(R"({"arguments": {"optim": "adamw"}, "max_steps": 20, "num_parameters": 12, "global_step": 0})"));
  EXPECT_THAT(read_file(folder / "report.html", 1 << 20), HasSubstr("Nothing was logged yet"));
  report.on_log(entry(R"({"loss": 3.0, "grad_norm": 1.0, "learning_rate": 0.1, "step": 10})"));
  report.on_log(entry(R"({"loss": 2.0, "grad_norm": 0.5, "learning_rate": 0.05, "step": 20})"));
  report.on_evaluate(entry(R"({"eval_loss": 2.25, "eval_accuracy": 0.75, "eval_runtime": 1.0, "step": 20})"));
  report.on_train_end(folder.path(), entry(R"({"global_step": 20})"));
  const std::string page = read_file(folder / "report.html", 1 << 20);
  for (const char* part :
       {"stories &lt;1&gt;", "Finished: step 20 of 20; 12 trained parameters", "<svg", "validation", "Learning rate",
        "Gradient norm", "accuracy", "<th>optim</th><td>adamw</td>", "<b>Once &amp; </b>there was &lt;b&gt;"}) {
    EXPECT_THAT(page, HasSubstr(part));
  }
  EXPECT_THAT(page, Not(HasSubstr("http://127")));
  EXPECT_THAT(page, Not(HasSubstr("<script")));
  EXPECT_EQ(asked, 1);  // once for step 20
}

TEST(Report, GoesOnFromTheHistory) {
  const testing::Folder folder("report_resumed");
  HtmlReportCallback report(folder / "report.html", "t");
  report.on_train_begin(entry(R"({"global_step": 7, "log_history": [{"loss": 3.0, "step": 7}]})"));
  EXPECT_THAT(read_file(folder / "report.html", 1 << 20), HasSubstr("Running: step 7"));
}

}  // namespace
}  // namespace pagoda::train
