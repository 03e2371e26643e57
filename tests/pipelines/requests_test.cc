// What a request to a task may say: parameters under HF's names, where texts are cut, how much one may ask for.

#include "tests/pipelines/pipeline_fixture.h"

namespace pagoda {
namespace {

// What HF takes and what it does with it.
TEST(Parameters, OlderNamesAndThoseWithoutEffect) {
  const auto same = [](const std::string& task, const Json& input, const char* one, const Json& other_input,
                       const char* other) {
    const auto pipeline = pipeline_of("bert", task);
    const Json a = pipeline->run(input, Json::parse(one, "one")), b = pipeline->run(other_input, Json::parse(other, "other"));
    EXPECT_TRUE(a == b) << task << " " << one << ": got " << a.dump() << ", need " << b.dump();
  };
  const Json text = "Paris is the capital of Bern";
  for (const char* task : {"text-classification", "token-classification", "feature-extraction"}) {
    same(task, text, R"({"batch_size": 4, "num_workers": 0})", text, "{}");
  }
  same("feature-extraction", text, R"({"return_tensors": false})", text, "{}");
  same("feature-extraction", text, R"({"truncation": true, "tokenize_kwargs": {"max_length": 4}})", text,
       R"({"tokenize_kwargs": {"truncation": true, "max_length": 4}})");
  same("token-classification", text, R"({"grouped_entities": true})", text, R"({"aggregation_strategy": "simple"})");
  same("token-classification", text, R"({"grouped_entities": true, "ignore_subwords": true})", text,
       R"({"aggregation_strategy": "first"})");
  const Json zero = Json::parse(R"({"sequences": "Paris", "candidate_labels": ["a", "b"]})", "");
  same("zero-shot-classification", zero, R"({"multi_class": true})", zero, R"({"multi_label": true})");
  const Json asked = Json::parse(R"({"question": "where", "context": "Paris is in Bern"})", "");
  same("question-answering", asked, R"({"topk": 3})", asked, R"({"top_k": 3})");
  const Json columns = Json::parse(R"({"question": ["where", "who"], "context": ["Paris is in Bern", "Angela lives"]})", "");
  const Json rows = Json::parse(R"([{"question": "where", "context": "Paris is in Bern"},
                                    {"question": "who", "context": "Angela lives"}])",
                                "");
  same("question-answering", columns, "{}", rows, "{}");
  const Json one_context = Json::parse(R"({"question": ["where", "who"], "context": "Paris is in Bern"})", "");
  const Json both = Json::parse(R"([{"question": "where", "context": "Paris is in Bern"},
                                    {"question": "who", "context": "Paris is in Bern"}])",
                                "");
  same("question-answering", one_context, "{}", both, "{}");
  // transformers 4.57: all labels as the model has them, in a list for a text alone.
  const Json all = pipeline_of("bert", "text-classification")->run(text, Json::parse(R"({"return_all_scores": true})", ""));
  ASSERT_EQ(all.as_array("")[0].size(), 5u) << all.dump();
  EXPECT_EQ(all.as_array("")[0].as_array("")[3].at("label", "").as_string(""), "B-LOC");
  EXPECT_THROW(pipeline_of("bert", "feature-extraction")
                   ->run(text, Json::parse(R"({"truncation": true, "tokenize_kwargs": {"truncation": true}})", "")),
               Error);
}

// Words are read one by one and give the entities of the text that they make.
TEST(Parameters, SplitIntoWords) {
  const auto pipeline = pipeline_of("bert", "token-classification");
  const Json words = Json::parse(R"(["Paris", "is", "in", "Bern"])", "");
  const auto run = [&](const Json& input, const char* parameters) { return pipeline->run(input, Json::parse(parameters, "")); };
  const Json whole = run("Paris is in Bern", "{}"), split = run(words, R"({"is_split_into_words": true})");
  ASSERT_EQ(split.size(), 1u);  // HF answers a list, also to one text
  expect_near(split.as_array("")[0], whole, "split");
  expect_near(run(words, R"({"is_split_into_words": true, "delimiter": "  "})").as_array("")[0],
              run("Paris  is  in  Bern", "{}"), "delimiter");
  Json two = Json::array();
  two.push_back(words);
  two.push_back(words);
  EXPECT_EQ(run(two, R"({"is_split_into_words": true})").size(), 2u);
  EXPECT_THROW(run("Paris", R"({"is_split_into_words": true})"), Error);
}

