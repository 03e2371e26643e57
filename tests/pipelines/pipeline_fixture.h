// What tests of tasks share: pipelines over the tiny encoders of tests/fixtures/encoders, results within a tolerance, refusals.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <memory>
#include <string>
#include <utility>

#include "base/error.h"
#include "base/file.h"
#include "pipelines/pipeline.h"
#include "tests/temporary.h"

namespace pagoda {

inline const std::string kFixtures = PAGODA_SOURCE_DIR "/tests/fixtures/encoders/";

inline LoadOptions one_thread() {
  LoadOptions options;
  options.runtime.threads = 1;
  return options;
}

inline std::shared_ptr<const SequenceModel> model_of(const std::string& family, Head head) {
  static std::map<std::pair<std::string, Head>, std::shared_ptr<const SequenceModel>> opened;
  std::shared_ptr<const SequenceModel>& model = opened[{family, head}];
  if (!model) model = SequenceModel::open(kFixtures + family, one_thread(), head);
  return model;
}

inline std::unique_ptr<Pipeline> pipeline_of(const std::string& family, const std::string& task) {
  return Pipeline::make(task, model_of(family, find_task(task).head));
}

// Numbers within 1e-4 of the largest scale that scores have, all else equal.
inline void expect_near(const Json& got, const Json& want, const std::string& at) {
  if (want.is_number() && !want.is_int()) {
    ASSERT_TRUE(got.is_number()) << at;
    EXPECT_NEAR(got.as_double(at), want.as_double(at), 1e-4 * std::max(1.0, std::fabs(want.as_double(at)))) << at;
  } else if (want.is_array()) {
    ASSERT_TRUE(got.is_array()) << at << ": " << got.dump() << "\nneed " << want.dump();
    ASSERT_EQ(got.size(), want.size()) << at << ": " << got.dump() << "\nneed " << want.dump();
    for (size_t i = 0; i < want.size(); ++i) {
      expect_near(got.as_array(at)[i], want.as_array(at)[i], at + "[" + std::to_string(i) + "]");
    }
  } else if (want.is_object()) {
    ASSERT_TRUE(got.is_object()) << at << ": " << got.dump();
    ASSERT_EQ(got.size(), want.size()) << at << ": " << got.dump();
    for (size_t i = 0; i < want.size(); ++i) {
      const JsonMember& member = want.as_object(at)[i];
      EXPECT_EQ(got.as_object(at)[i].key, member.key) << at;
      expect_near(got.as_object(at)[i].value, member.value, at + "." + member.key);
    }
  } else if (want.is_int() && got.is_number()) {
    EXPECT_NEAR(got.as_double(at), want.as_double(at), 1e-4) << at;
  } else {
    EXPECT_TRUE(got == want) << at << ": got " << got.dump() << ", need " << want.dump();
  }
}

inline void expect_refused(const Pipeline& pipeline, const Json& input, const std::string& parameters,
                           const std::string& text) {
  try {
    pipeline.run(input, Json::parse(parameters, "test"));
    ADD_FAILURE() << "accepted: " << parameters;
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kInvalidInput);
    EXPECT_NE(error.message().find(text), std::string::npos) << error.message();
  }
}

inline std::string long_text() {
  std::string text;
  for (int i = 0; i < 100; ++i) text += "fox ";
  return text;
}

inline void set_fields(const std::string& path, const std::string& fields) {
  Json config = Json::parse(read_file(path, 1 << 20), path);
  const Json more = Json::parse(fields, "test");
  for (const JsonMember& member : more.as_object("test")) config.set(member.key, member.value);
  write_file_atomic(path, config.dump());
}

// encoders/bert with other fields in its config.json and tokenizer_config.json.
inline std::string bert_with(const std::string& fields, const std::string& tokenizer_fields = "{}") {
  const std::string folder = pagoda::testing::temporary_path("bert_with");
  make_directories(folder);
  for (const char* name : {"config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors"}) {
    write_file_atomic(folder + "/" + name, read_file(kFixtures + "bert/" + name, 1 << 24));
  }
  set_fields(folder + "/config.json", fields);
  set_fields(folder + "/tokenizer_config.json", tokenizer_fields);
  return folder;
}

inline double best_score(const Pipeline& pipeline, const Json& input, const std::string& parameters) {
  const Json result = pipeline.run(input, Json::parse(parameters, "test"));
  return result.as_array("")[0].at("score", "").as_double("");
}

}  // namespace pagoda
