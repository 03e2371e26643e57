// Answers cut into pieces in every way that matters: the result must be one.
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <vector>

#include "generate/chat/reasoning.h"

namespace pagoda::chat::testing {

using Make = std::function<AnswerParser()>;

// "content", "[thoughts]", "name(arguments)", joined by "|".
inline std::string show(const std::vector<AnswerPiece>& pieces) {
  std::string text;
  bool in_call = false;
  const auto close = [&] {
    if (in_call) text += ")";
    in_call = false;
  };
  for (const AnswerPiece& piece : pieces) {
    if (piece.kind == AnswerPiece::Kind::kArguments) {
      EXPECT_TRUE(in_call);
      text += piece.text;
      continue;
    }
    close();
    if (!text.empty()) text += "|";
    switch (piece.kind) {
      case AnswerPiece::Kind::kContent: text += piece.text; break;
      case AnswerPiece::Kind::kReasoning: text += "[" + piece.text + "]"; break;
      default: text += piece.text + "("; in_call = true;
    }
  }
  close();
  return text;
}

inline std::string read(const Make& make, const std::vector<std::string>& parts) {
  AnswerParser parser = make();
  std::vector<AnswerPiece> all;
  const auto take = [&](const std::vector<AnswerPiece>& pieces) {
    for (const AnswerPiece& piece : pieces) add_piece(all, piece.kind, piece.text);
  };
  for (const std::string& part : parts) take(parser.feed(part));
  take(parser.finish());
  return show(all);
}

// Read whole; then cut at every border, at every two borders, and byte by byte.
inline std::string read_every_way(const Make& make, const std::string& text) {
  const std::string whole = read(make, {text});
  std::vector<std::string> bytes;
  for (const char c : text) bytes.emplace_back(1, c);
  EXPECT_EQ(read(make, bytes), whole);
  for (size_t i = 0; i <= text.size(); ++i) {
    EXPECT_EQ(read(make, {text.substr(0, i), text.substr(i)}), whole) << i;
    for (size_t j = i; j <= text.size(); j += 3) {
      EXPECT_EQ(read(make, {text.substr(0, i), text.substr(i, j - i), text.substr(j)}), whole) << i << " " << j;
    }
  }
  return whole;
}

}  // namespace pagoda::chat::testing
