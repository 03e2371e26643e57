// token-classification (HF pipelines/token_classification.py): labels of tokens, joined to words and entities as asked.
#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "base/stable_sort.h"
#include "pipelines/tasks.h"

namespace pagoda::tasks {

namespace {

// A token with its scores; a word or an entity once joined.
struct Entity {
  std::string word, label;
  std::vector<float> scores;  // of a token
  float score = 0;
  int64_t start = 0, end = 0, index = 0;
  bool is_subword = false;
};

struct Window {
  std::vector<int32_t> ids;
  std::vector<std::pair<int64_t, int64_t>> offsets;
  std::vector<uint8_t> special;
};

size_t argmax(const std::vector<float>& scores) {
  return static_cast<size_t>(std::max_element(scores.begin(), scores.end()) - scores.begin());
}

// "B-PER" is ("B", "PER"); anything else goes on with what was before.
std::pair<char, std::string> tag_of(const std::string& label) {
  if (label.rfind("B-", 0) == 0) return {'B', label.substr(2)};
  if (label.rfind("I-", 0) == 0) return {'I', label.substr(2)};
  return {'I', label};
}

struct Options {
  std::string strategy;
  std::vector<std::string> ignore_labels;
  int64_t stride = -1;  // below 0: one part, cut
  bool split = false;   // texts come as words
  std::string delimiter;
};

class TokenClassification final : public Pipeline {
 public:
  TokenClassification(std::string task, std::shared_ptr<const SequenceModel> model)
      : Pipeline(std::move(task), std::move(model)) {}

 protected:
  InputReader reader(TaskParameters& parameters) const override {
    Options options;
    options.strategy = strategy_of(parameters);
    options.ignore_labels =
        parameters.take("ignore_labels") == nullptr ? std::vector<std::string>{"O"} : parameters.strings("ignore_labels");
    options.stride = parameters.integer("stride", -1, 0, model().max_length() - 1);
    if (options.stride >= 0 && options.strategy == "none") {
      invalid("stride", "needs an aggregation_strategy other than none: parts of a text are joined by their entities");
    }
    options.split = parameters.flag("is_split_into_words", false);
    options.delimiter = parameters.text("delimiter", " ");
    const auto shared = std::make_shared<const Options>(std::move(options));
    return [this, shared](const Json& input) { return prepare_one(input, shared); };
  }

  // Words of one text are a list, which is no list of inputs.
  std::optional<size_t> count_inputs(const Json& input, const Json& parameters) const override {
    return is_one_text(input, parameters) ? 1 : Pipeline::count_inputs(input, parameters);
  }
  const Json& input_at(const Json& input, const Json& parameters, size_t index, Json& made) const override {
    return index == 0 && is_one_text(input, parameters) ? input : Pipeline::input_at(input, parameters, index, made);
  }

 private:
  static bool is_one_text(const Json& input, const Json& parameters) {
    if (!parameters.is_object() || !parameters.get_bool("is_split_into_words", false, "parameters") || !input.is_array()) {
      return false;
    }
    const Json::Array& list = input.as_array("inputs");
    return !std::all_of(list.begin(), list.end(), [](const Json& each) { return each.is_array(); });
  }

  PreparedInput prepare_one(const Json& input, const std::shared_ptr<const Options>& options) const {
    std::string sentence;
    EncodedText text;
    if (options->split) {
      text = encode_words(input, options->delimiter, sentence);
    } else {
      sentence = text_of(input, "a string");
      text = model().encode_with_offsets(sentence);
    }
    std::vector<EncodedText> parts;
    if (options->stride >= 0) {
      parts = windows_of(text, model().max_length(), options->stride);
    } else {
      truncate_text(text, model().max_length(), Truncation::Strategy::kLongestFirst);
      parts = {std::move(text)};
    }
    PreparedInput prepared;
    std::vector<Window> windows;
    for (EncodedText& part : parts) {
      prepared.sequences.push_back(model().input_of(part.encoding));
      windows.push_back({part.encoding.ids, part.encoding.offsets, part.encoding.special_tokens_mask});
    }
    CodePoints code_points(sentence);
    prepared.held = code_points.bytes();
    prepared.finish = [this, options, windows = std::move(windows),
                       code_points = std::move(code_points)](const std::vector<SequenceOutput>& outputs) {
      return result_of(*options, windows, code_points, outputs);
    };
    return prepared;
  }

