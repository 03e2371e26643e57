// Truncation, padding and post-processors.
#include "text/encoding.h"

#include <algorithm>

#include "base/error.h"
#include "base/utf8.h"
#include "text/byte_chars.h"
#include "text/unicode.h"

namespace pagoda {

namespace {

template <class T>
void insert_range(std::vector<T>& to, const std::vector<T>& from) {
  to.insert(to.end(), from.begin(), from.end());
}

template <class T>
void keep_range(std::vector<T>& values, size_t begin, size_t end) {
  if (values.empty()) return;
  values.erase(values.begin() + static_cast<int64_t>(end), values.end());
  values.erase(values.begin(), values.begin() + static_cast<int64_t>(begin));
}

void cut(Encoding& encoding, int64_t max_length, const Truncation& truncation) {
  const int64_t size = static_cast<int64_t>(encoding.size());
  if (max_length >= size) return;
  if (max_length > 0 && truncation.stride >= max_length) {
    invalid("truncation", "stride too large: got {}, need less than {}", truncation.stride, max_length);
  }
  const size_t begin = truncation.left ? static_cast<size_t>(size - max_length) : 0;
  const size_t end = begin + static_cast<size_t>(std::max<int64_t>(max_length, 0));
  keep_range(encoding.ids, begin, end);
  keep_range(encoding.type_ids, begin, end);
  keep_range(encoding.special_tokens_mask, begin, end);
  keep_range(encoding.attention_mask, begin, end);
  keep_range(encoding.offsets, begin, end);
  keep_range(encoding.tokens, begin, end);
  keep_range(encoding.word_ids, begin, end);
}

}  // namespace

void Encoding::append(const Encoding& other) {
  with_offsets = with_offsets || other.with_offsets;
  insert_range(ids, other.ids);
  insert_range(type_ids, other.type_ids);
  insert_range(special_tokens_mask, other.special_tokens_mask);
  insert_range(attention_mask, other.attention_mask);
  insert_range(offsets, other.offsets);
  insert_range(tokens, other.tokens);
  insert_range(word_ids, other.word_ids);
}

void truncate(Encoding& first, Encoding* pair, const Truncation& truncation, int64_t reserved) {
  // Hugging Face's tokenizers cut nothing where not even the special tokens have room.
  const int64_t limit = truncation.max_length - reserved;
  if (limit < 0) return;
  if (limit == 0) {
    cut(first, 0, truncation);
    if (pair != nullptr) cut(*pair, 0, truncation);
    return;
  }
  const int64_t a = static_cast<int64_t>(first.size()), b = pair == nullptr ? 0 : static_cast<int64_t>(pair->size());
  if (a + b <= limit) return;
  const int64_t surplus = a + b - limit;
  if (truncation.strategy == Truncation::Strategy::kLongestFirst) {
    if (pair == nullptr) return cut(first, limit, truncation);
    int64_t shorter = std::min(a, b), longer;
    longer = shorter > limit ? shorter : std::max(shorter, limit - shorter);
    if (shorter + longer > limit) {
      shorter = limit / 2;
      longer = shorter + limit % 2;
    }
    cut(first, a > b ? longer : shorter, truncation);
    cut(*pair, a > b ? shorter : longer, truncation);
    return;
  }
  Encoding* const target = truncation.strategy == Truncation::Strategy::kOnlyFirst ? &first : pair;
  if (target == nullptr) invalid("truncation", "strategy only_second needs a pair: got one sequence");
  if (static_cast<int64_t>(target->size()) <= surplus) {
    invalid("truncation", "the sequence to cut has {} tokens, {} would have to go", target->size(), surplus);
  }
  cut(*target, static_cast<int64_t>(target->size()) - surplus, truncation);
}

void pad(Encoding& encoding, const Padding& padding) {
  int64_t length = padding.length < 0 ? static_cast<int64_t>(encoding.size()) : padding.length;
  if (padding.multiple_of > 0 && length % padding.multiple_of > 0) length += padding.multiple_of - length % padding.multiple_of;
  if (static_cast<int64_t>(encoding.size()) >= length) return;
  const size_t count = static_cast<size_t>(length) - encoding.size();
  const auto fill = [&](auto& values, auto value) {
    values.insert(padding.left ? values.begin() : values.end(), count, value);
  };
  fill(encoding.ids, padding.pad_id);
  fill(encoding.type_ids, padding.pad_type_id);
  fill(encoding.special_tokens_mask, uint8_t{1});
  fill(encoding.attention_mask, uint8_t{0});
  if (!encoding.with_offsets) return;
  fill(encoding.offsets, std::pair<int64_t, int64_t>(0, 0));
  fill(encoding.tokens, padding.pad_token);
  fill(encoding.word_ids, int32_t{-1});
}

namespace post_processors {

namespace {

void add_special(Encoding& encoding, const Special& special, int32_t type_id) {
  encoding.ids.push_back(special.id);
  encoding.type_ids.push_back(type_id);
  encoding.special_tokens_mask.push_back(1);
  encoding.attention_mask.push_back(1);
  if (!encoding.with_offsets) return;
  encoding.offsets.emplace_back(0, 0);
  encoding.tokens.push_back(special.token);
  encoding.word_ids.push_back(-1);
}

// Leaves the white space at the ends of tokens out of their offsets.
void trim(Encoding& encoding, bool add_prefix_space) {
  const auto is_space = [](uint32_t c) { return c == kByteChars[' '] || unicode::is_whitespace(c); };
  for (size_t i = 0; i < encoding.offsets.size(); ++i) {
    const std::string& token = encoding.tokens[i];
    int64_t leading = 0, trailing = 0;
    bool all_so_far = true;
    for (size_t pos = 0; pos < token.size();) {
      if (is_space(utf8_next(token, pos))) {
        if (all_so_far) ++leading;
        ++trailing;
      } else {
        all_so_far = false;
        trailing = 0;
      }
    }
    auto& [begin, end] = encoding.offsets[i];
    if (leading > 0) {
      if ((i == 0 || begin == 0) && add_prefix_space && leading == 1) leading = 0;  // the space was added
      begin = std::min(begin + leading, end);
    }
    if (trailing > 0 && end >= trailing) end = std::max(end - trailing, begin);
  }
}

class Bert final : public PostProcessor {
 public:
  Bert(Special cls, Special sep) : cls_(std::move(cls)), sep_(std::move(sep)) {}
  int64_t added_tokens(bool pair) const override { return pair ? 3 : 2; }
  void process(std::vector<Encoding>& encodings, bool add_special_tokens) const override {
    if (!add_special_tokens) return;
    for (size_t i = 0; i < encodings.size(); ++i) {
      Encoding out;
      out.with_offsets = encodings[i].with_offsets;
      if (i == 0) add_special(out, cls_, 0);
      out.append(encodings[i]);
      std::fill(out.type_ids.begin(), out.type_ids.end(), static_cast<int32_t>(i));
      add_special(out, sep_, static_cast<int32_t>(i));
      encodings[i] = std::move(out);
    }
  }

