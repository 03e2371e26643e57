// Base64 as tokenizer files and answers of servers hold it.
#pragma once

#include <string>
#include <string_view>

namespace pagoda {

// Standard alphabet; reads up to the first '='. Another character is kInvalidInput.
std::string decode_base64(std::string_view text, std::string_view where);

// Standard alphabet, padded with "=".
std::string encode_base64(std::string_view bytes);

}  // namespace pagoda
