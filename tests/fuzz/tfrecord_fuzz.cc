// Feeds bytes to the readers of TFRecord and tf.Example: as a file, and (behind good checksums) as one message.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "base/error.h"
#include "formats/tfrecord.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  pagoda::Limits limits;
  limits.max_items = 1 << 12;
  limits.max_string_bytes = 1 << 16;
  try {
    const auto offsets = pagoda::index_tfrecords(bytes, "fuzz", limits);
    for (size_t i = 0; i + 1 < offsets.size(); ++i) {
      int64_t offset = offsets[i];
      pagoda::read_tfrecord(bytes, offset, static_cast<int64_t>(i), "fuzz", limits);
      if (offset != offsets[i + 1]) std::abort();
    }
  } catch (const pagoda::Error&) {
  }
  try {
    // What was read once is written in one way, and read again as the same.
    const pagoda::TfExample example = pagoda::parse_tf_example(bytes, "fuzz", limits);
    const std::string written = pagoda::write_tf_example(example);
    limits.max_items = 1 << 13;
    if (pagoda::write_tf_example(pagoda::parse_tf_example(written, "fuzz", limits)) != written) std::abort();
    std::string record;
    pagoda::append_tfrecord(record, bytes);
    int64_t offset = 0;
    if (pagoda::read_tfrecord(record, offset, 0, "fuzz") != bytes) std::abort();
  } catch (const pagoda::Error&) {
  }
  return 0;
}
