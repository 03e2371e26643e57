// Memory for packed weights: zeroed stretches of huge pages, straight from the system.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <string>

namespace pagoda {

// Weights that are packed one after another lie in one stretch of huge pages: most are smaller than such a page or end amid
// one, and on small pages a prompt's products take up to twice the time (every thread misses the address cache at every panel).
// A stretch goes back to the system with the last of its weights, which may outlive this object. Thread-safe.
class WeightMemory {
 public:
  // `bytes` (0 counts as 1) at a border of 4 KiB, kept by what is returned. Throws kOutOfMemory, naming the weight.
  std::shared_ptr<void> allocate(int64_t bytes, const std::string& name);

 private:
  class Stretch;
  std::mutex mutex_;
  std::weak_ptr<Stretch> last_;
};

}  // namespace pagoda