 private:
  Special cls_, sep_;
};

class Roberta final : public PostProcessor {
 public:
  Roberta(Special cls, Special sep, bool trim_offsets, bool add_prefix_space)
      : cls_(std::move(cls)), sep_(std::move(sep)), trim_offsets_(trim_offsets), add_prefix_space_(add_prefix_space) {}
  int64_t added_tokens(bool pair) const override { return pair ? 4 : 2; }
  void process(std::vector<Encoding>& encodings, bool add_special_tokens) const override {
    for (size_t i = 0; i < encodings.size(); ++i) {
      if (trim_offsets_) trim(encodings[i], add_prefix_space_);
      std::fill(encodings[i].type_ids.begin(), encodings[i].type_ids.end(), 0);
      if (!add_special_tokens) continue;
      Encoding out;
      out.with_offsets = encodings[i].with_offsets;
      add_special(out, i == 0 ? cls_ : sep_, 0);
      out.append(encodings[i]);
      add_special(out, sep_, 0);
      encodings[i] = std::move(out);
    }
  }

 private:
  Special cls_, sep_;
  bool trim_offsets_, add_prefix_space_;
};

class ByteLevel final : public PostProcessor {
 public:
  ByteLevel(bool trim_offsets, bool add_prefix_space) : trim_offsets_(trim_offsets), add_prefix_space_(add_prefix_space) {}
  int64_t added_tokens(bool) const override { return 0; }
  void process(std::vector<Encoding>& encodings, bool) const override {
    if (!trim_offsets_) return;
    for (Encoding& encoding : encodings) trim(encoding, add_prefix_space_);
  }

