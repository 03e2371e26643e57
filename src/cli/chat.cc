// pagoda chat: a conversation, streamed, with a model of this machine or of a server.
#include <fmt/format.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <memory>
#include <optional>

#include "base/error.h"
#include "base/file.h"
#include "base/utf8.h"
#include "cli/cli.h"
#include "cli/flag_checks.h"
#include "cli/remote.h"
#include "cli/sampling_flags.h"
#include "generate/chat/chat_template.h"
#include "pipelines/chat_templates.h"
#include "pipelines/text_generation.h"

namespace pagoda::cli {

namespace {

constexpr const char* kHelp =
    "/reset    forget the conversation (the system text stays)\n"
    "/history  show the conversation\n"
    "/help     show this\n"
    "/exit     leave (or Ctrl-D)\n"
    "A line that ends with \\ goes on in the next. Ctrl-C stops an answer; at the prompt a second Ctrl-C leaves.\n";

struct Flags {
  MachineFlags machine;
  SamplingFlags sampling;
  std::string model, system, tools, chat_template, kv_cache_dtype = "auto";
  RemoteFlags remote;
  bool truncate_history = false;
  Verb verb;
  Flag system_option, max_new_tokens;
};

// Lines of stdin, read so that Ctrl-C is seen while waiting (the C++ streams hide interrupted reads).
class LineReader {
 public:
  enum class Got { kLine, kEnd, kInterrupted };
  Got read(std::string& line) {
    for (;;) {
      if (const size_t end = buffer_.find('\n'); end != std::string::npos) {
        line = buffer_.substr(0, end);
        buffer_.erase(0, end + 1);
        return Got::kLine;
      }
      if (ended_) {
        line = std::exchange(buffer_, "");
        return line.empty() ? Got::kEnd : Got::kLine;
      }
      if (interrupted()) return Got::kInterrupted;
      const Limits limits;
      if (static_cast<int64_t>(buffer_.size()) > limits.max_string_bytes) {
        invalid("stdin", "line too long: need at most {} bytes", limits.max_string_bytes);
      }
      char piece[4096];
      // Looks at the flag now and then as well: a signal between the check and the read would be missed.
      pollfd wait{STDIN_FILENO, POLLIN, 0};
      const int ready = ::poll(&wait, 1, 200);
      if (ready == 0 || (ready < 0 && errno == EINTR)) continue;
      const ssize_t got = ::read(STDIN_FILENO, piece, sizeof piece);
      if (got < 0 && errno == EINTR) continue;
      if (got < 0) fail_errno("stdin", "cannot read", errno);
      if (got == 0) ended_ = true;
      buffer_.append(piece, static_cast<size_t>(std::max<ssize_t>(got, 0)));
    }
  }

 private:
  std::string buffer_;
  bool ended_ = false;
};

Json message(const char* role, std::string content) {
  Json object = Json::object();
  object.set("role", role).set("content", std::move(content));
  return object;
}

class Chat {
 public:
  Chat(const Program& program, const Flags& flags)
      : program_(program), flags_(flags), interactive_(::isatty(STDIN_FILENO) != 0) {}

  int run() {
    flags_.sampling.check();
    if (flags_.remote.url.empty()) {
      refuse_given(flags_.verb, {"--api-key", "--header", "--insecure"}, "for a server alone: need --url");
      if (flags_.model.empty()) invalid("flags", "MODEL is required, or --url (see pagoda chat --help)");
    }
    if (!flags_.tools.empty()) {
      apply_.tools = read_json(flags_.tools);
      apply_.tools.as_array(flags_.tools);
    }
    if (flags_.remote.url.empty()) {
      open_model();
    } else {
      connect();
    }
    reset();
    if (interactive_) note(program_, "Ctrl-C stops an answer, /help lists commands, Ctrl-D leaves.");
    return converse();
  }

 private:
  void connect() {
    if (flags_.truncate_history || !flags_.chat_template.empty()) {
      invalid("chat", "--truncate-history and --chat-template: not with --url, where the server has the template");
    }
    refuse_given(flags_.verb,
                 {"--threads", "--cores", "--numa-node", "--isa", "--dtype", "--compiled", "--kv-cache-dtype", "--revision"},
                 "for a model of this machine: not with --url");
    refuse_given(flags_.verb, {"--num-return-sequences"}, "one answer a turn: not with chat");
    fields_ = sampling_fields(flags_.verb);
    remote_.emplace(flags_.remote, flags_.model);
  }

