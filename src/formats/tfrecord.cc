// Frames with checksums, and the few messages of example.proto in wire format.
#include "formats/tfrecord.h"

#include <algorithm>
#include <cstring>

#include "base/crc32c.h"
#include "base/error.h"

namespace pagoda {

namespace {

constexpr size_t kHeader = 12;

void append_little(std::string& out, uint64_t value, int bytes) {
  for (int i = 0; i < bytes; ++i) out += static_cast<char>((value >> (8 * i)) & 0xFF);
}

uint64_t little(const char* data, int bytes) {
  uint64_t value = 0;
  for (int i = 0; i < bytes; ++i) value |= static_cast<uint64_t>(static_cast<unsigned char>(data[i])) << (8 * i);
  return value;
}

void check_sum(std::string_view what, std::string_view bytes, const char* stored, int64_t number, int64_t offset,
               std::string_view where) {
  const uint32_t need = masked_crc32c(bytes), got = static_cast<uint32_t>(little(stored, 4));
  if (got != need) {
    invalid(where, "corrupt record {} at offset {}: checksum of its {}: got 0x{:08x}, need 0x{:08x}", number, offset, what, got,
            need);
  }
}

// The length in a record's header, checked.
int64_t record_length(std::string_view header, int64_t number, int64_t offset, std::string_view where, const Limits& limits) {
  check_sum("length", header.substr(0, 8), header.data() + 8, number, offset, where);
  const uint64_t length = little(header.data(), 8);  // NOLINT(bugprone-suspicious-stringview-data-usage): a count is given
  if (length > static_cast<uint64_t>(limits.max_string_bytes)) {
    invalid(where, "record {} at offset {} is too long: got {} bytes, need at most {}", number, offset, length,
            limits.max_string_bytes);
  }
  return static_cast<int64_t>(length);
}

[[noreturn]] void cut_off(int64_t number, int64_t offset, std::string_view where) {
  invalid(where, "record {} at offset {} is cut off by the end of the file", number, offset);
}

}  // namespace

uint32_t masked_crc32c(std::string_view bytes) {
  const uint32_t crc = crc32c(bytes);
  return ((crc >> 15) | (crc << 17)) + 0xA282EAD8u;
}

void append_tfrecord(std::string& out, std::string_view data) {
  const size_t begin = out.size();
  append_little(out, data.size(), 8);
  append_little(out, masked_crc32c(std::string_view(out).substr(begin, 8)), 4);
  out += data;
  append_little(out, masked_crc32c(data), 4);
}

std::string_view read_tfrecord(std::string_view file, int64_t& offset, int64_t number, std::string_view where,
                               const Limits& limits) {
  if (offset < 0 || offset > static_cast<int64_t>(file.size())) invalid(where, "no record at offset {}", offset);
  const std::string_view rest = file.substr(static_cast<size_t>(offset));
  if (rest.size() < kHeader) cut_off(number, offset, where);
  const size_t length = static_cast<size_t>(record_length(rest.substr(0, kHeader), number, offset, where, limits));
  if (rest.size() - kHeader < length + 4) cut_off(number, offset, where);
  const std::string_view data = rest.substr(kHeader, length);
  check_sum("data", data, data.data() + length, number, offset, where);
  offset += static_cast<int64_t>(length) + kTfRecordOverhead;
  return data;
}

std::vector<int64_t> index_tfrecords(std::string_view file, std::string_view where, const Limits& limits) {
  std::vector<int64_t> offsets;
  const int64_t size = static_cast<int64_t>(file.size());
  int64_t offset = 0;
  while (offset < size) {
    const int64_t number = static_cast<int64_t>(offsets.size());
    if (size - offset < static_cast<int64_t>(kHeader)) cut_off(number, offset, where);
    const int64_t length = record_length(file.substr(static_cast<size_t>(offset), kHeader), number, offset, where, limits);
    if (size - offset < length + kTfRecordOverhead) cut_off(number, offset, where);
    offsets.push_back(offset);
    offset += length + kTfRecordOverhead;
  }
  offsets.push_back(size);
  return offsets;
}

TfRecordReader::TfRecordReader(const std::string& path, const Limits& limits) : reader_(path), limits_(limits) {}

bool TfRecordReader::next(std::string& data) {
  begin_ = reader_.offset();
  frame_.clear();
  const size_t got = reader_.read(frame_, kHeader);
  if (got == 0) return false;
  const int64_t number = number_++;
  if (got < kHeader) cut_off(number, begin_, reader_.path());
  const size_t length = static_cast<size_t>(record_length(frame_, number, begin_, reader_.path(), limits_));
  data.clear();
  if (reader_.read(data, length + 4) < length + 4) cut_off(number, begin_, reader_.path());
  check_sum("data", std::string_view(data).substr(0, length), data.data() + length, number, begin_, reader_.path());
  data.resize(length);
  return true;
}

// ---- tf.Example

namespace {

// The fields of one message, one after the other.
class Wire {
 public:
  Wire(std::string_view bytes, std::string_view where) : bytes_(bytes), where_(where) {}

