// Compiled models: the same bits out of a mapped file, and what happens where it does not fit.
#include "pipelines/compiled_model.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "base/error.h"
#include "ops/tape.h"
#include "tests/temporary.h"

namespace pagoda {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

class Compiled : public ::testing::Test {
 protected:
  // A copy of a fixture, to put the compiled file beside.
  std::string copy_of(const std::string& fixture) {
    const std::string from = std::string(PAGODA_SOURCE_DIR) + "/tests/fixtures/" + fixture;
    const std::string to = pagoda::testing::temporary_path("compiled_" + file_name(fixture));
    if (fs::is_directory(from)) {
      fs::copy(from, to, fs::copy_options::recursive | fs::copy_options::overwrite_existing);
    } else {
      fs::copy_file(from, to, fs::copy_options::overwrite_existing);
    }
    return to;
  }
  LoadOptions options(const std::string& dtype, Isa isa = Isa::kPortable) {
    LoadOptions options;
    options.runtime.threads = 2;
    options.runtime.isa = isa;
    options.dtype = dtype;
    options.notice = [this](const std::string& text) { notices_.push_back(text); };
    return options;
  }
  static std::vector<float> logits_of(LoadedModel& loaded) {
    const NoGrad no_grad;
    Tensor ids = Tensor::empty(loaded.runtime().device(), DType::kInt32, {9});
    for (int i = 0; i < 9; ++i) ids.data<int32_t>()[i] = 5 + 3 * i % 17;
    ForwardContext context;
    context.layout = Layout::whole({9}, true);
    const Outputs outputs = loaded.model().forward({ids}, context);
    const Tensor values = outputs.logits ? outputs.logits : outputs.hidden;
    return {values.data<float>(), values.data<float>() + values.bytes() / 4};
  }
  std::vector<std::string> notices_;
};

TEST_F(Compiled, GivesTheSameBitsOutOfTheMappedFile) {
  for (const char* fixture : {"llama", "gpt2", "qwen2", "encoders/bert", "gguf/llama_q8_0.gguf"}) {
    for (const char* dtype : {"float32", "bfloat16"}) {
      SCOPED_TRACE(std::string(fixture) + " " + dtype);
      const std::string path = copy_of(fixture);
      const std::vector<float> want = logits_of(*LoadedModel::open(path, options(dtype)));
      const CompileReport report = compile_model(path, options(dtype), "");
      EXPECT_GT(report.weights, 4);
      EXPECT_TRUE(file_exists(report.path));
      EXPECT_THAT(report.path, HasSubstr(std::string(".portable.") + dtype + ".pagoda"));
      const auto loaded = LoadedModel::open(path, options(dtype));  // found by itself
      EXPECT_GT(loaded->mapped_bytes(), 0);
      EXPECT_TRUE(notices_.empty()) << notices_[0];
      const std::vector<float> got = logits_of(*loaded);
      ASSERT_EQ(got.size(), want.size());
      EXPECT_EQ(std::memcmp(got.data(), want.data(), got.size() * sizeof(float)), 0);
      // Another instruction set, another dtype: each has a file of its own, and this one is not theirs.
      EXPECT_EQ(LoadedModel::open(path, options(dtype, Isa::kReference))->mapped_bytes(), 0);
      LoadOptions none = options(dtype);
      none.compiled = "none";
      EXPECT_EQ(LoadedModel::open(path, none)->mapped_bytes(), 0);
      fs::remove_all(path);
    }
  }
}

TEST_F(Compiled, EveryWeightOfProductsIsTakenFromIt) {
  const std::string path = copy_of("llama");
  const CompileReport report = compile_model(path, options("bfloat16"), path + "/elsewhere");
  class Counting : public PackedStore {
   public:
    explicit Counting(std::shared_ptr<const CompiledFile> file) : store_(std::move(file)) {}
    std::shared_ptr<const void> find(const std::vector<PackedPart>& parts, const PackedView& shape) override {
      const auto found = store_.find(parts, shape);
      if (found) ++found_;
      return found;
    }
    void made(const std::shared_ptr<const PackedWeight>&) override { ++made_; }
    CompiledStore store_;
    int64_t found_ = 0, made_ = 0;
  };
  const auto counting = std::make_shared<Counting>(CompiledFile::open(report.path));
  LoadOptions with = options("bfloat16");
  with.packed = counting;
  LoadedModel::open(path, with);
  EXPECT_EQ(counting->found_, report.weights);
  EXPECT_EQ(counting->made_, 0);
}

TEST_F(Compiled, ItsPagesAreOfTheFileAndReadOnly) {
  const std::string path = copy_of("llama");
  const CompileReport report = compile_model(path, options("bfloat16"), "");
  const auto loaded = LoadedModel::open(path, options("bfloat16"));
  std::ifstream maps("/proc/self/maps");
  std::string line, found;
  while (std::getline(maps, line)) {
    if (line.find(report.path) != std::string::npos) found = line;
  }
  EXPECT_THAT(found, HasSubstr(" r--"));
}

TEST_F(Compiled, WhereTheKeyDiffersWeightsArePackedAndThatIsTold) {
  const std::string path = copy_of("llama");
  const std::string file = compile_model(path, options("float32"), path + "/file.pagoda").path;
  LoadOptions named = options("bfloat16");
  named.compiled = file;
  EXPECT_EQ(LoadedModel::open(path, named)->mapped_bytes(), 0);
  ASSERT_EQ(notices_.size(), 1u);
  EXPECT_THAT(notices_[0], HasSubstr("dtype: it is for \"float32\", this is \"bfloat16\""));
  named = options("float32", Isa::kReference);
  named.compiled = file;
  EXPECT_EQ(LoadedModel::open(path, named)->mapped_bytes(), 0);
  EXPECT_THAT(notices_.back(), HasSubstr("isa: it is for \"portable\""));
  // Other weights of the same size, at the same second.
  named = options("float32");
  named.compiled = file;
  EXPECT_GT(LoadedModel::open(path, named)->mapped_bytes(), 0);
  const std::string weights = path + "/model.safetensors";
  const auto time = fs::last_write_time(weights);
  std::string bytes = read_file(weights, 1 << 24);
  bytes[bytes.size() / 2] = static_cast<char>(bytes[bytes.size() / 2] ^ 1);
  write_file_atomic(weights, bytes);
  fs::last_write_time(weights, time);
  EXPECT_EQ(LoadedModel::open(path, named)->mapped_bytes(), 0);
  EXPECT_THAT(notices_.back(), HasSubstr("the weights have changed since"));
}

// Names have the prefix of the base with a head and lack it without one.
TEST_F(Compiled, ServesModelsWithAnotherHead) {
  for (const char* fixture : {"encoders/bert", "encoders/distilbert"}) {
    const std::string path = copy_of(fixture);
    LoadOptions none = options("float32"), other = options("float32");
    none.head = Head::kNone;
    other.head = Head::kMaskedLm;
    const std::string file = path + "/other.pagoda";
    for (const auto& [made, used] : {std::pair{other, none}, {none, other}}) {
      LoadOptions compiled = used, plain = used;
      compile_model(path, made, file);
      compiled.compiled = file;
      plain.compiled = "none";
      const auto with = LoadedModel::open(path, compiled);
      EXPECT_GT(with->mapped_bytes(), 0) << fixture;
      EXPECT_EQ(logits_of(*with), logits_of(*LoadedModel::open(path, plain))) << fixture;
    }
  }
  EXPECT_TRUE(notices_.empty());
}

TEST_F(Compiled, ADamagedFileIsAnErrorWhereItWasNamed) {
  const std::string path = copy_of("llama");
  const std::string file = compile_model(path, options("float32"), "").path;
  const std::string whole = read_file(file, 1 << 24);
  const auto attempt = [&](const std::string& bytes, const char* expected) {
    write_file_atomic(file, bytes);
    LoadOptions named = options("float32");
    named.compiled = file;
    try {
      LoadedModel::open(path, named);
      ADD_FAILURE() << expected;
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kInvalidInput);
      EXPECT_THAT(error.message(), HasSubstr(expected));
    }
    EXPECT_EQ(LoadedModel::open(path, options("float32"))->mapped_bytes(), 0);  // found by itself it is told, and packed anew
    EXPECT_THAT(notices_.back(), HasSubstr(expected));
  };
  std::string flipped = whole;
  flipped[100] = static_cast<char>(flipped[100] ^ 4);
  attempt(flipped, "the header's checksum is wrong");
  attempt(whole.substr(0, whole.size() - 1), "damaged: got");
  attempt("", "not a compiled model");
  attempt("PAGODA", "not a compiled model");
  attempt(std::string(500, 'x'), "not a compiled model");
  std::string later = whole;
  later[8] = 2;
  write_file_atomic(file, later);
  LoadOptions named = options("float32");
  named.compiled = file;
  EXPECT_EQ(LoadedModel::open(path, named)->mapped_bytes(), 0);  // another version's
  EXPECT_THAT(notices_.back(), HasSubstr("compiled model of format 2: need 1"));
  named.compiled = path + "/nowhere";
  EXPECT_THROW(LoadedModel::open(path, named), Error);
}

}  // namespace
}  // namespace pagoda
