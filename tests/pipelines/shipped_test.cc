// The masked LM that ships with Pagoda loads and fills masks that every story has.
#include <gtest/gtest.h>

#include "pipelines/pipeline.h"

namespace pagoda {
namespace {

std::string best(const Pipeline& pipeline, const std::string& text) {
  const std::string at = "fill-mask";
  return pipeline.run(text).as_array(at)[0].at("token_str", at).as_string(at);
}

TEST(Shipped, MaskedLanguageModelFillsEasyMasks) {
  LoadOptions options;
  options.runtime.threads = 1;
  const auto pipeline = Pipeline::open("fill-mask", PAGODA_SOURCE_DIR "/models/masked_lm/stories", options);
  EXPECT_EQ(best(*pipeline, "once upon a [MASK], there was a small frog who lived near a pond."), "time");
  EXPECT_EQ(best(*pipeline, "the two boys became best [MASK] and played together every day."), "friends");
}

}  // namespace
}  // namespace pagoda
