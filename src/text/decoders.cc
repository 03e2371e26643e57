// The decoders as stages. Each holds back only what later tokens may still change.
#include "text/decoders.h"

#include <algorithm>
#include <functional>
#include <utility>

#include "base/utf8.h"
#include "text/aligned.h"
#include "text/byte_chars.h"

namespace pagoda {
namespace decoders {

namespace {

constexpr size_t kMaxTokenBytes = size_t{1} << 26;  // that replacements may make of one token

// A decoder whose stages are made by a function.
class Maker final : public Decoder {
 public:
  using Make = std::function<std::unique_ptr<DecodeStage>(DecodeStage*)>;
  using Middle = std::function<void(std::string&, bool&)>;
  Maker(Make make, Middle middle) : make_(std::move(make)), middle_(std::move(middle)) {}
  std::unique_ptr<DecodeStage> stage(DecodeStage* next) const override { return make_(next); }
  void middle_bytes(std::string& token, bool& fused) const override {
    if (middle_) middle_(token, fused);
  }

 private:
  Make make_;
  Middle middle_;
};

DecoderPtr make(Maker::Make function, Maker::Middle middle = nullptr) {
  return std::make_shared<Maker>(std::move(function), std::move(middle));
}

// Appends `text` with every `from` as `to` up to the last one; returns where that ends.
size_t append_replaced(std::string_view text, std::string_view from, std::string_view to, std::string& out) {
  size_t done = 0;
  for (size_t at = text.find(from); at != std::string::npos; at = text.find(from, done)) {
    out.append(text, done, at - done);
    out += to;
    done = at + from.size();
    check_growth(out.size(), kMaxTokenBytes);
  }
  return done;
}

std::string replace_all(std::string text, std::string_view from, std::string_view to) {
  if (from.empty()) {
    // Rust's replace matches the empty string around every character.
    std::string out(to);
    for (size_t pos = 0; pos < text.size();) {
      const size_t start = pos;
      utf8_next(text, pos);
      out.append(text, start, pos - start);
      out += to;
      check_growth(out.size(), kMaxTokenBytes);
    }
    return out;
  }
  std::string out;
  const size_t done = append_replaced(text, from, to, out);
  out.append(text, done, std::string::npos);
  return out;
}

// Calls a function with each whole token.
class WholeToken : public DecodeStage {
 public:
  using DecodeStage::DecodeStage;
  void put(std::string_view text, bool end) final {
    if (end && buffer_.empty()) return token(std::string(text));
    buffer_ += text;
    if (!end) return;
    std::string whole;
    whole.swap(buffer_);
    token(std::move(whole));
  }

 protected:
  virtual void token(std::string text) = 0;
  void hold(const WholeToken& other) { buffer_ = other.buffer_; }

 private:
  std::string buffer_;
};

// Stages that are first to last one: made and copied from the last on, which the others need.
class Chain : public DecodeStage {
 public:
  using DecodeStage::DecodeStage;

 protected:
  void prepend(std::unique_ptr<DecodeStage> stage) { stages_.push_back(std::move(stage)); }
  DecodeStage* first() const { return stages_.empty() ? next_ : stages_.back().get(); }
  void copy_stages(const Chain& other) {
    for (const std::unique_ptr<DecodeStage>& stage : other.stages_) prepend(stage->copy(first()));
  }

 private:
  std::vector<std::unique_ptr<DecodeStage>> stages_;
};

class Sequence final : public Chain {
 public:
  Sequence(const std::vector<DecoderPtr>& steps, DecodeStage* next) : Chain(next) {
    for (size_t i = steps.size(); i-- > 0;) prepend(steps[i]->stage(first()));
  }
  void put(std::string_view text, bool end) override { first()->put(text, end); }
  void finish() override { first()->finish(); }
  std::unique_ptr<DecodeStage> copy(DecodeStage* next) const override {
    auto made = std::make_unique<Sequence>(std::vector<DecoderPtr>{}, next);
    made->copy_stages(*this);
    return made;
  }
};

// Bytes to text; ill-formed bytes become U+FFFD, an unfinished character waits for the next token.
class Lossy {
 public:
  void add(std::string_view bytes) { pending_ += bytes; }
  std::string take(bool all) {
    const size_t ready = all ? pending_.size() : utf8_complete_prefix(pending_);
    std::string out = utf8_replace_invalid(std::string_view(pending_).substr(0, ready));
    pending_.erase(0, ready);
    return out;
  }

 private:
  std::string pending_;
};

// The bytes that a token's characters stand for; a token with others (an added one) is taken as it is.
std::string bytes_of_level(const std::string& token) {
  std::string bytes;
  for (size_t pos = 0; pos < token.size();) {
    const int byte = byte_of_char(utf8_next(token, pos));
    if (byte < 0) return token;
    bytes += static_cast<char>(byte);
  }
  return bytes;
}

class ByteLevel final : public PlainStage<ByteLevel, WholeToken> {
 public:
  using PlainStage::PlainStage;
  void finish() override {
    next_->put(lossy_.take(true), true);
    next_->finish();
  }

