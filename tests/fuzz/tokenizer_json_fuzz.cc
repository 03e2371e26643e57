// Feeds bytes to the tokenizer.json reader, and to the classes that rebuild such files; what they accept encodes and decodes a
// few texts.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/error.h"
#include "base/utf8.h"
#include "formats/tokenizer_json.h"
#include "formats/tokenizer_rules.h"

namespace {

// Tokens of the file among letters and white space, those with the largest ids: added ones.
std::string text_of_tokens(const pagoda::Tokenizer& tokenizer) {
  std::string text;
  for (int64_t id = tokenizer.id_limit() - 1, end = std::max<int64_t>(0, id - 6); id >= end && text.size() < 512; --id) {
    const std::string token = tokenizer.id_to_token(static_cast<int32_t>(id)).substr(0, 64);
    if (pagoda::utf8_invalid_at(token) == std::string_view::npos) text += "a" + token + token + "  " + token + " b";
  }
  return text;
}

void use(const pagoda::Tokenizer& tokenizer) {
  const std::string tokens = text_of_tokens(tokenizer);
  for (const std::string_view text :
       {std::string_view(), std::string_view("Hello world"), std::string_view(" a  b\n"),
        std::string_view("\u00E9e\u0301\uFB01\u4E2D\U0001F642 <s> 12"), std::string_view(tokens)}) {
    try {
      const pagoda::Encoding encoding = tokenizer.encode(text, true);
      tokenizer.encode_ids(text, false);
      tokenizer.decode(encoding.ids, false);
      tokenizer.encode_pair(text, "b", true);
    } catch (const pagoda::Error&) {
    }
  }
}

// As one of the classes that take no more than the file's vocabulary.
void rebuild_and_use(std::string_view text, const pagoda::Limits& limits) {
  pagoda::Json tree = pagoda::Json::parse(text, "fuzz", limits);
  constexpr int kFirst = static_cast<int>(pagoda::TokenizerKind::kBert), kLast = static_cast<int>(pagoda::TokenizerKind::kT5);
  pagoda::TokenizerClass known;
  known.kind = static_cast<pagoda::TokenizerKind>(kFirst + static_cast<int>(text.size() % (kLast - kFirst + 1)));
  const pagoda::Json* const model = tree.find("model");
  if (model == nullptr || !pagoda::rebuilds(known, *model)) return;
  const pagoda::TokenizerConfig config = pagoda::completed(known.kind, {}, "fuzz");
  pagoda::json_added_tokens(tree, "fuzz");
  pagoda::rebuild(known.kind, config, tree, "fuzz");
  use(*pagoda::make_pipeline_tokenizer(pagoda::parse_tokenizer_json(tree, "fuzz", limits)));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  pagoda::Limits limits;
  limits.max_items = 1 << 12;
  limits.max_depth = 64;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  try {
    use(*pagoda::read_tokenizer_json(text, "fuzz", limits));
  } catch (const pagoda::Error&) {
  }
  try {
    rebuild_and_use(text, limits);
  } catch (const pagoda::Error&) {
  }
  return 0;
}
