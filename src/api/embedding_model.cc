// Sentences through an encoder, all of a call in few passes.
#include "pagoda/embedding_model.h"

#include <mutex>

#include "api/access.h"
#include "api/errors.h"
#include "api/options.h"
#include "api/own_thread.h"
#include "base/error.h"
#include "pipelines/sequence_model.h"

namespace pagoda::api {

struct EmbeddingModel::Impl {
  std::shared_ptr<const SequenceModel> model;
  Tokenizer tokenizer;
  std::mutex running;  // one pass at a time
};

EmbeddingModel::EmbeddingModel(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
EmbeddingModel::~EmbeddingModel() = default;
EmbeddingModel::EmbeddingModel(EmbeddingModel&&) noexcept = default;
EmbeddingModel& EmbeddingModel::operator=(EmbeddingModel&&) noexcept = default;

EmbeddingModel EmbeddingModel::open(const std::string& model, const ModelOptions& options) {
  return translated([&] {
    const std::shared_ptr<const SequenceModel> opened =
        on_own_thread([&] { return SequenceModel::open(model, load_options(options), Head::kNone); });
    return EmbeddingModel(std::unique_ptr<Impl>(new Impl{opened, Access::make(opened->tokenizer()), {}}));
  });
}

std::vector<std::vector<float>> EmbeddingModel::encode(const std::vector<std::string>& texts,
                                                       const EmbeddingOptions& options) const {
  return translated([&] {
    SentenceOptions sentence = sentence_options(*impl_->model, options.prompt_name);
    if (options.prompt) sentence.prompt = *options.prompt;
    std::vector<SequenceInput> inputs;
    std::vector<const SequenceInput*> pointers;
    inputs.reserve(texts.size());
    for (const std::string& text : texts) {
      inputs.push_back(sentence_input(*impl_->model, text, sentence));
      pointers.push_back(&inputs.back());
    }
    std::vector<SequenceOutput> outputs;
    {
      const std::lock_guard<std::mutex> lock(impl_->running);
      outputs = impl_->model->run(pointers);
    }
    std::vector<std::vector<float>> vectors;
    for (SequenceOutput& output : outputs) {
      check_finite(output);
      vectors.push_back(options.normalize_embeddings ? unit_vector(output) : std::move(output.values));
    }
    return vectors;
  });
}

const Tokenizer& EmbeddingModel::tokenizer() const { return impl_->tokenizer; }

int64_t EmbeddingModel::max_seq_length() const { return sentence_length(*impl_->model); }

}  // namespace pagoda::api
