// Texts and ids of requests as sequences of an encoder, and the vectors that come of them.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/pooling_params.h"
#include "pipelines/sequence_model.h"
#include "server/generation_request.h"
#include "server/http_server.h"
#include "server/text_limit.h"

namespace pagoda::server {

int64_t tokens_of(const std::vector<SequenceInput>& sequences);

// Between the texts of a request: throws where its client has gone; nobody reads the error.
void check_there(const HttpResponse& response);

// Each no longer than it may be. One text is what all others are paired with, or the only one.
constexpr size_t kLongFirst = 1 << 17;  // bytes of a text that every document is paired with: its tokens are counted first
std::vector<std::string> fit_all(std::vector<std::string> texts, std::string_view where, const TextLimit& limit,
                                 const Truncation& truncation);

// The rows of the head for a text or a pair of texts. truncate: tokens, below 0 what the model takes.
SequenceInput head_input(const SequenceModel& model, EncodedText encoded, const std::optional<int64_t>& truncate);
// One vector for a text.
SequenceInput vector_input(const SequenceModel& model, const std::string& text, const SentenceOptions& options,
                           const std::optional<int64_t>& truncate);
// ... for ids, which have their special tokens and their prompt, or shall have none.
SequenceInput ids_input(const SequenceModel& model, std::vector<int32_t> ids, SentenceOptions options,
                        const Truncation& truncation);
// ... for a text without special tokens; its prompt stands before it all the same.
SequenceInput bare_input(const SequenceModel& model, const std::string& text, const SentenceOptions& options,
                         const Truncation& truncation);

// How a model of embeddings makes its vectors: as its folder says, but that --pooler-config may say how it pools, and that
// requests normalize.
SentenceOptions vector_options(const SequenceModel& model, const std::optional<PoolingType>& asked,
                               const std::string& prompt_name = "");
std::vector<float> vector_of(const SequenceOutput& output, const PoolingParams& params);

// JSON has no word for what is not finite, and readers stop at it. Throws kInternal.
void check_score(double value);

}  // namespace pagoda::server
