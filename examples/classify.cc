// Any task of Hugging Face's pipelines, JSON in and out, and texts compared by their vectors:
//   classify TASK MODEL INPUTS     such as  classify fill-mask models/masked_lm/stories '"once upon a [MASK]"'
//   classify similarity MODEL TEXT TEXT ...
#include <pagoda/pagoda.h>

#include <iostream>
#include <numeric>

namespace {

void compare(const std::string& name, const std::vector<std::string>& texts) {
  const auto model = pagoda::EmbeddingModel::open(name);
  const auto vectors = model.encode(texts, {.normalize_embeddings = true});
  for (size_t i = 1; i < texts.size(); ++i) {
    const float cosine = std::inner_product(vectors[0].begin(), vectors[0].end(), vectors[i].begin(), 0.0F);
    std::cout << cosine << "  " << texts[i] << "\n";
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 4) {
    std::cerr << "usage: classify TASK MODEL INPUTS, or: classify similarity MODEL TEXT TEXT ...\n";
    return 2;
  }
  try {
    if (std::string(argv[1]) == "similarity") {
      compare(argv[2], {argv + 3, argv + argc});
    } else {
      std::cout << pagoda::Pipeline::open(argv[1], argv[2]).run(argv[3]) << "\n";
    }
  } catch (const pagoda::Error& error) {
    std::cerr << pagoda::error_kind_name(error.kind()) << ": " << error.what() << "\n";
    return 1;
  }
}
