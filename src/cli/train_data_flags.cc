// Asks the files themselves: a TFRecord may be a shard or hold text.
#include "cli/train_data_flags.h"

#include <string_view>

#include "base/error.h"
#include "base/file.h"
#include "cli/row_flags.h"
#include "train/data/files.h"

namespace pagoda::cli {

namespace {

// Of those that the verb has.
bool given(Verb verb, const char* name) {
  const Flag flag = verb->get_option_no_throw(name);
  return flag && flag->count() > 0;
}

// What becomes of text; a row of token ids is one example.
constexpr const char* kOfText[] = {"--block-size",       "--text-column", "--sample-by",    "--keep-linebreaks",
                                   "--append-eos-token", "--packing",     "--line-by-line", "--overwrite-cache"};

}  // namespace

void refuse_data_flags(Verb verb, const train::RowOptions& rows, const std::vector<std::string>& files) {
  std::vector<std::string> of_rows;  // those that are read row by row
  for (const std::string& file : files) {
    if (!(file_exists(file) || directory_exists(file)) || !train::are_shards({file}, rows)) of_rows.push_back(file);
  }
  if (!of_rows.empty()) refuse_row_flags(verb, rows, of_rows);
  if (files.empty()) return;
  const bool conversations = !verb->get_option_no_throw("--line-by-line");  // which are no rows of text or ids
  for (const char* name : kOfText) {
    if (!given(verb, name)) continue;
    if (of_rows.empty()) invalid(name, "has no effect on shards, which are taken as they are");
    const bool of_ids = std::string_view(name) == "--overwrite-cache";  // they are written as shards too
    if (!conversations && !of_ids && are_token_ids(rows, of_rows)) invalid(name, "{}", kTokenIdsAreTaken);
  }
}

}  // namespace pagoda::cli
