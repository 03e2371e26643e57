// pagoda train clm, mlm, sft: language modelling.
#include <fmt/format.h>

#include <algorithm>
#include <memory>

#include "base/ascii.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/file.h"
#include "cli/train.h"
#include "cli/train_data_flags.h"
#include "train/data/fingerprint.h"
#include "train/default_configs.h"
#include "train/lm_data.h"
#include "train/lm_task.h"

namespace pagoda::cli {

namespace {

struct LmFlags {
  TrainFlags train;
  train::PrepareOptions data;
  train::LmOptions lm;
  int64_t block_size = 0;
  bool line_by_line = false, packing = false, append_eos = false, overwrite_cache = false;
  std::string chat_template;
};

train::SplitFiles open_text(const Program& program, const LmFlags& flags, const TaskSetup& setup) {
  train::PrepareOptions options = flags.data;
  options.output_dir = setup.data_dir;
  options.mode = train::block_mode(flags.packing, flags.line_by_line);
  if (flags.append_eos) {
    const std::string& name = setup.model.tokenizer_config().eos_token;
    const std::optional<int32_t> id = setup.model.tokenizer()->token_to_id(name.empty() ? "<|endoftext|>" : name);
    if (!id) invalid("--append-eos-token", "the tokenizer has no end token: need an eos_token in tokenizer_config.json");
    options.append_token = *id;
  }
  if (!flags.overwrite_cache) options.fingerprint = data_fingerprint(setup.model);
  const train::LmData data(setup.model, flags.block_size);
  const double begun = steady_seconds();
  const train::SplitFiles files =
      in_turns(setup, [&] { return data.text(flags.train.train_files, flags.train.validation_files, options, setup.hooks); });
  if (files.prepared) {
    note(program, fmt::format("data: {} in {:.1f} s", files.reused ? "the shards of an earlier start, checked" : "tokenised",
                              steady_seconds() - begun));
  }
  return files;
}

train::SplitFiles open_conversations(const Program& program, const LmFlags& flags, const TaskSetup& setup) {
  train::SplitFiles files{flags.train.train_files, flags.train.validation_files};
  train::LmData data(setup.model, flags.block_size);
  const train::ConversationOptions& options = data.conversation_options();
  const std::string chat_template = flags.chat_template.empty() ? "" : read_text(flags.chat_template);
  if (!chat_template.empty()) setup.model.add_file("chat_template.jinja", chat_template);
  data.set_chat_template(chat_template);
  for (auto* split : {&files.train, &files.validation}) {
    if (split->empty() || train::are_shards(*split, {})) continue;
    const char* name = split == &files.train ? "train" : "validation";
    const std::string folder = join_path(setup.data_dir, name);
    *split = in_turns(setup, [&] {
      train::Fingerprint all;
      all.add(data_fingerprint(setup.model, chat_template)).add(std::to_string(options.max_seq_length)).add(options.eos_token);
      for (const std::string& file : *split) all.add_file(file);
      if (train::is_prepared(folder + ".json", folder, all.text())) {
        note(program, fmt::format("{}: the conversations of an earlier start", name));
        return std::vector<std::string>{folder};
      }
      const auto report = data.conversations(*split, folder, setup.hooks);
      train::note_prepared(folder + ".json", folder, all.text());
      note(program, fmt::format("{}: {} conversations of {} rows, {} cut to {} tokens", name, report.examples, report.rows,
                                report.cut, options.max_seq_length));
      return std::vector<std::string>{folder};
    });
  }
  return files;
}

// run_clm's "n_embd=10,resid_pdrop=0.2,scale_attn_weights=false,summary_type=cls_index": values are of the type that the config
// has them in.
Json config_overrides(const Program& program, const TrainFlags& flags, const std::string& path) {
  constexpr const char* kWhere = "--config-overrides";
  Json config = named_config(program, flags);
  if (directory_exists(path) && !flags.from_scratch) {
    for (const std::string& name : list_directory(path)) {
      if (!name.ends_with(".safetensors") && !name.ends_with(".bin")) continue;
      invalid(kWhere, "{} has weights, which are of its own config: --from-scratch draws new ones", path);
    }
  }
  if (config.is_null()) {
    const std::string file = directory_exists(path) ? join_path(path, "config.json") : path;
    config = read_json(file);
  }
  Json overrides = Json::object();
  const std::string& text = flags.config_overrides;
  for (const std::string_view part : split_at(text, ',')) {
    if (part.empty()) continue;
    const size_t equals = part.find('=');
    if (equals == std::string_view::npos) invalid(kWhere, "got '{}', need key=value,...", text);
    const std::string key(part.substr(0, equals)), value(part.substr(equals + 1));
    const Json* old = config.find(key);
    if (old == nullptr) invalid(kWhere, "the config has no field '{}'", key);
    const bool word = old->is_string() || old->is_null();
    Json given;
    try {
      given = Json::parse(value, kWhere);
    } catch (const Error&) {
      if (!word && !old->is_bool()) invalid(kWhere, "{}: got '{}', need a {}", key, value, old->type_name());
    }
    if (word && (given.is_null() || !old->is_null())) given = Json(value);
    if (old->is_bool()) {
      const bool yes = value == "true" || value == "True" || value == "1" || value == "yes" || value == "y";
      const bool no = value == "false" || value == "False" || value == "0" || value == "no" || value == "n";
      if (!yes && !no) invalid(kWhere, "{}: got '{}', need true or false", key, value);
      given = Json(yes);
    }
    const bool fits = old->is_number() ? given.is_number() && (given.is_int() || !old->is_int()) : word || old->is_bool();
    if (!fits) invalid(kWhere, "{}: got '{}', need a {} as in the config", key, value, old->type_name());
    overrides.set(key, given);
  }
  return overrides;
}

int run(const Program& program, LmFlags& flags, bool masked, bool conversations) {
  apply_config_file(flags.train);
  train::block_mode(flags.packing, flags.line_by_line);  // told at once: a file of flags may have both
  std::vector<std::string> files = flags.train.train_files;
  files.insert(files.end(), flags.train.validation_files.begin(), flags.train.validation_files.end());
  refuse_data_flags(flags.train.verb, flags.data.rows, files);
  TrainSetup setup;
  if (!flags.train.config_overrides.empty()) {
    setup.config_of_data = [&](const std::string& path, const std::string&) {
      return config_overrides(program, flags.train, path);
    };
  }
  setup.head = masked ? std::optional<Head>(Head::kMaskedLm) : std::nullopt;
  setup.make_task = [&](const TaskSetup& task) {
    train::LmOptions options = flags.lm;
    options.masked = masked;
    options.append_dump = task.resumes;
    options.files = conversations ? open_conversations(program, flags, task) : open_text(program, flags, task);
    return std::make_unique<train::LmTask>(task.model, task.arguments, options, task.hooks);
  };
  return run_training(program, flags.train, setup);
}

void add_lm_flags(Verb verb, LmFlags& flags, bool text) {
  add_train_flags(verb, flags.train);
  verb->add_option("--block-size,--max-seq-length", flags.block_size,
                   "Tokens of an example (default: the smallest of 1024, the model's positions and the tokenizer's maximum)")
      ->check(positive());
  verb->add_option("--dump-batches", flags.lm.dump_batches,
                   "Write the batches that are really used: JSON lines of input_ids and labels");
  if (!text) return;
  verb->add_option("--model-type", flags.train.model_type,
                   "From scratch, with HF's default config of this family (instead of MODEL_OR_CONFIG)")
      ->check(one_of(train::default_config_types()));
  verb->add_option("--config-overrides", flags.train.config_overrides,
                   "Fields of the config of a model from scratch: n_embd=10,resid_pdrop=0.2");
  verb->add_flag("--overwrite-cache", flags.overwrite_cache, "Tokenise anew, also what an earlier start has done");
  verb->add_option("--text-column", flags.data.rows.text_column, "Field of JSON lines, CSV and TFRecord")
      ->capture_default_str();
  verb->add_option("--sample-by", flags.data.rows.sample_by, "What of a text file is a row")
      ->check(one_of({"line", "paragraph", "document"}))
      ->capture_default_str();
  verb->add_option("--validation-split-percentage", flags.data.validation_split_percentage,
                   "Share of the rows held out for validation, by a hash of the row")
      ->check(in_range(0.0, 99.9));
  verb->add_flag("--keep-linebreaks,!--no-keep-linebreaks", flags.data.rows.keep_linebreaks,
                 "Lines keep their line ends, and blank lines are rows (clm: the default)");
  verb->add_flag("--append-eos-token", flags.append_eos, "Put the end-of-text token behind each row");
  const Flag packing = verb->add_flag("--packing", flags.packing, "Whole rows, several in an example, instead of cutting");
  verb->add_flag("--line-by-line", flags.line_by_line, "A row an example, cut off at the block size")->excludes(packing);
}

Verb add_task(Program& program, Verb parent, const char* name, const char* text, const std::vector<std::string>& examples,
              bool masked, bool conversations) {
  const auto flags = std::make_shared<LmFlags>();
  flags->data.rows.keep_linebreaks = !masked;
  const Verb verb = add_verb(program, parent, name, text, examples);
  add_lm_flags(verb, *flags, !conversations);
  if (masked) {
    verb->add_option("--mlm-probability", flags->lm.mlm_probability, "Share of tokens that are masked")->capture_default_str();
  }
  if (conversations) {
    verb->add_option("--chat-template", flags->chat_template,
                     "Jinja file, instead of the model's template; saved with the model");
  }
  verb->callback([&program, flags, masked, conversations] {
    program.run = [&program, flags, masked, conversations] { return run(program, *flags, masked, conversations); };
  });
  return verb;
}

}  // namespace

void add_train_clm(Program& program, Verb parent) {
  add_task(
      program, parent, "clm", "Train a model to go on with a text (HF's run_clm)",
      {"pagoda train clm config.json --tokenizer-name my-tokenizer --train-file story.txt --output-dir my-model --max-steps "
       "1000",
       "pagoda train clm MODEL --train-file story.txt --validation-split-percentage 5 --block-size 256 --learning-rate 1e-4 "
       "--bf16 --output-dir my-model",
       "pagoda train clm MODEL --train-file story.txt --output-dir my-model --resume-from-checkpoint"},
      false, false);
}

void add_train_mlm(Program& program, Verb parent) {
  add_task(program, parent, "mlm", "Train a model to fill masks (HF's run_mlm): 15 % of the tokens, anew each epoch",
           {"pagoda train mlm config.json --tokenizer-name my-tokenizer --train-file shards/train --validation-file "
            "shards/validation "
            "--per-device-train-batch-size 32 --max-steps 3000 --eval-steps 250 --output-dir my-model",
            "pagoda train mlm MODEL --train-file news.jsonl --max-seq-length 128 --output-dir my-model"},
           true, false);
}

void add_train_sft(Program& program, Verb parent) {
  add_task(program, parent, "sft", "Train a model to answer: conversations by its chat template, loss on the answers alone",
           {"pagoda train sft MODEL --train-file chats.jsonl --output-dir my-chat --max-seq-length 512 --num-train-epochs 2",
            "pagoda train sft MODEL --train-file chats.jsonl --chat-template chatml.jinja --output-dir my-chat --bf16"},
           false, true);
}

}  // namespace pagoda::cli