 protected:
  void token(std::string text) override {
    lossy_.add(bytes_of_level(text));
    const std::string ready = lossy_.take(false);
    if (!ready.empty()) next_->put(ready, false);
  }

 private:
  Lossy lossy_;
};

class Metaspace final : public PlainStage<Metaspace, WholeToken> {
 public:
  Metaspace(std::string replacement, bool drops_first, DecodeStage* next)
      : PlainStage(next), replacement_(std::move(replacement)), first_(drops_first) {}

 protected:
  void token(std::string text) override {
    next_->put(replace_all(std::move(text), replacement_, first_ ? "" : " "), true);
    first_ = false;
  }

 private:
  std::string replacement_;
  bool first_;
};

std::string clean(std::string text) {
  static constexpr std::pair<const char*, const char*> kRules[] = {
      {" .", "."},   {" ?", "?"},           {" !", "!"},   {" ,", ","},     {" ' ", "'"},    {" n't", "n't"},
      {" 'm", "'m"}, {" do not", " don't"}, {" 's", "'s"}, {" 've", "'ve"}, {" 're", "'re"},
  };
  for (const auto& [from, to] : kRules) text = replace_all(std::move(text), from, to);
  return text;
}

class WordPiece final : public PlainStage<WordPiece, WholeToken> {
 public:
  WordPiece(std::string prefix, bool cleanup, DecodeStage* next)
      : PlainStage(next), prefix_(std::move(prefix)), cleanup_(cleanup) {}

 protected:
  void token(std::string text) override {
    if (!first_) {
      if (text.compare(0, prefix_.size(), prefix_) == 0) {
        text.erase(0, prefix_.size());
      } else {
        text.insert(0, " ");
      }
    }
    first_ = false;
    next_->put(cleanup_ ? clean(std::move(text)) : text, true);
  }

 private:
  std::string prefix_;
  bool cleanup_;
  bool first_ = true;
};

// The suffix ends a word: a space, but for the last token. So one token is held back.
class Bpe final : public PlainStage<Bpe, WholeToken> {
 public:
  Bpe(std::string suffix, DecodeStage* next) : PlainStage(next), suffix_(std::move(suffix)) {}
  void finish() override {
    if (held_) next_->put(replace_all(std::move(last_), suffix_, ""), true);
    next_->finish();
  }

 protected:
  void token(std::string text) override {
    if (held_) next_->put(replace_all(std::move(last_), suffix_, " "), true);
    last_ = std::move(text);
    held_ = true;
  }

 private:
  std::string suffix_, last_;
  bool held_ = false;
};

class Ctc final : public PlainStage<Ctc, WholeToken> {
 public:
  Ctc(std::string pad, std::string delimiter, bool cleanup, DecodeStage* next)
      : PlainStage(next), pad_(std::move(pad)), delimiter_(std::move(delimiter)), cleanup_(cleanup) {}

 protected:
  void token(std::string text) override {
    if (any_ && text == previous_) return;
    previous_ = text;
    any_ = true;
    std::string out = replace_all(std::move(text), pad_, "");
    if (cleanup_) out = replace_all(clean(std::move(out)), delimiter_, " ");
    if (!out.empty()) next_->put(out, true);
  }

 private:
  std::string pad_, delimiter_, previous_;
  bool cleanup_;
  bool any_ = false;
};

// Patterns see whole tokens; a literal in an open token only holds back what may be its begin.
class ReplaceLiteral final : public PlainStage<ReplaceLiteral> {
 public:
  ReplaceLiteral(std::string literal, std::string content, DecodeStage* next)
      : PlainStage(next), literal_(std::move(literal)), content_(std::move(content)) {}
  void put(std::string_view text, bool end) override {
    pending_ += text;
    std::string out;
    const size_t done = append_replaced(pending_, literal_, content_, out);
    size_t keep = end ? 0 : std::min(pending_.size() - done, literal_.size() - 1);
    while (keep > 0 && literal_.compare(0, keep, pending_, pending_.size() - keep, keep) != 0) --keep;
    out.append(pending_, done, pending_.size() - keep - done);
    pending_.erase(0, pending_.size() - keep);
    if (end || !out.empty()) next_->put(out, end);
  }

 private:
  std::string literal_, content_, pending_;
};

class ReplacePattern final : public WholeToken {
 public:
  ReplacePattern(std::shared_ptr<const Regex> pattern, std::string content, DecodeStage* next)
      : WholeToken(next), pattern_(std::move(pattern)), content_(std::move(content)) {}
  // Matching needs memory of its own.
  std::unique_ptr<DecodeStage> copy(DecodeStage* next) const override {
    auto made = std::make_unique<ReplacePattern>(pattern_, content_, next);
    made->hold(*this);
    return made;
  }

