// Reads a zip's directory; every offset and length is checked against the file before use.
#include "formats/torch_zip.h"

#include <algorithm>
#include <cstdint>

#include "base/error.h"

namespace pagoda {

namespace {

constexpr uint32_t kLocalSignature = 0x04034B50;
constexpr uint32_t kEntrySignature = 0x02014B50;
constexpr uint32_t kEndSignature = 0x06054B50;
constexpr uint32_t kEnd64Signature = 0x06064B50;
constexpr uint32_t kLocator64Signature = 0x07064B50;
constexpr uint64_t kLocalSize = 30;
constexpr uint64_t kEntrySize = 46;
constexpr uint64_t kEndSize = 22;
constexpr uint64_t kEnd64Size = 56;
constexpr uint64_t kLocator64Size = 20;
constexpr uint64_t kMaxComment = 0xFFFF;
constexpr uint16_t kEncrypted = 1;
constexpr uint16_t kZip64Extra = 1;

// Little-endian numbers at checked places.
class Reader {
 public:
  Reader(std::string_view bytes, std::string_view where) : bytes_(bytes), where_(where) {}

  uint64_t size() const { return bytes_.size(); }
  std::string_view slice(uint64_t offset, uint64_t length, std::string_view what) const {
    if (offset > bytes_.size() || length > bytes_.size() - offset) {
      invalid(where_, "broken zip: {} past the end: got bytes {} + {}, need at most {}", what, offset, length, bytes_.size());
    }
    return bytes_.substr(offset, length);
  }
  uint64_t number(uint64_t offset, int bytes, std::string_view what) const {
    const std::string_view at = slice(offset, static_cast<uint64_t>(bytes), what);
    uint64_t value = 0;
    for (int i = bytes; i-- > 0;) value = value << 8 | static_cast<unsigned char>(at[static_cast<size_t>(i)]);
    return value;
  }

