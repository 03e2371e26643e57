// Comma-separated values (RFC 4180), row by row: quoted fields may hold separators, line ends and doubled quotes.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/byte_reader.h"
#include "base/limits.h"

namespace pagoda {

class CsvReader {
 public:
  // `separator`: ',' or '\t'. A row's text is at most limits.max_string_bytes, its fields limits.max_items.
  CsvReader(const std::string& path, char separator, const Limits& limits = {});
  // The fields of the next row that is not empty; false at the end of the file. kInvalidInput names the line of a quote that
  // is not closed; one inside a field that does not begin with a quote is text.
  bool next(std::vector<std::string>& fields);
  int64_t line() const { return row_line_; }  // on which the row read last began, from 1
  const ByteReader& bytes() const { return reader_; }

 private:
  int next_byte();  // -1: end
  ByteReader reader_;
  char separator_;
  Limits limits_;
  int64_t line_ = 1, row_line_ = 1;
};

}  // namespace pagoda
