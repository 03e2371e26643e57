// Text that goes on from a prompt, shown as it comes: generate MODEL PROMPT
#include <pagoda/pagoda.h>

#include <iostream>

int main(int argc, char** argv) {
  if (argc != 3) {
    std::cerr << "usage: generate MODEL PROMPT\n";
    return 2;
  }
  try {
    const auto model = pagoda::LanguageModel::open(argv[1]);
    const auto result =
        model.generate(argv[2], {.max_new_tokens = 64, .temperature = 0}, [](const pagoda::CompletionChunk& chunk) {
          std::cout << chunk.text << std::flush;
          return static_cast<bool>(std::cout);  // false: nobody reads any more, stop
        });
    std::cerr << "\n"
              << result.usage.completion_tokens << " tokens, " << pagoda::finish_reason_name(result.outputs[0].finish_reason)
              << "\n";
  } catch (const pagoda::Error& error) {
    std::cerr << pagoda::error_kind_name(error.kind()) << ": " << error.what() << "\n";
    return 1;
  }
}
