// What lies behind the API's Tokenizer.
#pragma once

#include <memory>

#include "pagoda/tokenizer.h"
#include "text/tokenizer.h"

namespace pagoda::api {

struct Tokenizer::Impl {
  std::shared_ptr<const pagoda::Tokenizer> tokenizer;
};

struct Access {
  static Tokenizer make(std::shared_ptr<const pagoda::Tokenizer> tokenizer) {
    return Tokenizer(std::make_shared<const Tokenizer::Impl>(Tokenizer::Impl{std::move(tokenizer)}));
  }
};

}  // namespace pagoda::api
