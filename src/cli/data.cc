// pagoda data prepare: from rows of text to shards of token ids.
#include <fmt/format.h>

#include <algorithm>
#include <memory>

#include "base/clock.h"
#include "base/cpu_info.h"
#include "base/error.h"
#include "base/file.h"
#include "base/progress.h"
#include "cli/cli.h"
#include "cli/flag_checks.h"
#include "cli/row_flags.h"
#include "formats/gguf.h"
#include "formats/tokenizer_config.h"
#include "formats/tokenizer_loader.h"
#include "train/data/prepare.h"

namespace pagoda::cli {

namespace {

struct Flags {
  train::PrepareOptions options;
  std::string tokenizer, output_format = "tfrecord";
  bool packing = false, line_by_line = false, no_special_tokens = false, append_eos = false;
  int threads = 0;
};

int32_t eos_token(const std::string& path, const Tokenizer& tokenizer) {
  std::string name;
  if (directory_exists(path) || is_gguf(path)) name = load_complete_tokenizer_config(path).eos_token;
  const std::optional<int32_t> id = tokenizer.token_to_id(name.empty() ? "<|endoftext|>" : name);
  if (!id) invalid(path, "--append-eos-token: got no eos_token that is in the vocabulary, need one in tokenizer_config.json");
  return *id;
}

// What was asked for and would not be done.
void check_flags(const Program& program, Verb verb, const Flags& flags) {
  check_out_folder("--output-dir", flags.options.output_dir);
  std::vector<std::string> files = flags.options.files;
  files.insert(files.end(), flags.options.validation_files.begin(), flags.options.validation_files.end());
  refuse_row_flags(verb, flags.options.rows, files);
  if (are_token_ids(flags.options.rows, files)) {
    refuse_given(verb,
                 {"--block-size", "--text-column", "--packing", "--line-by-line", "--append-eos-token", "--no-special-tokens",
                  "--group-size"},
                 kTokenIdsAreTaken);
    if (!flags.tokenizer.empty()) note(program, "--tokenizer: not used, rows of token ids are taken as they are");
  }
  if (flags.packing || flags.line_by_line) {
    refuse_given(verb, {"--group-size"}, "has no effect with --packing and --line-by-line, which join no rows");
  }
  if (flags.tokenizer.empty()) {
    refuse_given(verb,
                 {"--append-eos-token", "--no-special-tokens", "--packing", "--line-by-line", "--group-size", "--block-size"},
                 "has no effect on rows of token ids: need --tokenizer, and text");
  }
}

int run(const Program& program, const Flags& flags) {
  train::PrepareOptions options = flags.options;
  options.mode = train::block_mode(flags.packing, flags.line_by_line);
  options.native = flags.output_format == "native";
  options.add_special_tokens = !flags.no_special_tokens;
  std::shared_ptr<const Tokenizer> tokenizer;
  if (!flags.tokenizer.empty()) {
    const std::string path = find_model(program, flags.tokenizer);
    tokenizer = load_tokenizer(path);
    if (directory_exists(path)) options.cut_left = load_tokenizer_config(path).truncation_left;
    if (flags.append_eos) options.append_token = eos_token(path, *tokenizer);
  }
  ThreadPool pool(flags.threads > 0 ? usable_threads(flags.threads) : detect_cpu().usable_cores);
  TerminalProgress progress(stderr);
  TaskHooks hooks;
  hooks.cancel = &interrupted();
  if (!program.quiet) {
    hooks.progress = [&](std::string_view stage, int64_t done, int64_t total) { progress.update(stage, done, total); };
  }
  const double begun = steady_seconds();
  train::PrepareReport report;
  try {
    report = train::prepare_data(options, tokenizer.get(), pool, hooks);
  } catch (const Cancelled&) {
    progress.clear();
    note(program,
         fmt::format(
             "interrupted: the new shards in {} are complete, but not all; old ones are as they were (--overwrite begins anew)",
             options.output_dir));
    return kInterruptedExit;
  }
  progress.clear();
  const double seconds = steady_seconds() - begun;
  for (const auto& [name, split] : report.splits) {
    note(program,
         fmt::format("{}: {} examples, {} tokens in {} shards, from {} rows ({} duplicates left out, {} tokens dropped)", name,
                     split.examples, split.tokens, split.files.size(), split.rows, split.duplicates, split.dropped_tokens));
  }
  if (program.json) write_json(report.to_json().set("output_dir", options.output_dir).set("seconds", seconds));
  return 0;
}

void add_input_flags(Verb verb, Flags& flags) {
  train::PrepareOptions& options = flags.options;
  verb->add_option("--files", options.files,
                   "Text, JSON lines, CSV, TSV or TFRecord, UTF-8, any size; rows with input_ids are "
                   "taken as they are, with labels, token_type_ids and the like")
      ->required();
  verb->add_option("--tokenizer", flags.tokenizer, "Folder, ORG/NAME or file of the tokenizer");
  verb->add_option("--output-dir", options.output_dir, "Folder of the shards: train/, validation/")->required();
  verb->add_option("--text-column", options.rows.text_column, "Field of JSON lines, CSV and TFRecord")->capture_default_str();
  verb->add_option("--format", options.rows.format, "How files are read")
      ->check(one_of({"auto", "text", "jsonl", "csv", "tsv", "tfrecord"}))
      ->capture_default_str();
  verb->add_option("--sample-by", options.rows.sample_by, "What of a text file is a row")
      ->check(one_of({"line", "paragraph", "document"}))
      ->capture_default_str();
  verb->add_flag("--keep-linebreaks", options.rows.keep_linebreaks, "Lines keep their line ends, and blank lines are rows");
}

void add_output_flags(Verb verb, Flags& flags) {
  train::PrepareOptions& options = flags.options;
  verb->add_option("--block-size,--max-seq-length", options.block_size, "Tokens of an example")
      ->check(in_range(1, 1 << 24))
      ->capture_default_str();
  const Flag packing =
      verb->add_flag("--packing", flags.packing, "Whole rows, several in an example (position_ids tell them apart)");
  verb->add_flag("--line-by-line", flags.line_by_line, "A row an example, cut off at the block size")->excludes(packing);
  verb->add_option("--group-size", options.group_size,
                   "Drop the rest after every so many rows (the published scripts: 1000); 0: at the end only")
      ->check(non_negative())
      ->capture_default_str();
  verb->add_flag("--no-special-tokens", flags.no_special_tokens, "Leave out what the tokenizer puts round a text");
  verb->add_flag("--append-eos-token", flags.append_eos, "Put the end-of-text token behind each row");
  verb->add_option("--shard-size", options.shard_size, "Examples of a shard")->check(positive())->capture_default_str();
  verb->add_option("--output-format", flags.output_format, "tfrecord, or native: mapped safetensors")
      ->check(one_of({"tfrecord", "native"}))
      ->capture_default_str();
  verb->add_option("--split", options.split, "Name of the split that --files make")
      ->check(one_of({"train", "validation", "test"}))
      ->capture_default_str();
  verb->add_option("--validation-split-percentage", options.validation_split_percentage,
                   "Share of rows held out, by a hash of the row")
      ->check(in_range(0.0, 99.9));
  verb->add_option("--validation-every", options.validation_every, "Hold out every N-th row")->check(positive());
  verb->add_option("--validation-files", options.validation_files, "Files of the validation split");
  verb->add_flag("--overwrite", options.overwrite, "Replace the shards that are there once the new ones are complete");
  add_threads(verb, flags.threads, "Threads (default: all usable cores); the shards do not depend on them");
}

}  // namespace

void add_data(Program& program) {
  const Verb parent = program.app->add_subcommand("data", "Make training data");
  parent->require_subcommand(1);
  const auto flags = std::make_shared<Flags>();
  const Verb verb =
      add_verb(program, parent, "prepare", "Tokenise rows and write them as shards: TFRecord, or mapped safetensors",
               {"pagoda data prepare --files news.jsonl --tokenizer news-tokenizer --block-size 128 --validation-every 20 "
                "--output-dir shards",
                "pagoda data prepare --files story.txt --sample-by paragraph --tokenizer MODEL --append-eos-token --packing "
                "--output-dir shards",
                "pagoda data prepare --files tokenised.jsonl --output-format native --validation-split-percentage 5 "
                "--output-dir shards --json"});
  add_input_flags(verb, *flags);
  add_output_flags(verb, *flags);
  verb->callback([&program, flags, verb] {
    check_flags(program, verb, *flags);
    program.run = [&program, flags] { return run(program, *flags); };
  });
}

}  // namespace pagoda::cli