  Json result_of(const Options& options, const std::vector<Window>& windows, const CodePoints& sentence,
                 const std::vector<SequenceOutput>& outputs) const {
    std::vector<Entity> all;
    for (size_t i = 0; i < windows.size(); ++i) {
      for (Entity& entity : entities_of(options, windows[i], sentence, outputs[i])) {
        const auto& ignored = options.ignore_labels;
        if (std::find(ignored.begin(), ignored.end(), entity.label) == ignored.end()) all.push_back(std::move(entity));
      }
    }
    if (windows.size() > 1) all = without_overlaps(std::move(all));
    Json list = Json::array();
    for (const Entity& entity : all) list.push_back(entity_json(entity, options.strategy));
    return list;
  }

  // Also by the names of transformers 4: grouped_entities, and with it ignore_subwords.
  static std::string strategy_of(TaskParameters& parameters) {
    const bool older = parameters.take("grouped_entities") != nullptr || parameters.take("ignore_subwords") != nullptr;
    const bool grouped = parameters.flag("grouped_entities", false), whole = parameters.flag("ignore_subwords", false);
    const std::string strategy =
        parameters.choice("aggregation_strategy", "none", {"none", "simple", "first", "average", "max"});
    if (!older) return strategy;
    return !grouped ? "none" : whole ? "first" : "simple";
  }

  // Words, each read by itself; offsets are those of the words joined by `delimiter`.
  EncodedText encode_words(const Json& input, const std::string& delimiter, std::string& sentence) const {
    constexpr const char* kNeed = "a list of words (is_split_into_words)";
    if (!input.is_array()) invalid("inputs", "wrong type: got {}, need {}", input.type_name(), kNeed);
    const EncodedText around = model().encode_with_offsets("a");  // for its special tokens
    EncodedText out;
    out.cut_left = around.cut_left;
    append_part(out.encoding, around.encoding, 0, around.first_begin);
    out.first_begin = out.encoding.size();
    EncodeOptions options;
    options.add_special_tokens = false;
    options.offsets = true;
    options.truncate_and_pad = false;
    const int64_t gap = CodePoints(delimiter).size();
    int64_t at = 0;
    for (const Json& each : input.as_array("inputs")) {
      const std::string& word = text_of(each, kNeed);
      if (at > 0) sentence += delimiter;
      Encoding part = model().tokenizer()->encode(word, options);
      for (auto& [begin, end] : part.offsets) {
        begin += at;
        end += at;
      }
      append_part(out.encoding, part, 0, part.size());
      sentence += word;
      at += CodePoints(word).size() + gap;
    }
    out.first_end = out.encoding.size();
    append_part(out.encoding, around.encoding, around.first_end, around.encoding.size());
    out.second_begin = out.second_end = out.first_end;
    return out;
  }

  static Json entity_json(const Entity& entity, const std::string& strategy) {
    Json json = Json::object();
    json.set(strategy == "none" ? "entity" : "entity_group", entity.label).set("score", static_cast<double>(entity.score));
    if (strategy == "none") json.set("index", entity.index);
    json.set("word", entity.word).set("start", entity.start).set("end", entity.end);
    return json;
  }

  std::vector<Entity> entities_of(const Options& options, const Window& window, const CodePoints& sentence,
                                  const SequenceOutput& output) const {
    std::vector<Entity> tokens = tokens_of(window, sentence, output);
    if (options.strategy != "none" && options.strategy != "simple") {
      tokens = words_of(tokens, options.strategy);
    } else {
      for (Entity& token : tokens) set_label(token, token.scores);
    }
    return options.strategy == "none" ? tokens : groups_of(tokens);
  }

  void set_label(Entity& entity, const std::vector<float>& scores) const {
    const size_t best = argmax(scores);
    entity.score = scores[best];
    entity.label = model().labels().names[best];
  }

