// Whether what was made of some files can be taken again: fingerprints of contents, and notes of what was made of them.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace pagoda::train {

// 128 bits over all that was added, in its order. Not for contents that somebody makes collide on purpose.
class Fingerprint {
 public:
  Fingerprint& add(std::string_view bytes);
  Fingerprint& add_file(const std::string& path);  // its contents, not its name
  std::string text() const;                        // 32 hexadecimal digits

 private:
  void mix(uint64_t word);
  uint64_t first_ = 0x9E3779B97F4A7C15ull, second_ = 0xD1B54A32D192ED03ull;
};

// `note`: a file that tells of `folder`, which lies beside it: the fingerprint of what its files were made from, and their
// sizes. True where it is there, the fingerprint is this one and the files have their sizes.
bool is_prepared(const std::string& note, const std::string& folder, const std::string& fingerprint);
// Once the folder is complete.
void note_prepared(const std::string& note, const std::string& folder, const std::string& fingerprint);

}  // namespace pagoda::train
