// One pass over bytes: separators and quotes are ASCII, so UTF-8 needs no decoding here.
#include "formats/csv.h"

#include "base/error.h"

namespace pagoda {

CsvReader::CsvReader(const std::string& path, char separator, const Limits& limits)
    : reader_(path), separator_(separator), limits_(limits) {}

int CsvReader::next_byte() {
  const std::string_view piece = reader_.peek();
  if (piece.empty()) return -1;
  reader_.skip(1);
  return static_cast<unsigned char>(piece[0]);
}

bool CsvReader::next(std::vector<std::string>& fields) {
  fields.clear();
  std::string field;
  int64_t bytes = 0;
  bool quoted = false, was_quoted = false;
  row_line_ = line_;
  const auto close = [&] {
    if (static_cast<int64_t>(fields.size()) >= limits_.max_items) {
      invalid(reader_.path(), "line {}: too many fields: need at most {}", row_line_, limits_.max_items);
    }
    fields.push_back(std::move(field));
    field.clear();
    was_quoted = false;
  };
  for (;;) {
    const int byte = next_byte();
    if (byte < 0) {
      if (quoted) invalid(reader_.path(), "line {}: a quoted field is not closed by the end of the file", row_line_);
      if (fields.empty() && field.empty() && !was_quoted) return false;
      close();
      return true;
    }
    if (++bytes > limits_.max_string_bytes) {
      invalid(reader_.path(), "line {}: the row is too long: need at most {} bytes{}", row_line_, limits_.max_string_bytes,
              quoted ? "; is a quote not closed?" : "");
    }
    const char c = static_cast<char>(byte);
    if (c == '\n') ++line_;
    if (quoted) {
      if (c != '"') {
        field += c;
      } else if (const std::string_view ahead = reader_.peek(); !ahead.empty() && ahead[0] == '"') {
        reader_.skip(1);
        field += '"';
      } else {
        quoted = false;
      }
      continue;
    }
    if (c == '"' && field.empty() && !was_quoted) {
      quoted = was_quoted = true;
    } else if (c == separator_) {
      close();
    } else if (c == '\n') {
      if (!field.empty() && field.back() == '\r') field.pop_back();
      if (fields.empty() && field.empty() && !was_quoted) {
        row_line_ = line_;
        continue;
      }
      close();
      return true;
    } else {
      field += c;
    }
  }
}

}  // namespace pagoda
