// Python's view of characters: str.isalpha, upper, isprintable and so on.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace pagoda::python {

bool is_space(uint32_t code);     // str.isspace, also what strip() removes
bool is_line_end(uint32_t code);  // where splitlines() cuts
bool is_alpha(uint32_t code);
bool is_decimal(uint32_t code);
bool is_digit(uint32_t code);
bool is_numeric(uint32_t code);
bool is_alnum(uint32_t code);
bool is_printable(uint32_t code);
bool is_lower(uint32_t code);
bool is_upper(uint32_t code);
bool is_title(uint32_t code);
bool is_word(uint32_t code);  // \w of Python's re
bool is_identifier_start(uint32_t code);
bool is_identifier_part(uint32_t code);
int decimal_value(uint32_t code);  // -1: none

std::string upper(std::string_view text);
std::string lower(std::string_view text);
std::string casefold(std::string_view text);
std::string swapcase(std::string_view text);
std::string capitalize(std::string_view text);
std::string title(std::string_view text);

}  // namespace pagoda::python