// As transformers 5 cuts: [CLS] 2, [SEP] 3; nothing where the special tokens alone are too many.
TEST(Truncation, ToTheSpecialTokensAndBelow) {
  const auto model = model_of("bert", Head::kSequenceClassification);
  const std::string second = "b c d e";
  const auto cut = [&](int64_t most, bool pair) {
    EncodedText text = model->encode("a b c d", pair ? &second : nullptr);
    truncate_text(text, most, Truncation::Strategy::kLongestFirst);
    return text.encoding.ids;
  };
  using Ids = std::vector<int32_t>;
  EXPECT_EQ(cut(1, false), (Ids{2, 16, 17, 18, 19, 3}));
  EXPECT_EQ(cut(2, false), (Ids{2, 3}));
  EXPECT_EQ(cut(3, false), (Ids{2, 16, 3}));
  for (const int64_t most : {1, 2}) EXPECT_EQ(cut(most, true), (Ids{2, 16, 17, 18, 19, 3, 17, 18, 19, 20, 3}));
  EXPECT_EQ(cut(3, true), (Ids{2, 3, 3}));
  EXPECT_EQ(cut(4, true), (Ids{2, 3, 17, 3}));
  EXPECT_EQ(cut(5, true), (Ids{2, 16, 3, 17, 3}));
}

constexpr const char* kLongText = "The quick fox jumps over the lazy dog in Paris and Berlin while the others look on";

// transformers 5.24's numbers for kLongText.
TEST(Truncation, MaxLengthAloneCutsToo) {
  const auto pipeline = pipeline_of("bert", "text-classification");
  EXPECT_NEAR(best_score(*pipeline, kLongText, R"({"top_k": 1})"), 0.5932013, 1e-5);
  EXPECT_NEAR(best_score(*pipeline, kLongText, R"({"top_k": 1, "max_length": 6})"), 0.4675086, 1e-5);
  EXPECT_NEAR(best_score(*pipeline, kLongText, R"({"top_k": 1, "max_length": 6, "padding": false})"), 0.4675086, 1e-5);
  for (const char* uncut : {R"("truncation": false)", R"("truncation": "do_not_truncate")", R"("padding": true)"}) {
    const std::string parameters = R"({"top_k": 1, "max_length": 6, )" + std::string(uncut) + "}";
    EXPECT_NEAR(best_score(*pipeline, kLongText, parameters), 0.5932013, 1e-5) << uncut;
  }
}

TEST(Truncation, OnTheSideThatTheTokenizerSays) {
  const std::string folder = bert_with("{}", R"({"truncation_side": "left"})");
  const auto left = Pipeline::open("text-classification", folder, one_thread());
  const char* cut = R"({"top_k": 1, "truncation": true, "max_length": 8})";
  EXPECT_NEAR(best_score(*left, kLongText, cut), 0.3614289, 1e-5);
  EXPECT_NEAR(best_score(*pipeline_of("bert", "text-classification"), kLongText, cut), 0.5199185, 1e-5);
  const std::string second = "b c d e";
  const auto ids = [&](const std::string* pair) {
    EncodedText text = left->model().encode("a b c d", pair);
    truncate_text(text, 6, Truncation::Strategy::kLongestFirst);
    return text.encoding.ids;
  };
  EXPECT_EQ(ids(&second), (std::vector<int32_t>{2, 19, 3, 19, 20, 3}));
  // A pair whose first text was encoded once is cut alike.
  EncodedText pair = PairEncoder(left->model(), "a b c d").with(second);
  truncate_text(pair, 6, Truncation::Strategy::kLongestFirst);
  EXPECT_EQ(pair.encoding.ids, ids(&second));
  EXPECT_THROW(Pipeline::open("fill-mask", bert_with("{}", R"({"truncation_side": "middle"})"), one_thread()), Error);
  const std::string padded = bert_with("{}", R"({"padding_side": "left"})");
  EXPECT_NO_THROW(Pipeline::open("text-classification", padded, one_thread()));
  EXPECT_THROW(Pipeline::open("question-answering", padded, one_thread()), Error);
}

// Parts are counted from the end (transformers 5.24: aggregation_strategy simple, stride 3, model_max_length 12).
TEST(Truncation, WindowsBeginAtTheSideThatIsKept) {
  const std::string folder = bert_with("{}", R"({"truncation_side": "left", "model_max_length": 12})");
  const Json result = Pipeline::open("token-classification", folder, one_thread())
                          ->run(kLongText, Json::parse(R"({"aggregation_strategy": "simple", "stride": 3})", ""));
  const std::vector<std::pair<int64_t, int64_t>> places = {{0, 9},   {10, 24}, {34, 37}, {38, 40}, {41, 46}, {47, 57},
                                                           {60, 61}, {61, 63}, {64, 74}, {75, 78}, {80, 82}};
  const double scores[] = {0.44414, 0.54231, 0.58283, 0.47413, 0.54873, 0.38352, 0.34942, 0.58082, 0.47749, 0.37413, 0.37598};
  ASSERT_EQ(result.size(), places.size()) << result.dump();
  for (size_t i = 0; i < places.size(); ++i) {
    const Json& entity = result.as_array("")[i];
    EXPECT_EQ(entity.at("start", "").as_int(""), places[i].first) << i;
    EXPECT_EQ(entity.at("end", "").as_int(""), places[i].second) << i;
    EXPECT_NEAR(entity.at("score", "").as_double(""), scores[i], 2e-5) << i;
  }
}

