// pagoda run: a task over a text, as HF's pipelines have it.
#include <fmt/format.h>

#include <memory>
#include <optional>

#include "base/error.h"
#include "base/task_hooks.h"
#include "cli/cli.h"
#include "cli/reading_stdin.h"
#include "pipelines/pipeline.h"

namespace pagoda::cli {

namespace {

// Rows that lines of --jsonl gather before they run.
constexpr size_t kRowsTogether = 8192;
constexpr size_t kLinesTogether = 1024;  // bad ones have no rows

struct Flags {
  MachineFlags machine;
  std::string task, model, text, text_pair, question, context, input, jsonl, parameters;
  Flag has_text, has_pair, has_question, has_context, has_input, has_jsonl, has_parameters;
  // Parameters under HF's names; a flag is `name` with dashes.
  std::vector<std::pair<std::string, Flag>> given;
  std::string top_k, function_to_apply, aggregation_strategy, hypothesis_template, pooling, truncation;
  std::vector<std::string> ignore_labels, targets, candidate_labels;
  int64_t stride = 0, doc_stride = 0, max_answer_len = 0, max_seq_len = 0, max_length = 0;
  bool handle_impossible_answer = false, multi_label = false, normalize = false, align_to_words = true;
};

Json string_list(const std::vector<std::string>& values) {
  Json list = Json::array();
  for (const std::string& each : values) list.push_back(each);
  return list;
}

Json top_k_json(const std::string& text) {
  if (text == "all") return {};
  return Json::parse(text, "--top-k");
}

Json truncation_json(const std::string& text) {
  if (text == "true" || text == "false") return text == "true";
  return text;
}

// The flags that were given, over --parameters.
Json parameters_of(const Flags& flags) {
  Json parameters = Json::object();
  if (flags.has_parameters->count() > 0) {
    parameters = Json::parse(flags.parameters, "--parameters");
    if (!parameters.is_object()) invalid("--parameters", "got {}, need object", parameters.type_name());
  }
  const std::pair<const char*, Json> values[] = {
      {"top_k", flags.top_k.empty() ? Json() : top_k_json(flags.top_k)},
      {"function_to_apply", flags.function_to_apply},
      {"aggregation_strategy", flags.aggregation_strategy},
      {"ignore_labels", string_list(flags.ignore_labels)},
      {"stride", flags.stride},
      {"doc_stride", flags.doc_stride},
      {"max_answer_len", flags.max_answer_len},
      {"max_seq_len", flags.max_seq_len},
      {"max_length", flags.max_length},
      {"handle_impossible_answer", flags.handle_impossible_answer},
      {"align_to_words", flags.align_to_words},
      {"targets", string_list(flags.targets)},
      // HF takes a string of labels with commas too.
      {"candidate_labels",
       flags.candidate_labels.size() == 1 ? Json(flags.candidate_labels[0]) : string_list(flags.candidate_labels)},
      {"hypothesis_template", flags.hypothesis_template},
      {"multi_label", flags.multi_label},
      {"truncation", truncation_json(flags.truncation)},
      {"pooling", flags.pooling},
      {"normalize", flags.normalize},
  };
  for (const auto& [name, option] : flags.given) {
    if (option->count() == 0) continue;
    for (const auto& [key, value] : values) {
      if (name == key) parameters.set(key, value);
    }
  }
  return parameters;
}

Json input_of(const Program& program, const Flags& flags) {
  if (flags.has_input->count() > 0) return Json::parse(flags.input, "--input");
  if (flags.has_question->count() + flags.has_context->count() > 0) {
    Json input = Json::object();
    if (flags.has_question->count() > 0) input.set("question", flags.question);
    if (flags.has_context->count() > 0) input.set("context", flags.context);
    return input;
  }
  std::string text = flags.text;
  if (flags.has_text->count() == 0) {
    note_stdin(program, "the text");
    text = read_text("-");
    while (!text.empty() && (text.back() == '\n' || text.back() == '\r')) text.pop_back();
  }
  if (flags.has_pair->count() == 0) return text;
  Json input = Json::object();
  input.set("text", text).set("text_pair", flags.text_pair);
  return input;
}

bool is_plain(const Json& value) { return !value.is_array() && !value.is_object(); }

// For people: an object a line, its values beside each other; lists of numbers as they are.
void append_shown(const Json& result, std::string& out) {
  if (result.is_object()) {
    bool first = true;
    for (const JsonMember& member : result.as_object("result")) {
      out += first ? "" : "  ";
      first = false;
      if (member.value.is_number() && !member.value.is_int()) {
        out += fmt::format("{:.4f}", member.value.as_double("result"));
      } else {
        out += member.value.is_string() ? member.value.as_string("result") : member.value.dump();
      }
    }
    out += '\n';
  } else if (result.is_array() && result.size() > 0 && !is_plain(result.as_array("result")[0]) &&
             !result.as_array("result")[0].is_array()) {
    for (const Json& each : result.as_array("result")) append_shown(each, out);
  } else if (result.is_array() && result.size() > 0 && result.as_array("result")[0].is_array() &&
             result.as_array("result")[0].size() > 0 && result.as_array("result")[0].as_array("result")[0].is_object()) {
    for (const Json& each : result.as_array("result")) {
      append_shown(each, out);
      out += '\n';
    }
  } else {
    out += result.dump() + "\n";
  }
}

// Lines whose answers are computed together: a bad one has its error in its place, and the others go on.
class Lines {
 public:
  explicit Lines(const Pipeline& pipeline) : pipeline_(pipeline) {}