 protected:
  void token(std::string text) override {
    if (text.empty()) return next_->put("", true);
    std::string out;
    size_t done = 0;
    pattern_->for_each_match(text, scratch_, [&](size_t begin, size_t end) {
      out.append(text, done, begin - done);
      out += content_;
      done = end;
      check_growth(out.size(), kMaxTokenBytes);
    });
    out.append(text, done, std::string::npos);
    next_->put(out, true);
  }

 private:
  std::shared_ptr<const Regex> pattern_;
  std::string content_;
  RegexScratch scratch_;
};

class Fuse final : public PlainStage<Fuse> {
 public:
  using PlainStage::PlainStage;
  void put(std::string_view text, bool) override {
    if (!text.empty()) next_->put(text, false);
  }
  void finish() override {
    next_->put("", true);
    next_->finish();
  }
};

// Drops up to `start` leading and `stop` trailing characters equal to `content` of every token.
class Strip final : public PlainStage<Strip> {
 public:
  Strip(std::string content, int64_t start, int64_t stop, DecodeStage* next)
      : PlainStage(next), content_(std::move(content)), start_(start), stop_(stop) {}
  void put(std::string_view text, bool end) override {
    pending_ += text;
    while (at_start_ && dropped_ < start_ && pending_.size() >= content_.size()) {
      if (pending_.compare(0, content_.size(), content_) != 0) {
        at_start_ = false;
        break;
      }
      pending_.erase(0, content_.size());
      ++dropped_;
    }
    if (dropped_ >= start_) at_start_ = false;
    if (at_start_ && !end) return;  // less than one character of content so far
    // Trailing content may have to go: up to `stop` of it waits for the end of the token.
    size_t keep = 0;
    int64_t count = 0;
    while (count < stop_ && pending_.size() - keep >= content_.size() &&
           pending_.compare(pending_.size() - keep - content_.size(), content_.size(), content_) == 0) {
      keep += content_.size();
      ++count;
    }
    const std::string out = pending_.substr(0, pending_.size() - keep);
    pending_.erase(0, pending_.size() - keep);
    if (end || !out.empty()) next_->put(out, end);
    if (!end) return;
    pending_.clear();
    at_start_ = true;
    dropped_ = 0;
  }

 private:
  std::string content_, pending_;
  int64_t start_, stop_, dropped_ = 0;
  bool at_start_ = true;
};

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

// The byte that a token <0xE2> names; -1: another token.
int fallback_byte(const std::string& token) {
  if (token.size() != 6 || token.compare(0, 3, "<0x") != 0 || token[5] != '>') return -1;
  const int high = hex_digit(token[3]), low = hex_digit(token[4]);
  if (high >= 0 && low >= 0) return high * 16 + low;
  return token[3] == '+' && low >= 0 ? low : -1;  // Rust's number parser takes a sign
}

class ByteFallback final : public PlainStage<ByteFallback, WholeToken> {
 public:
  using PlainStage::PlainStage;
  void finish() override {
    flush();
    next_->finish();
  }

 protected:
  void token(std::string text) override {
    const int byte = fallback_byte(text);
    if (byte >= 0) {
      bytes_ += static_cast<char>(byte);
      return;
    }
    flush();
    next_->put(text, true);
  }

 private:
  // A run of bytes is text as a whole, or else one U+FFFD a byte: so nothing of it is known before it ends.
  void flush() {
    if (bytes_.empty()) return;
    if (utf8_valid(bytes_)) {
      next_->put(bytes_, true);
    } else {
      for (size_t i = 0; i < bytes_.size(); ++i) next_->put("\xEF\xBF\xBD", true);
    }
    bytes_.clear();
  }
  std::string bytes_;
};

class Join final : public PlainStage<Join> {
 public:
  Join(std::string separator, DecodeStage* next) : PlainStage(next), separator_(std::move(separator)) {}
  void put(std::string_view text, bool end) override {
    if (open_) {
      next_->put(separator_, false);
      open_ = false;
    }
    next_->put(text, false);
    open_ = end;
  }

