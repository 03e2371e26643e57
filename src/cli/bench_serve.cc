// pagoda bench serve: load on a running server; latencies of streams as its clients see them.
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <memory>

#include "base/error.h"
#include "cli/bench_serve_load.h"
#include "cli/bench_serve_report.h"
#include "formats/tokenizer_loader.h"

namespace pagoda::cli {

namespace {

std::vector<BenchRequest> requests_for(const ServeBenchFlags& flags) {
  std::shared_ptr<const Tokenizer> tokenizer;
  if (!flags.tokenizer.empty()) tokenizer = load_tokenizer(flags.tokenizer);
  // Any model has this many tokens.
  constexpr int64_t kSmallVocabulary = 256;
  const int64_t vocab_size = flags.vocab_size > 0 ? flags.vocab_size : tokenizer ? tokenizer->vocab_size() : kSmallVocabulary;
  std::vector<BenchRequest> requests = make_requests(flags.dataset, {vocab_size, 0, tokenizer.get()});
  for (BenchRequest& request : requests) {
    if (!flags.chat() || !request.prompt.empty()) continue;
    if (!tokenizer) invalid("bench", "random ids have no text for a chat: give --tokenizer, or --backend openai");
    request.prompt = tokenizer->decode(request.prompt_ids, true);
  }
  return requests;
}

// Where no request at all was answered the verb has failed, as the first of them did.
void report_failures(const Program& program, const ServeLoad& load, bool whole) {
  const std::vector<ServeRecord>& records = load.records();
  const auto failed = [](const ServeRecord& record) { return record.error.has_value(); };
  const auto first = std::find_if(records.begin(), records.end(), failed);
  if (first == records.end()) return;
  const auto count = std::count_if(records.begin(), records.end(), failed);
  const std::string what =
      fmt::format("{} of {} requests failed, the first: {}", count, records.size(), first->error->message());
  if (whole && count == static_cast<int64_t>(records.size())) fail(first->error->kind(), "bench", std::string_view(what));
  note(program, "[bench] " + what);
}

int run(const Program& program, ServeBenchFlags flags) {
  // What is wrong with the flags is told before the first request.
  parse_rate(flags.request_rate);
  check_report_flags(flags);
  if (flags.endpoint.empty()) flags.endpoint = flags.chat() ? "/v1/chat/completions" : "/v1/completions";
  const bool bare_v6 = flags.host.find(':') != std::string::npos && flags.host.front() != '[';
  const std::string host = bare_v6 ? "[" + flags.host + "]" : flags.host;
  const ApiServer api = api_server(flags.url.empty() ? fmt::format("http://{}:{}", host, flags.port) : flags.url,
                                   find_api_key(flags.api_key), flags.headers);
  const std::vector<BenchRequest> requests = requests_for(flags);
  server::HttpClientOptions options;
  options.idle_timeout = std::chrono::milliseconds(static_cast<int64_t>(1e3 * flags.timeout));
  options.connect_timeout = options.idle_timeout;  // a server under load accepts late
  options.max_connections = static_cast<int64_t>(requests.size());
  options.insecure = flags.insecure;
  server::HttpClient client(options);
  const std::string model = flags.model.empty() ? first_model(client, api) : flags.model;
  ServeLoad load(program, flags, client, api, model);
  load.warm_up(requests);
  const bool whole = load.run(requests);

  const std::vector<ServeMetric> metrics = serve_metrics(load.records());
  Json result = serve_summary(flags, model, load, metrics);
  if (!whole) note(program, "interrupted: what follows is of the requests that were answered before");
  if (program.json) {
    write_json(result);
  } else {
    write_out(serve_table(flags, result, metrics));
  }
  if (!flags.plot.empty()) write_serve_plot(flags, result, metrics);
  if (flags.save_result || flags.save_detailed) {
    if (flags.save_detailed) result = with_records(std::move(result), load);
    write_result(serve_result_path(flags, model), result);
  }
  report_failures(program, load, whole);
  return whole ? 0 : kInterruptedExit;
}

}  // namespace

void add_bench_serve(Program& program, Verb bench) {
  const auto flags = std::make_shared<ServeBenchFlags>();
  flags->dataset.num_prompts = 1000;
  const Verb verb = add_verb(
      program, bench, "serve",
      "Load a running server (any that speaks OpenAI's API) with streamed requests: throughput, time to the first token, "
      "time per token, gaps between tokens, under the names of vllm bench serve. Ctrl-C ends it with what was measured",
      {"pagoda bench serve --port 8000 --dataset-name sharegpt-lengths --num-prompts 200 --ignore-eos",
       "pagoda bench serve --url http://127.0.0.1:8000 --random-input-len 161 --random-output-len 64 --request-rate 4 "
       "--ignore-eos "
       "--num-prompts 100 --percentile-metrics ttft,tpot,itl,e2el --metric-percentiles 50,90,99 --plot latency.svg",
       "pagoda bench serve --backend openai-chat --dataset-name custom --dataset-path prompts.jsonl --max-concurrency 32 "
       "--save-result --result-dir results --goodput ttft:200 --goodput tpot:50"});
  verb->add_option("--backend,--endpoint-type", flags->backend, "Kind of request: completions (openai, vllm) or chat")
      ->capture_default_str()
      ->check(one_of({"openai", "vllm", "openai-chat"}));
  verb->add_option("--url,--base-url", flags->url, "http://, https:// or unix:/PATH, instead of host and port");
  verb->add_option("--host", flags->host, "Address of the server")->capture_default_str();
  verb->add_option("--port", flags->port, "Its port")->capture_default_str()->check(in_range(1, 65535));
  verb->add_option("--endpoint", flags->endpoint, "Path (default: /v1/completions, of a chat /v1/chat/completions)");
  verb->add_option("--model", flags->model, "Model in the requests (default: the first that the server lists)");
  verb->add_option("--tokenizer", flags->tokenizer, "Folder of the model's tokenizer: for texts, and for the ids to draw from");
  verb->add_option("--vocab-size", flags->vocab_size, "Random ids lie below this (default: the tokenizer's, else 256)")
      ->check(in_range(int64_t{1}, int64_t{1} << 31));
  add_dataset_flags(verb, flags->dataset);
  verb->add_option("--request-rate", flags->request_rate, "Requests a second, arriving as a Poisson process; inf: all at once")
      ->capture_default_str();
  verb->add_option("--burstiness", flags->burstiness,
                   "Shape of the gamma-distributed gaps between requests; below 1: in bursts")
      ->capture_default_str()
      ->check(positive());
  verb->add_option("--max-concurrency", flags->max_concurrency, "Most requests under way; later ones wait")->check(positive());
  verb->add_option("--num-warmups", flags->num_warmups, "Requests before the clock runs")
      ->capture_default_str()
      ->check(in_range(int64_t{0}, int64_t{1} << 20));
  verb->add_flag("--ignore-eos", flags->ignore_eos, "Answers go on to their full length (servers that know ignore_eos)");
  verb->add_option("--temperature", flags->temperature, "Temperature of the requests")
      ->capture_default_str()
      ->check(non_negative());
  verb->add_option("--extra-body", flags->extra_body, "JSON object of more fields for every request");
  verb->add_option("--percentile-metrics", flags->percentile_metrics, "Which of ttft, tpot, itl, e2el are reported")
      ->capture_default_str();
  verb->add_option("--metric-percentiles", flags->metric_percentiles, "Percentiles of each, such as 50,90,99")
      ->capture_default_str();
  verb->add_option("--goodput", flags->goodput, "Goals such as ttft:200 tpot:50 e2el:3000 (ms): requests that meet all count");
  verb->add_flag("--save-result", flags->save_result, "Write the results to a JSON file");
  verb->add_flag("--save-detailed", flags->save_detailed, "The same, with every request's lengths, times, text and error");
  verb->add_option("--result-dir", flags->result_dir, "Folder of that file");
  verb->add_option("--result-filename", flags->result_filename, "Its name (default: of label, rate, model and time)");
  verb->add_option("--label", flags->label, "Begins that name (default: the backend)");
  verb->add_option("--plot", flags->plot, "Draw the distributions of the latencies into this SVG file")->type_name("FILE");
  verb->add_option("--header", flags->headers, "NAME=VALUE sent with every request; several may be given");
  verb->add_option("--api-key", flags->api_key, "Key for the server (also OPENAI_API_KEY)");
  verb->add_option("--timeout", flags->timeout, "Seconds without a byte after which a request has failed")
      ->capture_default_str()
      ->check(in_range(1e-3, 1e7));
  verb->add_flag("--insecure", flags->insecure, "Take any certificate of an https server");
  verb->callback([&program, flags] { program.run = [&program, flags] { return run(program, *flags); }; });
}

}  // namespace pagoda::cli
