// One small reader a format behind RowReader.
#include "train/data/rows.h"

#include <algorithm>
#include <climits>
#include <fstream>

#include "base/byte_reader.h"
#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "base/utf8.h"
#include "formats/csv.h"
#include "formats/tfrecord.h"

namespace pagoda::train {

const std::vector<ExampleColumn>& example_columns() {
  static const std::vector<ExampleColumn> kColumns{{"attention_mask", &Example::attention_mask},
                                                   {"token_type_ids", &Example::token_type_ids},
                                                   {"position_ids", &Example::position_ids},
                                                   {"labels", &Example::labels}};
  return kColumns;
}

class RowReader::Source {
 public:
  virtual ~Source() = default;
  virtual bool next(Row& row) = 0;
  virtual std::string where() const = 0;
  virtual int64_t offset() const = 0;
};

namespace {

struct Magic {
  std::string_view bytes;
  const char* what;
  const char* remedy;
};

}  // namespace

void check_magic(std::string_view head, const std::string& path) {
  static const Magic kMagics[] = {
      {std::string_view("PAR1", 4), "a Parquet file",
       "convert it: python3 -c \"import pandas, sys; pandas.read_parquet(sys.argv[1]).to_json(sys.argv[2], orient='records', "
       "lines=True)\" IN.parquet OUT.jsonl"},
      {std::string_view("\x1f\x8b", 2), "a gzip file", "unpack it with gunzip"},
      {std::string_view("\x28\xb5\x2f\xfd", 4), "a zstd file", "unpack it with unzstd"},
      {std::string_view("BZh", 3), "a bzip2 file", "unpack it with bunzip2"},
      {std::string_view("\xfd"
                        "7zXZ",
                        5),
       "an xz file", "unpack it with unxz"},
      {std::string_view("PK\x03\x04", 4), "a zip file", "unpack it with unzip"},
      {std::string_view("\xff\xfe", 2), "UTF-16 text", "convert it: iconv -f UTF-16 -t UTF-8"},
      {std::string_view("\xfe\xff", 2), "UTF-16 text", "convert it: iconv -f UTF-16 -t UTF-8"},
  };
  for (const Magic& magic : kMagics) {
    if (head.substr(0, magic.bytes.size()) == magic.bytes) invalid(path, "got {}: {}", magic.what, magic.remedy);
  }
}

bool next_tfrecord(TfRecordReader& reader, const std::string& path, std::string& data) {
  try {
    return reader.next(data);
  } catch (const Error&) {
    // Only now: the length of a first record that is whole may look like it.
    if (reader.record_offset() == 0 && file_exists(path)) {
      std::ifstream file(path, std::ios::binary);
      std::string head(8, ' ');
      file.read(head.data(), static_cast<std::streamsize>(head.size()));
      check_magic(head, path);
    }
    throw;
  }
}

std::string row_format(const std::string& path, const std::string& format) {
  if (format != "auto") return format;
  const std::string name = file_name(path);
  for (const char* end : {".jsonl", ".ndjson", ".json"}) {
    if (name.ends_with(end)) return "jsonl";
  }
  if (name.ends_with(".csv")) return "csv";
  if (name.ends_with(".tsv")) return "tsv";
  if (name.find(".tfrecord") != std::string::npos) return "tfrecord";
  return "text";
}

namespace {

bool is_blank(std::string_view text) { return text.find_first_not_of(" \t\r\n\f\v") == std::string_view::npos; }

// Text that is none: named by what it looks like.
void check_text(std::string_view text, std::string_view path, int64_t offset) {
  const size_t nul = text.find('\0');
  if (nul != std::string_view::npos) {
    invalid(path, "no text file: got a NUL byte at offset {}, need UTF-8 text", offset + static_cast<int64_t>(nul));
  }
  const size_t bad = utf8_invalid_at(text);
  if (bad != std::string_view::npos) {
    invalid(path, "no UTF-8 text: got byte 0x{:02x} at offset {} (convert other encodings with iconv)",
            static_cast<unsigned char>(text[bad]), offset + static_cast<int64_t>(bad));
  }
}

// A mark of byte order at the begin of UTF-8 is no text.
constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";
std::string_view without_mark(std::string_view text, int64_t offset) {
  if (offset == 0 && text.substr(0, 3) == kByteOrderMark) text.remove_prefix(3);
  return text;
}

class TextSource final : public RowReader::Source {
 public:
  TextSource(const std::string& path, const RowOptions& options)
      : lines_(path, options.limits.max_string_bytes),
        path_(path),
        keep_(options.keep_linebreaks),
        sample_by_(options.sample_by),
        most_(options.limits.max_string_bytes) {
    check_magic(lines_.bytes().peek(), path);
  }
  bool next(Row& row) override {
    row.tokenised = false;
    row.text.clear();
    return sample_by_ == "line" ? next_line(row.text) : next_lines(row.text);
  }
  std::string where() const override { return fmt::format("{}:{}", path_, first_line_); }
  int64_t offset() const override { return lines_.bytes().offset(); }

