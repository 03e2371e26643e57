// CRC-32C (Castagnoli), the checksum of TFRecord files.
#pragma once

#include <cstdint>
#include <string_view>

namespace pagoda {

// Of `bytes`, or going on from the checksum `crc` of what came before them.
uint32_t crc32c(std::string_view bytes, uint32_t crc = 0);

}  // namespace pagoda
