// Feeds bytes to what reads a model's settings: config.json as far as a whole model, and generation_config.json.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/error.h"
#include "base/json.h"
#include "generate/params.h"
#include "models/model.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  pagoda::Limits limits;
  limits.max_json_bytes = 1 << 20;
  try {
    const std::string_view bytes(reinterpret_cast<const char*>(data), size);
    const pagoda::Json json = pagoda::Json::parse(bytes, "fuzz", limits);
    try {
      pagoda::validate(pagoda::from_generation_config(json, "fuzz"), 32000);
    } catch (const pagoda::Error&) {
      // The same text as config.json may still be a model's.
    }
    pagoda::make_model(json, "fuzz")->parameters();
  } catch (const pagoda::Error&) {
  }
  return 0;
}