  void add(const std::string& line, const std::string& where, const Json& parameters) {
    ++lines_;
    try {
      inputs_.push_back(pipeline_.prepare(Json::parse(line, where), parameters));
      for (const SequenceInput& sequence : inputs_.back().sequences) rows_ += sequence.ids.size();
      errors_.emplace_back();
    } catch (const Error& error) {
      errors_.push_back(failed(error));
    }
    if (rows_ >= kRowsTogether || errors_.size() >= kLinesTogether) flush();
  }

  void flush() {
    std::vector<std::string> results = answers();
    std::string out;
    size_t at = 0;
    for (const std::string& error : errors_) out += (error.empty() ? results[at++] : error) + "\n";
    write_out(out);
    inputs_.clear();
    errors_.clear();
    rows_ = 0;
  }

  // Once all are there: how many failed. Where none was answered it is as if the one text of a run had failed.
  void report(const Program& program, const std::string& path) const {
    if (num_failed_ == 0) return;
    const std::string what = fmt::format("{} of {} lines failed, one with: {}", num_failed_, lines_, one_->message());
    if (num_failed_ == lines_) fail(one_->kind(), path, std::string_view(what));
    note(program, fmt::format("[{}] {}", path, what));
  }

 private:
  // The line that stands in an answer's place.
  std::string failed(const Error& error) {
    if (num_failed_++ == 0) one_ = error;
    return Json::object().set("error", error.message()).dump();
  }

  std::vector<std::string> answers() {
    std::vector<std::string> results;
    try {
      for (const Json& result : run_together(pipeline_.model(), inputs_)) results.push_back(result.dump());
      return results;
    } catch (const Error&) {
      results.clear();
    }
    // One of them cannot be answered: which?
    for (const PreparedInput& input : inputs_) {
      try {
        results.push_back(run_together(pipeline_.model(), {input})[0].dump());
      } catch (const Error& error) {
        results.push_back(failed(error));
      }
    }
    return results;
  }