  void open_model() {
    const LoadOptions load_options = flags_.machine.load_options();
    // The template first: a folder without one is told before its weights are read.
    const std::string folder = find_model(program_, flags_.model);
    templates_ = load_chat_templates(folder);
    special_tokens_ = templates_.special_tokens();
    if (!flags_.chat_template.empty()) templates_ = chat::TemplateSet::from_text(read_text(flags_.chat_template));
    if (templates_.empty()) {
      refuse_encoder(*open_model_folder(folder, load_options));  // it would not want a template
      not_found(flags_.model,
                "no chat template: need chat_template.jinja or chat_template in tokenizer_config.json (or give --chat-template "
                "FILE; for text that goes on without one use pagoda generate)");
    }
    EngineOptions engine_options;
    engine_options.kv_cache_dtype = parse_kv_cache_dtype(flags_.kv_cache_dtype);
    generation_ = TextGeneration::open(folder, load_options, engine_options);
    generation_->require_tokenizer();
    params_ = flags_.sampling.apply(generation_->defaults());
    const Json* model_length = generation_->loaded().folder().generation_config().find("max_new_tokens");
    const bool length_given = flags_.max_new_tokens->count() > 0 || (model_length != nullptr && !model_length->is_null());
    if (!length_given) params_.max_new_tokens = generation_->engine().max_model_len();
    if (params_.num_return_sequences != 1)
      invalid("chat", "num_return_sequences: got {}, need 1", params_.num_return_sequences);
    apply_.add_generation_prompt = true;
  }

  void reset() {
    history_.clear();
    if (flags_.system_option->count() > 0) history_.push_back(message("system", flags_.system));
  }

  void prompt() const {
    if (interactive_ && !program_.quiet) fmt::print(stderr, "> ");
  }

  int converse() {
    LineReader reader;
    std::string text;
    bool asked = false;  // Ctrl-C was pressed at this prompt already
    prompt();
    for (std::string line;;) {
      const LineReader::Got got = reader.read(line);
      if (got == LineReader::Got::kEnd) {
        if (interactive_ && !program_.quiet) fmt::print(stderr, "\n");
        return 0;
      }
      if (got == LineReader::Got::kInterrupted) {
        if (!interactive_ || asked || interrupt_signal() != SIGINT) return kInterruptedExit;
        asked = true;
        text.clear();
        clear_interrupt();
        note(program_, "\n(Ctrl-C again, /exit or Ctrl-D to leave)");
        prompt();
        continue;
      }
      asked = false;
      if (!line.empty() && line.back() == '\r') line.pop_back();
      if (interactive_ && !line.empty() && line.back() == '\\') {
        text += line.substr(0, line.size() - 1) + "\n";
        continue;
      }
      text += line;
      const std::string said = std::exchange(text, "");
      if (said == "/exit") return 0;
      if (!command(said) && !said.empty()) {
        if (const int code = turn(said); code != 0) return code;
      }
      prompt();
    }
  }

  // True where the line was a command. Only whole lines are: "/etc/hosts is what?" is a message.
  bool command(const std::string& line) {
    if (line == "/reset") {
      reset();
    } else if (line == "/help") {
      fmt::print(stderr, "{}", kHelp);
    } else if (line == "/history") {
      for (const Json& each : history_) {
        fmt::print(stderr, "{}: {}\n", each.get_string("role", "", "history"), each.get_string("content", "", "history"));
      }
    } else if (interactive_ && line.size() > 1 && line[0] == '/' && line.find_first_of(" /", 1) == std::string::npos) {
      fmt::print(stderr, "no such command: {} (/help lists them)\n", line);
    } else {
      return false;
    }
    return true;
  }

  // One message and its answer. An error of an interactive turn is told and the message taken back; else it ends the program.
  int turn(const std::string& said) {
    const Json::Array before = history_;
    try {
      if (utf8_invalid_at(said) != std::string::npos) {
        invalid("stdin", "not UTF-8: byte {} cannot be read", utf8_invalid_at(said));
      }
      history_.push_back(message("user", said));
      return answer(said);
    } catch (const Error& error) {
      if (!interactive_) throw;
      history_ = before;
      fmt::print(stderr, "error: {}\n", error.message());
      return 0;
    }
  }

  std::vector<int32_t> history_ids() {
    for (;;) {
      const std::string& source = templates_.pick("", apply_.tools.is_array());
      const std::string text = chat::apply(cache_.get(source), Json(history_), special_tokens_, apply_).text;
      // Templates write the start token themselves.
      std::vector<int32_t> ids = generation_->require_tokenizer().encode_ids(text, false);
      const int64_t most = generation_->engine().max_model_len() - 1;
      if (static_cast<int64_t>(ids.size()) <= most) return ids;
      if (!flags_.truncate_history) {
        invalid("chat", "the conversation is too long: got {} tokens, need at most {} (/reset, or --truncate-history)",
                ids.size(), most);
      }
      if (!drop_oldest()) invalid("chat", "the message is too long: got {} tokens, need at most {}", ids.size(), most);
    }
  }

  // The oldest message of the user and its answer; false where only the last message is left.
  bool drop_oldest() {
    const auto is_user = [](const Json& each) { return each.get_string("role", "", "history") == "user"; };
    const auto first = std::find_if(history_.begin(), history_.end(), is_user);
    const auto second = first == history_.end() ? first : std::find_if(first + 1, history_.end(), is_user);
    if (second == history_.end()) return false;
    history_.erase(first, second);
    note(program_, "(the oldest turn was dropped)");
    return true;
  }

