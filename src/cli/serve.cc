// pagoda serve: the OpenAI-compatible server.
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <memory>
#include <mutex>
#include <thread>

#include "base/clock.h"
#include "base/env.h"
#include "base/error.h"
#include "base/file.h"
#include "cli/byte_size.h"
#include "cli/cli.h"
#include "cli/flag_checks.h"
#include "pipelines/sequence_model.h"
#include "server/app.h"
#include "server/embeddings.h"
#include "server/http_server.h"
#include "server/served_encoder.h"
#include "server/served_generator.h"

namespace pagoda::cli {

namespace {

constexpr int kMostSeconds = 10'000'000;  // of a time-out

struct Flags {
  Verb verb;
  MachineFlags machine;
  std::string model, kv_cache_memory, chat_template, pooler_config, generation_config = "auto", policy = "fcfs";
  std::string kv_cache_dtype = "auto", allowed_origins, allowed_methods, allowed_headers;
  double memory_utilization = 0.6;
  int64_t max_model_len = 0, max_num_seqs = 256, max_num_batched_tokens = 0, shutdown_timeout = 30;
  double header_timeout = 10, body_timeout = 60, keep_alive_timeout = 75, write_timeout = 60;
  bool prefix_caching = true, no_access_log = false;
  int64_t block_size = kPageTokens;
  std::optional<uint64_t> seed;
  std::string override_generation_config, default_chat_template_kwargs, tokenizer;
  std::vector<std::string> api_keys, names;
  server::HttpOptions http;
  server::AppOptions app;
  server::GenerationOptions generation;
};

std::chrono::milliseconds milliseconds(double seconds) {
  return std::chrono::milliseconds(static_cast<int64_t>(seconds * 1000));
}

std::vector<std::string> string_list(const std::string& text, const std::string& where) {
  std::vector<std::string> list;
  const Json json = Json::parse(text, where);
  for (const Json& each : json.as_array(where)) list.push_back(each.as_string(where));
  return list;
}

Json json_object(const std::string& text, const std::string& where) {
  if (text.empty()) return {};
  Json json = Json::parse(text, where);
  json.as_object(where);
  return json;
}

void complete(Flags& flags) {
  flags.http.header_timeout = milliseconds(flags.header_timeout);
  flags.http.body_timeout = milliseconds(flags.body_timeout);
  flags.http.keep_alive_timeout = milliseconds(flags.keep_alive_timeout);
  flags.http.write_timeout = milliseconds(flags.write_timeout);
  flags.app.memory = flags.http.memory;
  flags.app.model = flags.model;
  flags.app.served_model_names = served_model_names(flags.model, flags.names);
  flags.app.api_keys = flags.api_keys;
  if (const std::optional<std::string> key = env("PAGODA_API_KEY"); key && !key->empty()) flags.app.api_keys.push_back(*key);
  if (!flags.http.uds.empty()) refuse_given(flags.verb, {"--host", "--port"}, "not together with --uds");
  const std::vector<std::string>& names = flags.app.served_model_names;
  for (auto name = names.begin(); name != names.end(); ++name) {
    if (name->empty()) invalid("--served-model-name", "empty name");
    if (std::find(names.begin(), name, *name) != name) invalid("--served-model-name", "given twice: '{}'", *name);
  }
  for (const std::string& key : flags.app.api_keys) {
    if (key.empty()) invalid("--api-key", "empty key");
  }
  const auto read_list = [](const std::string& text, const char* flag, std::vector<std::string>& into) {
    if (!text.empty()) into = string_list(text, flag);
  };
  read_list(flags.allowed_origins, "--allowed-origins", flags.app.allowed_origins);
  read_list(flags.allowed_methods, "--allowed-methods", flags.app.allowed_methods);
  read_list(flags.allowed_headers, "--allowed-headers", flags.app.allowed_headers);
  if (!flags.chat_template.empty()) flags.generation.chat_template = read_text(flags.chat_template, Limits().max_string_bytes);
  flags.app.pooling = server::parse_pooler_config(flags.pooler_config);
  flags.generation.plain_defaults = flags.generation_config == "vllm";
  flags.generation.override_generation_config = json_object(flags.override_generation_config, "--override-generation-config");
  flags.generation.default_chat_template_kwargs =
      json_object(flags.default_chat_template_kwargs, "--default-chat-template-kwargs");
}

EngineOptions engine_options(const Flags& flags) {
  EngineOptions options;
  options.max_model_len = flags.max_model_len;
  options.max_num_seqs = flags.max_num_seqs;
  options.max_num_batched_tokens = batched_tokens(flags.max_num_batched_tokens, flags.max_num_seqs);
  options.enable_prefix_caching = flags.prefix_caching;
  options.by_priority = flags.policy == "priority";
  options.seed = flags.seed;
  options.memory_utilization = flags.memory_utilization;
  options.kv_cache_dtype = parse_kv_cache_dtype(flags.kv_cache_dtype);
  if (flags.block_size != kPageTokens) invalid("--block-size", "got {}, need {}", flags.block_size, kPageTokens);
  if (!flags.kv_cache_memory.empty()) options.kv_cache_bytes = parse_bytes(flags.kv_cache_memory, "--kv-cache-memory");
  options.measure_rates = flags.max_num_batched_tokens == 0;
  return options;
}

std::string address(const Flags& flags, const server::HttpServer& http) {
  if (!flags.http.uds.empty()) return "unix:" + flags.http.uds;
  return fmt::format("{}://{}:{}", flags.http.ssl_certfile.empty() ? "http" : "https", flags.http.host, http.port());
}

// By its configuration alone.
bool is_encoder(const std::string& path) {
  const std::shared_ptr<ModelFolder> folder = open_model_folder(transformer_folder(path));
  return make_model(folder->config(), join_path(folder->path(), "config.json"))->head_kind() != Head::kCausalLm;
}

std::shared_ptr<const SequenceModel> open_encoder(const std::string& path, const LoadOptions& options, const Flags& flags) {
  refuse_given(flags.verb,
               {"--kv-cache-memory",
                "--kv-cache-dtype",
                "--memory-utilization",
                "--max-num-seqs",
                "--max-num-batched-tokens",
                "--enable-prefix-caching",
                "--block-size",
                "--scheduling-policy",
                "--seed",
                "--chat-template",
                "--tool-call-parser",
                "--enable-auto-tool-choice",
                "--reasoning-parser",
                "--generation-config",
                "--override-generation-config",
                "--default-chat-template-kwargs",
                "--max-n",
                "--max-logprobs",
                "--max-stop-sequences",
                "--max-prompts"},
               "for models that generate text: " + flags.model + " is an encoder");
  const std::shared_ptr<SequenceModel> model = SequenceModel::open(path, options, {});
  if (flags.max_model_len > 0) model->limit_length(flags.max_model_len);
  return model;
}

// While a model loads nothing looks for signals: the first one ends the process, and the socket's file goes with it.
class LoadingWatch {
 public:
  LoadingWatch(const Program& program, server::HttpServer& http)
      : thread_([this, &program, &http] {
          std::unique_lock<std::mutex> lock(mutex_);
          while (!loaded_ && !interrupted()) changed_.wait_for(lock, std::chrono::milliseconds(20));
          if (loaded_) return;
          http.stop(std::chrono::seconds(0));
          note(program, "stopped while loading");
          ::_exit(0);
        }) {}
  ~LoadingWatch() {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      loaded_ = true;
    }
    changed_.notify_one();
    thread_.join();
  }
  LoadingWatch(const LoadingWatch&) = delete;
  LoadingWatch& operator=(const LoadingWatch&) = delete;

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool loaded_ = false;
  std::thread thread_;  // begins when all else is there
};

int run(const Program& program, Flags flags) {
  const double begun = steady_seconds();
  LoadOptions load_options = flags.machine.load_options();
  if (!flags.tokenizer.empty()) load_options.tokenizer = find_model(program, flags.tokenizer);
  complete(flags);
  const EngineOptions options = engine_options(flags);
  // Clients find the port open, and are told to wait, while the model loads.
  std::unique_ptr<TextGeneration> generation;  // null for an encoder; outlives the App, which outlives the server
  server::App app(flags.app);
  server::check(flags.generation);
  server::AccessLog log;
  std::mutex log_mutex;
  if (!flags.no_access_log && !program.quiet) {
    log = [&log_mutex](const server::HttpRequest& request, int status, int64_t bytes, double ms) {
      const std::lock_guard<std::mutex> lock(log_mutex);
      fmt::print(stderr, "{} {} {} {} {} B {:.1f} ms {}\n", request.remote, request.method, request.path, status, bytes, ms,
                 request.id);
    };
  }
  server::HttpServer http(
      flags.http,
      [&app](server::HttpRequest request, std::shared_ptr<server::HttpResponse> response) {
        app.handle(std::move(request), std::move(response));
      },
      log);
  const std::string path = find_model(program, flags.model);
  int64_t cache_bytes = 0;
  std::string what;
  auto watch = std::make_unique<LoadingWatch>(program, http);
  if (is_encoder(path)) {
    const std::shared_ptr<const SequenceModel> model = open_encoder(path, load_options, flags);
    app.serve(std::make_unique<server::ServedEncoder>(app.serving(), model));
    what = fmt::format("{}, texts of at most {} tokens", model->model().architecture(), sentence_length(*model));
  } else {
    generation = TextGeneration::open(path, load_options, options);
    app.serve(std::make_unique<server::ServedGenerator>(app.serving(), flags.generation, *generation));
    const Engine& engine = generation->engine();
    cache_bytes = engine.cache().num_pages() * engine.cache().page_bytes();
    what = fmt::format("cache {:.2f} GiB ({} tokens), context {}, at most {} sequences",
                       static_cast<double>(cache_bytes) / (int64_t{1} << 30), engine.cache().num_pages() * kPageTokens,
                       engine.max_model_len(), options.max_num_seqs);
  }
  watch.reset();
  const double seconds = steady_seconds() - begun;
  note(program, fmt::format("serving {} at {} after {:.2f} s: {}", flags.app.served_model_names[0], address(flags, http),
                            seconds, what));
  if (program.json) {
    Json ready = Json::object();
    ready.set("url", address(flags, http)).set("port", http.port()).set("seconds", seconds).set("kv_cache_bytes", cache_bytes);
    write_json(ready);
  }
  while (!interrupted()) std::this_thread::sleep_for(std::chrono::milliseconds(50));
  app.close();
  note(program, fmt::format("shutting down: {} requests are finished first, for at most {} s (once more to end at once)",
                            app.num_open(), flags.shutdown_timeout));
  const double end = steady_seconds() + static_cast<double>(flags.shutdown_timeout);
  // Clients come again to ask for these.
  while (app.num_background() > 0 && steady_seconds() < end) std::this_thread::sleep_for(std::chrono::milliseconds(50));
  const int64_t cut = http.stop(milliseconds(std::max(0.0, end - steady_seconds())));
  if (cut > 0) note(program, fmt::format("{} answers were cut off", cut));
  return 0;
}

// Where it is found, and by whom.
void add_address_flags(Verb verb, Flags& flags) {
  verb->add_option("--host", flags.http.host, "Address to listen at")->capture_default_str();
  verb->add_option("--port", flags.http.port, "Port; 0: one that is free")->capture_default_str()->check(in_range(0, 65535));
  verb->add_option("--uds", flags.http.uds, "Unix socket instead of host and port");
  verb->add_option("--api-key", flags.api_keys, "Key that clients must send (also PAGODA_API_KEY); several may be given");
  verb->add_option("--served-model-name", flags.names, "Name of the model in requests and answers; the first answers");
}

// What the engine may take, and in which order it serves.
void add_engine_flags(Verb verb, Flags& flags) {
  add_max_model_len(verb, flags.max_model_len);
  verb->add_option("--kv-cache-memory", flags.kv_cache_memory, "Memory for the cache: 4194304, 512MiB, 2GB");
  add_kv_cache_dtype(verb, flags.kv_cache_dtype);
  verb->add_option("--memory-utilization,--gpu-memory-utilization", flags.memory_utilization,
                   "Without --kv-cache-memory: share of the memory that is free once the model is loaded")
      ->capture_default_str()
      ->check(in_range(0.01, 0.95));
  verb->add_option("--max-num-seqs", flags.max_num_seqs, "Sequences that run at once")
      ->capture_default_str()
      ->check(in_range(1, 65536));
  verb->add_option("--max-num-batched-tokens", flags.max_num_batched_tokens,
                   "Tokens of one step. Without it prompts are cut so that a step with decodes takes at most twice as long as "
                   "the decodes alone, by rates measured at start")
      ->check(positive());
  verb->add_flag("--enable-prefix-caching,!--no-enable-prefix-caching", flags.prefix_caching,
                 "Share pages between requests with equal beginnings (default), or not");
  verb->add_option("--block-size", flags.block_size, "Tokens of a page of the cache: 16, and no other number");
  verb->add_option("--scheduling-policy", flags.policy,
                   "Who runs first: fcfs: who came first; priority: the lowest `priority` of a request, then who came first. "
                   "Strictly, as in vLLM: while lower ones come, higher ones wait, and are preempted where the cache is full")
      ->check(one_of({"fcfs", "priority"}))
      ->capture_default_str();
  verb->add_option("--tokenizer", flags.tokenizer, "Folder or ORG/NAME of another tokenizer, with its chat template");
  verb->add_option("--seed", flags.seed,
                   "Of requests without a seed: the same ones in the same order draw the same (default: chance)")
      ->check(non_negative());
}

// How texts become prompts, and answers are read.
void add_chat_flags(Verb verb, Flags& flags) {
  verb->add_option("--chat-template", flags.chat_template, "File of a chat template that stands for the model's own");
  verb->add_flag("--trust-request-chat-template", flags.app.trust_request_chat_template,
                 "Requests may bring chat templates of their own, which are programs");
  verb->add_option(
      "--pooler-config", flags.pooler_config,
      "Embeddings, as JSON: {\"pooling_type\": \"LAST\" (MEAN, CLS), \"use_activation\": true, \"dimensions\": N}");
  verb->add_option("--tool-call-parser", flags.generation.tool_call_parser,
                   "How the model writes tool calls: hermes, llama3_json or mistral; without it as its chat template shows");
  verb->add_flag("--enable-auto-tool-choice", flags.generation.enable_auto_tool_choice,
                 "Fail at start where it is not known how the model writes tool calls");
  verb->add_option("--reasoning-parser", flags.generation.reasoning_parser,
                   "Split thoughts (<think>) from answers: deepseek_r1, or qwen3 (an answer need not think)");
  verb->add_option("--generation-config", flags.generation_config,
                   "auto: the model's defaults; vllm: temperature 1 and no cuts")
      ->check(one_of({"auto", "vllm"}))
      ->capture_default_str();
  verb->add_option("--override-generation-config", flags.override_generation_config,
                   "Defaults over the model's, as JSON: {\"temperature\": 0.6}");
  verb->add_option("--default-chat-template-kwargs", flags.default_chat_template_kwargs,
                   "Variables of the chat template where requests do not say, as JSON: {\"enable_thinking\": false}");
}

// Browsers, proxies, TLS, threads, the log.
void add_http_flags(Verb verb, Flags& flags) {
  verb->add_option("--allowed-origins", flags.allowed_origins, "Browsers' origins that may call, a JSON list; [\"*\"]: any");
  verb->add_option("--allowed-methods", flags.allowed_methods,
                   "Methods that they may use, a JSON list (default: [\"*\"], any)");
  verb->add_option("--allowed-headers", flags.allowed_headers,
                   "Headers that they may send, a JSON list (default: [\"*\"], any)");
  verb->add_option("--root-path", flags.app.root_path, "Prefix that a proxy leaves before every path");
  verb->add_option("--ssl-certfile", flags.http.ssl_certfile, "TLS certificate (PEM)")->check(existing_file());
  verb->add_option("--ssl-keyfile", flags.http.ssl_keyfile, "Its key (PEM)")->check(existing_file());
  verb->add_option("--ssl-ca-certs", flags.http.ssl_ca_certs, "Clients must show a certificate that these sign")
      ->check(existing_file());
  verb->add_option("--http-threads", flags.http.threads,
                   "Threads that talk to clients; of three or more, one is left to requests without bodies")
      ->capture_default_str()
      ->check(in_range(1, 64));
  verb->add_flag("--disable-access-log", flags.no_access_log, "No line a request on stderr (never holds prompts)");
}

// What one client or request may ask for.
void add_limit_flags(Verb verb, Flags& flags) {
  verb->add_option("--max-open-requests", flags.app.max_open, "Requests that run or wait; more get 503")
      ->capture_default_str()
      ->check(positive());
  verb->add_option("--max-connections", flags.http.max_connections, "Connections")->capture_default_str()->check(positive());
  verb->add_option("--max-header-bytes", flags.http.max_header_bytes, "Larger headers get 431")
      ->capture_default_str()
      ->check(in_range(1024, 1 << 20));
  verb->add_option("--max-body-bytes", flags.http.max_body_bytes, "Larger requests get 413")
      ->capture_default_str()
      ->check(positive());
  verb->add_option("--max-n", flags.app.limits.max_n, "Largest n, best_of and number of beams")
      ->capture_default_str()
      ->check(positive());
  verb->add_option("--max-logprobs", flags.app.limits.max_logprobs, "Largest logprobs and top_logprobs")
      ->capture_default_str()
      ->check(non_negative());
  verb->add_option("--max-stop-sequences", flags.app.limits.max_stop, "Most stop strings")
      ->capture_default_str()
      ->check(non_negative());
  verb->add_option("--max-prompts", flags.app.limits.max_prompts, "Most prompts of one completion request")
      ->capture_default_str()
      ->check(positive());
  verb->add_option("--max-inputs", flags.app.limits.max_inputs,
                   "Most inputs of one request for embeddings, scores, classes or a pipeline")
      ->capture_default_str()
      ->check(positive());
}

// How long a client may take.
void add_timeout_flags(Verb verb, Flags& flags) {
  const Check seconds = in_range(1e-3, static_cast<double>(kMostSeconds));
  verb->add_option("--header-timeout", flags.header_timeout, "Seconds for a client to send its headers")
      ->capture_default_str()
      ->check(seconds);
  verb->add_option("--body-timeout", flags.body_timeout, "Seconds to send its body")->capture_default_str()->check(seconds);
  verb->add_option("--keep-alive-timeout", flags.keep_alive_timeout, "Seconds between two requests of a connection")
      ->capture_default_str()
      ->check(seconds);
  verb->add_option("--write-timeout", flags.write_timeout, "Seconds that a client may not read before it is cut off")
      ->capture_default_str()
      ->check(seconds);
  verb->add_option("--shutdown-timeout", flags.shutdown_timeout, "Seconds for open answers to finish after Ctrl-C or SIGTERM")
      ->capture_default_str()
      ->check(in_range(0, kMostSeconds));
}

}  // namespace

