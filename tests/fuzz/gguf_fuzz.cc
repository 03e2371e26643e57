// Feeds bytes to the GGUF reader, and to what is made of its file: tokenizer, configuration, model, decoded blocks.
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "formats/gguf_model.h"
#include "formats/tokenizer_gguf.h"

namespace {

template <class Fn>
void attempt(Fn&& fn) {
  try {
    fn();
  } catch (const pagoda::Error&) {
  }
}

void decode_all(const std::shared_ptr<const pagoda::GgufFile>& file) {
  const auto weights = pagoda::open_gguf_weights(file);
  for (const std::string& name : weights->names()) {
    const pagoda::TensorEntry* entry = weights->find(name);
    int64_t row = 1;
    for (size_t i = 1; i < entry->shape.size(); ++i) row *= entry->shape[i];
    if (!entry->encoded || row < 1 || row > 1 << 16) continue;
    std::vector<float> values(static_cast<size_t>(row));
    const pagoda::GroupCoding coding = entry->encoded->groups();
    for (int64_t r = 0; r < entry->shape[0] && r < 64; ++r) {
      entry->encoded->decode(r, r + 1, values.data());
      if (!coding) continue;
      pagoda::GroupRows codes(coding, 1, row);
      entry->encoded->read_groups(r, codes);
    }
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  pagoda::Limits limits;
  limits.max_items = 1 << 12;
  attempt([&] {
    const auto file = pagoda::GgufFile::parse(std::string_view(reinterpret_cast<const char*>(data), size), "fuzz", limits);
    attempt([&] {
      const auto tokenizer = pagoda::read_gguf_tokenizer(*file, limits);
      for (const std::string_view text : {"", "Hello world", "\u00E9\u4E2D\U0001F642 ab 12"})
        tokenizer->decode(tokenizer->encode(text, true).ids, false);
    });
    attempt([&] { pagoda::gguf_tokenizer_config(*file); });
    attempt([&] { pagoda::gguf_tokenizer_json(*file, limits); });
    attempt([&] { pagoda::gguf_config(*file); });
    attempt([&] { decode_all(file); });
  });
  return 0;
}