 private:
  std::string_view bytes_;
  std::string_view where_;
};

struct Directory {
  uint64_t entries = 0;
  uint64_t offset = 0;
  uint64_t size = 0;
};

uint64_t find_end(const Reader& reader, std::string_view where) {
  if (reader.size() >= kEndSize) {
    const uint64_t last = reader.size() - kEndSize;
    const uint64_t first = last > kMaxComment ? last - kMaxComment : 0;
    for (uint64_t at = last + 1; at-- > first;) {
      if (reader.number(at, 4, "end record") == kEndSignature && reader.number(at + 20, 2, "end record") == last - at)
        return at;
    }
  }
  invalid(where, "no zip archive, or a truncated one: got {} bytes without an end record, need a whole file of torch.save",
          reader.size());
}

Directory read_end(const Reader& reader, std::string_view where) {
  const uint64_t end = find_end(reader, where);
  Directory directory;
  const uint64_t disk = reader.number(end + 4, 2, "end record");
  directory.entries = reader.number(end + 10, 2, "end record");
  directory.size = reader.number(end + 12, 4, "end record");
  directory.offset = reader.number(end + 16, 4, "end record");
  if (end >= kLocator64Size && reader.number(end - kLocator64Size, 4, "zip64 locator") == kLocator64Signature) {
    const uint64_t at = reader.number(end - kLocator64Size + 8, 8, "zip64 locator");
    reader.slice(at, kEnd64Size, "zip64 end record");
    if (reader.number(at, 4, "zip64 end record") != kEnd64Signature) {
      invalid(where, "broken zip: no zip64 end record at byte {}", at);
    }
    directory.entries = reader.number(at + 32, 8, "zip64 end record");
    directory.size = reader.number(at + 40, 8, "zip64 end record");
    directory.offset = reader.number(at + 48, 8, "zip64 end record");
  } else if (disk != 0) {
    unsupported(where, "zip in several parts: got part {}, need one file", disk);
  }
  reader.slice(directory.offset, directory.size, "directory");
  return directory;
}

struct Entry {
  uint64_t stored = 0;    // bytes in the file
  uint64_t original = 0;  // bytes unpacked
  uint64_t header = 0;    // where the local header stands
};

// Fields that do not fit in 32 bits stand in the zip64 extra field, in this order, only those that are marked.
void take_zip64(const Reader& reader, uint64_t extra, uint64_t length, Entry& entry, std::string_view where) {
  const uint64_t end = extra + length;
  constexpr uint64_t kMarked = 0xFFFFFFFF;
  const bool marked = entry.original == kMarked || entry.stored == kMarked || entry.header == kMarked;
  for (uint64_t at = extra; marked && at + 4 <= end;) {
    const uint64_t id = reader.number(at, 2, "extra field");
    const uint64_t size = reader.number(at + 2, 2, "extra field");
    if (id == kZip64Extra) {
      uint64_t next = at + 4;
      const uint64_t stop = std::min(end, next + size);
      for (uint64_t* field : {&entry.original, &entry.stored, &entry.header}) {
        if (*field != kMarked) continue;
        if (next + 8 > stop) invalid(where, "broken zip: short zip64 field at byte {}", at);
        *field = reader.number(next, 8, "zip64 field");
        next += 8;
      }
      return;
    }
    at += 4 + size;
  }
}

}  // namespace

std::map<std::string, std::string_view, std::less<>> read_stored_zip(std::string_view bytes, std::string_view where,
                                                                     const Limits& limits) {
  const Reader reader(bytes, where);
  const Directory directory = read_end(reader, where);
  if (directory.entries > static_cast<uint64_t>(limits.max_items) || directory.entries > directory.size / kEntrySize) {
    invalid(where, "broken zip: too many records: got {}, need at most {}", directory.entries, directory.size / kEntrySize);
  }
  std::map<std::string, std::string_view, std::less<>> records;
  uint64_t at = directory.offset;
  for (uint64_t i = 0; i < directory.entries; ++i) {
    reader.slice(at, kEntrySize, "directory entry");
    if (reader.number(at, 4, "directory entry") != kEntrySignature)
      invalid(where, "broken zip: no directory entry at byte {}", at);
    const uint64_t flags = reader.number(at + 8, 2, "directory entry");
    const uint64_t method = reader.number(at + 10, 2, "directory entry");
    Entry entry;
    entry.stored = reader.number(at + 20, 4, "directory entry");
    entry.original = reader.number(at + 24, 4, "directory entry");
    const uint64_t name_length = reader.number(at + 28, 2, "directory entry");
    const uint64_t extra_length = reader.number(at + 30, 2, "directory entry");
    const uint64_t comment_length = reader.number(at + 32, 2, "directory entry");
    entry.header = reader.number(at + 42, 4, "directory entry");
    std::string name(reader.slice(at + kEntrySize, name_length, "name"));
    reader.slice(at + kEntrySize + name_length, extra_length + comment_length, "directory entry");
    take_zip64(reader, at + kEntrySize + name_length, extra_length, entry, where);
    at += kEntrySize + name_length + extra_length + comment_length;

    if ((flags & kEncrypted) != 0) unsupported(where, "encrypted record '{}': need one that is not", name);
    if (method != 0 || entry.stored != entry.original) {
      unsupported(where, "compressed record '{}': got method {}, need 0 (stored, as torch.save writes)", name, method);
    }
    reader.slice(entry.header, kLocalSize, "local header");
    if (reader.number(entry.header, 4, "local header") != kLocalSignature) {
      invalid(where, "broken zip: no local header of '{}' at byte {}", name, entry.header);
    }
    const uint64_t local_name = reader.number(entry.header + 26, 2, "local header");
    const uint64_t local_extra = reader.number(entry.header + 28, 2, "local header");
    if (reader.slice(entry.header + kLocalSize, local_name, "local header") != name) {
      invalid(where, "broken zip: directory and local header name '{}' differently", name);
    }
    const std::string_view data = reader.slice(entry.header + kLocalSize + local_name + local_extra, entry.stored, name);
    if (!records.emplace(std::move(name), data).second) {
      invalid(where, "broken zip: two records of one name before byte {}", at);
    }
  }
  return records;
}

}  // namespace pagoda
