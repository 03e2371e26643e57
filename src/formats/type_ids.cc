// Names of inputs, or the tokenizer's class.
#include "formats/type_ids.h"

#include <algorithm>

namespace pagoda {

bool gives_type_ids(const TokenizerConfig& tokenizer, const std::string& model_type) {
  if (const Json* names = tokenizer.raw.find("model_input_names"); names != nullptr && names->is_array()) {
    const Json::Array& list = names->as_array("model_input_names");
    return std::find(list.begin(), list.end(), Json("token_type_ids")) != list.end();
  }
  if (!tokenizer.tokenizer_class.empty()) return tokenizer.tokenizer_class.rfind("Bert", 0) == 0;
  return model_type == "bert";
}

}  // namespace pagoda
