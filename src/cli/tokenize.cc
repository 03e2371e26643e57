// pagoda tokenize and detokenize: JSON lines of text to ids and back.
#include <algorithm>
#include <iostream>
#include <memory>

#include "base/error.h"
#include "base/file.h"
#include "cli/cli.h"
#include "cli/reading_stdin.h"
#include "cli/stdout_stream.h"
#include "formats/clean_up.h"
#include "formats/tokenizer_jsonl.h"
#include "formats/tokenizer_loader.h"

namespace pagoda::cli {

namespace {

struct Flags {
  std::string model, pattern;
  bool no_special_tokens = false, offsets = false, skip_special_tokens = false;
};

// Whether load_tokenizer() comes to a .tiktoken file: of a folder, where nothing else in it is a tokenizer.
bool is_tiktoken(const std::string& path) {
  if (!directory_exists(path)) return path.ends_with(".tiktoken");
  const std::vector<std::string> names = list_directory(path);
  const auto is_other = [](const std::string& name) {
    return name == "tokenizer.json" || name == "vocab.json" || name == "vocab.txt" || name.ends_with(".model");
  };
  return std::none_of(names.begin(), names.end(), is_other) &&
         std::count_if(names.begin(), names.end(), [](const std::string& name) { return name.ends_with(".tiktoken"); }) == 1;
}

std::shared_ptr<const Tokenizer> open_tokenizer(const std::string& path, const Flags& flags) {
  if (!flags.pattern.empty() && !is_tiktoken(path)) {
    invalid("--pattern", "got one for {}, which has its own: need a .tiktoken file", path);
  }
  TokenizerOptions options;
  options.pattern = flags.pattern;
  return load_tokenizer(path, options);
}

void add_common(Verb verb, Flags& flags) {
  add_model(verb, flags.model,
            "Model folder, ORG/NAME or ORG/NAME@REVISION, read as transformers' AutoTokenizer does, or a tokenizer file "
            "(tokenizer.json, .model, .tiktoken, .gguf, vocab.txt), read as its own library does")
      ->required();
  add_jsonl(verb);
  verb->add_option("--pattern", flags.pattern, "Splitting pattern of a .tiktoken file of unknown vocabulary");
}

}  // namespace

void add_tokenize(Program& program) {
  const auto flags = std::make_shared<Flags>();
  const Verb verb = add_verb(program, "tokenize", "Text to token ids: a JSON string a line in, an id list a line out",
                             {"echo '\"Hello, world\"' | pagoda tokenize MODEL",
                              "pagoda tokenize tokenizer.json --offsets --no-special-tokens < texts.jsonl"});
  add_common(verb, *flags);
  verb->add_flag("--no-special-tokens", flags->no_special_tokens, "Leave out what the model puts round a text");
  verb->add_flag("--offsets", flags->offsets, "{\"ids\": [...], \"offsets\": [[start, end], ...]} in code points");
  verb->callback([&program, flags] {
    program.run = [&program, flags] {
      TokenizeOptions options;
      options.add_special_tokens = !flags->no_special_tokens;
      options.offsets = flags->offsets;
      const EndAtOnce reading;
      const std::shared_ptr<const Tokenizer> tokenizer = open_tokenizer(find_model(program, flags->model), *flags);
      note_stdin(program, "texts, a JSON string a line,");
      StdoutStream out;
      tokenize_jsonl(std::cin, out, *tokenizer, options);
      out.finish();
      return 0;
    };
  });
}

void add_detokenize(Program& program) {
  const auto flags = std::make_shared<Flags>();
  const Verb verb = add_verb(program, "detokenize", "Token ids to text: an id list a line in, a JSON string a line out",
                             {"echo '[1, 403]' | pagoda detokenize MODEL --skip-special-tokens"});
  add_common(verb, *flags);
  verb->add_flag("--skip-special-tokens", flags->skip_special_tokens, "Leave special tokens out of the text");
  verb->callback([&program, flags] {
    program.run = [&program, flags] {
      DetokenizeOptions options;
      options.skip_special_tokens = flags->skip_special_tokens;
      const EndAtOnce reading;
      const std::string path = find_model(program, flags->model);
      const std::shared_ptr<const Tokenizer> tokenizer = open_tokenizer(path, *flags);
      options.clean_up_spaces = directory_exists(path) && cleans_up_spaces(load_tokenizer_config(path), *tokenizer);
      note_stdin(program, "lists of ids, one a line,");
      StdoutStream out;
      detokenize_jsonl(std::cin, out, tokenizer, options);
      out.finish();
      return 0;
    };
  });
}

}  // namespace pagoda::cli
