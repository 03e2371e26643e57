// The verbs tokenize and detokenize over JSON lines.
#pragma once

#include <istream>
#include <ostream>

#include "base/limits.h"
#include "text/tokenizer.h"

namespace pagoda {

struct TokenizeOptions {
  bool add_special_tokens = true;
  bool offsets = false;
  bool truncate_and_pad = true;
  Limits limits;
};

// A JSON string a line in, [ids] a line out, or {"ids":[...],"offsets":[[begin,end],...]} (code points). A bad line gives
// {"error":"..."} on its line, and the rest goes on. Returns the number of bad lines.
int64_t tokenize_jsonl(std::istream& in, std::ostream& out, const Tokenizer& tokenizer, const TokenizeOptions& options);

struct DetokenizeOptions {
  bool skip_special_tokens = false;
  bool clean_up_spaces = false;  // see formats/clean_up.h
  Limits limits;
};

// A list of ids a line in, a JSON string a line out.
int64_t detokenize_jsonl(std::istream& in, std::ostream& out, const std::shared_ptr<const Tokenizer>& tokenizer,
                         const DetokenizeOptions& options);

}  // namespace pagoda
