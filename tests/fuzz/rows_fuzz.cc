// Feeds bytes to the readers of training files. The first byte chooses: c CSV, j JSON lines, t text, p paragraphs, r TFRecord
// (rows and shard), n a mapped shard.
#include <sys/mman.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <string>
#include <string_view>

#include "base/error.h"
#include "base/json.h"
#include "train/data/records.h"
#include "train/data/rows.h"
#include "train/data/shards.h"

namespace {

void read_rows(const std::string& path, const pagoda::train::RowOptions& options) {
  try {
    pagoda::train::RowReader reader({path}, options);
    for (pagoda::train::Row row; reader.next(row);) reader.where();
  } catch (const pagoda::Error&) {
  }
}

void read_records(const std::string& path, const pagoda::train::RowOptions& rows) {
  pagoda::train::RecordOptions options;
  options.format = rows.format;
  options.limits = rows.limits;
  options.limits.max_json_bytes = 1 << 16;
  try {
    pagoda::train::for_each_record({path}, options, [](const pagoda::Json& record, const std::string&) { record.size(); });
  } catch (const pagoda::Error&) {
  }
}

void read_shard(const std::string& path, const pagoda::Limits& limits) {
  try {
    const auto shard = pagoda::train::Shard::open(path, limits);
    for (int64_t row = 0; row < shard->size(); ++row) shard->read(row);
  } catch (const pagoda::Error&) {
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  pagoda::train::RowOptions options;
  options.limits.max_items = 1 << 12;
  options.limits.max_string_bytes = 1 << 16;
  const char kind = static_cast<char>(data[0]);
  options.format = kind == 'c' ? "csv" : kind == 'j' ? "jsonl" : kind == 'r' ? "tfrecord" : "text";
  options.sample_by = kind == 'p' ? "paragraph" : "line";
  const int file = ::memfd_create("rows", MFD_CLOEXEC);
  if (file < 0 || ::write(file, data + 1, size - 1) != static_cast<ssize_t>(size - 1)) return 0;
  const std::string path = "/proc/self/fd/" + std::to_string(file);
  if (kind == 'n') {
    // Told from TFRecord by its name alone.
    const std::string named =
        std::filesystem::temp_directory_path() / ("pagoda_rows_fuzz_" + std::to_string(::getpid()) + ".safetensors");
    ::unlink(named.c_str());
    if (::symlink(("/proc/" + std::to_string(::getpid()) + "/fd/" + std::to_string(file)).c_str(), named.c_str()) == 0) {
      read_shard(named, options.limits);
      ::unlink(named.c_str());
    }
  } else {
    read_rows(path, options);
    read_records(path, options);
    if (kind == 'r') read_shard(path, options.limits);
  }
  ::close(file);
  return 0;
}
