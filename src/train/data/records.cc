// A reader a format; JSON files are tried as one value first.
#include "train/data/records.h"

#include "base/byte_reader.h"
#include "base/error.h"
#include "base/file.h"
#include "base/utf8.h"
#include "formats/csv.h"
#include "formats/tfrecord.h"
#include "train/data/rows.h"

namespace pagoda::train {

namespace {

using Take = std::function<void(const Json& record, const std::string& where)>;

constexpr const char* kJsonSpace = " \t\r\n";

void take_object(const Json& record, const std::string& where, const Take& take) {
  if (!record.is_object()) invalid(where, "wrong type: got {}, need an object", record.type_name());
  take(record, where);
}

// An article of SQuAD: paragraphs of one context and several questions.
void take_article(const Json& article, const std::string& where, const Take& take) {
  const Json* title = article.find("title");
  for (const Json& paragraph : article.at("paragraphs", where).as_array(where + ": paragraphs")) {
    const Json& context = paragraph.at("context", where);
    for (const Json& question : paragraph.at("qas", where).as_array(where + ": qas")) {
      const std::string at = where + ": question " + question.get_string("id", "without id", where);
      Json texts = Json::array(), starts = Json::array(), answers = Json::object(), record = Json::object();
      if (const Json* list = question.find("answers"); list != nullptr && !list->is_null()) {
        for (const Json& answer : list->as_array(at + ": answers")) {
          texts.push_back(answer.at("text", at));
          starts.push_back(answer.at("answer_start", at));
        }
      }
      answers.set("text", std::move(texts)).set("answer_start", std::move(starts));
      record.set("id", question.at("id", at)).set("title", title == nullptr ? Json("") : *title).set("context", context);
      record.set("question", question.at("question", at)).set("answers", std::move(answers));
      take(record, at);
    }
  }
}

void take_list(const Json& list, const std::string& path, const Take& take) {
  size_t number = 0;
  for (const Json& record : list.as_array(path)) {
    const std::string where = fmt::format("{}: row {}", path, number++);
    if (record.contains("paragraphs")) {
      take_article(record, where, take);
    } else {
      take_object(record, where, take);
    }
  }
}

// True where the file is one list, or one object with a list "data"; false: it may be JSON lines.
bool take_whole(const std::string& path, const RecordOptions& options, const Take& take) {
  if (!file_exists(path) || file_size(path) > options.limits.max_json_bytes) return false;
  const auto file = MappedFile::open(path);
  std::string_view bytes = file->bytes();
  if (bytes.substr(0, 3) == "\xEF\xBB\xBF") bytes.remove_prefix(3);
  const size_t first = bytes.find_first_not_of(kJsonSpace);
  if (first == std::string_view::npos) return false;
  Json whole;
  try {
    whole = Json::parse(bytes, path, options.limits);
  } catch (const Error&) {
    // A list must be one whole; lines of objects fail at the second, and are read one by one.
    const size_t end = bytes.find('\n', first);
    const bool opens_only = bytes.substr(first, end - first).find_first_not_of("{ \t\r", 0) == std::string_view::npos;
    if (bytes[first] == '[' || opens_only) throw;
    return false;
  }
  if (whole.is_array()) {
    take_list(whole, path, take);
    return true;
  }
  const Json* data = whole.find("data");
  if (data == nullptr || !data->is_array()) return false;
  take_list(*data, path, take);
  return true;
}

void take_json(const std::string& path, const RecordOptions& options, const Take& take) {
  if (take_whole(path, options, take)) return;
  LineReader lines(path, options.limits.max_string_bytes);
  check_magic(lines.bytes().peek(), path);
  std::string line;
  while (lines.next(line)) {
    if (lines.number() == 1 && line.compare(0, 3, "\xEF\xBB\xBF") == 0) line.erase(0, 3);
    if (line.find_first_not_of(kJsonSpace) == std::string::npos) continue;
    const std::string where = fmt::format("{}:{}", path, lines.number());
    take_object(Json::parse(line, where, options.limits), where, take);
  }
}

void take_csv(const std::string& path, char separator, const RecordOptions& options, const Take& take) {
  CsvReader reader(path, separator, options.limits);
  std::vector<std::string> names, fields;
  if (!reader.next(names)) return;
  check_magic(names[0], path);
  if (names[0].compare(0, 3, "\xEF\xBB\xBF") == 0) names[0].erase(0, 3);
  while (reader.next(fields)) {
    const std::string where = fmt::format("{}:{}", path, reader.line());
    if (fields.size() != names.size()) {
      invalid(where, "got {} fields, need {} as in the first line", fields.size(), names.size());
    }
    Json record = Json::object();
    for (size_t i = 0; i < fields.size(); ++i) {
      if (!utf8_valid(fields[i])) invalid(where, "column '{}' is no UTF-8 text", utf8_replace_invalid(names[i].substr(0, 64)));
      record.set(names[i], fields[i]);
    }
    take(record, where);
  }
}

template <class List, class Make>
Json feature_of(const List& values, Make&& make) {
  if (values.size() == 1) return make(values[0]);
  Json list = Json::array();
  for (const auto& value : values) list.push_back(make(value));
  return list;
}

void take_tfrecords(const std::string& path, const RecordOptions& options, const Take& take) {
  TfRecordReader reader(path, options.limits);
  std::string data;
  while (next_tfrecord(reader, path, data)) {
    const std::string where = fmt::format("{}: record {} at offset {}", path, reader.number(), reader.record_offset());
    Json record = Json::object();
    for (const TfFeature& feature : parse_tf_example(data, where, options.limits).features) {
      if (const auto* ints = std::get_if<Int64List>(&feature.values)) {
        record.set(feature.name, feature_of(*ints, [](int64_t value) { return Json(value); }));
      } else if (const auto* floats = std::get_if<FloatList>(&feature.values)) {
        record.set(feature.name, feature_of(*floats, [](float value) { return Json(static_cast<double>(value)); }));
      } else {
        record.set(feature.name, feature_of(std::get<BytesList>(feature.values), [&](const std::string& value) {
                     if (!utf8_valid(value)) invalid(where, "feature '{}' is no UTF-8 text", feature.name);
                     return Json(value);
                   }));
      }
    }
    take(record, where);
  }
}

}  // namespace

void for_each_record(const std::vector<std::string>& files, const RecordOptions& options, const Take& take) {
  if (files.empty()) invalid("files", "got none, need at least one file");
  for (const std::string& path : files) {
    if (directory_exists(path)) invalid(path, "cannot read: got a directory, need a file");
    if (file_exists(path) && file_size(path) == 0) invalid(path, "the file is empty: need at least one row");
    bool any = false;
    const Take counted = [&](const Json& record, const std::string& where) {
      any = true;
      take(record, where);
    };
    const std::string format = row_format(path, options.format);
    if (format == "jsonl") {
      take_json(path, options, counted);
    } else if (format == "csv" || format == "tsv") {
      take_csv(path, format == "csv" ? ',' : '\t', options, counted);
    } else if (format == "tfrecord") {
      take_tfrecords(path, options, counted);
    } else {
      invalid(path, "rows of this task have columns: got format '{}', need csv, tsv, jsonl or tfrecord", format);
    }
    if (!any) invalid(path, "no rows in the file: need at least one");
  }
}

}  // namespace pagoda::train
