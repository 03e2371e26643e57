// pagoda tokenizer train: from text files to tokenizer.json.
#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <optional>

#include "base/clock.h"
#include "base/cpu_info.h"
#include "base/error.h"
#include "base/file.h"
#include "base/progress.h"
#include "cli/cli.h"
#include "cli/flag_checks.h"
#include "cli/row_flags.h"
#include "train/tokenizer/recipe.h"

namespace pagoda::cli {

namespace {

struct Flags {
  train::TokenizerRecipe recipe;
  train::RowOptions rows;
  std::vector<std::string> files;
  std::string special_tokens, out;
  int threads = 0;
  bool trim_linebreaks = false, overwrite = false;
};

// At commas, and at the line ends by which CLI11 joins flags that are given several times.
std::vector<std::string> split_tokens(const std::string& list) {
  std::vector<std::string> tokens;
  for (size_t begin = 0; begin <= list.size();) {
    const size_t end = std::min(list.find_first_of(",\n", begin), list.size());
    tokens.push_back(list.substr(begin, end - begin));
    begin = end + 1;
  }
  return tokens;
}

// What was asked for and would not be done.
void check_flags(Verb verb, const Flags& flags) {
  const train::TokenizerRecipe& recipe = flags.recipe;
  const std::string why = "has no effect on " + recipe.type;
  if (recipe.type != "unigram") {
    refuse_given(verb, {"--shrinking-factor", "--n-sub-iterations", "--max-piece-length", "--seed-size"}, why);
  }
  if (recipe.type == "unigram") {
    refuse_given(verb, {"--min-frequency", "--continuing-subword-prefix", "--max-token-length"}, why);
  }
  if (recipe.type != "bpe") refuse_given(verb, {"--end-of-word-suffix"}, why);
  // Objects of tokenizer.json say all of it themselves.
  const auto uses = [&](const char* step, const char* type) {
    const std::vector<std::string>& steps = recipe.pre_tokenizers;
    return steps.empty() ? recipe.type == type : std::count(steps.begin(), steps.end(), step) > 0;
  };
  if (!uses("byte_level", "bpe"))
    refuse_given(verb, {"--add-prefix-space"}, "has no effect without --pre-tokenizer byte_level");
  if (!uses("metaspace", "unigram"))
    refuse_given(verb, {"--prepend-scheme"}, "has no effect without --pre-tokenizer metaspace");
  refuse_row_flags(verb, flags.rows, flags.files);
  check_out_folder("--out", flags.out);
}

int run(const Program& program, Flags flags, bool specials_given, bool prefix_given) {
  flags.recipe.default_special_tokens = !specials_given;
  if (specials_given && !flags.special_tokens.empty()) flags.recipe.special_tokens = split_tokens(flags.special_tokens);
  flags.recipe.default_prefix = !prefix_given;
  flags.rows.keep_linebreaks = !flags.trim_linebreaks;
  if (const std::string file = join_path(flags.out, "tokenizer.json"); !flags.overwrite && file_exists(file)) {
    invalid("--out", "{} exists: need another folder, or --overwrite", file);
  }
  ThreadPool pool(flags.threads > 0 ? usable_threads(flags.threads) : detect_cpu().usable_cores);
  train::RowReader rows(flags.files, flags.rows);
  std::optional<TerminalProgress> line;  // of one stage: a rate over all of them would say nothing
  std::string drawn;
  TaskHooks hooks;
  hooks.cancel = &interrupted();
  if (!program.quiet) {
    hooks.progress = [&](std::string_view stage, int64_t done, int64_t total) {
      if (stage != drawn) line.emplace(stderr, false, stage == "reading" ? "" : "steps");
      drawn = stage;
      line->update(stage, done, total);
    };
  }
  const double begun = steady_seconds();
  try {
    const train::TrainedTokenizer trained = train::train_tokenizer(flags.recipe, rows, pool, hooks);
    line.reset();
    write_tokenizer(trained, flags.out);
    const double seconds = steady_seconds() - begun;
    note(program, fmt::format("{} tokens from {} words ({} distinct) of {} rows in {:.1f} s: {}", trained.vocab_size,
                              trained.words, trained.distinct_words, trained.rows, seconds, flags.out));
    if (program.json) {
      Json report = Json::object();
      report.set("output", flags.out)
          .set("type", flags.recipe.type)
          .set("vocab_size", trained.vocab_size)
          .set("rows", trained.rows)
          .set("words", trained.words)
          .set("distinct_words", trained.distinct_words)
          .set("seconds", seconds);
      if (trained.bits_per_character > 0) report.set("bits_per_character", trained.bits_per_character);
      write_json(report);
    }
  } catch (const Cancelled&) {
    line.reset();
    note(program, "interrupted: nothing was written");
    return kInterruptedExit;
  }
  return 0;
}

void add_model_flags(Verb verb, train::TokenizerRecipe& recipe) {
  verb->add_option("--type", recipe.type, "Kind of model")->required()->check(one_of({"bpe", "unigram", "wordpiece"}));
  verb->add_option("--vocab-size", recipe.vocab_size,
                   "Tokens in all, special ones and alphabet included (default 30000; unigram 8000)")
      ->check(positive());
  verb->add_option("--min-frequency", recipe.min_frequency, "Least count of a pair that is merged (bpe, wordpiece)")
      ->check(non_negative());
  verb->add_option("--limit-alphabet", recipe.limit_alphabet, "Characters kept, most frequent first (default: all)")
      ->check(non_negative());
  verb->add_option("--initial-alphabet", recipe.initial_alphabet, "Characters that are kept whatever the text holds");
  verb->add_option("--end-of-word-suffix", recipe.end_of_word_suffix, "Suffix of a word's last token, such as </w> (bpe)");
  verb->add_option("--max-token-length", recipe.max_token_length,
                   "Merged tokens stay below this many characters (bpe, wordpiece)")
      ->check(positive());
  verb->add_option("--unk-token", recipe.unk_token, "Token for what the vocabulary cannot spell");
  verb->add_option("--shrinking-factor", recipe.shrinking_factor, "Share of pieces kept at each pruning (unigram)")
      ->capture_default_str();
  verb->add_option("--n-sub-iterations", recipe.n_sub_iterations, "Steps of EM between prunings (unigram)")
      ->capture_default_str();
  verb->add_option("--max-piece-length", recipe.max_piece_length, "Longest piece in characters (unigram)")
      ->capture_default_str();
  verb->add_option("--seed-size", recipe.seed_size, "Pieces to begin with (unigram)")->capture_default_str();
  verb->add_flag("--byte-fallback", recipe.byte_fallback, "What cannot be spelled is spelled in bytes (bpe, unigram)");
}

void add_pipeline_flags(Verb verb, train::TokenizerRecipe& recipe) {
  verb->add_option("--normalizer", recipe.normalizers,
                   "Steps in order: nfc, nfd, nfkc, nfkd, nmt, lowercase, strip, strip_accents, bert, none, or an object of "
                   "tokenizer.json (default: bpe none, wordpiece bert, unigram nfkc)");
  verb->add_option("--pre-tokenizer", recipe.pre_tokenizers,
                   "Steps in order: byte_level, whitespace, whitespace_split, bert, metaspace, digits, punctuation, "
                   "unicode_scripts, none, or an object of tokenizer.json (default: bpe byte_level, wordpiece bert, unigram "
                   "metaspace)");
  verb->add_flag("--add-prefix-space", recipe.add_prefix_space, "byte_level puts a space before a text");
  verb->add_option("--prepend-scheme", recipe.prepend_scheme, "Where metaspace puts one")
      ->check(one_of({"always", "first", "never"}))
      ->capture_default_str();
  verb->add_option("--post-processor", recipe.post_processor,
                   "auto: [CLS] A [SEP] where there are such tokens; template: also <s> A </s>; none; or an object")
      ->capture_default_str();
  verb->add_option("--model-max-length", recipe.model_max_length, "Written to tokenizer_config.json")->check(positive());
}

void add_train(Program& program, Verb parent) {
  const auto flags = std::make_shared<Flags>();
  const Verb verb = add_verb(
      program, parent, "train", "Learn a vocabulary from text: writes tokenizer.json and tokenizer_config.json",
      {"pagoda tokenizer train --type bpe --files story.txt --vocab-size 8000 --out my-tokenizer",
       "pagoda tokenizer train --type unigram --files news.jsonl --vocab-size 10048 --out news-tokenizer --json",
       R"(pagoda tokenizer train --type unigram --files a.txt --normalizer '{"type": "Replace", "pattern": {"String": "``"}, "content": "\""}' --out t)",
       "pagoda tokenizer train --type wordpiece --files a.txt b.txt --special-tokens '[PAD],[UNK],[CLS],[SEP]' --out t"});
  verb->add_option("--files", flags->files, "Text, JSON lines, CSV, TSV or TFRecord; UTF-8; any size")->required();
  verb->add_option("--out", flags->out, "Folder of the tokenizer")->required();
  verb->add_flag("--overwrite", flags->overwrite, "Replace a tokenizer that is there");
  add_model_flags(verb, flags->recipe);
  const Flag specials = verb->add_option("--special-tokens", flags->special_tokens,
                                         "Special tokens, first in the vocabulary, with commas between or one a flag (default: "
                                         "bpe <|endoftext|>; wordpiece [PAD],[UNK],[CLS],[SEP],[MASK]; unigram "
                                         "[CLS],[SEP],<unk>,<pad>,[MASK])");
  // One value, not a list: of lists CLI11 takes brackets away, and [CLS] is a common token.
  specials->join();
  const Flag prefix = verb->add_option("--continuing-subword-prefix", flags->recipe.continuing_subword_prefix,
                                       "Prefix of tokens inside a word (default: wordpiece ##)");
  add_pipeline_flags(verb, flags->recipe);
  verb->add_option("--text-column", flags->rows.text_column, "Field of JSON lines, CSV and TFRecord")->capture_default_str();
  verb->add_option("--format", flags->rows.format, "How files are read")
      ->check(one_of({"auto", "text", "jsonl", "csv", "tsv", "tfrecord"}))
      ->capture_default_str();
  verb->add_flag("--trim-linebreaks", flags->trim_linebreaks, "Lines of text lose their line ends, blank ones are left out");
  add_threads(verb, flags->threads, "Threads (default: all usable cores); the result does not depend on them");
  verb->callback([&program, flags, specials, prefix, verb] {
    check_flags(verb, *flags);
    program.run = [&program, flags, specials, prefix] {
      return run(program, *flags, specials->count() > 0, prefix->count() > 0);
    };
  });
}

}  // namespace

void add_tokenizer(Program& program) {
  const Verb parent = program.app->add_subcommand("tokenizer", "Make tokenizers");
  parent->require_subcommand(1);
  add_train(program, parent);
}

}  // namespace pagoda::cli
