// Rows with several columns: CSV and TSV with a header, JSON lines, JSON lists, SQuAD's nested JSON, TFRecord.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "base/json.h"
#include "base/limits.h"

namespace pagoda::train {

struct RecordOptions {
  std::string format = "auto";  // jsonl (also: one JSON list, or an object whose "data" is one), csv, tsv, tfrecord
  Limits limits;
};

// Calls `take` for the rows of all files, one behind the other: an object a row. Fields of CSV are strings; a feature of a
// tf.Example with one value is that value, others are lists. SQuAD's articles become a row a question: {"id", "title",
// "context", "question", "answers": {"text": [...], "answer_start": [...]}}. `where` is "file:line" or what is like it.
// Errors as RowReader's.
void for_each_record(const std::vector<std::string>& files, const RecordOptions& options,
                     const std::function<void(const Json& record, const std::string& where)>& take);

}  // namespace pagoda::train
