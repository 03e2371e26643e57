// Unicode normal forms NFC, NFD, NFKC, NFKD, with the offsets that Hugging Face gives.
#pragma once

#include <string>
#include <string_view>

#include "text/aligned.h"

namespace pagoda {

enum class NormalForm { kNfc, kNfd, kNfkc, kNfkd };

// As of Unicode version `at` (times ten): HF's normalisers froze at Unicode 9.
void normalize_form(AlignedText& text, NormalForm form, int at);
std::string normalize_form(std::string_view text, NormalForm form, int at);

}  // namespace pagoda
