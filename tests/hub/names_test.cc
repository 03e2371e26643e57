// Names, revisions, patterns, the default choice of files, and settings from the environment.
#include <gtest/gtest.h>

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/file.h"
#include "hub/config.h"
#include "hub/repo_id.h"
#include "hub/select.h"
#include "tests/temporary.h"

namespace pagoda::hub {
namespace {

TEST(RepoId, TakesApart) {
  EXPECT_EQ(parse_repo_id("org/name").name, "org/name");
  EXPECT_EQ(parse_repo_id("org/name").revision, "");
  EXPECT_EQ(parse_repo_id("gpt2").name, "gpt2");
  EXPECT_EQ(parse_repo_id("Foo-BAR_foo.bar123/x@refs/pr/3").revision, "refs/pr/3");
  EXPECT_EQ(repo_folder_name("julien-c/EsperBERTo-small"), "models--julien-c--EsperBERTo-small");
  EXPECT_EQ(repo_folder_name("gpt2"), "models--gpt2");
}

TEST(RepoId, RefusesWhatTheHubRefuses) {
  for (const char* name : {"",     "/",    "a/", "/a",      "a/b/c",  "a--b",  "a..b",          ".a/b",
                           "a/b.", "-a",   "a-", "a/b.git", "a b",    "a/b\n", "caf\xc3\xa9/x", "../x",
                           "a/..", "a\\b", "a@", "a@/etc",  "a@../x", "a@x y", "a@x//y"}) {
    EXPECT_THROW(parse_repo_id(name), Error) << name;
  }
  EXPECT_THROW(parse_repo_id(std::string(97, 'a')), Error);
  EXPECT_NO_THROW(parse_repo_id(std::string(96, 'a') + "/" + std::string(96, 'b')));
}

TEST(RepoId, Quotes) {
  EXPECT_EQ(url_quote("refs/pr/1", false), "refs%2Fpr%2F1");
  EXPECT_EQ(url_quote("a b/\xc3\xa9~_.-", true), "a%20b/%C3%A9~_.-");
}

TEST(Glob, AsPythonsFnmatch) {
  // pattern, text, what Python 3.11's fnmatch.fnmatchcase says
  const std::vector<std::tuple<const char*, const char*, bool>> cases = {
      {"*.json", "a/b/config.json", true},
      {"*.json", "config.jsonl", false},
      {"?", "\xe6\xbc\xa2", true},
      {"??", "\xe6\xbc\xa2", false},
      {"[abc]x", "bx", true},
      {"[!abc]x", "bx", false},
      {"[!abc]x", "dx", true},
      {"[a-c]", "b", true},
      {"[c-a]", "b", false},
      {"[!c-a]", "b", true},
      {"[]]", "]", true},
      {"[!]]", "a", true},
      {"[!]]", "]", false},
      {"[", "[", true},
      {"[a", "[a", true},
      {"[!", "[!", true},
      {"a[", "a[", true},
      {"[a-]", "-", true},
      {"[-a]", "-", true},
      {"[a-b-c]", "-", true},
      {"*", "", true},
      {"", "", true},
      {"", "a", false},
      {"a*b*c", "aXbXbc", true},
      {"a*b*c", "aXbXb", false},
      {"**", "x/y", true},
      {"\\*", "\\x", true},
      {"A", "a", false},
      {"[^a]", "^", true},
      {"[^a]", "b", false},
  };
  for (const auto& [pattern, text, want] : cases) EXPECT_EQ(glob_match(pattern, text), want) << pattern << " " << text;
}

TEST(Glob, ManyStarsTakeNoExponentialTime) {
  std::string pattern;
  for (int i = 0; i < 50; ++i) pattern += "*a";
  EXPECT_FALSE(glob_match(pattern + "b", std::string(2000, 'a')));
}

TEST(Glob, Keep) {
  EXPECT_TRUE(glob_keep("onnx/model.onnx", {"onnx/"}, {}));
  EXPECT_FALSE(glob_keep("onnx/model.onnx", {}, {"onnx/"}));
  EXPECT_TRUE(glob_keep("a", {}, {}));
  EXPECT_FALSE(glob_keep("a", {"b", "c*"}, {}));
  EXPECT_FALSE(glob_keep("cx", {"c*"}, {"*x"}));
}

TEST(Select, DefaultFiles) {
  const std::vector<std::string> names = {".gitattributes",
                                          "1_Pooling/config.json",
                                          "README.md",
                                          "additional_chat_templates/rag.jinja",
                                          "chat_template.jinja",
                                          "config.json",
                                          "consolidated.safetensors",
                                          "eval_results.json",
                                          "flax_model.msgpack",
                                          "generation_config.json",
                                          "merges.txt",
                                          "model.fp16.safetensors",
                                          "model.safetensors",
                                          "onnx/config.json",
                                          "onnx/model.onnx",
                                          "pytorch_model.bin",
                                          "pytorch_model.bin.index.json",
                                          "requirements.txt",
                                          "rust_model.ot",
                                          "spiece.model",
                                          "tf_model.h5",
                                          "tokenizer.json",
                                          "trainer_state.json",
                                          "training_args.bin",
                                          "vocab.txt"};
  const std::string entry = weights_entry(names);
  EXPECT_EQ(entry, "model.safetensors");
  std::vector<std::string> kept;
  for (const auto& name : names) {
    if (is_needed_file(name, entry)) kept.push_back(name);
  }
  EXPECT_EQ(kept, (std::vector<std::string>{"1_Pooling/config.json", "additional_chat_templates/rag.jinja",
                                            "chat_template.jinja", "config.json", "generation_config.json", "merges.txt",
                                            "model.safetensors", "spiece.model", "tokenizer.json", "vocab.txt"}));
  EXPECT_EQ(weights_entry({"pytorch_model.bin", "pytorch_model.bin.index.json"}), "pytorch_model.bin");
  EXPECT_EQ(weights_entry({"model.safetensors.index.json", "pytorch_model.bin"}), "model.safetensors.index.json");
  EXPECT_EQ(weights_entry({"model.gguf"}), "");
}

TEST(Select, Shards) {
  EXPECT_EQ(shards_of_index(R"({"metadata":{},"weight_map":{"a":"m-2","b":"m-1","c":"m-2"}})", "index"),
            (std::vector<std::string>{"m-1", "m-2"}));
  for (const char* bad : {"{", "{}", R"({"weight_map":[]})", R"({"weight_map":{"a":1}})", R"({"weight_map":{"a":"../x"}})",
                          R"({"weight_map":{"a":"/etc/passwd"}})"}) {
    EXPECT_THROW(shards_of_index(bad, "index"), Error) << bad;
  }
}

HubConfig config_of(const std::map<std::string, std::string>& variables) {
  return hub_config_from_environment([&](std::string_view name) -> std::optional<std::string> {
    const auto found = variables.find(std::string(name));
    if (found == variables.end()) return std::nullopt;
    return found->second;
  });
}

TEST(Config, Folders) {
  EXPECT_EQ(config_of({{"HOME", "/h"}}).cache_folder, "/h/.cache/huggingface/hub");
  EXPECT_EQ(config_of({{"HOME", "/h"}, {"XDG_CACHE_HOME", "/x"}}).cache_folder, "/x/huggingface/hub");
  EXPECT_EQ(config_of({{"HOME", "/h"}, {"XDG_CACHE_HOME", "/x"}, {"HF_HOME", "~/hf"}}).cache_folder, "/h/hf/hub");
  EXPECT_EQ(config_of({{"HF_HOME", "/a"}, {"HUGGINGFACE_HUB_CACHE", "/b"}}).cache_folder, "/b");
  EXPECT_EQ(
      config_of(
          {{"HF_HOME", "/a"}, {"HUGGINGFACE_HUB_CACHE", "/b"}, {"HF_HUB_CACHE", "$D/${E}x/$NONE"}, {"D", "/d"}, {"E", "e"}})
          .cache_folder,
      "/d/ex/$NONE");
  EXPECT_EQ(config_of({{"HOME", "/h"}, {"HF_HOME", ""}}).cache_folder, "/h/.cache/huggingface/hub");
}

TEST(Config, EndpointTokenOffline) {
  EXPECT_EQ(config_of({}).endpoint, "https://huggingface.co");
  EXPECT_EQ(config_of({{"HF_ENDPOINT", "http://mirror/hf//"}}).endpoint, "http://mirror/hf");
  for (const char* bad : {"mirror", "ftp://x", "https://", "http://a b"})
    EXPECT_THROW(config_of({{"HF_ENDPOINT", bad}}), Error) << bad;
  EXPECT_EQ(config_of({{"HF_TOKEN", " hf_a\n"}, {"HUGGING_FACE_HUB_TOKEN", "b"}}).token, "hf_a");
  EXPECT_EQ(config_of({{"HUGGING_FACE_HUB_TOKEN", "b"}}).token, "b");
  EXPECT_EQ(config_of({{"HF_TOKEN", "x"}, {"HF_HUB_DISABLE_IMPLICIT_TOKEN", "1"}}).token, "");
  try {
    config_of({{"HF_TOKEN", "secret\r\nX: y"}});
    FAIL() << "a token with a line break must be refused";
  } catch (const Error& error) {
    EXPECT_EQ(error.message().find("secret"), std::string::npos);
  }
  EXPECT_TRUE(config_of({{"HF_HUB_OFFLINE", "yes"}}).offline);
  EXPECT_TRUE(config_of({{"TRANSFORMERS_OFFLINE", "1"}}).offline);
  EXPECT_FALSE(config_of({{"HF_HUB_OFFLINE", "0"}, {"TRANSFORMERS_OFFLINE", "1"}}).offline);
  EXPECT_FALSE(config_of({{"HF_HUB_DISABLE_SYMLINKS", "true"}}).symlinks);
  EXPECT_EQ(config_of({{"HF_HUB_DOWNLOAD_TIMEOUT", "7"}}).stall_seconds, 7);
  EXPECT_THROW(config_of({{"HF_HUB_DOWNLOAD_TIMEOUT", "-1"}}), Error);
  EXPECT_EQ(config_of({{"CURL_CA_BUNDLE", "/a"}, {"SSL_CERT_FILE", "/b"}, {"REQUESTS_CA_BUNDLE", "/a"}}).ca_files,
            (std::vector<std::string>{"/b", "/a"}));
}

TEST(Config, TokenFile) {
  const std::string folder = pagoda::testing::temporary_path("token_test");
  make_directories(folder);
  write_file_atomic(folder + "/token", "hf_file\n");
  write_file_atomic(folder + "/other", "hf_other\n");
  EXPECT_EQ(config_of({{"HF_HOME", folder}}).token, "hf_file");
  EXPECT_EQ(config_of({{"HF_HOME", folder}, {"HF_TOKEN_PATH", folder + "/other"}}).token, "hf_other");
  EXPECT_EQ(config_of({{"HF_HOME", folder}, {"HF_TOKEN_PATH", folder + "/none"}}).token, "");
  std::filesystem::remove_all(folder);
}

}  // namespace
}  // namespace pagoda::hub