 private:
  // The next line with its end, which is "\n" whatever the file has: Python's universal newlines, as datasets opens text files.
  bool read() {
    if (at_ >= raw_.size() && !read_raw()) return false;
    const size_t end = raw_.find('\n', at_);
    line_ = std::string_view(raw_).substr(at_, end == std::string::npos ? end : end + 1 - at_);
    at_ += line_.size();
    return true;
  }
  bool read_raw() {
    if (!lines_.next(raw_, true)) return false;
    check_text(raw_, path_, lines_.line_offset());
    at_ = lines_.line_offset() == 0 && raw_.starts_with(kByteOrderMark) ? kByteOrderMark.size() : 0;
    if (raw_.ends_with("\r\n")) raw_.erase(raw_.size() - 2, 1);
    std::replace(raw_.begin(), raw_.end(), '\r', '\n');
    return at_ < raw_.size() || read_raw();
  }
  bool next_line(std::string& text) {
    while (read()) {
      std::string_view line = line_;
      if (!keep_ && line.ends_with("\n")) line.remove_suffix(1);
      if (!keep_ && is_blank(line)) continue;
      first_line_ = lines_.number();
      text = line;
      return true;
    }
    return false;
  }
  // What stands between two line ends in a row, as datasets cuts it; or all there is.
  bool next_lines(std::string& text) {
    while (read()) {
      if (text.empty()) first_line_ = lines_.number();
      if (sample_by_ == "paragraph" && line_ == "\n" && text.ends_with("\n")) {
        text.pop_back();
        if (text.empty()) continue;
        return true;
      }
      if (static_cast<int64_t>(text.size() + line_.size()) > most_) {
        invalid(path_, "the {} from line {} on is too long: need at most {} bytes", sample_by_, first_line_, most_);
      }
      text += line_;
    }
    return !text.empty();
  }
  LineReader lines_;
  std::string path_;
  bool keep_;
  std::string sample_by_, raw_;
  std::string_view line_;  // of raw_
  size_t at_ = 0;          // in raw_, behind line_
  int64_t most_, first_line_ = 0;
};

std::vector<int32_t> id_list(const Json& list, const std::string& where, const char* name) {
  const std::string field = fmt::format("{}: {}", where, name);
  const Json::Array& items = list.as_array(field);
  std::vector<int32_t> ids;
  ids.reserve(items.size());
  for (const Json& item : items) {
    const int64_t id = item.as_int(field);
    if (id < INT32_MIN || id > INT32_MAX) invalid(where, "{}: got {}, need a 32-bit number", name, id);
    ids.push_back(static_cast<int32_t>(id));
  }
  return ids;
}

void check_columns(const Example& example, const std::string& where) {
  if (example.input_ids.empty()) invalid(where, "input_ids: got an empty list, need at least one token id");
  for (const int32_t id : example.input_ids) {
    if (id < 0) invalid(where, "input_ids: got {}, need ids from 0", id);
  }
  for (const ExampleColumn& column : example_columns()) {
    const size_t size = (example.*column.values).size();
    if (size != 0 && size != example.input_ids.size()) {
      invalid(where, "{}: got {} values, need {}, one a token", column.name, size, example.input_ids.size());
    }
  }
}

class JsonlSource final : public RowReader::Source {
 public:
  JsonlSource(const std::string& path, const RowOptions& options)
      : lines_(path, options.limits.max_string_bytes), path_(path), options_(options) {
    check_magic(lines_.bytes().peek(), path);
  }
  bool next(Row& row) override {
    while (lines_.next(line_)) {
      const std::string_view line = without_mark(line_, lines_.line_offset());
      if (is_blank(line)) continue;
      const size_t first = line.find_first_not_of(" \t\r"), last = line.find_last_not_of(" \t\r\n");
      if (!begun_ && line[first] == '[') {
        invalid(where(), "got a JSON list, need one object a line (jq -c '.[]' {} > rows.jsonl)", path_);
      }
      if (!begun_ && first == last && line[first] == '{') {
        invalid(where(), "got an object over several lines, need one a line (jq -c . {} > rows.jsonl)", path_);
      }
      begun_ = true;
      const Json json = Json::parse(line, where(), options_.limits);
      if (!json.is_object()) invalid(where(), "wrong type: got {}, need an object", json.type_name());
      take(json, row);
      return true;
    }
    return false;
  }
  std::string where() const override { return fmt::format("{}:{}", path_, lines_.number()); }
  int64_t offset() const override { return lines_.bytes().offset(); }

