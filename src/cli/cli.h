// What the verbs share: flags of the machine, output, interruption. Each verb is a file that adds itself to the program.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/json.h"
#include "base/limits.h"
#include "cli/flags.h"
#include "tensor/dtype.h"

namespace pagoda {
struct LoadOptions;
}

namespace pagoda::cli {

// Handed to every verb. `run` is set by the verb that was called; it returns the exit code.
struct Program {
  Verb app;
  bool json = false;   // --json: one object on stdout
  bool quiet = false;  // --quiet: nothing on stderr but errors
  std::function<int()> run;
  // What find_model() gave, for hints about an error that ends the run; shared by copies.
  std::shared_ptr<std::vector<std::string>> found_models = std::make_shared<std::vector<std::string>>();
};

// Adds a verb with --json, --quiet, and examples at the end of its --help ("$ pagoda ..." a line each).
Verb add_verb(Program& program, const std::string& name, const std::string& description,
              const std::vector<std::string>& examples);
// The same below another verb: `pagoda bench latency`.
Verb add_verb(Program& program, Verb parent, const std::string& name, const std::string& description,
              const std::vector<std::string>& examples);

// What MODEL may be, for help texts.
inline constexpr const char* kModelHelp = "Model folder, .gguf file, ORG/NAME or ORG/NAME@REVISION of the hub";
// Adds MODEL, and --revision, which becomes MODEL's "@REVISION".
Flag add_model(Verb verb, std::string& model, const std::string& help = kModelHelp, const std::string& names = "MODEL");
void add_revision(Verb verb, std::string& model);  // the latter alone

// A MODEL argument as a path: a file or folder as it is, ORG/NAME out of the cache or pulled into it with a progress line.
// A path that leads nowhere is kNotFound. Ctrl-C during the pull throws Interrupted.
std::string find_model(const Program& program, const std::string& model);
struct Interrupted {};  // ends the program with kInterruptedExit; what was pulled stays and is resumed

// --threads, --cores, --numa-node, --isa, --dtype, --compiled.
struct MachineFlags {
  int threads = 0, numa_node = -1;
  std::string cores = "auto", isa = "auto", dtype = "auto", compiled;
  Flag quiet;
  LoadOptions load_options() const;  // throws kInvalidInput
};
void add_placement_flags(Verb verb, MachineFlags& flags);  // --threads, --cores, --numa-node
// --threads alone. `text`: of its help, before what it says of too many.
void add_threads(Verb verb, int& threads, const std::string& text = "Threads (default: one a physical core)");
// Those that --threads (0: not given) stands for: no more than can run at once here. warn_of_threads() says so on stderr.
int usable_threads(int asked);
void warn_of_threads(const Program& program, Verb verb);
// --kv-cache-dtype of verbs that keep keys and values: auto (none), float32, bfloat16 or int8.
void add_kv_cache_dtype(Verb verb, std::string& to);
std::optional<DType> parse_kv_cache_dtype(const std::string& text);

// inference: with --compiled, which training does not look at, and threads placed as serving wants them unless --cores says
// otherwise.
void add_machine_flags(Verb verb, MachineFlags& flags, bool inference = true);

// Writes all of `text` to stdout; a closed pipe ends the program quietly with exit code 0, a full disk throws kDevice.
void write_out(std::string_view text);
void write_json(const Json& value);  // one line
// A line on stderr, unless --quiet.
void note(const Program& program, std::string_view text);

// Set by the first Ctrl-C (and SIGTERM): verbs look at it between steps and end cleanly with exit code 130.
// A second Ctrl-C ends the process at once, and files that are half written go with it.
const std::atomic<bool>& interrupted();
void clear_interrupt();
int interrupt_signal();  // the signal that set it; 0: none
void install_signal_handlers();
// While one lives the first Ctrl-C ends the process at once: for reading what may never come (a terminal, a pipe),
// and work that leaves nothing behind.
class EndAtOnce {
 public:
  EndAtOnce();
  ~EndAtOnce();
  EndAtOnce(const EndAtOnce&) = delete;
  EndAtOnce& operator=(const EndAtOnce&) = delete;
};
constexpr int kInterruptedExit = 130;

// Lines of a file, or of stdin for "-". Called with the line's number from 1; a trailing newline is taken off.
void for_each_line(const std::string& path, const std::function<void(int64_t number, const std::string& line)>& fn);

// All of a file that a flag names: a pipe too, and stdin for "-".
std::string read_text(const std::string& path, int64_t max_bytes = Limits().max_json_bytes);
Json read_json(const std::string& path);

// --served-model-name, or MODEL as vLLM names it: without the revision.
std::vector<std::string> served_model_names(const std::string& model, const std::vector<std::string>& given);

// One line of --ids: a list of ids, or an object with input_ids and, for gradients, labels.
struct IdsLine {
  std::vector<int32_t> input_ids;
  std::vector<int64_t> labels;          // empty: none
  std::vector<int32_t> token_type_ids;  // of encoders; empty: zeros
};
std::vector<IdsLine> read_ids_file(const std::string& path, int64_t vocab_size, bool need_labels);
std::vector<int32_t> parse_ids(const Json& list, int64_t vocab_size, const std::string& where);

void add_all(Program& program);  // every verb, in the order of --help
void add_generate(Program& program);
void add_chat(Program& program);
void add_run(Program& program);
void add_complete(Program& program);
void add_serve(Program& program);
void add_run_batch(Program& program);
void add_tokenize(Program& program);
void add_detokenize(Program& program);
void add_data(Program& program);
void add_tokenizer(Program& program);
void add_template(Program& program);
void add_perplexity(Program& program);
void add_quantize(Program& program);
void add_compile(Program& program);
void add_logits(Program& program);
void add_gradients(Program& program);
void add_train(Program& program);
void add_init(Program& program);
void add_pull(Program& program);
void add_info(Program& program);
void add_doctor(Program& program);
void add_bench(Program& program);
void add_completion(Program& program);
void add_man(Program& program);

// --max-model-len: a number, or as vLLM has it 4k (4,000), 4K (4,096), and auto or -1: what the cache holds, 0 here.
void add_max_model_len(Verb verb, int64_t& tokens);

// Tokens of a step at most, of --max-num-batched-tokens (0: not given): every sequence that may run has its token in a step.
int64_t batched_tokens(int64_t given, int64_t max_num_seqs);

}  // namespace pagoda::cli
