// pagoda quantize: a model folder in int8 or int4.
#include "convert/quantize.h"

#include <fmt/format.h>

#include <memory>

#include "base/error.h"
#include "base/file.h"
#include "base/progress.h"
#include "cli/cli.h"
#include "cli/flag_checks.h"
#include "formats/tokenizer_loader.h"
#include "models/adapter.h"
#include "pipelines/loaded_model.h"

namespace pagoda::cli {

namespace {

struct Flags {
  std::string model, to, out, calibrate, dtype = "auto", isa = "auto";
  int threads = 0;
  int64_t group_size = 0, calibration_tokens = 1 << 17, max_length = 0;
  double damp = 0.01;
  bool asymmetric = false, int8_head = false, no_act_order = false, force = false;
};

std::vector<int32_t> calibration_ids(const Flags& flags, const std::string& model) {
  EncodeOptions encode;
  encode.truncate_and_pad = false;
  std::vector<int32_t> ids = load_tokenizer(model)->encode(read_text(flags.calibrate), encode).ids;
  if (ids.size() < 2) invalid(flags.calibrate, "calibration text too short: got {} tokens, need at least 2", ids.size());
  if (static_cast<int64_t>(ids.size()) > flags.calibration_tokens) ids.resize(static_cast<size_t>(flags.calibration_tokens));
  return ids;
}

Json to_json(const QuantizeReport& report, const std::string& out) {
  Json matrices = Json::array(), in_int8 = Json::array(), json = Json::object();
  for (const QuantizedMatrix& matrix : report.matrices) {
    Json row = Json::object(), shape = Json::array();
    shape.push_back(matrix.n);
    shape.push_back(matrix.k);
    row.set("name", matrix.name).set("shape", std::move(shape)).set("bits", matrix.bits);
    row.set("relative_error", matrix.error);
    matrices.push_back(std::move(row));
  }
  for (const auto& [name, why] : report.in_int8) {
    Json row = Json::object();
    row.set("name", name).set("reason", why);
    in_int8.push_back(std::move(row));
  }
  json.set("out", out).set("format", report.format).set("bits", report.bits).set("group_size", report.group_size);
  json.set("calibration_tokens", report.calibration_tokens).set("bytes_before", report.bytes_before);
  json.set("bytes_after", report.bytes_after).set("quantized", std::move(matrices)).set("in_int8", std::move(in_int8));
  return json;
}

std::string text_of(const QuantizeReport& report, const std::string& out) {
  std::string text = fmt::format(
      "{}: int{}{} ({}), {} matrices, weights {} -> {}, {}\n", out, report.bits,
      report.group_size > 0 ? fmt::format(" in groups of {}", report.group_size) : "", report.format, report.matrices.size(),
      format_bytes(report.bytes_before), format_bytes(report.bytes_after),
      report.calibration_tokens > 0 ? fmt::format("calibrated on {} tokens", report.calibration_tokens) : "rounded to nearest");
  for (const auto& [name, why] : report.in_int8) text += fmt::format("{}: int8, a scale a row: {}\n", name, why);
  return text;
}

QuantizeOptions options_of(const Flags& flags) {
  QuantizeOptions options;
  options.bits = flags.to == "int8" ? 8 : 4;
  options.group_size = flags.group_size;
  options.symmetric = !flags.asymmetric;
  options.int8_head = flags.int8_head;
  if (flags.dtype != "auto") options.dtype = flags.dtype == "float32" ? DType::kFloat32 : DType::kBFloat16;
  options.gptq.damp = flags.damp;
  options.gptq.act_order = !flags.no_act_order;
  options.max_length = flags.max_length;
  options.cancel = &interrupted();
  if (options.bits == 8 && (flags.group_size > 0 || flags.asymmetric || flags.int8_head)) {
    invalid("quantize", "--group-size, --asymmetric, --int8-head: int8 has one symmetric scale a row, need --to int4");
  }
  return options;
}

QuantizeReport quantize_model(const std::string& model, const Flags& flags, QuantizeOptions& options) {
  LoadOptions load_options;
  load_options.runtime.threads = usable_threads(flags.threads);
  if (flags.isa != "auto") load_options.runtime.isa = parse_isa(flags.isa);
  const std::shared_ptr<ModelFolder> folder = ModelFolder::open(model);
  if (flags.calibrate.empty()) {
    Runtime runtime(load_options.runtime);
    return quantize(runtime.device(), *folder, nullptr, flags.out, options);
  }
  options.ids = calibration_ids(flags, folder->path());
  const std::unique_ptr<LoadedModel> loaded = LoadedModel::open_for_training(model, load_options, DType::kFloat32);
  return quantize(loaded->runtime().device(), loaded->folder(), &loaded->model(), flags.out, options);
}

int run(const Program& program, const Flags& flags) {
  QuantizeOptions options = options_of(flags);
  if (!flags.force && file_exists(join_path(flags.out, "config.json")))
    invalid(flags.out, "holds a model already: need another folder, or --force to replace it");
  const std::string model_name = find_model(program, flags.model);
  if (is_adapter(model_name))
    unsupported(flags.model, "an adapter: pagoda merge makes a model of it and its base, which can be quantised");
  TerminalProgress line(stderr);
  if (!program.quiet)
    options.progress = [&](const std::string& what, int64_t done, int64_t total) { line.update(what, done, total); };
  QuantizeReport report;
  try {
    report = quantize_model(model_name, flags, options);
  } catch (const Cancelled&) {
    return kInterruptedExit;
  }
  line.clear();
  if (program.json) {
    write_json(to_json(report, flags.out));
  } else {
    write_out(text_of(report, flags.out));
  }
  if (flags.asymmetric) {
    note(program, fmt::format("{}: transformers 5.24 (compressed-tensors 0.20) does not load packed zero points: a folder for "
                              "it is made without --asymmetric",
                              flags.out));
  }
  if (!report.no_tokenizer.empty()) {
    note(program, fmt::format("{}: has no tokenizer ({}): give it the tokenizer.json of the original model", flags.out,
                              report.no_tokenizer));
  } else if (!has_tokenizer(flags.out)) {
    note(program, fmt::format("{}: has no tokenizer, as {} has none", flags.out, flags.model));
  }
  return 0;
}

}  // namespace

void add_quantize(Program& program) {
  const auto flags = std::make_shared<Flags>();
  const Verb verb = add_verb(program, "quantize", "Write a model folder with int8 or int4 weights (compressed-tensors)",
                             {"pagoda quantize MODEL --to int8 --out MODEL-int8",
                              "pagoda quantize MODEL --to int4 --group-size 32 --calibrate text.txt --out MODEL-int4",
                              "pagoda quantize MODEL.gguf --to int8 --out MODEL-int8 --json"});
  add_model(verb, flags->model)->required();
  verb->add_option("--to", flags->to, "int8: a scale a row, activations by token; int4: groups of columns")
      ->type_name("int8|int4")
      ->check(one_of({"int8", "int4"}))
      ->required();
  verb->add_option("--out", flags->out, "Folder to write")->required();
  verb->add_option("--group-size", flags->group_size,
                   "Columns that share a scale in int4, a multiple of 8 (default: 128, 64 or 32, as fits most weights)")
      ->check(Check([](const std::string& text) {
        const bool good = !text.empty() && text.size() < 7 && text.find_first_not_of("0123456789") == std::string::npos &&
                          std::stoi(text) > 0 && std::stoi(text) % 8 == 0;
        return good ? std::string() : "got " + text + ", need a multiple of 8";
      }));
  verb->add_option("--dtype", flags->dtype, "Of what stays: embeddings, norms, heads, and of scales (default: as it is)")
      ->type_name("auto|float32|bfloat16")
      ->check(one_of({"auto", "float32", "bfloat16"}))
      ->capture_default_str();
  verb->add_flag("--asymmetric", flags->asymmetric,
                 "int4 with a zero point a group (transformers 5.24 does not load packed zero points)");
  verb->add_flag("--int8-head", flags->int8_head,
                 "With int4: the head in int8, in groups too; one tied to the embeddings gets a weight of its own");
  verb->add_option("--calibrate", flags->calibrate,
                   "Text (- reads stdin) for calibration by GPTQ; without it weights are rounded to nearest");
  verb->add_option("--calibration-tokens", flags->calibration_tokens, "Tokens of the text at most")
      ->check(positive())
      ->capture_default_str();
  verb->add_option("--max-length", flags->max_length,
                   "Tokens of a calibration window (default: the model's context, at most 512)")
      ->check(positive());
  verb->add_option("--damp", flags->damp, "Damping of GPTQ, as a share of the mean input power")
      ->check(in_range(1e-6, 10.0))
      ->capture_default_str();
  verb->add_flag("--no-act-order", flags->no_act_order,
                 "Round columns from left to right, not in order of their inputs' power");
  add_threads(verb, flags->threads);
  verb->add_option("--isa", flags->isa, "Instruction set")
      ->type_name("auto|reference|portable|avx2|avx512|avx512_bf16|amx")
      ->capture_default_str();
  verb->add_flag("--force", flags->force, "Replace a model that is there");
  verb->callback([&program, flags, verb] {
    check_out_folder("--out", flags->out);
    if (flags->calibrate.empty()) {
      refuse_given(verb, {"--calibration-tokens", "--max-length", "--damp", "--no-act-order"},
                   "has no effect without --calibrate");
    }
    program.run = [&program, flags] { return run(program, *flags); };
  });
}

}  // namespace pagoda::cli