 private:
  void take(const Json& json, Row& row) const {
    const std::string at = where();
    const Json* const ids = json.find("input_ids");
    row.tokenised = ids != nullptr;
    row.example = {};
    row.text.clear();
    if (ids == nullptr) {
      row.text = json.at(options_.text_column, at).as_string(at + ": " + options_.text_column);
      return;
    }
    row.example.input_ids = id_list(*ids, at, "input_ids");
    for (const ExampleColumn& column : example_columns()) {
      const Json* const list = json.find(column.name);
      if (list != nullptr && !list->is_null()) row.example.*column.values = id_list(*list, at, column.name);
    }
    check_columns(row.example, at);
  }
  LineReader lines_;
  std::string path_;
  const RowOptions& options_;
  std::string line_;
  bool begun_ = false;
};

class CsvSource final : public RowReader::Source {
 public:
  CsvSource(const std::string& path, char separator, const RowOptions& options)
      : reader_(path, separator, options.limits), path_(path) {
    if (!reader_.next(fields_)) return;
    check_magic(fields_[0], path);
    if (fields_[0].compare(0, 3, kByteOrderMark) == 0) fields_[0].erase(0, 3);
    names_ = fields_;
    const auto at = std::find(names_.begin(), names_.end(), options.text_column);
    if (at == names_.end()) {
      std::string all;
      for (const std::string& name : names_) all += (all.empty() ? "" : ", ") + utf8_replace_invalid(name.substr(0, 64));
      invalid(path, "no column '{}' in the first line: got {} (choose one with --text-column)", options.text_column, all);
    }
    column_ = static_cast<size_t>(at - names_.begin());
  }
  bool next(Row& row) override {
    if (names_.empty() || !reader_.next(fields_)) return false;
    if (fields_.size() != names_.size()) {
      invalid(where(), "got {} fields, need {} as in the first line", fields_.size(), names_.size());
    }
    check_text(fields_[column_], where(), 0);
    row.tokenised = false;
    row.text = std::move(fields_[column_]);
    return true;
  }
  std::string where() const override { return fmt::format("{}:{}", path_, reader_.line()); }
  int64_t offset() const override { return reader_.bytes().offset(); }

 private:
  CsvReader reader_;
  std::string path_;
  std::vector<std::string> names_, fields_;
  size_t column_ = 0;
};

class TfRecordSource final : public RowReader::Source {
 public:
  TfRecordSource(const std::string& path, const RowOptions& options)
      : reader_(path, options.limits), path_(path), options_(options) {}
  bool next(Row& row) override {
    if (!next_tfrecord(reader_, path_, data_)) return false;
    const std::string at = where();
    row = {};
    if (parse_example(data_, at, options_.limits, row.example)) {
      row.tokenised = true;
      return true;
    }
    const TfExample example = parse_tf_example(data_, at, options_.limits);
    const BytesList* const text = example.bytes(options_.text_column, at);
    if (text == nullptr || text->size() != 1) {
      invalid(at, "got neither input_ids nor one value of '{}' (choose a feature with --text-column)", options_.text_column);
    }
    check_text((*text)[0], at, 0);
    row.text = (*text)[0];
    return true;
  }
  std::string where() const override {
    return fmt::format("{}: record {} at offset {}", path_, reader_.number(), reader_.record_offset());
  }
  int64_t offset() const override { return reader_.bytes().offset(); }