 private:
  std::string separator_;
  bool open_ = false;
};

// Several replacements over the whole text. Each rule is one literal stage, so little is held back.
class CleanUp final : public Chain {
 public:
  explicit CleanUp(DecodeStage* next) : Chain(next) {
    static constexpr std::pair<const char*, const char*> kRules[] = {
        {" .", "."},     {" ?", "?"},   {" !", "!"},   {" ,", ","},     {" ' ", "'"},
        {" n't", "n't"}, {" 'm", "'m"}, {" 's", "'s"}, {" 've", "'ve"}, {" 're", "'re"},
    };
    for (size_t i = std::size(kRules); i-- > 0;) {
      prepend(std::make_unique<ReplaceLiteral>(kRules[i].first, kRules[i].second, first()));
    }
  }
  void put(std::string_view text, bool) override { first()->put(text, false); }
  void finish() override {
    first()->put("", true);
    first()->finish();
  }
  std::unique_ptr<DecodeStage> copy(DecodeStage* next) const override {
    auto made = std::make_unique<CleanUp>(Empty(), next);
    made->copy_stages(*this);
    return made;
  }
  struct Empty {};
  CleanUp(Empty, DecodeStage* next) : Chain(next) {}
};

}  // namespace

DecoderPtr sequence(std::vector<DecoderPtr> steps) {
  const auto shared = std::make_shared<const std::vector<DecoderPtr>>(std::move(steps));
  return make([shared](DecodeStage* next) { return std::make_unique<Sequence>(*shared, next); },
              [shared](std::string& token, bool& fused) {
                for (const DecoderPtr& step : *shared) step->middle_bytes(token, fused);
              });
}
DecoderPtr byte_level() {
  return make([](DecodeStage* next) { return std::make_unique<ByteLevel>(next); },
              [](std::string& token, bool&) { token = bytes_of_level(token); });
}
DecoderPtr metaspace(uint32_t replacement, bool drops_first) {
  std::string text;
  utf8_append(text, replacement);
  return make([text, drops_first](DecodeStage* next) { return std::make_unique<Metaspace>(text, drops_first, next); },
              [text](std::string& token, bool&) { token = replace_all(std::move(token), text, " "); });
}
DecoderPtr wordpiece(std::string prefix, bool cleanup) {
  return make([prefix, cleanup](DecodeStage* next) { return std::make_unique<WordPiece>(prefix, cleanup, next); },
              [prefix, cleanup](std::string& token, bool&) {
                if (token.compare(0, prefix.size(), prefix) == 0) {
                  token.erase(0, prefix.size());
                } else {
                  token.insert(0, " ");
                }
                if (cleanup) token = clean(std::move(token));
              });
}
DecoderPtr bpe(std::string suffix) {
  return make([suffix](DecodeStage* next) { return std::make_unique<Bpe>(suffix, next); },
              [suffix](std::string& token, bool&) { token = replace_all(std::move(token), suffix, " "); });
}
DecoderPtr ctc(std::string pad_token, std::string word_delimiter, bool cleanup) {
  return make([=](DecodeStage* next) { return std::make_unique<Ctc>(pad_token, word_delimiter, cleanup, next); },
              [=](std::string& token, bool&) {
                token = replace_all(std::move(token), pad_token, "");
                if (cleanup) token = replace_all(clean(std::move(token)), word_delimiter, " ");
              });
}
DecoderPtr replace(std::shared_ptr<const Regex> pattern, std::string content) {
  return make([=](DecodeStage* next) { return std::make_unique<ReplacePattern>(pattern, content, next); },
              [=](std::string& token, bool&) {
                DecodeSink sink;
                ReplacePattern(pattern, content, &sink).put(token, true);
                token = sink.take();
              });
}
DecoderPtr replace(std::string literal, std::string content) {
  if (literal.empty()) return replace(Regex::literal("", "decoder"), std::move(content));
  return make([=](DecodeStage* next) { return std::make_unique<ReplaceLiteral>(literal, content, next); },
              [=](std::string& token, bool&) {
                DecodeSink sink;
                ReplaceLiteral(literal, content, &sink).put(token, true);
                token = sink.take();
              });
}
DecoderPtr fuse() {
  return make([](DecodeStage* next) { return std::make_unique<Fuse>(next); }, [](std::string&, bool& fused) { fused = true; });
}
DecoderPtr strip(uint32_t content, int64_t start, int64_t stop) {
  std::string text;
  utf8_append(text, content);
  return make([=](DecodeStage* next) { return std::make_unique<Strip>(text, start, stop, next); },
              [=](std::string& token, bool& fused) {
                if (fused) return;
                DecodeSink sink;
                Strip(text, start, stop, &sink).put(token, true);
                token = sink.take();
              });
}
DecoderPtr byte_fallback() {
  return make([](DecodeStage* next) { return std::make_unique<ByteFallback>(next); },
              [](std::string& token, bool&) {
                const int byte = fallback_byte(token);
                if (byte >= 0) token.assign(1, static_cast<char>(byte));
              });
}
DecoderPtr join(std::string separator) {
  return make([=](DecodeStage* next) { return std::make_unique<Join>(separator, next); },
              [=](std::string& token, bool&) { token.insert(0, separator); });
}

}  // namespace decoders

DecoderPtr clean_up_decoder() {
  return decoders::make([](DecodeStage* next) { return std::make_unique<decoders::CleanUp>(next); });
}

}  // namespace pagoda
