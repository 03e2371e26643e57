// Folders checkpoint-N: whole or not there, the newest found, old ones removed.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "train/arguments.h"

namespace pagoda::train {

// A folder that is filled under a temporary name and appears under its own only when all of it is on the disk. Not committed:
// nothing stays.
class FolderWriter {
 public:
  explicit FolderWriter(std::string path);
  ~FolderWriter();
  FolderWriter(const FolderWriter&) = delete;
  FolderWriter& operator=(const FolderWriter&) = delete;
  const std::string& temporary() const { return temporary_; }
  // Syncs every file, then the folder takes its name at once; a checkpoint that had that name before goes. kInvalidInput where
  // something else has it (no trainer_state.json): that stays.
  void commit();

 private:
  std::string path_, temporary_;
  bool committed_ = false;
};

// One training at a time writes into a folder: made if it is not there, and held until this goes or the process ends, however
// it ends. kInvalidInput where another holds it.
class OutputLock {
 public:
  explicit OutputLock(const std::string& output_dir);
  ~OutputLock();
  OutputLock(const OutputLock&) = delete;
  OutputLock& operator=(const OutputLock&) = delete;

 private:
  int fd_ = -1;
};

std::string checkpoint_path(const std::string& output_dir, int64_t step);
constexpr const char* kTrainerState = "trainer_state.json";    // HF's
constexpr const char* kTrainingState = "training_state.json";  // what HF's has no place for
constexpr const char* kOptimizer = "optimizer.safetensors";

// {step, path}, ascending. Leftovers of writers that were killed do not count.
std::vector<std::pair<int64_t, std::string>> list_checkpoints(const std::string& output_dir);
// What keeps training from going on from a checkpoint: "no optimizer.safetensors in it", "model.safetensors: ..."; empty:
// nothing, all files are there and whole (headers and sizes agree; the numbers are not read).
std::string incomplete_checkpoint(const std::string& path);
// Removes those that were written first, whatever their steps, until `limit` (> 0) are left; `keep` stay,
// however their paths are spelt.
void prune_checkpoints(const std::string& output_dir, int64_t limit, const std::vector<std::string>& keep);
// What removing one makes free.
int64_t bytes_of_checkpoint(const std::string& path);
// All that list_checkpoints() has.
void remove_checkpoints(const std::string& output_dir);
// Puts the folder `by` into the place of the checkpoint `path`, which goes only when the other has its name. exchange: false:
// as where the file system cannot exchange two names (NFS); whatever is killed then, one of the two is found by put_back().
void replace_checkpoint(const std::string& path, const std::string& by, bool exchange = true);
// Checkpoints that were being replaced when their run was killed get their names back, unless the new one has it.
void put_back(const std::string& output_dir);
// Leftovers of writers and removals that were killed, all under our temporary names; nothing else. What put_back() does too.
void remove_leftovers(const std::string& output_dir);
// kInvalidInput where something that is no checkpoint has the name of one that is still to be written: steps done + 1 to
// max_steps.
void check_names_are_free(const std::string& output_dir, int64_t done, int64_t max_steps);

// What a run writes at most before it removes anything: a checkpoint with what going on needs (moments, the moving average),
// and the model once more at the end. all, trained: bytes of the parameters.
int64_t bytes_of_run(const TrainingArguments& arguments, int64_t all, int64_t trained);

// Throws where the folder cannot be made or written, or has less than `bytes` free (below 0: any will do).
void check_writable(const std::string& folder, int64_t bytes);

}  // namespace pagoda::train
