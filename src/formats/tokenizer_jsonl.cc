// Line by line, each on its own.
#include "formats/tokenizer_jsonl.h"

#include <string>

#include "base/error.h"
#include "base/json.h"

namespace pagoda {

namespace {

template <class Line>
int64_t each_line(std::istream& in, std::ostream& out, Line&& line_to) {
  int64_t bad = 0;
  std::string line, result;
  while (std::getline(in, line)) {
    if (!line.empty() && line.back() == '\r') line.pop_back();
    result.clear();
    try {
      line_to(line, result);
    } catch (...) {
      ++bad;
      result = "{\"error\":";
      append_json_string(result, current_error().message(), false);
      result += '}';
    }
    result += '\n';
    out << result;
  }
  return bad;
}

}  // namespace

int64_t tokenize_jsonl(std::istream& in, std::ostream& out, const Tokenizer& tokenizer, const TokenizeOptions& options) {
  EncodeOptions encode;
  encode.add_special_tokens = options.add_special_tokens;
  encode.offsets = options.offsets;
  encode.truncate_and_pad = options.truncate_and_pad;
  return each_line(in, out, [&](const std::string& line, std::string& result) {
    const Json json = Json::parse(line, "line", options.limits);
    const Encoding encoding = tokenizer.encode(json.as_string("line"), encode);
    if (options.offsets) result += "{\"ids\":";
    result += '[';
    for (size_t i = 0; i < encoding.size(); ++i) {
      if (i > 0) result += ',';
      result += std::to_string(encoding.ids[i]);
    }
    result += ']';
    if (!options.offsets) return;
    result += ",\"offsets\":[";
    for (size_t i = 0; i < encoding.size(); ++i) {
      if (i > 0) result += ',';
      result += '[' + std::to_string(encoding.offsets[i].first) + ',' + std::to_string(encoding.offsets[i].second) + ']';
    }
    result += "]}";
  });
}

int64_t detokenize_jsonl(std::istream& in, std::ostream& out, const std::shared_ptr<const Tokenizer>& tokenizer,
                         const DetokenizeOptions& options) {
  return each_line(in, out, [&](const std::string& line, std::string& result) {
    const Json json = Json::parse(line, "line", options.limits);
    StreamDecoder decoder(tokenizer, options.skip_special_tokens, options.clean_up_spaces);
    std::string text;
    for (const Json& item : json.as_array("line")) {
      const int64_t id = item.as_int("line");
      if (id < 0 || id > INT32_MAX) invalid("line", "token id out of range: got {}, need 0 to {}", id, INT32_MAX);
      text += decoder.push(static_cast<int32_t>(id));
    }
    append_json_string(result, text + decoder.finish(), false);
  });
}

}  // namespace pagoda
