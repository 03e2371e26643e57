// Shared parts of the verbs.
#include "cli/cli.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <memory>

#include "base/error.h"
#include "base/file.h"
#include "base/progress.h"
#include "base/temporary.h"
#include "base/thread_count.h"
#include "base/utf8.h"
#include "hub/pull.h"
#include "pipelines/loaded_model.h"

namespace pagoda::cli {

namespace {

// A signal handler can reach nothing but globals: this one is written there and read by the verbs.
std::atomic<bool> g_interrupted{false};
std::atomic<int> g_signal{0};
std::atomic<bool> g_end_at_once{false};

// Calls nothing that a signal handler may not.
[[noreturn]] void end_now(int code) {
  remove_temporaries();
  ::_exit(code);
}

void on_signal(int number) {
  g_signal.store(number);
  if (g_interrupted.exchange(true) || g_end_at_once.load()) end_now(128 + number);
}

}  // namespace

const std::atomic<bool>& interrupted() { return g_interrupted; }
void clear_interrupt() {
  g_interrupted.store(false);
  g_signal.store(0);
}
int interrupt_signal() { return g_signal.load(); }

void install_signal_handlers() {
  struct sigaction action = {};
  action.sa_handler = on_signal;
  ::sigemptyset(&action.sa_mask);
  ::sigaction(SIGINT, &action, nullptr);
  ::sigaction(SIGTERM, &action, nullptr);
  std::signal(SIGPIPE, SIG_IGN);
}

// One that came just before counts too.
EndAtOnce::EndAtOnce() {
  g_end_at_once.store(true);
  if (g_interrupted.load()) end_now(128 + g_signal.load());
}
EndAtOnce::~EndAtOnce() { g_end_at_once.store(false); }

Verb add_verb(Program& program, const std::string& name, const std::string& description,
              const std::vector<std::string>& examples) {
  return add_verb(program, program.app, name, description, examples);
}

Verb add_verb(Program& program, Verb parent, const std::string& name, const std::string& description,
              const std::vector<std::string>& examples) {
  const Verb verb = parent->add_subcommand(name, description);
  verb->add_flag("--json", program.json, "Print one JSON object on stdout");
  verb->add_flag("--quiet", program.quiet, "Nothing on stderr but errors");
  std::string footer = "Examples:\n";
  for (const std::string& example : examples) footer += "  $ " + example + "\n";
  verb->footer(footer);
  return verb;
}

Flag add_model(Verb verb, std::string& model, const std::string& help, const std::string& names) {
  add_revision(verb, model);
  return verb->add_option(names, model, help);
}

void add_revision(Verb verb, std::string& model) {
  const auto revision = std::make_shared<std::string>();
  verb->add_option("--revision", *revision, "Branch, tag or commit of ORG/NAME (default: main)");
  verb->parse_complete_callback([&model, revision] {
    if (revision->empty()) return;
    if (file_exists(model) || directory_exists(model)) invalid("--revision", "got a local MODEL, need ORG/NAME: {}", model);
    if (model.find('@') != std::string::npos) invalid("--revision", "MODEL names one already: got {}", model);
    model += "@" + *revision;
  });
}

std::string find_model(const Program& program, const std::string& model) {
  // The hub's rules of names would be a puzzling answer to a path that was mistyped.
  const bool is_path =
      !model.empty() && (model[0] == '/' || model[0] == '.' || std::count(model.begin(), model.end(), '/') > 1);
  if (is_path && !file_exists(model) && !directory_exists(model)) not_found(model, "no such file or folder");
  TerminalProgress line(stderr);
  hub::PullOptions options;
  options.cancel = &interrupted();
  options.warn = [&](const std::string& text) { note(program, "warning: " + text); };
  if (!program.quiet && line.active()) {
    options.progress = [&](const hub::PullProgress& now) { line.update(now.file, now.bytes, now.total); };
  }
  try {
    program.found_models->push_back(hub::resolve_model(model, options));
    return program.found_models->back();
  } catch (const Error&) {
    if (interrupted()) throw Interrupted();
    throw;
  }
}

void add_threads(Verb verb, int& threads, const std::string& text) {
  verb->add_option("--threads", threads, text + "; no more are begun than this process has logical cores and quota for")
      ->check(in_range(1, 4096));
}

int usable_threads(int asked) { return asked > 1 ? std::min(asked, most_threads(detect_cpu())) : asked; }

void warn_of_threads(const Program& program, Verb verb) {
  const Flag flag = verb->get_option_no_throw("--threads");
  if (!flag || flag->count() == 0) return;
  const int asked = std::atoi(flag->results().back().c_str()), used = usable_threads(asked);
  if (used == asked) return;
  note(program, fmt::format("warning: [--threads] got {}, and {} can run at once here (cores of this process, quota of its "
                            "control group): {} used",
                            asked, used, used == 1 ? "1 is" : fmt::format("{} are", used)));
}

void add_placement_flags(Verb verb, MachineFlags& flags) {
  add_threads(verb, flags.threads,
              "Threads (default: one a physical core of a NUMA node, as many as a control group's quota pays for)");
  verb->add_option("--cores", flags.cores,
                   "Cores to pin threads to, such as 0,2,4-6; none: pin nothing; auto: one thread a physical core, where "
                   "there are others to keep off")
      ->type_name("auto|none|LIST")
      ->capture_default_str();
  verb->add_option("--numa-node", flags.numa_node,
                   "NUMA node whose cores and memory are used (default: the one with most cores)")
      ->check(in_range(0, 1023));
}

void add_kv_cache_dtype(Verb verb, std::string& to) {
  verb->add_option(
          "--kv-cache-dtype", to,
          "Keys and values in memory: auto (as products: bfloat16 or float32), float32, bfloat16, or int8 with a scale a "
          "token and head, about half of bfloat16")
      ->type_name("DTYPE")
      ->capture_default_str();
}

std::optional<DType> parse_kv_cache_dtype(const std::string& text) {
  if (text == "auto") return std::nullopt;
  if (text == "float32") return DType::kFloat32;
  if (text == "bfloat16") return DType::kBFloat16;
  if (text == "int8") return DType::kInt8;
  unsupported("--kv-cache-dtype", "got '{}', need auto, float32, bfloat16 or int8", text);
}

void add_machine_flags(Verb verb, MachineFlags& flags, bool inference) {
  flags.quiet = verb->get_option("--quiet");
  if (!inference) flags.cores = "none";  // training takes all cores there are
  add_placement_flags(verb, flags);
  if (inference) {
    verb->add_option("--compiled", flags.compiled,
                     "File of `pagoda compile` with the model's packed weights; none: pack them anew (default: the one beside "
                     "the model, where it fits)");
  }
  verb->add_option("--isa", flags.isa, "Instruction set")
      ->type_name("auto|reference|portable|avx2|avx512|avx512_bf16|amx")  // completion offers these
      ->capture_default_str();
  verb->add_option("--dtype", flags.dtype, "Arithmetic")->type_name("auto|float32|bfloat16")->capture_default_str();
}

LoadOptions MachineFlags::load_options() const {
  LoadOptions options;
  options.runtime.threads = usable_threads(threads);
  options.cancel = &interrupted();
  options.runtime.place = cores == "auto";
  options.runtime.numa_node = numa_node;
  if (cores != "auto" && cores != "none") options.runtime.cores = parse_core_list(cores);
  if (cores != "auto" && numa_node >= 0) invalid("--numa-node", "has no effect with --cores {}: need auto", cores);
  options.compiled = compiled;
  if (quiet && quiet->count() == 0) {
    options.notice = [](const std::string& text) { fmt::print(stderr, "{}\n", text); };
  }
  if (isa != "auto") options.runtime.isa = parse_isa(isa);
  options.dtype = dtype;
  choose_dtype(dtype, DType::kFloat32);  // a wrong name is told before anything is loaded
  return options;
}

void write_out(std::string_view text) {
  for (size_t done = 0; done < text.size();) {
    const ssize_t put = ::write(STDOUT_FILENO, text.data() + done, text.size() - done);
    if (put < 0 && errno == EINTR) continue;
    if (put < 0 && errno == EPIPE) end_now(0);  // the reader has seen enough
    if (put < 0) fail_errno("stdout", "cannot write", errno);
    done += static_cast<size_t>(put);
  }
}

void write_json(const Json& value) { write_out(value.dump() + "\n"); }

void note(const Program& program, std::string_view text) {
  if (!program.quiet) fmt::print(stderr, "{}\n", text);
}

namespace {

// fn(stream) over a file, which may be a pipe, or over stdin for "-".
template <class Fn>
void with_input(const std::string& path, Fn&& fn) {
  const EndAtOnce reading;
  std::ifstream file;
  if (path != "-") {
    if (directory_exists(path)) invalid(path, "cannot read: got a directory, need a file");
    file.open(path, std::ios::binary);
    if (!file) fail_errno(path, "cannot open", errno);
  }
  std::istream& in = path == "-" ? std::cin : file;
  fn(in);
  if (in.bad()) fail(ErrorKind::kDevice, path == "-" ? "stdin" : path, "cannot read");
}

}  // namespace

void for_each_line(const std::string& path, const std::function<void(int64_t, const std::string&)>& fn) {
  with_input(path, [&](std::istream& in) {
    int64_t number = 0;
    for (std::string line; std::getline(in, line);) fn(++number, line);
  });
}

std::string read_text(const std::string& path, int64_t max_bytes) {
  std::string text;
  with_input(path, [&](std::istream& in) {
    std::string piece(1 << 20, '\0');
    while (in.read(piece.data(), static_cast<std::streamsize>(piece.size())), in.gcount() > 0) {
      text.append(piece, 0, static_cast<size_t>(in.gcount()));
      if (static_cast<int64_t>(text.size()) > max_bytes) {
        invalid(path, "too large: got over {} bytes, need at most {}", max_bytes, max_bytes);
      }
    }
  });
  return text;
}

Json read_json(const std::string& path) {
  const Limits limits;
  return Json::parse(read_text(path, limits.max_json_bytes), path, limits);
}

std::vector<std::string> served_model_names(const std::string& model, const std::vector<std::string>& given) {
  if (!given.empty()) return given;
  const bool local = file_exists(model) || directory_exists(model);
  return {local ? model : model.substr(0, model.find('@'))};
}

std::vector<int32_t> parse_ids(const Json& list, int64_t vocab_size, const std::string& where) {
  std::vector<int32_t> ids;
  for (const Json& item : list.as_array(where)) {
    const int64_t id = item.as_int(where);
    if (id < 0 || id >= vocab_size) invalid(where, "token id outside the vocabulary: got {}, need 0 to {}", id, vocab_size - 1);
    ids.push_back(static_cast<int32_t>(id));
  }
  return ids;
}

std::vector<IdsLine> read_ids_file(const std::string& path, int64_t vocab_size, bool need_labels) {
  std::vector<IdsLine> lines;
  for_each_line(path, [&](int64_t number, const std::string& text) {
    if (text.find_first_not_of(" \t\r") == std::string::npos) return;
    const std::string where = fmt::format("{}:{}", path, number);
    const Json json = Json::parse(text, where);
    IdsLine line;
    line.input_ids = parse_ids(json.is_array() ? json : json.at("input_ids", where), vocab_size, where);
    if (line.input_ids.empty()) invalid(where, "empty line: need at least one token id");
    if (json.is_object()) {
      for (const JsonMember& member : json.as_object(where)) {
        if (member.key != "input_ids" && member.key != "labels" && member.key != "attention_mask" &&
            member.key != "token_type_ids") {
          invalid(where, "unknown argument: got '{}', need input_ids, token_type_ids{}", member.key,
                  need_labels ? " or labels" : "");
        }
      }
      if (const Json* mask = json.find("attention_mask")) {
        for (const Json& value : mask->as_array(where)) {
          if (value.as_int(where) != 1)
            unsupported(where, "attention_mask: got {}, need 1 everywhere: give a line without padding", value.as_int(where));
        }
      }
      if (const Json* types = json.find("token_type_ids")) {
        line.token_type_ids = parse_ids(*types, int64_t{1} << 31, where + ": token_type_ids");
        if (line.token_type_ids.size() != line.input_ids.size()) {
          invalid(where, "token_type_ids: got {}, need {}, one a token", line.token_type_ids.size(), line.input_ids.size());
        }
      }
      if (const Json* labels = json.find("labels")) {
        for (const Json& label : labels->as_array(where)) line.labels.push_back(label.as_int(where));
      }
    }
    if (need_labels && line.labels.size() != line.input_ids.size()) {
      invalid(where, "labels: got {}, need {}, one a token", line.labels.size(), line.input_ids.size());
    }
    lines.push_back(std::move(line));
  });
  if (lines.empty()) invalid(path, "no lines: need at least one list of token ids");
  return lines;
}

void add_max_model_len(Verb verb, int64_t& tokens) {
  const auto read = [](const std::string& text) -> int64_t {
    if (text == "auto" || text == "-1") return 0;
    char* end = nullptr;
    const double number = std::strtod(text.c_str(), &end);
    const std::string_view unit = end;
    const double scale = unit.empty()  ? 1
                         : unit == "k" ? 1e3
                         : unit == "K" ? 1024
                         : unit == "m" ? 1e6
                         : unit == "M" ? 1048576
                                       : 0;
    const double length = number * scale;
    if (end == text.c_str() || !(length >= 1 && length <= 1e15) || length != std::floor(length)) return -1;
    return static_cast<int64_t>(length);
  };
  const Check check([read](std::string& text) {
    return read(text) >= 0 ? std::string() : fmt::format("got {}, need a number of tokens (4096, 4k, 4K) or auto", text);
  });
  verb->add_option_function<std::string>(
          "--max-model-len", [&tokens, read](const std::string& text) { tokens = read(text); },
          "Longest prompt and answer together: 4096, 4k (4000), 4K (4096); auto, as without it: what model and cache allow")
      ->type_name("TOKENS|auto")
      ->check(check);
}

int64_t batched_tokens(int64_t given, int64_t max_num_seqs) {
  return given > 0 ? given : std::max<int64_t>(2048, max_num_seqs);
}

}  // namespace pagoda::cli