TEST(Truncation, OfTextsThatBecomeOneVector) {
  const auto pipeline = pipeline_of("bert", "feature-extraction");
  const auto vector = [&](const std::string& text, const std::string& more) {
    return pipeline->run(text, Json::parse(R"({"pooling": "mean")" + more + "}", "test"));
  };
  const Json begin = vector("the quick", "");
  expect_near(vector("the quick fox jumps", R"(, "truncation": true, "max_length": 4)"), begin, "both");
  expect_near(vector("the quick fox jumps", R"(, "max_length": 4)"), begin, "max_length");
  expect_near(vector("the quick fox jumps", R"(, "tokenize_kwargs": {"max_length": 4})"), begin, "tokenize_kwargs");
  EXPECT_FALSE(vector("the quick fox jumps", "") == begin);
  EXPECT_NO_THROW(vector(long_text(), ""));  // as sentence-transformers
  expect_refused(*pipeline, long_text(), R"({"pooling": "mean", "truncation": false})", "need at most 72");
}

TEST(Requests, ParametersAreReadOnceAndBefore) {
  const auto fill = pipeline_of("bert", "fill-mask");
  expect_refused(*fill, Json::array(), R"({"targets": ["a"], "other": 1})", "unknown for fill-mask: got 'other'");
  Json targets = Json::array();
  for (int64_t i = 0; i <= fill->model().model().vocab_size(); ++i) targets.push_back("a");
  expect_refused(*fill, Json::array(), R"({"targets": )" + targets.dump() + "}", "need at most the ");
  const Json twice = fill->run("[MASK]", Json::parse(R"({"targets": ["fox", "dog", "fox"]})", ""));
  EXPECT_EQ(twice.size(), 2U) << twice.dump();
}

TEST(Requests, StopWhereTheirCallerSaysSo) {
  struct Stopped {};
  const auto pipeline = pipeline_of("bert", "text-classification");
  const Json list = Json::parse(R"(["a", "b", "c", "d"])", "");
  int calls = 0;
  PrepareOptions options;
  options.check = [&] {
    if (++calls == 3) throw Stopped();
  };
  EXPECT_THROW(pipeline->prepare(list, {}, options), Stopped);
  calls = -1;  // four inputs are read, and the first pass does not begin
  options.check = [&] {
    if (++calls == 4) throw Stopped();
  };
  EXPECT_THROW(pipeline->run(list, {}, options), Stopped);
  options.check = {};
  EXPECT_EQ(pipeline->run(list, {}, options).size(), 4U);
}

TEST(Requests, ListsAreCountedWhereverTheyStand) {
  PrepareOptions options;
  options.max_inputs = 2;
  const auto refused = [&](const char* task, const char* input) {
    try {
      pipeline_of("bert", task)->prepare(Json::parse(input, ""), {}, options);
    } catch (const Error& error) {
      return error.message().find("too many: got 3, need at most 2") != std::string::npos;
    }
    return false;
  };
  EXPECT_TRUE(refused("text-classification", R"(["a", "b", "c"])"));
  EXPECT_FALSE(refused("text-classification", R"(["a", "b"])"));
  EXPECT_TRUE(refused("question-answering", R"({"question": ["a", "b", "c"], "context": "d"})"));
  EXPECT_TRUE(refused("zero-shot-classification", R"({"sequences": ["a", "b", "c"], "candidate_labels": ["d"]})"));
}

TEST(Requests, ContextsThatAnswersNeedAreCounted) {
  Json questions = Json::array();
  for (int i = 0; i < 40; ++i) questions.push_back("a");
  const Json input = Json::object().set("question", questions).set("context", std::string(1 << 20, 'x'));  // one [UNK] each
  expect_refused(*pipeline_of("bert", "question-answering"), input, "null", "bytes of texts kept");
}

TEST(Requests, OffsetsAreThereForTasksThatReadThem) {
  const auto model = model_of("bert", Head::kSequenceClassification);
  const Encoding plain = model->encode("a fox").encoding, full = model->encode_with_offsets("a fox").encoding;
  EXPECT_EQ(plain.ids, full.ids);
  EXPECT_EQ(plain.special_tokens_mask, full.special_tokens_mask);
  EXPECT_TRUE(plain.offsets.empty() && plain.tokens.empty() && plain.word_ids.empty());
  EXPECT_EQ(full.offsets.size(), full.ids.size());
  EXPECT_EQ(full.tokens.size(), full.ids.size());
}

}  // namespace
}  // namespace pagoda
