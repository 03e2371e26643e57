// A part of long lists of cases, for machines and builds so slow that only a part can be tested.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstdlib>

namespace pagoda::test {

// PAGODA_TEST_SHARE: a number N, to run only every Nth case of the long lists, which ask wanted() before each.
class Share {
 public:
  bool wanted() { return count_++ % every() == 0; }
  static uint64_t every() {
    const char* text = std::getenv("PAGODA_TEST_SHARE");
    return text == nullptr ? 1 : std::max(1ull, std::strtoull(text, nullptr, 10));
  }

 private:
  uint64_t count_ = 0;
};

}  // namespace pagoda::test
