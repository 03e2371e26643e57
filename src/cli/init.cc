// pagoda init: a Hugging Face folder with random weights, from a config.
#include <fmt/format.h>

#include <filesystem>
#include <memory>

#include "base/error.h"
#include "base/file.h"
#include "cli/cli.h"
#include "cli/flag_checks.h"
#include "convert/weight_names.h"
#include "formats/safetensors.h"
#include "models/padding_rows.h"
#include "models/parameter_count.h"
#include "ops/runtime.h"

namespace pagoda::cli {

namespace {

struct Flags {
  std::string config, out, dtype = "auto";
  uint64_t seed = 0;
  int threads = 0;
  bool force = false;
};

DType weight_dtype(const Flags& flags, const Json& config, const std::string& path) {
  std::string named = flags.dtype;
  if (named == "auto") named = config.get_string("dtype", config.get_string("torch_dtype", "float32", path), path);
  const DType dtype = parse_dtype(named, "dtype");
  if (dtype != DType::kFloat32 && dtype != DType::kBFloat16 && dtype != DType::kFloat16) {
    unsupported("dtype", "cannot write weights as {}: need float32, bfloat16 or float16", dtype_name(dtype));
  }
  return dtype;
}

// path: of the config that is read, which may lie in the folder already.
void check_folder(const Flags& flags, const std::string& path) {
  if (flags.force || !directory_exists(flags.out)) return;
  for (const std::string& name : list_directory(flags.out)) {
    const bool same = name == "config.json" && std::filesystem::equivalent(join_path(flags.out, name), path);
    if ((name == "config.json" && !same) || is_weight_file(name)) {
      invalid(flags.out, "holds a model already ({}): need another folder, or --force to replace it", name);
    }
  }
}

// Draws and writes a parameter after the other; false when interrupted, and then there is no file.
bool write_weights(const Flags& flags, Model& model, const Json& config, DType dtype, Device& device) {
  std::vector<TensorSpec> specs;
  for (const Parameter* parameter : model.parameters()) specs.push_back({parameter->name, dtype, parameter->shape});
  SafetensorsWriter writer(join_path(flags.out, "model.safetensors"), specs, {{"format", "pt"}});
  uint64_t stream = 0;
  for (Parameter* parameter : model.parameters()) {
    if (interrupted()) return false;  // the unfinished file is removed with the writer
    model.initialize_parameter(device, *parameter, dtype, flags.seed, stream++);
    zero_padding_row(config, *parameter);
    writer.append(parameter->value);
    parameter->value = Tensor();
  }
  writer.finish();
  return true;
}

void write_configs(const Flags& flags, const Model& model, Json config, DType dtype) {
  if (Json* old_spelling = config.find("torch_dtype"); old_spelling != nullptr && !config.contains("dtype")) {
    *old_spelling = dtype_name(dtype);
  } else {
    config.set("dtype", dtype_name(dtype));
  }
  if (!config.contains("architectures")) {
    Json list = Json::array();
    list.push_back(model.architecture());
    config.set("architectures", std::move(list));
  }
  write_file_atomic(join_path(flags.out, "config.json"), config.pretty() + "\n");
  Json generation = Json::object();
  for (const char* key : {"bos_token_id", "eos_token_id", "pad_token_id"}) {
    const Json* value = config.find(key);
    if (value != nullptr && !value->is_null()) generation.set(key, *value);
  }
  if (generation.size() > 0) write_file_atomic(join_path(flags.out, "generation_config.json"), generation.pretty() + "\n");
}

int run(const Program& program, const Flags& flags) {
  const std::string path = directory_exists(flags.config) ? join_path(flags.config, "config.json") : flags.config;
  if (!file_exists(path)) not_found(path, "no such config");
  const Json config = read_json(path);
  RuntimeOptions options;
  options.threads = usable_threads(flags.threads);
  Runtime runtime(options);  // outlives the model, whose tensors are its device's
  const std::unique_ptr<Model> model = make_model(config, path);
  const DType dtype = weight_dtype(flags, config, path);
  check_folder(flags, path);
  make_directories(flags.out);
  if (!write_weights(flags, *model, config, dtype, runtime.device())) return kInterruptedExit;
  write_configs(flags, *model, config, dtype);
  const int64_t count = parameter_count(*model);
  if (program.json) {
    Json result = Json::object();
    result.set("out", flags.out)
        .set("architecture", model->architecture())
        .set("parameters", count)
        .set("dtype", dtype_name(dtype));
    write_json(result);
  } else {
    note(program, fmt::format("{}: {} with {:.1f} M random parameters in {}", flags.out, model->architecture(),
                              static_cast<double>(count) / 1e6, dtype_name(dtype)));
  }
  return 0;
}

}  // namespace

void add_init(Program& program) {
  const auto flags = std::make_shared<Flags>();
  const Verb verb = add_verb(program, "init", "Write a model folder with random weights from a config.json",
                             {"pagoda init config.json --out my-model --dtype bfloat16 --seed 0"});
  verb->add_option("CONFIG", flags->config, "config.json, or a folder that holds one")->required();
  verb->add_option("--out", flags->out, "Folder to write")->required();
  verb->add_option("--dtype", flags->dtype, "Of the weights: auto (the config's), float32, bfloat16, float16")
      ->capture_default_str();
  verb->add_option("--seed", flags->seed, "Seed of the weights")->check(non_negative())->capture_default_str();
  add_threads(verb, flags->threads);
  verb->add_flag("--force", flags->force, "Replace a model that is there");
  verb->callback([&program, flags] {
    check_out_folder("--out", flags->out);
    program.run = [&program, flags] { return run(program, *flags); };
  });
}

}  // namespace pagoda::cli
