// All prompts go to the engine at once; it runs as many side by side as it holds.
#include "cli/evaluate_answers.h"

#include <algorithm>
#include <memory>
#include <unordered_map>

#include "base/error.h"
#include "base/file.h"
#include "base/links.h"
#include "metrics/bleu.h"
#include "metrics/rouge.h"
#include "pipelines/text_generation.h"

namespace pagoda::cli {

void add_answer_flags(Verb verb, AnswerFlags& flags) {
  const Flag generates =
      verb->add_flag("--predict-with-generate", flags.predict_with_generate,
                     "Let the model answer too: ROUGE and BLEU of each conversation's last answer, likeliest tokens");
  verb->add_option("--generation-max-length", flags.generation_max_length, "Tokens of an answer at most")
      ->needs(generates)
      ->check(positive())
      ->capture_default_str();
  verb->add_option("--generation-num-beams", flags.generation_num_beams, "Beams")
      ->needs(generates)
      ->check(in_range(1, 1024))
      ->capture_default_str();
  verb->add_option("--predictions-file", flags.predictions_file, "Write the answers: JSON lines of prediction and reference")
      ->needs(generates);
}

Json score_answers(const std::string& path, const LoadOptions& options, const std::vector<train::ConversationPrompt>& prompts,
                   const AnswerFlags& flags, const TaskHooks& hooks) {
  EngineOptions engine_options;
  engine_options.max_num_seqs = std::max(engine_options.max_num_seqs, flags.generation_num_beams);
  engine_options.max_num_batched_tokens = std::max(engine_options.max_num_batched_tokens, engine_options.max_num_seqs);
  const std::unique_ptr<TextGeneration> generation = TextGeneration::open(path, options, engine_options);
  generation->require_tokenizer();
  Engine& engine = generation->engine();
  std::unordered_map<uint64_t, size_t> numbers;
  const int64_t positions = generation->model().max_positions();
  for (size_t i = 0; i < prompts.size(); ++i) {
    Request request;
    request.prompt_ids = prompts[i].ids;
    const int64_t room = positions - static_cast<int64_t>(request.prompt_ids.size());
    if (room < 1) {
      invalid(prompts[i].where, "the prompt has {} tokens, need fewer than {} (the model's positions)",
              request.prompt_ids.size(), positions);
    }
    request.params = generation->defaults();
    request.params.temperature = 0;
    // The flags', not the model's: one answer, and its length without the prompt's.
    request.params.num_return_sequences = 1;
    request.params.max_length = request.params.min_length = 0;
    request.params.num_beams = flags.generation_num_beams;
    request.params.max_new_tokens = std::min(flags.generation_max_length, room);
    numbers.emplace(engine.add(std::move(request)), i);
  }
  std::vector<std::string> answers(prompts.size());
  int64_t tokens = 0, done = 0;
  while (engine.has_work()) {
    hooks.at("answering", done, static_cast<int64_t>(prompts.size()));
    for (const Event& event : engine.step()) {
      if (event.error) throw *event.error;
      answers[numbers.at(event.request)] += event.text;
      tokens += static_cast<int64_t>(event.token_ids.size());
      done += event.request_done ? 1 : 0;
    }
  }
  std::vector<RougeScores> rouge;
  std::vector<std::vector<std::string>> references;
  std::string lines;
  for (size_t i = 0; i < prompts.size(); ++i) {
    rouge.push_back(rouge_scores(answers[i], prompts[i].reference, true));
    references.push_back({prompts[i].reference});
    lines += Json::object().set("prediction", answers[i]).set("reference", prompts[i].reference).dump() + "\n";
  }
  if (!flags.predictions_file.empty()) write_named_file(flags.predictions_file, lines);
  const RougeScores mean = mean_of(rouge);
  return Json::object()
      .set("rouge1", 100 * mean.rouge1.f1)
      .set("rouge2", 100 * mean.rouge2.f1)
      .set("rougeL", 100 * mean.rouge_l.f1)
      .set("rougeLsum", 100 * mean.rouge_lsum.f1)
      .set("bleu", corpus_bleu(answers, references).score)
      .set("gen_len", static_cast<double>(tokens) / static_cast<double>(prompts.size()));
}

}  // namespace pagoda::cli
