// Reads, merges and writes the list of shards.
#include "train/data/dataset_info.h"

#include <algorithm>
#include <filesystem>
#include <set>

#include "base/error.h"
#include "base/file.h"
#include "train/data/shards.h"

namespace pagoda::train {

namespace {

std::string info_path(const std::string& output_dir) { return join_path(output_dir, "dataset_info.json"); }

// What the file says; an object where there is none, or none that can be read.
Json read_info(const std::string& output_dir) {
  const std::string path = info_path(output_dir);
  if (!file_exists(path)) return Json::object();
  try {
    Json info = read_json(path);
    if (info.is_object()) return info;
  } catch (const Error&) {
  }
  return Json::object();
}

Json splits_of(const Json& info) {
  const Json* splits = info.find("splits");
  return splits != nullptr && splits->is_object() ? *splits : Json::object();
}

void write(const std::string& output_dir, const Json& info) { write_file_atomic(info_path(output_dir), info.pretty() + "\n"); }

}  // namespace

void begin_splits(const std::string& output_dir, const std::vector<std::string>& names) {
  Json info = read_info(output_dir), splits = splits_of(info);
  for (const std::string& name : names) splits.set(name, Json::object().set("shards", Json::array()));
  write(output_dir, info.set("splits", std::move(splits)));
}

void write_dataset_info(const std::string& output_dir, Json info) {
  Json splits = splits_of(read_info(output_dir));
  for (const JsonMember& member : info.at("splits", "dataset_info.json").as_object("splits"))
    splits.set(member.key, member.value);
  write(output_dir, info.set("splits", std::move(splits)));
}

void check_shards(const std::string& folder, const std::vector<std::string>& shards) {
  std::error_code failed;
  const std::filesystem::path path = std::filesystem::weakly_canonical(folder, failed);
  if (failed) return;
  const Json splits = splits_of(read_info(path.parent_path().string()));
  const Json* split = splits.find(path.filename().string());
  const Json* listed = split != nullptr && split->is_object() ? split->find("shards") : nullptr;
  if (listed == nullptr || !listed->is_array()) return;
  std::set<std::string> wanted, found;
  for (const Json& name : listed->as_array("shards")) wanted.insert(name.is_string() ? name.as_string("shards") : "");
  for (const std::string& name : shards) {
    int64_t shard = 0, count = 0;
    if (parse_shard_name(name, shard, count)) found.insert(name);
  }
  if (found == wanted) return;
  invalid(folder, "got {} shards, need the {} that {} lists: pagoda data prepare did not end, or files came or went later",
          found.size(), wanted.size(), info_path(path.parent_path().string()));
}

}  // namespace pagoda::train