 private:
  TfRecordReader reader_;
  std::string path_;
  const RowOptions& options_;
  std::string data_;
};

std::unique_ptr<RowReader::Source> open_source(const std::string& path, const RowOptions& options) {
  const std::string format = row_format(path, options.format);
  if (format == "jsonl") return std::make_unique<JsonlSource>(path, options);
  if (format == "csv") return std::make_unique<CsvSource>(path, ',', options);
  if (format == "tsv") return std::make_unique<CsvSource>(path, '\t', options);
  if (format == "tfrecord") return std::make_unique<TfRecordSource>(path, options);
  if (format == "text") return std::make_unique<TextSource>(path, options);
  invalid("format", "unknown: got '{}', need auto, text, jsonl, csv, tsv or tfrecord", format);
}

}  // namespace

bool parse_example(std::string_view data, std::string_view where, const Limits& limits, Example& example) {
  const TfExample record = parse_tf_example(data, where, limits);
  const Int64List* const ids = record.int64s("input_ids", where);
  if (ids == nullptr) return false;
  const auto copy = [&](const Int64List& list, const char* name) {
    std::vector<int32_t> values;
    values.reserve(list.size());
    for (const int64_t value : list) {
      if (value < INT32_MIN || value > INT32_MAX) invalid(where, "{}: got {}, need a 32-bit number", name, value);
      values.push_back(static_cast<int32_t>(value));
    }
    return values;
  };
  example = {};
  example.input_ids = copy(*ids, "input_ids");
  for (const ExampleColumn& column : example_columns()) {
    if (const Int64List* const list = record.int64s(column.name, where)) example.*column.values = copy(*list, column.name);
  }
  check_columns(example, std::string(where));
  return true;
}

std::string format_example(const Example& example) {
  TfExample record;
  const auto add = [&](const char* name, const std::vector<int32_t>& values) {
    record.features.push_back({name, Int64List(values.begin(), values.end())});
  };
  add("input_ids", example.input_ids);
  for (const ExampleColumn& column : example_columns()) {
    if (!(example.*column.values).empty()) add(column.name, example.*column.values);
  }
  return write_tf_example(record);
}

RowReader::RowReader(std::vector<std::string> files, RowOptions options)
    : files_(std::move(files)), options_(std::move(options)) {
  if (files_.empty()) invalid("files", "got none, need at least one file");
  for (const std::string& path : files_) {
    if (directory_exists(path)) invalid(path, "cannot read: got a directory, need a file");
    if (!file_exists(path)) {
      file_size(path);  // throws where there is nothing; a pipe has no size
      total_ = -1;
    } else if (file_size(path) == 0) {
      invalid(path, "the file is empty: need at least one row");
    } else if (total_ >= 0) {
      total_ += file_size(path);
    }
  }
  total_ = std::max<int64_t>(total_, 0);
}

RowReader::~RowReader() = default;

bool RowReader::next(Row& row) {
  for (;;) {
    if (source_ == nullptr) {
      if (next_file_ == files_.size()) return false;
      source_ = open_source(files_[next_file_++], options_);
      rows_of_file_ = 0;
    }
    if (source_->next(row)) {
      ++rows_of_file_;
      return true;
    }
    if (rows_of_file_ == 0) invalid(files_[next_file_ - 1], "no rows in the file: need at least one");
    before_ += source_->offset();
    source_.reset();
  }
}

std::string RowReader::where() const { return source_ != nullptr ? source_->where() : files_.back(); }

int64_t RowReader::bytes_read() const { return before_ + (source_ != nullptr ? source_->offset() : 0); }

}  // namespace pagoda::train
