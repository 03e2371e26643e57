// Follows links one by one, so as to see where they pass.
#include "base/links.h"

#include <cerrno>
#include <filesystem>

#include "base/error.h"
#include "base/file.h"

namespace pagoda {

namespace {

enum class End { kFile, kOpenFile, kLoop };

// Moves `path` to the end of the chain of links that it begins.
End follow(std::string& path) {
  constexpr int kMostLinks = 40;  // as the kernel follows
  for (int links = 0; links < kMostLinks; ++links) {
    std::error_code error;
    const auto folder = std::filesystem::canonical(parent_path(path), error);
    if (!error && folder.string().rfind("/proc/", 0) == 0) return End::kOpenFile;
    if (!std::filesystem::is_symlink(path, error)) return End::kFile;
    const auto target = std::filesystem::read_symlink(path, error);
    if (error) return End::kFile;
    path = target.is_absolute() ? target.string() : join_path(parent_path(path), target.string());
  }
  return End::kLoop;
}

}  // namespace

std::string behind_links(const std::string& path) {
  std::string end = path;
  const End kind = follow(end);
  if (kind == End::kLoop) fail_errno(path, "cannot write", ELOOP);
  return kind == End::kOpenFile ? path : end;
}

void write_named_file(const std::string& path, std::string_view bytes) { write_file_atomic(behind_links(path), bytes); }

bool is_open_file(const std::string& path) {
  std::string end = path;
  return follow(end) == End::kOpenFile;
}

}  // namespace pagoda