  bool next() {
    if (pos_ == bytes_.size()) return false;
    const uint64_t tag = varint();
    field = tag >> 3;
    kind = static_cast<int>(tag & 7);
    if (field == 0) error("field number 0");
    switch (kind) {
      case 0: value = varint(); break;
      case 1: value = fixed(8); break;
      case 2: {
        const uint64_t size = varint();
        if (size > bytes_.size() - pos_) error("a field longer than its message");
        text = bytes_.substr(pos_, static_cast<size_t>(size));
        pos_ += static_cast<size_t>(size);
        break;
      }
      case 5: value = fixed(4); break;
      default: error("an unknown wire type");
    }
    return true;
  }
  uint64_t varint() {
    uint64_t result = 0;
    for (int shift = 0; shift < 70; shift += 7) {
      if (pos_ == bytes_.size()) error("a number that is cut off");
      const uint64_t byte = static_cast<unsigned char>(bytes_[pos_++]);
      result |= shift < 64 ? (byte & 0x7F) << shift : 0;
      if (byte < 0x80) return result;
    }
    error("a number that is too long");
  }
  uint64_t fixed(size_t size) {
    if (bytes_.size() - pos_ < size) error("a number that is cut off");
    const uint64_t result = little(bytes_.data() + pos_, static_cast<int>(size));
    pos_ += size;
    return result;
  }
  bool at_end() const { return pos_ == bytes_.size(); }
  [[noreturn]] void error(std::string_view what) const { invalid(where_, "no tf.Example: {}", what); }

  uint64_t field = 0, value = 0;
  int kind = 0;
  std::string_view text;

 private:
  std::string_view bytes_, where_;
  size_t pos_ = 0;
};

class ExampleReader {
 public:
  ExampleReader(std::string_view where, const Limits& limits) : where_(where), limits_(limits) {}

  TfExample read(std::string_view data) {
    TfExample example;
    Wire message(data, where_);
    while (message.next()) {
      if (message.field != 1 || message.kind != 2) continue;
      Wire features(message.text, where_);
      while (features.next()) {
        if (features.field == 1 && features.kind == 2) entry(features.text, example);
      }
    }
    return example;
  }

 private:
  void entry(std::string_view bytes, TfExample& example) {
    TfFeature feature;
    Wire message(bytes, where_);
    while (message.next()) {
      if (message.kind != 2) continue;
      if (message.field == 1) feature.name = message.text;
      if (message.field == 2) values(message.text, feature);
    }
    const auto same = std::find_if(example.features.begin(), example.features.end(),
                                   [&](const TfFeature& other) { return other.name == feature.name; });
    if (same != example.features.end()) {
      *same = std::move(feature);
      return;
    }
    // Looking names up is linear: messages of many features are no training data.
    if (example.features.size() >= 1024) invalid(where_, "too many features in one record: need at most 1024");
    example.features.push_back(std::move(feature));
  }

