// The published conformance suites: every id equal, for every vocabulary that is at hand.
#include <gtest/gtest.h>

#include <sstream>

#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "formats/tokenizer_loader.h"
#include "tests/test_data.h"

namespace pagoda {
namespace {

std::string data_folder() {
  const char* const folder = test::test_data();
  return folder == nullptr ? std::string() : std::string(folder) + "/tokenizers/";
}

std::vector<int32_t> ints(const Json& list) {
  std::vector<int32_t> out;
  for (const Json& item : list.as_array("list")) out.push_back(static_cast<int32_t>(item.as_int("list")));
  return out;
}

// The 47 strings of ggml's vocabularies; ids without special tokens.
TEST(Conformance, GgmlVocabularies) {
  const std::string folder = data_folder();
  if (folder.empty()) GTEST_SKIP() << "needs PAGODA_TEST_DATA";
  const std::string suites = folder + "ggml_vocab/conformance-2025-02/";
  int checked = 0;
  for (const std::string& name : list_directory(suites)) {
    if (name.size() < 4 || name.substr(name.size() - 4) != ".inp") continue;
    const std::string base = name.substr(0, name.size() - 4);
    std::vector<std::string> models = {folder + "ggml_vocab/" + base};
    if (base.find("roberta-bpe") != std::string::npos) models.push_back(folder + "roberta-base/tokenizer.json");
    if (base.find("phi-3") != std::string::npos) models.push_back(folder + "phi-3-mini/tokenizer.json");
    if (base.find("llama-spm") != std::string::npos) models.push_back(folder + "llama2/tokenizer.json");
    const std::string text = read_file(suites + name, 1 << 20);
    constexpr std::string_view kMark = "\n__ggml_vocab_test__\n";
    for (const std::string& model : models) {
      if (!file_exists(model)) continue;
      SCOPED_TRACE(model);
      const std::shared_ptr<const Tokenizer> tokenizer = load_tokenizer(model);
      std::istringstream expected(read_file(suites + base + ".out", 1 << 20));
      for (size_t pos = 0; pos <= text.size();) {
        const size_t end = std::min(text.find(kMark, pos), text.size());
        std::string line;
        std::getline(expected, line);
        std::istringstream numbers(line);
        std::vector<int32_t> ids;
        for (int32_t id; numbers >> id;) ids.push_back(id);
        EXPECT_EQ(tokenizer->encode_ids(text.substr(pos, end - pos), false), ids) << text.substr(pos, end - pos);
        pos = end + kMark.size();
      }
      ++checked;
    }
  }
  EXPECT_GE(checked, 8);
}

// 83 strings of many languages; ids with special tokens.
TEST(Conformance, Multilingual) {
  const std::string folder = data_folder();
  if (folder.empty()) GTEST_SKIP() << "needs PAGODA_TEST_DATA";
  const std::string suite = folder + "conformance_hf/multilingual/";
  const std::string inputs_path = suite + "inputs.json";
  const Json inputs = Json::parse(read_file(inputs_path, 1 << 24), inputs_path);
  const std::pair<const char*, const char*> known[] = {
      {"bge_small", "bert/bert-base-uncased-vocab.txt"},
      {"t5_small", "t5/t5-small-tokenizer.json"},
      {"tinyllama", "llama2/tokenizer.json"},
      {"roberta_base", "roberta-base/tokenizer.json"},
  };
  int rows = 0;
  for (const auto& [name, model] : known) {
    SCOPED_TRACE(name);
    const std::string path = suite + "baselines/" + name + "_multilingual.json";
    const Json baseline = Json::parse(read_file(path, 1 << 24), path);
    const std::shared_ptr<const Tokenizer> tokenizer = load_tokenizer(folder + model);
    for (const Json& row : baseline.at("entries", path).as_array(path)) {
      const std::string& id = row.at("id", path).as_string(path);
      for (const Json& input : inputs.as_array(inputs_path)) {
        if (input.at("id", path).as_string(path) != id) continue;
        const std::string& text = input.at("text", path).as_string(path);
        EXPECT_EQ(tokenizer->encode_ids(text, true), ints(row.at("input_ids", path))) << text;
        ++rows;
      }
    }
  }
  EXPECT_EQ(rows, 4 * 83);
}

}  // namespace
}  // namespace pagoda
