// The key of a compiled file, and the two ways between packed weights and its bytes.
#include "pipelines/compiled_model.h"

#include <sys/stat.h>

#include <algorithm>
#include <cerrno>

#include "base/crc32c.h"
#include "base/error.h"
#include "base/file.h"
#include "base/links.h"
#include "ops/machine.h"

namespace pagoda {

namespace {

// Of what a packed weight's bytes mean: two of one text are laid out alike.
std::string layout_of(const PackedView& view) {
  const std::string format = "format " + std::to_string(static_cast<int>(view.format));
  const GroupCoding& groups = view.groups;
  if (!groups) return format;
  return fmt::format("{}, {} bits in groups of {}, scale {}, offset {}", format, groups.bits, groups.size,
                     static_cast<int>(groups.scale), groups.offset);
}

// Enough to notice another fine-tuning of the same size, without reading all of it.
std::string sample_of(const MappedFile& file) {
  constexpr int64_t kSamples = 64, kBytes = 4096;
  uint32_t crc = 0;
  const std::string_view bytes(reinterpret_cast<const char*>(file.data()), static_cast<size_t>(file.size()));
  if (file.size() <= kSamples * kBytes) return fmt::format("{:08x}", crc32c(bytes));
  for (int64_t i = 0; i < kSamples; ++i) {
    const int64_t at = (file.size() - kBytes) / (kSamples - 1) * i;
    crc = crc32c(bytes.substr(static_cast<size_t>(at), kBytes), crc);
  }
  return fmt::format("{:08x}", crc);
}

Json source_of(const ModelFolder& folder) {
  Json list = Json::array();
  for (const std::string& path : folder.weight_files()) {
    struct stat info{};
    if (::stat(path.c_str(), &info) != 0) fail_errno(path, "cannot stat", errno);
    Json json = Json::object();
    json.set("file", file_name(path)).set("bytes", static_cast<int64_t>(info.st_size));
    // Whole seconds: archives and images keep no more.
    json.set("modified", static_cast<int64_t>(info.st_mtime)).set("sample", sample_of(*MappedFile::open(path)));
    list.push_back(std::move(json));
  }
  return list;
}

// Takes note of every weight that is packed.
class Collector : public PackedStore {
 public:
  explicit Collector(const TaskHooks& hooks) : hooks_(hooks) {}
  std::shared_ptr<const void> find(const std::vector<PackedPart>&, const PackedView&) override { return nullptr; }
  void made(const std::shared_ptr<const PackedWeight>& weight) override {
    hooks_.check();
    weights.push_back(weight);
  }
  std::vector<std::shared_ptr<const PackedWeight>> weights;