  std::vector<Entity> tokens_of(const Window& window, const CodePoints& sentence, const SequenceOutput& output) const {
    const bool marks = model().tokenizer()->marks_subwords();
    std::vector<Entity> tokens;
    for (size_t i = 0; i < window.ids.size(); ++i) {
      if (window.special[i] != 0) continue;
      Entity token;
      token.index = static_cast<int64_t>(i);
      std::tie(token.start, token.end) = window.offsets[i];
      token.word = model().tokenizer()->id_to_token(window.ids[i]);
      const std::string_view text = sentence.slice(token.start, token.end);
      // Without marks a token goes on with a word where no space stands at its begin: HF's own rule of thumb.
      token.is_subword =
          marks ? CodePoints(token.word).size() != token.end - token.start
                : token.start > 0 && sentence.slice(token.start - 1, token.start + 1).find(' ') == std::string_view::npos;
      if (model().unk_id() == window.ids[i]) {
        token.word = text;
        token.is_subword = false;
      }
      token.scores = softmax_of(output.row(static_cast<int64_t>(i)), output.columns);
      tokens.push_back(std::move(token));
    }
    return tokens;
  }

  Entity word_of(const std::vector<Entity>& tokens, const std::string& strategy) const {
    Entity word;
    std::vector<std::string> pieces;
    for (const Entity& token : tokens) pieces.push_back(token.word);
    word.word = model().tokenizer()->decode_tokens(pieces);
    word.start = tokens.front().start;
    word.end = tokens.back().end;
    if (strategy == "first") {
      set_label(word, tokens[0].scores);
    } else if (strategy == "max") {
      const auto best = std::max_element(tokens.begin(), tokens.end(), [](const Entity& a, const Entity& b) {
        return a.scores[argmax(a.scores)] < b.scores[argmax(b.scores)];
      });
      set_label(word, best->scores);
    } else {
      std::vector<float> mean(tokens[0].scores.size());
      for (size_t label = 0; label < mean.size(); ++label) {
        double sum = 0;
        for (const Entity& token : tokens) sum += static_cast<double>(token.scores[label]);
        mean[label] = static_cast<float>(sum / static_cast<double>(tokens.size()));
      }
      set_label(word, mean);
    }
    return word;
  }

  std::vector<Entity> words_of(const std::vector<Entity>& tokens, const std::string& strategy) const {
    std::vector<Entity> words, open;
    for (const Entity& token : tokens) {
      if (!open.empty() && !token.is_subword) {
        words.push_back(word_of(open, strategy));
        open.clear();
      }
      open.push_back(token);
    }
    if (!open.empty()) words.push_back(word_of(open, strategy));
    return words;
  }

  // Neighbours of one tag.
  std::vector<Entity> groups_of(const std::vector<Entity>& entities) const {
    std::vector<Entity> groups, open;
    const auto close = [&] {
      Entity group;
      std::vector<std::string> pieces;
      double sum = 0;
      for (const Entity& entity : open) {
        pieces.push_back(entity.word);
        sum += static_cast<double>(entity.score);
      }
      const std::string& label = open[0].label;
      group.label = label.substr(label.find('-') + 1);  // npos + 1 is 0: all of it
      group.score = static_cast<float>(sum / static_cast<double>(open.size()));
      group.word = model().tokenizer()->decode_tokens(pieces);
      group.start = open.front().start;
      group.end = open.back().end;
      groups.push_back(std::move(group));
      open.clear();
    };
    for (const Entity& entity : entities) {
      const auto [begins, tag] = tag_of(entity.label);
      if (!open.empty() && (begins == 'B' || tag != tag_of(open.back().label).second)) close();
      open.push_back(entity);
    }
    if (!open.empty()) close();
    return groups;
  }

  // Of entities that two windows saw the longer stays, of equal ones the surer.
  static std::vector<Entity> without_overlaps(std::vector<Entity> entities) {
    if (entities.empty()) return entities;
    stable_sort(entities, [](const Entity& a, const Entity& b) { return a.start < b.start; });
    std::vector<Entity> kept;
    Entity previous = entities[0];
    for (const Entity& entity : entities) {
      if (previous.start <= entity.start && entity.start < previous.end) {
        const int64_t length = entity.end - entity.start, before = previous.end - previous.start;
        if (length > before || (length == before && entity.score > previous.score)) previous = entity;
      } else {
        kept.push_back(previous);
        previous = entity;
      }
    }
    kept.push_back(previous);
    return kept;
  }
};

}  // namespace

std::unique_ptr<Pipeline> token_classification(std::string task, std::shared_ptr<const SequenceModel> model) {
  return std::make_unique<TokenClassification>(std::move(task), std::move(model));
}

}  // namespace pagoda::tasks
