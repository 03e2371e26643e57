// Names of files that are half written, and their removal where the process is ended.
#pragma once

#include <string>

namespace pagoda {

// A name beside `path` that nobody uses: processes of several containers may have one number and share the folder.
std::string temporary_name(const std::string& path);

// Between these two remove_temporaries() removes the file.
void note_temporary(const std::string& path);
void forget_temporary(const std::string& path);
// For signal handlers, before the process ends: whoever writes these files cannot go on.
void remove_temporaries() noexcept;

}  // namespace pagoda
