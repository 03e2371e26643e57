// The folder of real models, tokenizers and texts.
#pragma once

#include <cstdlib>

namespace pagoda::test {

// What PAGODA_TEST_DATA names; null where it is not set, or empty.
inline const char* test_data() {
  const char* const folder = std::getenv("PAGODA_TEST_DATA");
  return folder == nullptr || *folder == '\0' ? nullptr : folder;
}

}  // namespace pagoda::test
