// Normalisers of tokenizer.json: text in, text out, offsets kept.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "text/aligned.h"
#include "text/charsmap.h"
#include "text/normal_forms.h"
#include "text/regex.h"

namespace pagoda {

class Normalizer {
 public:
  virtual ~Normalizer() = default;
  virtual void apply(AlignedText& text, RegexScratch& scratch) const = 0;
};

using NormalizerPtr = std::shared_ptr<const Normalizer>;

namespace normalizers {

NormalizerPtr sequence(std::vector<NormalizerPtr> steps);
NormalizerPtr unicode_form(NormalForm form);
NormalizerPtr lowercase();
NormalizerPtr strip(bool left, bool right);
NormalizerPtr strip_accents();
NormalizerPtr replace(std::shared_ptr<const Regex> pattern, std::string content);
NormalizerPtr replace(std::string literal, std::string content);
NormalizerPtr prepend(std::string text);
NormalizerPtr nmt();
NormalizerPtr precompiled(Charsmap map);
NormalizerPtr byte_level();

struct BertOptions {
  bool clean_text = true;
  bool handle_chinese_chars = true;
  std::optional<bool> strip_accents;  // default: as lowercase
  bool lowercase = true;
};
NormalizerPtr bert(const BertOptions& options);

}  // namespace normalizers
}  // namespace pagoda
