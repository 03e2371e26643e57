// A table of names that a signal handler may read: it is of fixed size, and no place of it is ever locked.
#include "base/temporary.h"

#include <fmt/format.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <random>

namespace pagoda {

namespace {

using Place = std::atomic<char*>;
static_assert(Place::is_always_lock_free);
// A file that finds no place is left behind where the process is ended.
constexpr size_t kMostTemporaries = 64;
std::array<Place, kMostTemporaries> g_places{};
// Of those who free names. The handler takes a name out while it reads it, puts it back, and frees none.
std::mutex g_mutex;

}  // namespace

std::string temporary_name(const std::string& path) {
  std::random_device random;
  return fmt::format("{}.tmp{:08x}{:08x}", path, random(), random());
}

void note_temporary(const std::string& path) {
  char* const name = ::strdup(path.c_str());
  for (Place& place : g_places) {
    char* none = nullptr;
    if (name == nullptr || place.compare_exchange_strong(none, name)) return;
  }
  std::free(name);
}

void forget_temporary(const std::string& path) {
  const std::lock_guard<std::mutex> lock(g_mutex);
  for (Place& place : g_places) {
    char* name = place.load();
    if (name == nullptr || path != name) continue;
    if (place.compare_exchange_strong(name, nullptr)) std::free(name);
    return;
  }
}

void remove_temporaries() noexcept {
  for (Place& place : g_places) {
    char* const name = place.exchange(nullptr);
    if (name == nullptr) continue;
    ::unlink(name);
    char* none = nullptr;
    place.compare_exchange_strong(none, name);
  }
}

}  // namespace pagoda
