// A conversation, a line a message: chat MODEL
#include <pagoda/pagoda.h>

#include <iostream>

int main(int argc, char** argv) {
  if (argc != 2) {
    std::cerr << "usage: chat MODEL < LINES\n";
    return 2;
  }
  try {
    const auto model = pagoda::LanguageModel::open(argv[1]);
    std::vector<pagoda::Message> conversation;
    for (std::string line; std::getline(std::cin, line);) {
      conversation.push_back({.role = "user", .content = line});
      auto answer = model.chat(conversation, {.sampling = {.seed = 1}}, [](const pagoda::ChatChunk& chunk) {
        std::cout << chunk.content << std::flush;
        return true;
      });
      std::cout << "\n";
      conversation.push_back(std::move(answer.message));
    }
  } catch (const pagoda::Error& error) {
    std::cerr << pagoda::error_kind_name(error.kind()) << ": " << error.what() << "\n";
    return 1;
  }
}
