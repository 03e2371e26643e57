// A model's packed weights in a file: written once, mapped at every start after that, its pages shared by all processes.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/task_hooks.h"
#include "formats/compiled_model.h"
#include "pipelines/loaded_model.h"

namespace pagoda {

// Where it lies if nobody says: model.ISA.DTYPE.pagoda in the folder, or beside a .gguf file under its name.
std::string compiled_path(const ModelFolder& folder, Isa isa, DType compute);

// What the bytes depend on: Pagoda's version, the layouts' version, instruction set and products chosen, dtype, and the files
// of weights (name, size, time of change, a checksum of samples).
Json compiled_key(const ModelFolder& folder, const Runtime& runtime, DType compute);

struct CompileReport {
  std::string path;
  int64_t weights = 0, bytes = 0;  // packed; of the file
};
// Packs as LoadedModel::open does, and writes what was packed. out: empty: compiled_path(). Throws Cancelled between weights.
CompileReport compile_model(const std::string& name, LoadOptions options, const std::string& out, const TaskHooks& hooks = {});

// Weights of a compiled file for a start. What it lacks is packed. Of the file's model and this one either may be without a
// head, where names lack the prefix of the base.
class CompiledStore : public PackedStore {
 public:
  explicit CompiledStore(std::shared_ptr<const CompiledFile> file);
  std::shared_ptr<const void> find(const std::vector<PackedPart>& parts, const PackedView& shape) override;
  void made(const std::shared_ptr<const PackedWeight>& weight) override;
  int64_t found_bytes() const { return found_bytes_; }

 private:
  const CompiledWeight* find(const std::vector<PackedPart>& parts) const;
  std::shared_ptr<const CompiledFile> file_;
  std::map<std::string, const CompiledWeight*> without_prefix_;  // by the first part's name without "bert."
  int64_t found_bytes_ = 0;
};

// The file that options.compiled names, or that lies beside the model; null where there is none, or where it was made for
// another machine, version or model: options.notice is told. A damaged one throws kInvalidInput if it was named, else it is
// told as well.
std::unique_ptr<CompiledStore> open_compiled(const ModelFolder& folder, const Runtime& runtime, DType compute,
                                             const LoadOptions& options);

}  // namespace pagoda
