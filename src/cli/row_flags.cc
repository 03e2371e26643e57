// Which of the flags about rows have an effect on the files that were given.
#include "cli/row_flags.h"

#include <algorithm>

#include "base/error.h"
#include "base/file.h"

namespace pagoda::cli {

void refuse_row_flags(Verb verb, const train::RowOptions& rows, const std::vector<std::string>& files) {
  const auto given = [&](const char* flag) {
    const Flag option = verb->get_option_no_throw(flag);
    return option && option->count() > 0;
  };
  const auto texts = std::count_if(files.begin(), files.end(),
                                   [&](const std::string& file) { return train::row_format(file, rows.format) == "text"; });
  for (const char* flag : {"--sample-by", "--keep-linebreaks", "--trim-linebreaks"}) {
    if (given(flag) && texts == 0) invalid(flag, "has no effect: none of the files is read as text");
  }
  if (given("--keep-linebreaks") && rows.sample_by != "line")
    invalid("--keep-linebreaks", "has no effect with --sample-by {}: need line", rows.sample_by);
  if (given("--text-column") && texts == static_cast<std::ptrdiff_t>(files.size()))
    invalid("--text-column", "has no effect: files of text have no columns");
}

bool are_token_ids(const train::RowOptions& rows, const std::vector<std::string>& files) {
  return std::all_of(files.begin(), files.end(), [&](const std::string& file) {
    train::Row row;
    return file_exists(file) && train::RowReader({file}, rows).next(row) && row.tokenised;
  });
}

}  // namespace pagoda::cli
