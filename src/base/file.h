// Files: whole reads, read-only maps, atomic writes.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace pagoda {

// A file mapped read-only; the bytes live as long as the object. Empty files map to an empty view.
// A file that shrinks under a map would raise SIGBUS on access: writers of ours replace files, they never truncate.
class MappedFile {
 public:
  static std::shared_ptr<MappedFile> open(const std::string& path);  // not found, device
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;
  const uint8_t* data() const { return data_; }
  int64_t size() const { return size_; }
  std::string_view bytes() const { return {reinterpret_cast<const char*>(data_), static_cast<size_t>(size_)}; }
  const std::string& path() const { return path_; }
  void drop_pages() const;  // that were read and are kept elsewhere now; reading them again brings them back

 private:
  MappedFile() = default;
  std::string path_;
  const uint8_t* data_ = nullptr;
  int64_t size_ = 0;
};

bool file_exists(const std::string& path);  // regular file (links followed)
bool directory_exists(const std::string& path);
int64_t file_size(const std::string& path);
std::string read_file(const std::string& path, int64_t max_bytes);
// Writes beside the target (a pipe, a device: into it), syncs, renames. Links are replaced: named ones go by base/links.h.
void write_file_atomic(const std::string& path, std::string_view bytes);
// The same in pieces. Nothing is visible under `path` until commit(); a destroyed object that was not committed leaves no file.
class AtomicFile {
 public:
  explicit AtomicFile(const std::string& path);
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;
  void write(std::string_view bytes);
  void commit();

 private:
  std::string path_, temporary_;
  int fd_ = -1;
};
void make_directories(const std::string& path);
std::vector<std::string> list_directory(const std::string& path);  // names, sorted
std::string join_path(std::string_view folder, std::string_view name);
std::string file_name(std::string_view path);  // last part
std::string parent_path(std::string_view path);
// A relative path that stays inside its folder: not absolute, no "..", no NUL. For names that come from files or servers.
bool is_safe_relative_path(std::string_view path);

}  // namespace pagoda