  const Pipeline& pipeline_;
  std::vector<PreparedInput> inputs_;
  std::vector<std::string> errors_;  // a line each; empty: the next of inputs_
  size_t rows_ = 0, lines_ = 0, num_failed_ = 0;
  std::optional<Error> one_;  // of the errors
};

int run_lines(const Program& program, const Pipeline& pipeline, const Flags& flags, const Json& parameters) {
  Lines lines(pipeline);
  if (flags.jsonl == "-") note_stdin(program, "inputs, one a line,");
  bool stopped = false;
  for_each_line(flags.jsonl, [&](int64_t number, const std::string& line) {
    stopped = stopped || interrupted();
    const bool blank = line.find_first_not_of(" \t\r") == std::string::npos;
    if (!stopped && !blank) lines.add(line, fmt::format("{}:{}", flags.jsonl, number), parameters);
  });
  if (stopped) return kInterruptedExit;
  lines.flush();
  lines.report(program, flags.jsonl);
  return 0;
}

// A name on the command line that is no task is a wrong argument; in a URL it is nothing that is there.
const TaskInfo& task_of(const Flags& flags) {
  try {
    return find_task(flags.task);
  } catch (const Error& error) {
    throw Error(ErrorKind::kInvalidInput, error.message());
  }
}

// HF's fill-mask takes what concerns its tokenizer as one parameter.
Json for_task(const TaskInfo& task, Json parameters) {
  if (std::string_view(task.name) != "fill-mask") return parameters;
  Json rest = Json::object(), tokenizing = Json::object();
  if (const Json* given = parameters.find("tokenizer_kwargs"); given != nullptr && given->is_object()) tokenizing = *given;
  for (const JsonMember& member : parameters.as_object("parameters")) {
    const bool cuts = member.key == "truncation" || member.key == "max_length";
    (cuts ? tokenizing : rest).set(member.key, member.value);
  }
  if (tokenizing.size() > 0) rest.set("tokenizer_kwargs", std::move(tokenizing));
  return rest;
}

int run(const Program& program, const Flags& flags) {
  const LoadOptions options = flags.machine.load_options();
  const TaskInfo& task = task_of(flags);
  if (flags.top_k == "all" && std::string_view(task.name) != "text-classification") {
    invalid("--top-k", "got all, need a number: all is for text-classification");
  }
  const Json parameters = for_task(task, parameters_of(flags));
  const std::unique_ptr<Pipeline> pipeline = Pipeline::open(task.name, find_model(program, flags.model), options);
  if (flags.has_jsonl->count() > 0) return run_lines(program, *pipeline, flags, parameters);
  PrepareOptions stoppable;
  stoppable.check = [] {
    if (interrupted()) throw Cancelled();
  };
  try {
    const Json result = pipeline->run(input_of(program, flags), parameters, stoppable);
    if (program.json) {
      write_json(result);
    } else {
      std::string shown;
      append_shown(result, shown);
      write_out(shown);
    }
  } catch (const Cancelled&) {
    return kInterruptedExit;
  }
  return 0;
}

void add_parameter_flags(Verb verb, Flags& flags) {
  const auto add = [&](const char* name, auto& into, const char* help) {
    std::string flag = std::string("--") + name;
    for (char& c : flag) c = c == '_' ? '-' : c;
    const Flag option = verb->add_option(flag, into, help);
    flags.given.emplace_back(name, option);
    return option;
  };
  const auto add_flag = [&](const char* name, const char* flag, bool& into, const char* help) {
    flags.given.emplace_back(name, verb->add_flag(flag, into, help));
  };
  add("top_k", flags.top_k, "Results at most (text-classification: all for every label)");
  add("function_to_apply", flags.function_to_apply, "text-classification: of logits")->type_name("softmax|sigmoid|none");
  add("aggregation_strategy", flags.aggregation_strategy, "token-classification: tokens, or words and entities of them")
      ->type_name("none|simple|first|average|max");
  add("ignore_labels", flags.ignore_labels, "token-classification: labels left out (O)");
  add("stride", flags.stride, "token-classification: long texts in parts that overlap by so many tokens");
  add("doc_stride", flags.doc_stride, "question-answering: tokens that parts of a long context overlap by");
  add("max_answer_len", flags.max_answer_len, "question-answering: tokens of an answer (15)");
  add("max_seq_len", flags.max_seq_len, "question-answering: tokens of question and part together (384)");
  add_flag("handle_impossible_answer", "--handle-impossible-answer", flags.handle_impossible_answer,
           "question-answering: no answer is one, too");
  add_flag("align_to_words", "--align-to-words,!--no-align-to-words", flags.align_to_words,
           "question-answering: answers are whole words (the default)");
  add("targets", flags.targets, "fill-mask: tokens to choose from");
  add("candidate_labels", flags.candidate_labels, "zero-shot-classification: labels, or one text of them with commas");
  add("hypothesis_template", flags.hypothesis_template, "zero-shot-classification: \"This example is {}.\"");
  add_flag("multi_label", "--multi-label", flags.multi_label, "zero-shot-classification: several labels may be right");
  add("truncation", flags.truncation, "Cut texts that are too long: true, longest_first, only_first, only_second");
  add("max_length", flags.max_length, "Tokens that are left of a longer text");
  add("pooling", flags.pooling, "feature-extraction: one vector a text; auto: as the model's folder says")
      ->type_name("none|auto|cls|mean|max|mean_sqrt_len_tokens|weightedmean|lasttoken");
  add_flag("normalize", "--normalize,!--no-normalize", flags.normalize, "feature-extraction: the vector scaled to length 1");
}

}  // namespace

void add_run(Program& program) {
  const auto flags = std::make_shared<Flags>();
  const Verb verb =
      add_verb(program, "run", "Run a task of encoders over texts, with the parameters and results of HF's pipelines",
               {"pagoda run text-classification MODEL --text 'I loved it' --top-k all --json",
                "pagoda run ner MODEL --text 'Angela lives in Berlin' --aggregation-strategy simple",
                "pagoda run question-answering MODEL --question 'Where?' --context 'She lives in Berlin.' --top-k 2",
                "pagoda run fill-mask MODEL --text 'Paris is the [MASK] of France.'",
                "pagoda run zero-shot-classification MODEL --text 'Goal!' --candidate-labels 'sports, politics'",
                "pagoda run feature-extraction MODEL --text 'a text' --pooling auto --normalize --json",
                "pagoda run text-classification MODEL --jsonl texts.jsonl > labels.jsonl"});
  std::string tasks;
  for (const TaskInfo& task : pipeline_tasks()) tasks += (tasks.empty() ? "" : ", ") + std::string(task.name);
  verb->add_option("TASK", flags->task, "Task: " + tasks)->required();
  add_model(verb, flags->model, "Model folder (of sentence-transformers too), ORG/NAME or ORG/NAME@REVISION")->required();
  flags->has_text = verb->add_option("--text", flags->text, "Text; without any input: stdin");
  flags->has_pair = verb->add_option("--text-pair", flags->text_pair, "text-classification: the second text of a pair");
  flags->has_question = verb->add_option("--question", flags->question, "question-answering: question");
  flags->has_context = verb->add_option("--context", flags->context, "question-answering: where to look for the answer");
  flags->has_input = verb->add_option("--input", flags->input, "What HF's pipeline takes, as JSON; a list gives a list");
  flags->has_jsonl = verb->add_option("--jsonl", flags->jsonl,
                                      "File of such inputs, one a line (- reads stdin); one result a line on stdout, or its "
                                      "error; where all are errors the exit code is that of one of them");
  for (const Flag other : {flags->has_text, flags->has_pair, flags->has_question, flags->has_context, flags->has_input}) {
    flags->has_jsonl->excludes(other);
  }
  for (const Flag other : {flags->has_text, flags->has_pair, flags->has_question, flags->has_context}) {
    flags->has_input->excludes(other);
  }
  for (const Flag other : {flags->has_text, flags->has_pair}) {
    flags->has_question->excludes(other);
    flags->has_context->excludes(other);
  }
  flags->has_parameters =
      verb->add_option("--parameters", flags->parameters, "The task's parameters as JSON, for any that follow");
  add_parameter_flags(verb, *flags);
  add_machine_flags(verb, flags->machine);
  verb->callback([&program, flags] { program.run = [&program, flags] { return run(program, *flags); }; });
}

}  // namespace pagoda::cli
