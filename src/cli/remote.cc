// Requests to other servers.
#include "cli/remote.h"

#include <algorithm>
#include <iterator>

#include "base/error.h"

namespace pagoda::cli {

namespace {

enum class Form { kInteger, kNumber, kJson, kStrings, kFlag };
struct Field {
  const char* flag;
  const char* key;
  Form form;
};
constexpr Field kFields[] = {{"--max-new-tokens", "max_tokens", Form::kInteger},
                             {"--min-new-tokens", "min_tokens", Form::kInteger},
                             {"--temperature", "temperature", Form::kNumber},
                             {"--top-k", "top_k", Form::kInteger},
                             {"--top-p", "top_p", Form::kNumber},
                             {"--min-p", "min_p", Form::kNumber},
                             {"--seed", "seed", Form::kInteger},
                             {"--repetition-penalty", "repetition_penalty", Form::kNumber},
                             {"--presence-penalty", "presence_penalty", Form::kNumber},
                             {"--frequency-penalty", "frequency_penalty", Form::kNumber},
                             {"--logit-bias", "logit_bias", Form::kJson},
                             {"--stop-token-ids", "stop_token_ids", Form::kJson},
                             {"--stop-strings", "stop", Form::kStrings},
                             {"--num-return-sequences", "n", Form::kInteger},
                             {"--ignore-eos", "ignore_eos", Form::kFlag},
                             {"--include-stop-str-in-output", "include_stop_str_in_output", Form::kFlag}};

Json value_of(Flag option, Form form) {
  switch (form) {
    case Form::kInteger: return option->as<int64_t>();
    case Form::kNumber: return option->as<double>();
    case Form::kJson: return Json::parse(option->as<std::string>(), option->get_name());
    case Form::kStrings: {
      Json list = Json::array();
      for (const std::string& text : option->results()) list.push_back(text);
      return list;
    }
    case Form::kFlag: break;
  }
  return true;
}

}  // namespace

void add_remote_flags(Verb verb, RemoteFlags& flags) {
  const std::string group = "Server";
  verb->add_option("--url", flags.url, "Server that speaks OpenAI's API: http://, https:// or unix:/PATH")->group(group);
  verb->add_option("--api-key", flags.api_key, "Its key (also OPENAI_API_KEY)")->group(group);
  verb->add_option("--header", flags.headers, "NAME=VALUE sent with every request; several may be given")->group(group);
  verb->add_flag("--insecure", flags.insecure, "Take any certificate of an https server")->group(group);
}

bool has_field(Flag option) {
  return std::any_of(std::begin(kFields), std::end(kFields), [&](const Field& each) { return option->check_name(each.flag); });
}

Json sampling_fields(Verb verb) {
  Json fields = Json::object();
  for (const Flag option : verb->get_options()) {
    if (option->get_group() != "Sampling" || option->count() == 0) continue;
    const auto field =
        std::find_if(std::begin(kFields), std::end(kFields), [&](const Field& each) { return option->check_name(each.flag); });
    if (field == std::end(kFields)) invalid(option->get_name(), "no server takes this: not with --url");
    fields.set(field->key, value_of(option, field->form));
  }
  return fields;
}

Remote::Remote(const RemoteFlags& flags, const std::string& model)
    : api_(api_server(flags.url, find_api_key(flags.api_key), flags.headers)),
      client_([&] {
        server::HttpClientOptions options;
        options.insecure = flags.insecure;
        return options;
      }()),
      model_(model.empty() ? first_model(client_, api_) : model) {}

RemoteAnswer Remote::ask(std::string_view endpoint, Json body, const std::function<void(const std::string& text)>& on_text) {
  const int64_t n = body.get_int("n", 1, "request");
  Json options = Json::object();
  options.set("include_usage", true);
  body.set("model", model_).set("stream", true).set("stream_options", std::move(options));
  RemoteAnswer answer;
  answer.choices.resize(static_cast<size_t>(n));
  answer.interrupted = !complete_and_wait(client_, api_, endpoint, body, [&](const Delta& delta) {
    if (delta.prompt_tokens) answer.prompt_tokens = *delta.prompt_tokens;
    if (delta.completion_tokens) answer.completion_tokens = *delta.completion_tokens;
    if (!delta.has_choice) return;
    if (delta.index < 0 || delta.index >= n) fail(ErrorKind::kDevice, "server", "choice {}: {} were asked for", delta.index, n);
    RemoteChoice& choice = answer.choices[static_cast<size_t>(delta.index)];
    choice.text += delta.text;
    if (!delta.finish_reason.empty()) choice.finish_reason = delta.finish_reason;
    if (!delta.text.empty() && n == 1) on_text(delta.text);
  });
  return answer;
}

}  // namespace pagoda::cli
