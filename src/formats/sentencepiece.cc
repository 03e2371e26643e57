// The fields of ModelProto that decide ids; everything else is skipped.
#include "formats/sentencepiece.h"

#include <cstring>

#include "base/error.h"

namespace pagoda {

namespace {

// One message of the wire format: fields as (number, wire type, value).
class WireReader {
 public:
  WireReader(std::string_view bytes, size_t base, std::string_view where) : bytes_(bytes), base_(base), where_(where) {}

  bool next() {
    if (pos_ >= bytes_.size()) return false;
    const uint64_t tag = varint();
    number_ = tag >> 3;
    wire_ = static_cast<int>(tag & 7);
    if (number_ == 0) error("field number 0");
    switch (wire_) {
      case 0: value_ = varint(); break;
      case 1: fixed(8); break;
      case 2: {
        const uint64_t size = varint();
        if (size > bytes_.size() - pos_) error("field longer than its message");
        text_ = bytes_.substr(pos_, static_cast<size_t>(size));
        text_at_ = base_ + pos_;
        pos_ += static_cast<size_t>(size);
        break;
      }
      case 5: fixed(4); break;
      default: error("unknown wire type");
    }
    return true;
  }

  uint64_t number() const { return number_; }
  bool is_varint() const { return wire_ == 0; }
  bool is_bytes() const { return wire_ == 2; }
  bool is_fixed32() const { return wire_ == 5; }
  uint64_t value() const { return value_; }
  bool flag() const { return value_ != 0; }
  int32_t int32() const { return static_cast<int32_t>(static_cast<uint32_t>(value_)); }
  float number_float() const {
    const uint32_t bits = static_cast<uint32_t>(value_);
    float result;
    std::memcpy(&result, &bits, sizeof(result));
    return result;
  }
  std::string_view text() const { return text_; }
  WireReader message() const { return WireReader(text_, text_at_, where_); }

 private:
  [[noreturn]] void error(std::string_view what) const {
    invalid(where_, "bad SentencePiece model: {} at byte {}", what, base_ + pos_);
  }
  uint64_t varint() {
    uint64_t value = 0;
    for (int shift = 0; shift < 64; shift += 7) {
      if (pos_ >= bytes_.size()) error("number cut off");
      const uint64_t byte = static_cast<unsigned char>(bytes_[pos_++]);
      value |= (byte & 0x7F) << shift;
      if (byte < 0x80) return value;
    }
    error("number too long");
  }
  void fixed(size_t size) {
    if (bytes_.size() - pos_ < size) error("number cut off");
    value_ = 0;
    for (size_t i = 0; i < size; ++i) value_ |= static_cast<uint64_t>(static_cast<unsigned char>(bytes_[pos_ + i])) << (8 * i);
    pos_ += size;
  }

  std::string_view bytes_, text_;
  size_t base_;
  std::string_view where_;
  size_t pos_ = 0, text_at_ = 0;
  uint64_t number_ = 0, value_ = 0;
  int wire_ = 0;
};

void read_piece(WireReader reader, SentencePieceModel& model, std::string_view where) {
  SentencePieceModel::Piece piece;
  while (reader.next()) {
    if (reader.number() == 1 && reader.is_bytes()) piece.text = reader.text();
    if (reader.number() == 2 && reader.is_fixed32()) piece.score = reader.number_float();
    if (reader.number() == 3 && reader.is_varint()) {
      if (reader.value() < 1 || reader.value() > 6)
        invalid(where, "piece {}: unknown type {}", model.pieces.size(), reader.value());
      piece.type = static_cast<SentencePieceModel::Type>(reader.value());
    }
  }
  model.pieces.push_back(std::move(piece));
}

void read_trainer(WireReader reader, SentencePieceModel& model, std::string_view where) {
  while (reader.next()) {
    if (reader.number() == 3 && reader.is_varint()) {
      if (reader.value() < 1 || reader.value() > 4) invalid(where, "unknown model type: got {}, need 1 to 4", reader.value());
      model.kind = static_cast<SentencePieceModel::Kind>(reader.value());
    }
    if (reader.number() == 24 && reader.is_varint()) model.treat_whitespace_as_suffix = reader.flag();
    if (reader.number() == 35 && reader.is_varint()) model.byte_fallback = reader.flag();
    if (reader.number() == 40 && reader.is_varint()) model.unk_id = reader.int32();
    if (reader.number() == 41 && reader.is_varint()) model.bos_id = reader.int32();
    if (reader.number() == 42 && reader.is_varint()) model.eos_id = reader.int32();
    if (reader.number() == 44 && reader.is_bytes()) model.unk_surface = reader.text();
    if (reader.number() == 45 && reader.is_bytes()) model.unk_piece = reader.text();
    if (reader.number() == 46 && reader.is_bytes()) model.bos_piece = reader.text();
    if (reader.number() == 47 && reader.is_bytes()) model.eos_piece = reader.text();
  }
}

void read_normalizer(WireReader reader, SentencePieceModel& model, std::string_view where) {
  while (reader.next()) {
    if (reader.number() == 2 && reader.is_bytes()) {
      model.charsmap = Charsmap::parse(reader.text(), where);
      model.charsmap_bytes = reader.text();
    }
    if (reader.number() == 3 && reader.is_varint()) model.add_dummy_prefix = reader.flag();
    if (reader.number() == 4 && reader.is_varint()) model.remove_extra_whitespaces = reader.flag();
    if (reader.number() == 5 && reader.is_varint()) model.escape_whitespaces = reader.flag();
  }
}

void check_denormalizer(WireReader reader, std::string_view where) {
  while (reader.next()) {
    if (reader.number() == 2 && reader.is_bytes() && !reader.text().empty())
      unsupported(where, "the model has a denormaliser of its own");
  }
}

}  // namespace

SentencePieceModel parse_sentencepiece(std::string_view bytes, std::string_view where, const Limits& limits) {
  if (static_cast<int64_t>(bytes.size()) > limits.max_bytes)
    invalid(where, "file too large: got {} bytes, need at most {}", bytes.size(), limits.max_bytes);
  SentencePieceModel model;
  WireReader reader(bytes, 0, where);
  while (reader.next()) {
    if (!reader.is_bytes()) continue;
    if (reader.number() == 1) {
      if (static_cast<int64_t>(model.pieces.size()) >= limits.max_items)
        invalid(where, "too many pieces: need at most {}", limits.max_items);
      read_piece(reader.message(), model, where);
    }
    if (reader.number() == 2) read_trainer(reader.message(), model, where);
    if (reader.number() == 3) read_normalizer(reader.message(), model, where);
    if (reader.number() == 5) check_denormalizer(reader.message(), where);
  }
  if (model.pieces.empty()) invalid(where, "no SentencePiece model: it holds no pieces");
  return model;
}

}  // namespace pagoda
