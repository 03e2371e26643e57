// The makers of the tasks, for the list in pipeline.cc alone.
#pragma once

#include "pipelines/pipeline.h"

namespace pagoda::tasks {

using Maker = std::unique_ptr<Pipeline> (*)(std::string task, std::shared_ptr<const SequenceModel> model);

std::unique_ptr<Pipeline> text_classification(std::string task, std::shared_ptr<const SequenceModel> model);
std::unique_ptr<Pipeline> token_classification(std::string task, std::shared_ptr<const SequenceModel> model);
std::unique_ptr<Pipeline> question_answering(std::string task, std::shared_ptr<const SequenceModel> model);
std::unique_ptr<Pipeline> fill_mask(std::string task, std::shared_ptr<const SequenceModel> model);
std::unique_ptr<Pipeline> feature_extraction(std::string task, std::shared_ptr<const SequenceModel> model);
std::unique_ptr<Pipeline> zero_shot_classification(std::string task, std::shared_ptr<const SequenceModel> model);
std::unique_ptr<Pipeline> sentence_similarity(std::string task, std::shared_ptr<const SequenceModel> model);

}  // namespace pagoda::tasks
