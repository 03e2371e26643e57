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
#include "ops/runtime.h"

namespace pagoda::cli {

namespace {

struct Flags {
  std::string config, out, dtype = "auto";
  uint64_t seed = 0;
  int threads = 0;
  bool force = false;
};

int run(const Program& program, const Flags& flags) {
  const std::string path = directory_exists(flags.config) ? join_path(flags.config, "config.json") : flags.config;
  if (!file_exists(path)) not_found(path, "no such config");
  Json config = read_json(path);
  RuntimeOptions options;
  options.threads = flags.threads;
  Runtime runtime(options);  // outlives the model, whose tensors are its device's
  const std::unique_ptr<Model> model = make_model(config, path);
  std::string named = flags.dtype;
  if (named == "auto") named = config.get_string("dtype", config.get_string("torch_dtype", "float32", path), path);
  const DType dtype = parse_dtype(named, "dtype");
  if (dtype != DType::kFloat32 && dtype != DType::kBFloat16 && dtype != DType::kFloat16) {
    unsupported("dtype", "cannot write weights as {}: need float32, bfloat16 or float16", dtype_name(dtype));
  }
  const std::string weights = join_path(flags.out, "model.safetensors");
  if (!flags.force && directory_exists(flags.out)) {
    for (const std::string& name : list_directory(flags.out)) {
      const bool same = name == "config.json" && std::filesystem::equivalent(join_path(flags.out, name), path);
      if ((name == "config.json" && !same) || is_weight_file(name)) {
        invalid(flags.out, "holds a model already ({}): need another folder, or --force to replace it", name);
      }
    }
  }
  make_directories(flags.out);
  std::vector<TensorSpec> specs;
  int64_t count = 0;
  for (const Parameter* parameter : model->parameters()) {
    specs.push_back({parameter->name, dtype, parameter->shape});
    int64_t elements = 1;
    for (const int64_t dim : parameter->shape) elements *= dim;
    count += elements;
  }
  SafetensorsWriter writer(weights, specs, {{"format", "pt"}});
  uint64_t stream = 0;
  for (Parameter* parameter : model->parameters()) {
    if (interrupted()) return kInterruptedExit;  // the unfinished file is removed with the writer
    model->initialize_parameter(runtime.device(), *parameter, dtype, flags.seed, stream++);
    zero_padding_row(config, *parameter);
    writer.append(parameter->value);
    parameter->value = Tensor();
  }
  writer.finish();
  if (Json* old_spelling = config.find("torch_dtype"); old_spelling != nullptr && !config.contains("dtype")) {
    *old_spelling = dtype_name(dtype);
  } else {
    config.set("dtype", dtype_name(dtype));
  }
  if (!config.contains("architectures")) {
    Json list = Json::array();
    list.push_back(model->architecture());
    config.set("architectures", std::move(list));
  }
  write_file_atomic(join_path(flags.out, "config.json"), config.pretty() + "\n");
  Json generation = Json::object();
  for (const char* key : {"bos_token_id", "eos_token_id", "pad_token_id"}) {
    const Json* value = config.find(key);
    if (value != nullptr && !value->is_null()) generation.set(key, *value);
  }
  if (generation.size() > 0) write_file_atomic(join_path(flags.out, "generation_config.json"), generation.pretty() + "\n");
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
  verb->add_option("--threads", flags->threads, "Threads (default: one a physical core)")->check(in_range(1, 4096));
  verb->add_flag("--force", flags->force, "Replace a model that is there");
  verb->callback([&program, flags] {
    check_out_folder("--out", flags->out);
    program.run = [&program, flags] { return run(program, *flags); };
  });
}

}  // namespace pagoda::cli
