// What symbolic links lead to, for files that are to be written.
#pragma once

#include <string>
#include <string_view>

namespace pagoda {

// Where a file of this name really is, through however many links. Whoever names a link as the file to write means what it
// leads to: such a path goes through here first, as AtomicFile replaces links (those inside a folder may lead to what others
// share). What stands for an open file of the process stays as it is.
std::string behind_links(const std::string& path);

// write_file_atomic(), for a file that a user named.
void write_named_file(const std::string& path, std::string_view bytes);

// /dev/stdout and the like, redirected or not: to be written into, and never to be replaced.
bool is_open_file(const std::string& path);

}  // namespace pagoda