 private:
  bool trim_offsets_, add_prefix_space_;
};

class Sequence final : public PostProcessor {
 public:
  explicit Sequence(std::vector<PostProcessorPtr> steps) : steps_(std::move(steps)) {}
  int64_t added_tokens(bool pair) const override {
    int64_t count = 0;
    for (const PostProcessorPtr& step : steps_) count += step->added_tokens(pair);
    return count;
  }
  void process(std::vector<Encoding>& encodings, bool add_special_tokens) const override {
    for (const PostProcessorPtr& step : steps_) step->process(encodings, add_special_tokens);
  }

 private:
  std::vector<PostProcessorPtr> steps_;
};

constexpr size_t kMaxTemplateTokens = size_t{1} << 26;

class Template final : public PostProcessor {
 public:
  Template(std::vector<TemplatePiece> single, std::vector<TemplatePiece> pair)
      : single_(std::move(single)), pair_(std::move(pair)) {}
  int64_t added_tokens(bool pair) const override {
    int64_t count = 0;
    for (const TemplatePiece& piece : pair ? pair_ : single_) {
      if (piece.specials) count += static_cast<int64_t>(piece.specials->size());
    }
    return count;
  }
  void process(std::vector<Encoding>& encodings, bool add_special_tokens) const override {
    const bool with_offsets = !encodings.empty() && encodings[0].with_offsets;
    std::vector<Encoding> out;
    size_t size = 0;
    for (const TemplatePiece& piece : encodings.size() > 1 ? pair_ : single_) {
      if (piece.sequence >= 0) {
        if (static_cast<size_t>(piece.sequence) >= encodings.size()) continue;
        Encoding part = encodings[static_cast<size_t>(piece.sequence)];
        std::fill(part.type_ids.begin(), part.type_ids.end(), piece.type_id);
        size += part.size();
        if (size > kMaxTemplateTokens)
          invalid("post_processor", "the template repeats the text too often: got {} tokens, need at most {}", size,
                  kMaxTemplateTokens);
        out.push_back(std::move(part));
      } else if (add_special_tokens) {
        Encoding part;
        part.with_offsets = with_offsets;
        for (const Special& special : *piece.specials) add_special(part, special, piece.type_id);
        out.push_back(std::move(part));
      }
    }
    encodings = std::move(out);
  }

 private:
  std::vector<TemplatePiece> single_, pair_;
};

}  // namespace

PostProcessorPtr bert(Special cls, Special sep) { return std::make_shared<Bert>(std::move(cls), std::move(sep)); }
PostProcessorPtr roberta(Special cls, Special sep, bool trim_offsets, bool add_prefix_space) {
  return std::make_shared<Roberta>(std::move(cls), std::move(sep), trim_offsets, add_prefix_space);
}
PostProcessorPtr byte_level(bool trim_offsets, bool add_prefix_space) {
  return std::make_shared<ByteLevel>(trim_offsets, add_prefix_space);
}
PostProcessorPtr sequence(std::vector<PostProcessorPtr> steps) { return std::make_shared<Sequence>(std::move(steps)); }
PostProcessorPtr pieces(std::vector<TemplatePiece> single, std::vector<TemplatePiece> pair) {
  return std::make_shared<Template>(std::move(single), std::move(pair));
}

}  // namespace post_processors
}  // namespace pagoda
