// docs/serving.md says what each of vLLM's parameters does here: the table is held against the server's own description.
#include <fstream>
#include <map>
#include <set>

#include "tests/server/app_fixture.h"

namespace pagoda::server {
namespace {

// Of both endpoints, as vLLM's protocol.py has them.
const char* const kFields[] = {"use_beam_search",
                               "top_k",
                               "min_p",
                               "repetition_penalty",
                               "watermarking",
                               "length_penalty",
                               "stop_token_ids",
                               "include_stop_str_in_output",
                               "ignore_eos",
                               "min_tokens",
                               "skip_special_tokens",
                               "spaces_between_special_tokens",
                               "truncate_prompt_tokens",
                               "truncation_side",
                               "allowed_token_ids",
                               "prompt_logprobs",
                               "logprob_token_ids",
                               "bad_words",
                               "add_special_tokens",
                               "structured_outputs",
                               "priority",
                               "request_id",
                               "session_id",
                               "return_tokens_as_token_ids",
                               "return_token_ids",
                               "return_token_offsets",
                               "routed_experts_prompt_start",
                               "return_mm_kwargs",
                               "cache_salt",
                               "kv_transfer_params",
                               "ec_transfer_params",
                               "vllm_xargs",
                               "repetition_detection",
                               "thinking_token_budget",
                               "stream_interval",
                               "prompt_embeds",
                               "response_format",
                               "suffix",
                               "echo",
                               "add_generation_prompt",
                               "continue_final_message",
                               "documents",
                               "chat_template",
                               "chat_template_kwargs",
                               "media_io_kwargs",
                               "mm_processor_kwargs",
                               "return_prompt_text",
                               "max_completion_tokens",
                               "user"};

// The rows "| `field` | a | b | notes |" of the document.
std::map<std::string, std::pair<std::string, std::string>> table() {
  std::map<std::string, std::pair<std::string, std::string>> rows;
  std::ifstream in(PAGODA_SOURCE_DIR "/docs/serving.md");
  for (std::string line; std::getline(in, line);) {
    if (line.compare(0, 3, "| `") != 0) continue;
    std::vector<std::string> cells;
    for (size_t at = 1, end = 0; (end = line.find('|', at)) != std::string::npos; at = end + 1) {
      const std::string cell = line.substr(at, end - at);
      const size_t first = cell.find_first_not_of(" `"), last = cell.find_last_not_of(" `");
      cells.push_back(first == std::string::npos ? "" : cell.substr(first, last - first + 1));
    }
    if (cells.size() == 4) rows[cells[0]] = {cells[1], cells[2]};
  }
  return rows;
}

TEST_F(AppTest, TheTableOfParametersIsTrue) {
  const auto rows = table();
  for (const char* field : kFields) EXPECT_EQ(rows.count(field), 1u) << field;
  const Json document = call(request("GET", "/openapi.json"))->json();
  const auto check = [&](const std::string& path, const std::string& field, const std::string& says) {
    const Json& properties = document.at("paths", "d")
                                 .at(path, "d")
                                 .at("post", "d")
                                 .at("requestBody", "d")
                                 .at("content", "d")
                                 .at("application/json", "d")
                                 .at("schema", "d")
                                 .at("properties", "d");
    const Json* schema = properties.find(field);
    std::string does = "-";
    if (schema != nullptr) {
      const std::string text = schema->get_string("description", "", "d");
      does = text.rfind("Taken and of no effect", 0) == 0 ? "ignored" : text.rfind("Refused", 0) == 0 ? "refused" : "done";
    }
    EXPECT_EQ(does, says) << path << " " << field;
  };
  for (const auto& [field, says] : rows) {
    check("/v1/completions", field, says.first);
    check("/v1/chat/completions", field, says.second);
  }
}

}  // namespace
}  // namespace pagoda::server