  void values(std::string_view bytes, TfFeature& feature) {
    Wire message(bytes, where_);
    while (message.next()) {
      if (message.kind != 2) continue;
      if (message.field == 1) bytes_list(message.text, list<BytesList>(feature));
      if (message.field == 2) float_list(message.text, list<FloatList>(feature));
      if (message.field == 3) int64_list(message.text, list<Int64List>(feature));
    }
  }
  template <class List>
  static List& list(TfFeature& feature) {
    if (!std::holds_alternative<List>(feature.values)) feature.values = List();
    return std::get<List>(feature.values);
  }
  void count_one() {
    if (++items_ > limits_.max_items) invalid(where_, "too many values in one record: need at most {}", limits_.max_items);
  }
  void bytes_list(std::string_view bytes, BytesList& out) {
    Wire message(bytes, where_);
    while (message.next()) {
      if (message.field != 1 || message.kind != 2) continue;
      count_one();
      out.emplace_back(message.text);
    }
  }
  void float_list(std::string_view bytes, FloatList& out) {
    const auto put = [&](uint64_t value) {
      count_one();
      const uint32_t bits = static_cast<uint32_t>(value);
      float number;
      std::memcpy(&number, &bits, 4);
      out.push_back(number);
    };
    Wire message(bytes, where_);
    while (message.next()) {
      if (message.field != 1) continue;
      if (message.kind == 5) put(message.value);
      if (message.kind != 2) continue;
      Wire packed(message.text, where_);
      while (!packed.at_end()) put(packed.fixed(4));
    }
  }
  void int64_list(std::string_view bytes, Int64List& out) {
    Wire message(bytes, where_);
    while (message.next()) {
      if (message.field != 1) continue;
      if (message.kind == 0) {
        count_one();
        out.push_back(static_cast<int64_t>(message.value));
      }
      if (message.kind != 2) continue;
      Wire packed(message.text, where_);
      while (!packed.at_end()) {
        count_one();
        out.push_back(static_cast<int64_t>(packed.varint()));
      }
    }
  }

  std::string_view where_;
  const Limits& limits_;
  int64_t items_ = 0;
};

void append_varint(std::string& out, uint64_t value) {
  for (; value >= 0x80; value >>= 7) out += static_cast<char>((value & 0x7F) | 0x80);
  out += static_cast<char>(value);
}

void append_field(std::string& out, int number, std::string_view bytes) {
  out += static_cast<char>((number << 3) | 2);
  append_varint(out, bytes.size());
  out += bytes;
}

std::string feature_bytes(const TfFeature& feature) {
  std::string values, list, out;
  int kind = 0;
  if (const auto* bytes = std::get_if<BytesList>(&feature.values)) {
    kind = 1;
    for (const std::string& value : *bytes) append_field(list, 1, value);
  } else if (const auto* floats = std::get_if<FloatList>(&feature.values)) {
    kind = 2;
    for (const float value : *floats) {
      uint32_t bits;
      std::memcpy(&bits, &value, 4);
      append_little(values, bits, 4);
    }
  } else {
    kind = 3;
    for (const int64_t value : std::get<Int64List>(feature.values)) append_varint(values, static_cast<uint64_t>(value));
  }
  if (kind != 1 && !values.empty()) append_field(list, 1, values);
  append_field(out, kind, list);
  return out;
}

template <class List>
const List* list_of(const TfExample& example, std::string_view name, std::string_view kind, std::string_view where) {
  const TfFeature* const feature = example.find(name);
  if (feature == nullptr) return nullptr;
  const List* const list = std::get_if<List>(&feature->values);
  if (list == nullptr) invalid(where, "feature '{}': got another kind of list, need {}", name, kind);
  return list;
}

}  // namespace

const TfFeature* TfExample::find(std::string_view name) const {
  for (const TfFeature& feature : features) {
    if (feature.name == name) return &feature;
  }
  return nullptr;
}

const Int64List* TfExample::int64s(std::string_view name, std::string_view where) const {
  return list_of<Int64List>(*this, name, "int64_list", where);
}
const BytesList* TfExample::bytes(std::string_view name, std::string_view where) const {
  return list_of<BytesList>(*this, name, "bytes_list", where);
}

TfExample parse_tf_example(std::string_view data, std::string_view where, const Limits& limits) {
  return ExampleReader(where, limits).read(data);
}

std::string write_tf_example(const TfExample& example) {
  std::vector<const TfFeature*> sorted;
  for (const TfFeature& feature : example.features) sorted.push_back(&feature);
  std::sort(sorted.begin(), sorted.end(), [](const TfFeature* a, const TfFeature* b) { return a->name < b->name; });
  std::string features, out;
  for (const TfFeature* feature : sorted) {
    std::string entry;
    append_field(entry, 1, feature->name);
    append_field(entry, 2, feature_bytes(*feature));
    append_field(features, 1, entry);
  }
  append_field(out, 1, features);
  return out;
}

}  // namespace pagoda
