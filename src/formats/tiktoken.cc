// Rank files, and the patterns of the vocabularies that are known by their size.
#include "formats/tiktoken.h"

#include "base/error.h"
#include "base/utf8.h"
#include "formats/base64.h"

namespace pagoda {

namespace {

constexpr const char* kR50k = R"('(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++$|\s+(?!\S)|\s)";
constexpr const char* kCl100k =
    R"('(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+|\s++$|\s*[\r\n]|\s+(?!\S)|\s)";
constexpr const char* kO200k =
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|)"
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|)"
    R"(\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

const char* pattern_of_size(int64_t ranks, std::string_view where) {
  switch (ranks) {
    case 50256: return kR50k;
    case 50280: return kR50k;  // p50k
    case 100256: return kCl100k;
    case 199998: return kO200k;
    default:
      invalid(where,
              "unknown vocabulary: got {} ranks, know 50256 (r50k), 50280 (p50k), 100256 (cl100k) and 199998 (o200k); name its "
              "pattern",
              ranks);
  }
}

// Bytes go out as they come; what is no text becomes U+FFFD.
class BytesDecoder final : public Decoder {
 public:
  std::unique_ptr<DecodeStage> stage(DecodeStage* next) const override { return std::make_unique<Stage>(next); }

 private:
  class Stage final : public PlainStage<Stage> {
   public:
    using PlainStage::PlainStage;
    void put(std::string_view text, bool) override {
      pending_ += text;
      flush(utf8_complete_prefix(pending_));
    }
    void finish() override {
      flush(pending_.size());
      next_->finish();
    }

   private:
    void flush(size_t bytes) {
      if (bytes == 0) return;
      next_->put(utf8_replace_invalid(std::string_view(pending_).substr(0, bytes)), false);
      pending_.erase(0, bytes);
    }
    std::string pending_;
  };
};

}  // namespace

std::shared_ptr<const Tokenizer> read_tiktoken(std::string_view text, std::string_view pattern, std::string_view where,
                                               const Limits& limits) {
  Vocab vocab;
  int64_t line_number = 0;
  for (size_t pos = 0; pos < text.size();) {
    size_t end = text.find('\n', pos);
    if (end == std::string_view::npos) end = text.size();
    std::string_view line = text.substr(pos, end - pos);
    pos = end + 1;
    ++line_number;
    if (!line.empty() && line.back() == '\r') line.remove_suffix(1);
    if (line.empty()) continue;
    const size_t space = line.find(' ');
    if (space == std::string_view::npos || space == 0)
      invalid(where, "line {}: need a token in base64, a space and its rank", line_number);
    const std::string token = decode_base64(line.substr(0, space), where);
    int64_t rank = 0;
    const std::string_view digits = line.substr(space + 1);
    if (digits.empty() || digits.size() > 9) invalid(where, "line {}: bad rank '{}'", line_number, digits.substr(0, 32));
    for (const char c : digits) {
      if (c < '0' || c > '9') invalid(where, "line {}: bad rank '{}'", line_number, digits);
      rank = rank * 10 + (c - '0');
    }
    if (vocab.size() >= limits.max_items) invalid(where, "too many ranks: need at most {}", limits.max_items);
    if (token.empty()) invalid(where, "line {}: empty token", line_number);
    if (vocab.find(token) >= 0) invalid(where, "line {}: the token is there twice", line_number);
    if (vocab.token(rank) != nullptr) invalid(where, "line {}: rank {} is there twice", line_number, rank);
    vocab.add(token, rank, where);
  }
  if (vocab.size() == 0) invalid(where, "no ranks in the file");
  const std::string chosen(pattern.empty() ? pattern_of_size(vocab.size(), where) : pattern);
  PipelineParts parts;
  const std::shared_ptr<const Regex> regex = Regex::compile(chosen, PatternDialect::kRust, where, limits);
  parts.pre_tokenizer = pre_tokenizers::split(regex, SplitBehavior::kRemoved, true);  // what no match covers is dropped
  parts.model = make_rank_bpe(std::move(vocab), where);
  parts.decoder = std::make_shared<BytesDecoder>();
  return make_pipeline_tokenizer(std::move(parts));
}

}  // namespace pagoda