  int answer(const std::string& said) { return remote_ ? answer_by_server(said) : answer_here(said); }

  int answer_by_server(const std::string& said) {
    Json body = fields_;
    body.set("messages", Json(history_));
    if (apply_.tools.is_array()) body.set("tools", apply_.tools);
    RemoteAnswer answer = remote_->ask("/v1/chat/completions", std::move(body), [this](const std::string& text) {
      if (!program_.json) write_out(text);
    });
    RemoteChoice& turn = answer.choices[0];
    if (answer.interrupted) {
      if (!interactive_ || interrupt_signal() != SIGINT) return kInterruptedExit;
      clear_interrupt();
      turn.finish_reason = "interrupted";
    }
    history_.push_back(message("assistant", turn.text));
    if (!program_.json) {
      write_out("\n");
      return 0;
    }
    Json object = Json::object();
    object.set("user", said).set("assistant", turn.text).set("finish_reason", turn.finish_reason);
    object.set("prompt_tokens", answer.prompt_tokens).set("completion_tokens", answer.completion_tokens);
    write_json(object);
    return 0;
  }

  int answer_here(const std::string& said) {
    Request request;
    request.params = params_;
    request.prompt_ids = history_ids();
    const auto prompt_tokens = static_cast<int64_t>(request.prompt_ids.size());
    Engine& engine = generation_->engine();
    const uint64_t id = engine.add(std::move(request));
    std::string text, finish;
    std::vector<int32_t> token_ids;
    while (engine.has_work()) {
      if (interrupted()) {
        engine.abort(id);
        if (!interactive_ || interrupt_signal() != SIGINT) return kInterruptedExit;
        clear_interrupt();
        finish = "interrupted";
        break;
      }
      for (const Event& event : engine.step()) {
        if (event.error) throw Error(*event.error);
        text += event.text;
        token_ids.insert(token_ids.end(), event.token_ids.begin(), event.token_ids.end());
        if (event.finish != FinishReason::kNone) finish = finish_reason_name(event.finish);
        if (!program_.json) write_out(event.text);
      }
    }
    history_.push_back(message("assistant", text));
    if (!program_.json) {
      write_out("\n");
      return 0;
    }
    Json ids = Json::array(), object = Json::object();
    for (const int32_t token : token_ids) ids.push_back(int64_t{token});
    object.set("user", said).set("assistant", text).set("token_ids", std::move(ids)).set("finish_reason", finish);
    object.set("prompt_tokens", prompt_tokens).set("completion_tokens", static_cast<int64_t>(token_ids.size()));
    write_json(object);
    return 0;
  }

  const Program& program_;
  const Flags& flags_;
  const bool interactive_;
  chat::TemplateSet templates_;
  chat::TemplateCache cache_;
  chat::ApplyOptions apply_;
  Json special_tokens_;
  std::unique_ptr<TextGeneration> generation_;
  SamplingParams params_;
  std::optional<Remote> remote_;  // instead of generation_
  Json fields_;                   // of every request to it
  Json::Array history_;
};

}  // namespace

void add_chat(Program& program) {
  const auto flags = std::make_shared<Flags>();
  const Verb verb = add_verb(
      program, "chat", "Talk with a model (/help lists the commands); from a pipe each line is a message",
      {"pagoda chat MODEL --system 'Answer in one sentence.'",
       "printf 'Hello\\nAnd in French?\\n' | pagoda chat MODEL --temperature 0 --json",
       "pagoda chat MODEL --chat-template chat_template.jinja --tools tools.json", "pagoda chat --url http://127.0.0.1:8000"});
  add_model(verb, flags->model, std::string(kModelHelp) + "; with --url a name of the server's (default: its first)");
  add_remote_flags(verb, flags->remote);
  flags->system_option = verb->add_option("--system", flags->system, "System text at the start of the conversation");
  verb->add_option("--tools", flags->tools, "JSON list of the tools that the template shows the model")->type_name("FILE");
  verb->add_option("--chat-template", flags->chat_template, "Template instead of the model's own")->type_name("FILE");
  verb->add_flag("--truncate-history", flags->truncate_history,
                 "Drop the oldest turns where the conversation is longer than the context (default: an error)");
  add_sampling_flags(verb, flags->sampling);
  flags->max_new_tokens = verb->get_option("--max-new-tokens");
  flags->max_new_tokens->description("Most tokens of an answer (default: the model's, else what the context has room for)");
  add_kv_cache_dtype(verb, flags->kv_cache_dtype);
  add_machine_flags(verb, flags->machine);
  flags->verb = verb;
  verb->callback([&program, flags] { program.run = [&program, flags] { return Chat(program, *flags).run(); }; });
}

}  // namespace pagoda::cli