 private:
  const TaskHooks& hooks_;
};

// "bert.encoder.layer.0" is "encoder.layer.0" in a model without a head. All names are of one checkpoint: the key says so.
std::string without_prefix(const std::string& name) { return name.substr(name.find('.') + 1); }

bool is_same(const std::string& a, const std::string& b) { return a == b || without_prefix(a) == b || a == without_prefix(b); }

std::string mismatch(const Json& theirs, const Json& ours) {
  for (const JsonMember& member : ours.as_object("key")) {
    const Json* other = theirs.find(member.key);
    if (other != nullptr && other->dump() == member.value.dump()) continue;
    if (member.key == "source") return "the weights have changed since";
    return fmt::format("{}: it is for {}, this is {}", member.key, other == nullptr ? "none" : other->dump(),
                       member.value.dump());
  }
  return "";
}

}  // namespace

std::string compiled_path(const ModelFolder& folder, Isa isa, DType compute) {
  const std::string end = fmt::format(".{}.{}.pagoda", isa_name(isa), dtype_name(compute));
  return directory_exists(folder.path()) ? join_path(folder.path(), "model" + end) : folder.path() + end;
}

Json compiled_key(const ModelFolder& folder, const Runtime& runtime, DType compute) {
  Json products = Json::array(), key = Json::object();
  for (const KernelReport& kernel : kernel_report(runtime.kernels())) {
    if (!kernel.kernel.empty()) products.push_back(kernel.entry + ": " + kernel.kernel);
  }
  key.set("pagoda", PAGODA_VERSION).set("layout", int64_t{kPackedLayoutVersion}).set("isa", isa_name(runtime.isa()));
  key.set("dtype", dtype_name(compute)).set("products", std::move(products)).set("source", source_of(folder));
  return key;
}

CompiledStore::CompiledStore(std::shared_ptr<const CompiledFile> file) : file_(std::move(file)) {
  for (const CompiledWeight& weight : file_->weights()) {
    without_prefix_.emplace(without_prefix(weight.parts.at(0).first), &weight);
  }
}

const CompiledWeight* CompiledStore::find(const std::vector<PackedPart>& parts) const {
  const std::string& name = parts.at(0).name;
  if (const CompiledWeight* weight = file_->find(name)) return weight;
  if (const CompiledWeight* weight = file_->find(without_prefix(name))) return weight;
  const auto longer = without_prefix_.find(name);
  return longer == without_prefix_.end() ? nullptr : longer->second;
}

std::shared_ptr<const void> CompiledStore::find(const std::vector<PackedPart>& parts, const PackedView& shape) {
  const CompiledWeight* weight = find(parts);
  if (weight == nullptr || weight->parts.size() != parts.size()) return nullptr;
  for (size_t i = 0; i < parts.size(); ++i) {
    if (!is_same(weight->parts[i].first, parts[i].name) || weight->parts[i].second != parts[i].rows) return nullptr;
  }
  if (weight->n != shape.n || weight->k != shape.k || weight->layout != layout_of(shape)) return nullptr;
  if (weight->bytes != packed_bytes(shape)) return nullptr;
  found_bytes_ += weight->bytes;
  return {file_, file_->data(*weight)};
}

void CompiledStore::made(const std::shared_ptr<const PackedWeight>&) {}

std::unique_ptr<CompiledStore> open_compiled(const ModelFolder& folder, const Runtime& runtime, DType compute,
                                             const LoadOptions& options) {
  if (options.compiled == "none") return nullptr;
  const bool named = !options.compiled.empty();
  const std::string path = named ? options.compiled : compiled_path(folder, runtime.isa(), compute);
  if (!named && !file_exists(path)) return nullptr;
  const auto tell = [&](const std::string& why) {
    if (options.notice) options.notice(fmt::format("{}: not used: {} (pagoda compile makes it anew)", path, why));
  };
  try {
    std::shared_ptr<const CompiledFile> file = CompiledFile::open(path);
    const std::string why = mismatch(file->key(), compiled_key(folder, runtime, compute));
    if (why.empty()) return std::make_unique<CompiledStore>(std::move(file));
    tell(why);
  } catch (const Error& error) {
    // Another version's file is a difference like others.
    if (named && error.kind() != ErrorKind::kUnsupported) throw;
    tell(error.message());
  }
  return nullptr;
}

CompileReport compile_model(const std::string& name, LoadOptions options, const std::string& out, const TaskHooks& hooks) {
  const auto collector = std::make_shared<Collector>(hooks);
  options.packed = collector;
  const std::unique_ptr<LoadedModel> loaded = LoadedModel::open(name, options);
  if (!out.empty()) loaded->check_output(out);
  const DType compute = loaded->model().compute_dtype();
  CompileReport report;
  report.path = out.empty() ? compiled_path(loaded->folder(), loaded->runtime().isa(), compute) : out;
  std::vector<CompiledWeight> weights;
  std::vector<const void*> data;
  for (const std::shared_ptr<const PackedWeight>& packed : collector->weights) {
    for (size_t i = 0; i < packed->views().size(); ++i) {
      const PackedView& view = packed->views()[i];
      CompiledWeight weight;
      for (const PackedPart& part : packed->parts_of(i)) weight.parts.emplace_back(part.name, part.rows);
      weight.layout = layout_of(view);
      weight.n = view.n;
      weight.k = view.k;
      weight.bytes = packed_bytes(view);
      weights.push_back(std::move(weight));
      data.push_back(view.data);
    }
  }
  report.weights = static_cast<int64_t>(weights.size());
  write_compiled(out.empty() ? report.path : behind_links(out), compiled_key(loaded->folder(), loaded->runtime(), compute),
                 std::move(weights), data, hooks);
  report.bytes = file_size(report.path);
  return report;
}

}  // namespace pagoda
