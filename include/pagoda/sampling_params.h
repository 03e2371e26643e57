// What a request asks of generation, under Hugging Face's names, or vLLM's where Hugging Face has none.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace pagoda::api {

// Holds an answer to a form. Exactly one is given; not with beams.
struct StructuredOutputs {
  std::string json{};  // a JSON Schema, as text
  bool json_object = false;
  std::string regex{};                // of the whole answer
  std::vector<std::string> choice{};  // one of these
  std::string grammar{};              // GBNF or Lark
};

// What is not set is what the model's generation_config.json says, else off: greedy, 256 tokens. Values out of range are
// kInvalidInput.
struct SamplingParams {
  // Tokens after the prompt. In a chat an answer may go on to max_model_len where neither this nor the model says.
  std::optional<int64_t> max_new_tokens{};
  std::optional<int64_t> min_new_tokens{};  // no end before, by a stop string neither

  std::optional<double> temperature{};  // 0: greedy, the cuts below have no effect then
  std::optional<int64_t> top_k{};
  std::optional<double> top_p{};
  std::optional<double> min_p{};
  std::optional<double> typical_p{};
  std::optional<uint64_t> seed{};  // the same seed draws the same, whatever else runs; not set: chance

  std::optional<double> repetition_penalty{};  // of tokens in prompt or answer
  std::optional<double> presence_penalty{};    // of tokens in the answer
  std::optional<double> frequency_penalty{};
  std::optional<int64_t> no_repeat_ngram_size{};
  std::map<int32_t, double> logit_bias{};
  std::vector<std::vector<int32_t>> bad_words_ids{};  // never these sequences

  std::vector<std::string> stop{};  // texts that end an answer, and are left out of it
  std::vector<int32_t> stop_token_ids{};
  bool include_stop_str_in_output = false;  // the text of what ends an answer, a stop token's too
  bool ignore_eos = false;                  // the model's end token may appear and does not stop

  std::optional<int64_t> num_return_sequences{};  // answers to the prompt
  std::optional<int64_t> num_beams{};
  std::optional<double> length_penalty{};  // of beams

  // Log-probabilities of the model's own distribution. 0: of the tokens chosen; k: of the k likeliest besides.
  std::optional<int64_t> logprobs{};
  std::optional<int64_t> prompt_logprobs{};
  bool skip_special_tokens = true;  // left out of the text

  std::optional<StructuredOutputs> structured_outputs{};
};

}  // namespace pagoda::api
