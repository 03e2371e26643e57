// Feeds a safetensors file to the readers of quantised weights, under every method's configuration, and decodes what they take.
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "formats/quantized.h"
#include "formats/safetensors.h"

namespace {

using namespace pagoda;

class Memory : public WeightSource {
 public:
  explicit Memory(std::shared_ptr<SafetensorsFile> file) : file_(std::move(file)) {}
  const TensorEntry* find(const std::string& name) const override { return file_->find(name); }
  std::vector<std::string> names() const override {
    std::vector<std::string> names;
    for (const TensorEntry& entry : file_->tensors()) names.push_back(entry.name);
    return names;
  }

 private:
  std::shared_ptr<SafetensorsFile> file_;
};

constexpr const char* kConfigs[] = {
    R"({"quant_method":"compressed-tensors"})",
    R"({"quant_method":"compressed-tensors","config_groups":{"g":{"weights":{"num_bits":3,"block_structure":[2,4]}}}})",
    R"({"quant_method":"gptq","bits":4,"group_size":8})",
    R"({"quant_method":"gptq","bits":8,"group_size":-1,"checkpoint_format":"gptq_v2"})",
    R"({"quant_method":"awq","bits":4,"group_size":8})",
    R"({"quant_method":"fp8","weight_block_size":[2,4]})",
    R"({"quant_method":"fbgemm_fp8"})",
    R"({"quant_method":"mxfp4"})",
};

void decode_all(const WeightSource& weights) {
  for (const std::string& name : weights.names()) {
    const TensorEntry* entry = weights.find(name);
    if (entry == nullptr || !entry->encoded) continue;
    int64_t row = 1;
    for (size_t i = 1; i < entry->shape.size(); ++i) row *= entry->shape[i];
    if (row < 1 || row > 1 << 16) continue;
    std::vector<float> values(static_cast<size_t>(row));
    const GroupCoding coding = entry->encoded->groups();
    for (int64_t r = 0; r < entry->shape[0] && r < 16; ++r) {
      entry->encoded->decode(r, r + 1, values.data());
      if (!coding) continue;
      GroupRows codes(coding, 1, row);
      entry->encoded->read_groups(r, codes);
    }
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  Limits limits;
  limits.max_json_bytes = 1 << 16;
  try {
    // A copy, so that reading past the end is found.
    const auto bytes = std::make_shared<std::vector<uint8_t>>(data, data + size);
    const auto file =
        SafetensorsFile::parse({reinterpret_cast<const char*>(bytes->data()), bytes->size()}, "fuzz", bytes, limits);
    for (const char* config : kConfigs) {
      try {
        decode_all(*open_quantized(std::make_shared<Memory>(file), Json::parse(config, "fuzz"), "fuzz"));
      } catch (const Error&) {
      }
    }
  } catch (const Error&) {
  }
  return 0;
}
