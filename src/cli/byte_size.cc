// Sizes with units.
#include "cli/byte_size.h"

#include <utility>
#include <vector>

#include "base/error.h"

namespace pagoda::cli {

int64_t parse_bytes(const std::string& text, const std::string& flag) {
  size_t end = 0;
  double value = 0;
  try {
    value = std::stod(text, &end);
  } catch (const std::exception&) {
    end = 0;
  }
  const std::string unit = text.substr(end);
  static const std::vector<std::pair<std::string, double>> kUnits = {{"", 1},
                                                                     {"B", 1},
                                                                     {"KB", 1e3},
                                                                     {"MB", 1e6},
                                                                     {"GB", 1e9},
                                                                     {"TB", 1e12},
                                                                     {"K", 1024.0},
                                                                     {"M", 1048576.0},
                                                                     {"G", 1073741824.0},
                                                                     {"T", 1099511627776.0},
                                                                     {"KiB", 1024.0},
                                                                     {"MiB", 1048576.0},
                                                                     {"GiB", 1073741824.0},
                                                                     {"TiB", 1099511627776.0}};
  for (const auto& [name, factor] : kUnits) {
    if (end > 0 && unit == name && value > 0 && value * factor < 9e18) return static_cast<int64_t>(value * factor);
  }
  invalid(flag, "no size: got '{}', need bytes as 4194304, 512MiB or 2GB", text);
}

}  // namespace pagoda::cli
