// Base64 as tokenizer files hold it.
#pragma once

#include <string>
#include <string_view>

namespace pagoda {

// Standard alphabet; reads up to the first '='. Another character is kInvalidInput.
std::string decode_base64(std::string_view text, std::string_view where);

}  // namespace pagoda
