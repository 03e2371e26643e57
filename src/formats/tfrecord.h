// TFRecord files and the tf.Example messages in them, read and written.
// A record: 8 bytes little-endian length, 4 bytes masked CRC-32C of those, the data, 4 bytes masked CRC-32C of the data.
// Masked: rotated right by 15 bits, plus 0xA282EAD8. (tensorflow/core/lib/io/record_writer.h, example.proto, feature.proto)
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "base/byte_reader.h"
#include "base/limits.h"

namespace pagoda {

uint32_t masked_crc32c(std::string_view bytes);

constexpr int64_t kTfRecordOverhead = 16;  // bytes round the data of a record

void append_tfrecord(std::string& out, std::string_view data);

// The record at `offset` of a file in memory; moves `offset` behind it. Errors name the file, the record's number and its
// offset: cut off, a length or data whose checksum is wrong, a record over limits.max_string_bytes.
std::string_view read_tfrecord(std::string_view file, int64_t& offset, int64_t number, std::string_view where,
                               const Limits& limits = {});

// Offsets of all records, and the file's end; checks the lengths' sums, not the data's.
std::vector<int64_t> index_tfrecords(std::string_view file, std::string_view where, const Limits& limits = {});

// Front to back, from files of any size and from pipes.
class TfRecordReader {
 public:
  explicit TfRecordReader(const std::string& path, const Limits& limits = {});
  bool next(std::string& data);                   // false at the end of the file
  int64_t number() const { return number_ - 1; }  // of the record read last, from 0
  int64_t record_offset() const { return begin_; }
  const ByteReader& bytes() const { return reader_; }

 private:
  ByteReader reader_;
  Limits limits_;
  std::string frame_;
  int64_t number_ = 0, begin_ = 0;
};

using Int64List = std::vector<int64_t>;
using FloatList = std::vector<float>;
using BytesList = std::vector<std::string>;

struct TfFeature {
  std::string name;
  std::variant<Int64List, FloatList, BytesList> values;
};

struct TfExample {
  std::vector<TfFeature> features;  // in the order of the message; a name given twice counts once, the last
  const TfFeature* find(std::string_view name) const;
  // Null where there is no such feature; one of another kind is kInvalidInput.
  const Int64List* int64s(std::string_view name, std::string_view where) const;
  const BytesList* bytes(std::string_view name, std::string_view where) const;
};

// Lists packed and not; fields that the message does not know are passed over. kInvalidInput for what is no message.
TfExample parse_tf_example(std::string_view data, std::string_view where, const Limits& limits = {});
// Features by name, as TensorFlow writes them deterministically.
std::string write_tf_example(const TfExample& example);

}  // namespace pagoda
