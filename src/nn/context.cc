// Layouts of whole sequences.
#include "nn/context.h"

namespace pagoda {

std::shared_ptr<const Layout> Layout::whole(const std::vector<int32_t>& lengths, bool all_rows) {
  auto layout = std::make_shared<Layout>();
  auto starts = std::make_shared<std::vector<int32_t>>(1, 0);
  for (const int32_t length : lengths) {
    for (int32_t position = 0; position < length; ++position) layout->positions.push_back(position);
    const int32_t first = starts->back();
    starts->push_back(first + length);
    for (int32_t row = all_rows ? first : first + length - 1; row < first + length; ++row) {
      if (row >= first) layout->wanted_rows.push_back(row);
    }
  }
  layout->starts = starts;
  layout->lengths = lengths;
  return layout;
}

}  // namespace pagoda
