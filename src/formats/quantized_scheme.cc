// One scheme a group. Which modules a group is for is not looked at: a weight must agree with one of them.
#include "formats/quantized_scheme.h"

#include <algorithm>
#include <set>
#include <string_view>
#include <utility>

#include "base/checked.h"
#include "base/error.h"

namespace pagoda {

namespace {

// Formats that say how weights are stored; others (dense, mixed-precision) leave it open.
bool stores(const std::string& format, std::string_view storage) {
  if (format == "pack-quantized") return storage == "packed";
  if (format == "int-quantized") return storage == "int8";
  if (format == "float-quantized") return storage == "float8";
  if (format == "naive-quantized") return storage == "int8" || storage == "float8";
  if (format == "mxfp4-pack-quantized") return storage == "mxfp4";
  return true;
}

std::string text_or_none(const Json& object, const char* key) {
  const Json* value = object.find(key);
  return value != nullptr && value->is_string() ? value->as_string(key) : std::string();
}

// Sums with a dimension do not overflow.
int64_t bounded(int64_t size, const std::string& where) {
  constexpr int64_t kMost = int64_t{1} << 40;
  if (size > kMost) invalid(where, "group or block size: got {}, need at most {}", size, kMost);
  return size;
}

}  // namespace

QuantizationSchemes::QuantizationSchemes(const Json& config, std::string where) : where_(std::move(where)) {
  const Json* groups = config.find("config_groups");
  if (groups == nullptr || !groups->is_object()) return;
  constexpr size_t kMostSchemes = 256;
  std::set<Scheme> known;
  for (const JsonMember& group : groups->as_object(where_)) {
    const Json* weights = group.value.find("weights");
    if (weights == nullptr || !weights->is_object()) continue;
    Scheme scheme;
    scheme.format = text_or_none(group.value, "format");
    if (scheme.format.empty()) scheme.format = text_or_none(config, "format");
    scheme.type = text_or_none(*weights, "type");
    scheme.strategy = text_or_none(*weights, "strategy");
    if (const Json* size = weights->find("group_size"); size != nullptr && size->is_number()) {
      scheme.group_size = bounded(size->as_int(where_ + ": group_size"), where_);
    }
    if (scheme.strategy.empty() && scheme.group_size > 0) scheme.strategy = "group";
    if (const Json* block = weights->find("block_structure"); block != nullptr && block->is_array() && block->size() == 2) {
      scheme.block_rows = bounded(block->as_array(where_)[0].as_int(where_ + ": block_structure"), where_);
      scheme.block_columns = bounded(block->as_array(where_)[1].as_int(where_ + ": block_structure"), where_);
    }
    scheme.symmetric = weights->get_bool("symmetric", false, where_);
    if (!known.insert(scheme).second) continue;
    // Every weight is held against every scheme.
    if (schemes_.size() >= kMostSchemes) invalid(where_, "config_groups: need at most {} that differ", kMostSchemes);
    schemes_.push_back(std::move(scheme));
  }
}

int64_t QuantizationSchemes::columns_of_group(int64_t k, int64_t columns) const {
  int64_t found = 0;
  for (const Scheme& scheme : schemes_) {
    const int64_t size = std::min(scheme.group_size, k);
    if (size <= 0 || div_up(k, size) != columns) continue;
    if (found != 0 && found != size) return 0;
    found = size;
  }
  if (found != 0) return found;
  return k % columns == 0 ? k / columns : 0;
}

bool QuantizationSchemes::symmetric() const {
  bool all = !schemes_.empty();
  for (const Scheme& scheme : schemes_) all = all && scheme.symmetric;
  return all;
}

std::string QuantizationSchemes::contradiction(const Scheme& scheme, const QuantizedWeightFacts& facts) {
  const std::string_view storage = facts.storage;
  if (!stores(scheme.format, storage)) return fmt::format("format {}, but it is {}", scheme.format, storage);
  const bool floats = storage == "float8" || storage == "mxfp4";
  if (!scheme.type.empty() && floats != (scheme.type == "float"))
    return fmt::format("type {}, but it is {}", scheme.type, storage);
  if (storage == "mxfp4") return "";  // its groups are always 32
  const int64_t rows = facts.scale_rows, columns = facts.scale_columns;
  int64_t need_rows = rows, need_columns = columns;
  std::string what = scheme.strategy;
  if (scheme.strategy == "tensor") need_rows = need_columns = 1;
  if (scheme.strategy == "channel") {
    need_rows = facts.n;
    need_columns = 1;
  }
  if (scheme.strategy == "group") {
    const int64_t size = scheme.group_size > 0 ? scheme.group_size : facts.k;
    what = fmt::format("group_size {}", size);
    need_rows = facts.n;
    need_columns = div_up(facts.k, size);
  }
  if (scheme.strategy == "block" && scheme.block_rows > 0 && scheme.block_columns > 0) {
    what = fmt::format("blocks of {} x {}", scheme.block_rows, scheme.block_columns);
    need_rows = div_up(facts.n, scheme.block_rows);
    need_columns = div_up(facts.k, scheme.block_columns);
  }
  if (rows == need_rows && columns == need_columns) return "";
  return fmt::format("{}, which is [{}, {}] scales for [{}, {}], but it has [{}, {}]", what, need_rows, need_columns, facts.n,
                     facts.k, rows, columns);
}

void QuantizationSchemes::check(const QuantizedWeightFacts& facts) const {
  std::string why;
  for (const Scheme& scheme : schemes_) {
    const std::string reason = contradiction(scheme, facts);
    if (reason.empty()) return;
    if (why.empty()) why = reason;
  }
  if (!why.empty()) invalid(where_, "{} is not what the configuration says: {}", facts.tensor, why);
}

}  // namespace pagoda
