// The zip container of torch.save: stored records found through the central directory, zip64 included.
#pragma once

#include <map>
#include <string>
#include <string_view>

#include "base/limits.h"

namespace pagoda {

// The records of an archive by name; the views lie in `bytes`. Nothing is decompressed: torch stores only.
// Throws kUnsupported for compressed or encrypted records and archives in several parts, kInvalidInput for what is no whole
// zip.
std::map<std::string, std::string_view, std::less<>> read_stored_zip(std::string_view bytes, std::string_view where,
                                                                     const Limits& limits);

}  // namespace pagoda
