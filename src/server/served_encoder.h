// An encoder as a server serves it: batches of what waits for it, and what its routes share.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "server/encoder_service.h"
#include "server/generation_request.h"
#include "server/model_texts.h"
#include "server/served_model.h"
#include "server/serving.h"

namespace pagoda::server {

class ServedEncoder : public ServedModel {
 public:
  // serving must live longer.
  ServedEncoder(Serving& serving, std::shared_ptr<const SequenceModel> model);

  std::vector<Route> routes() override;
  ModelTexts& texts() override { return texts_; }
  EngineStats stats() const override { return service_.stats(); }
  bool healthy() const override { return service_.healthy(); }
  int64_t num_open() const override { return service_.num_open(); }

  // For its routes.
  const Serving& serving() const { return serving_; }
  const PoolingParams& pooling() const { return serving_.options().pooling; }
  const ModelTexts& texts() const { return texts_; }
  const SequenceModel& model() const { return service_.model(); }
  const Pipeline& pipeline(const std::string& task) { return service_.pipeline(task); }
  // Encoders cut at the side that their tokenizer names.
  Truncation cut_as_model(const std::optional<int64_t>& tokens) const;
  using AnswerWriter = std::function<std::string(const std::vector<SequenceOutput>&)>;  // the body of an answer
  // Hands a request to the batches; its answer follows, written on the connection's thread.
  void submit(std::vector<SequenceInput> sequences, AnswerWriter write, const std::shared_ptr<HttpResponse>& response);

 private:
  Serving& serving_;
  EncoderService service_;
  ModelTexts texts_;
};

}  // namespace pagoda::server
