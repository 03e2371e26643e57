// The fields are those that the tokenizers library writes.
#include "formats/tokenizer_tree.h"

#include <utility>

#include "formats/base64.h"

namespace pagoda::tokenizer_tree {

namespace {

Json pattern(const char* kind, std::string_view text) { return std::move(Json::object().set(kind, text)); }

}  // namespace

Json part(const char* type) { return std::move(Json::object().set("type", type)); }

Json sequence(const char* key, Json::Array steps) { return std::move(part("Sequence").set(key, Json(std::move(steps)))); }

Json metaspace(const char* scheme, bool split) {
  return std::move(part("Metaspace").set("replacement", kMark).set("prepend_scheme", scheme).set("split", split));
}

Json replace(std::string_view text, const char* content) {
  return std::move(part("Replace").set("pattern", pattern("String", text)).set("content", content));
}

Json replace_regex(std::string_view text, const char* content) {
  return std::move(part("Replace").set("pattern", pattern("Regex", text)).set("content", content));
}

Json split_regex(std::string_view text) {
  Json split = part("Split");
  return std::move(split.set("pattern", pattern("Regex", text)).set("behavior", "Isolated").set("invert", false));
}

Json precompiled(std::string_view charsmap) {
  return std::move(part("Precompiled").set("precompiled_charsmap", encode_base64(charsmap)));
}

Json strip_first_space() { return std::move(part("Strip").set("content", " ").set("start", 1).set("stop", 0)); }

}  // namespace pagoda::tokenizer_tree