void add_serve(Program& program) {
  const auto flags = std::make_shared<Flags>();
  const Verb verb = add_verb(
      program, "serve", "Serve a model over HTTP as OpenAI's API has it",
      {"pagoda serve MODEL --port 8000", "pagoda serve MODEL --api-key $KEY --kv-cache-memory 2GiB --max-num-seqs 64",
       "pagoda serve MODEL --uds /run/pagoda.sock --served-model-name small",
       "pagoda serve MODEL --tool-call-parser hermes --reasoning-parser qwen3",
       "pagoda serve BAAI/bge-small-en-v1.5 --port 8000  # an encoder: embeddings, rerank, score, classify, pipelines",
       "pagoda serve MODEL --ssl-certfile cert.pem --ssl-keyfile key.pem --allowed-origins '[\"https://app.example\"]'"});
  flags->verb = verb;
  add_model(verb, flags->model)->required();
  add_address_flags(verb, *flags);
  add_engine_flags(verb, *flags);
  add_chat_flags(verb, *flags);
  add_http_flags(verb, *flags);
  add_limit_flags(verb, *flags);
  add_timeout_flags(verb, *flags);
  add_machine_flags(verb, flags->machine);
  verb->callback([&program, flags] { program.run = [&program, flags] { return run(program, *flags); }; });
}

}  // namespace pagoda::cli
