// Rows of training files as they come: text, JSON lines, CSV, TFRecord. One row is a text, or is tokenised already.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/limits.h"

namespace pagoda {
class TfRecordReader;
}

namespace pagoda::train {

// One sequence of token ids with what stands beside each. Columns other than input_ids are empty or as long.
struct Example {
  std::vector<int32_t> input_ids;
  std::vector<int32_t> attention_mask, token_type_ids, position_ids, labels;
  bool operator==(const Example&) const = default;
};

// The columns that an example may have beside input_ids, in the order in which they are written.
struct ExampleColumn {
  const char* name;
  std::vector<int32_t> Example::* values;
};
const std::vector<ExampleColumn>& example_columns();

// An example as the data of a TFRecord, and back; false where there is no feature input_ids. The columns are checked.
std::string format_example(const Example& example);
bool parse_example(std::string_view data, std::string_view where, const Limits& limits, Example& example);

struct RowOptions {
  std::string format = "auto";       // text, jsonl, csv, tsv, tfrecord; auto: by the name of the file
  std::string text_column = "text";  // of JSON lines, CSV and TFRecord
  std::string sample_by = "line";    // of text: line, paragraph (blank lines between), document (the file)
  bool keep_linebreaks = false;      // of text by line: the "\n" stays, and blank lines are rows
  Limits limits;                     // max_string_bytes: of one row
};

// How a file is read: RowOptions::format, or by its name where that is auto.
std::string row_format(const std::string& path, const std::string& format);

struct Row {
  std::string text;
  bool tokenised = false;  // then `example` holds it, else `text`
  Example example;
};

// Reads the files one after the other, none into memory. Errors (kInvalidInput) name file and line, or record and offset: text
// that is not UTF-8 or holds NUL bytes, compressed files, Parquet, lines over the limits, JSON without the column, ids out of
// int32, columns of different lengths. A file without a single row is an error.
class RowReader {
 public:
  RowReader(std::vector<std::string> files, RowOptions options);
  ~RowReader();
  bool next(Row& row);        // false after the last row of the last file
  std::string where() const;  // "file:line" of the row read last
  int64_t bytes_read() const;
  int64_t bytes_total() const { return total_; }  // 0: not known (a pipe)

  class Source;  // one file

 private:
  std::vector<std::string> files_;
  RowOptions options_;
  size_t next_file_ = 0;
  std::unique_ptr<Source> source_;
  int64_t before_ = 0, total_ = 0;
  int64_t rows_of_file_ = 0;
};

// The next record; what is no TFRecord at all is refused as check_magic() does.
bool next_tfrecord(TfRecordReader& reader, const std::string& path, std::string& data);

// Refuses what is no text by its first bytes, with the remedy: Parquet, compressed files, UTF-16.
void check_magic(std::string_view head, const std::string& path);

}  // namespace pagoda::train
