// fill-mask (HF pipelines/fill_mask.py): the likeliest tokens for each mask.
#include <algorithm>
#include <unordered_set>

#include "base/error.h"
#include "pipelines/tasks.h"

namespace pagoda::tasks {

namespace {

constexpr int64_t kMostDecoded = int64_t{1} << 22;  // tokens of all filled texts: each candidate comes with its whole text

class FillMask final : public Pipeline {
 public:
  FillMask(std::string task, std::shared_ptr<const SequenceModel> model) : Pipeline(std::move(task), std::move(model)) {
    if (!this->model().mask_id()) unsupported("fill-mask", "the tokenizer has no mask token");
  }

 protected:
  InputReader reader(TaskParameters& parameters) const override {
    const auto targets = std::make_shared<const std::vector<int32_t>>(target_ids(parameters));
    int64_t top_k = parameters.integer("top_k", 5, 1, model().model().vocab_size());
    if (!targets->empty()) top_k = std::min(top_k, static_cast<int64_t>(targets->size()));
    Json tokenizer_kwargs;
    if (const Json* given = parameters.take("tokenizer_kwargs")) tokenizer_kwargs = *given;
    TaskParameters tokenizing(tokenizer_kwargs, "tokenizer_kwargs");
    const TruncationChoice truncation = read_truncation(tokenizing, model());
    tokenizing.finish();
    return [this, targets, top_k, truncation](const Json& input) {
      EncodedText text = model().encode(text_of(input, "a string"));
      truncation.apply(text, model().max_length());
      return prepare_one(text, targets, top_k);
    };
  }

  Json list_result(std::vector<Json> results) const override {
    return results.size() == 1 ? std::move(results[0]) : Json(std::move(results));
  }

 private:
  using Targets = std::shared_ptr<const std::vector<int32_t>>;  // empty: all tokens

  PreparedInput prepare_one(const EncodedText& text, const Targets& targets, int64_t top_k) const {
    SequenceInput sequence = model().input_of(text.encoding);
    sequence.all_rows = false;
    for (size_t i = 0; i < sequence.ids.size(); ++i) {
      if (sequence.ids[i] == *model().mask_id()) sequence.rows.push_back(static_cast<int32_t>(i));
    }
    if (sequence.rows.empty()) {
      invalid("inputs", "no mask token: need {} in the text", model().tokenizer()->id_to_token(*model().mask_id()));
    }
    PreparedInput prepared;
    prepared.decoded = top_k * static_cast<int64_t>(sequence.rows.size()) * static_cast<int64_t>(sequence.ids.size());
    if (prepared.decoded > kMostDecoded) {
      invalid("top_k", "too large a result: got {} candidates for each of {} masks in {} tokens, need a product of at most {}",
              top_k, sequence.rows.size(), sequence.ids.size(), kMostDecoded);
    }
    prepared.finish = [this, targets, top_k, ids = sequence.ids,
                       rows = sequence.rows](const std::vector<SequenceOutput>& outputs) {
      Json all = Json::array();
      for (size_t mask = 0; mask < rows.size(); ++mask) {
        all.push_back(row_json(softmax_of(outputs[0].row(static_cast<int64_t>(mask)), outputs[0].columns), *targets, top_k, ids,
                               static_cast<size_t>(rows[mask]), rows.size() == 1));
      }
      return rows.size() == 1 ? all.as_array("fill-mask")[0] : all;
    };
    prepared.sequences.push_back(std::move(sequence));
    return prepared;
  }

  // Tokens by their spelling, else the first token of the text; each once.
  std::vector<int32_t> target_ids(TaskParameters& parameters) const {
    const Json* given = parameters.take("targets");
    if (given == nullptr) return {};
    const int64_t vocabulary = model().model().vocab_size();
    if (given->is_array() && static_cast<int64_t>(given->size()) > vocabulary) {
      invalid("targets", "too many: got {}, need at most the {} of the vocabulary", given->size(), vocabulary);
    }
    std::vector<int32_t> ids;
    std::unordered_set<int32_t> seen;
    for (const std::string& target : parameters.strings("targets")) {
      std::optional<int32_t> id = model().tokenizer()->token_to_id(target);
      if (!id) {
        const std::vector<int32_t> pieces = model().tokenizer()->encode_ids(target, false);
        if (!pieces.empty()) id = pieces[0];
      }
      if (id && *id < vocabulary && seen.insert(*id).second) ids.push_back(*id);
    }
    if (ids.empty()) invalid("targets", "no token of the vocabulary among them: need at least one");
    return ids;
  }

  Json row_json(const std::vector<float>& probabilities, const std::vector<int32_t>& targets, int64_t top_k,
                const std::vector<int32_t>& ids, size_t at, bool single) const {
    std::vector<int32_t> order = targets;
    if (order.empty()) {
      order.resize(probabilities.size());
      for (size_t i = 0; i < order.size(); ++i) order[i] = static_cast<int32_t>(i);
    }
    const auto score = [&](int32_t id) { return probabilities[static_cast<size_t>(id)]; };
    std::partial_sort(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(top_k), order.end(),
                      [&](int32_t a, int32_t b) { return score(a) != score(b) ? score(a) > score(b) : a < b; });
    // What stands before the mask is decoded once; what follows it may read differently after each token. Other masks would
    // vanish with the special tokens.
    StreamDecoder before = model().decoder(single);
    std::string begin;
    const auto push = [&](StreamDecoder& decoder, std::string& into, int32_t id) {
      if (model().pad_id() != id) into += decoder.push(id);
    };
    for (size_t i = 0; i < at; ++i) push(before, begin, ids[i]);
    Json row = Json::array();
    for (int64_t k = 0; k < top_k; ++k) {
      const int32_t id = order[static_cast<size_t>(k)];
      StreamDecoder decoder = before;
      std::string filled = begin;
      push(decoder, filled, id);
      for (size_t i = at + 1; i < ids.size(); ++i) push(decoder, filled, ids[i]);
      Json json = Json::object();
      json.set("score", static_cast<double>(score(id))).set("token", int64_t{id}).set("token_str", model().decode({id}, false));
      json.set("sequence", filled + decoder.finish());
      row.push_back(std::move(json));
    }
    return row;
  }
};

}  // namespace

std::unique_ptr<Pipeline> fill_mask(std::string task, std::shared_ptr<const SequenceModel> model) {
  return std::make_unique<FillMask>(std::move(task), std::move(model));
}

}  // namespace pagoda::tasks
