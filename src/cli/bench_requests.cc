// Random prompts and prompts from files.
#include "cli/bench_requests.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <optional>

#include "base/checked.h"
#include "base/error.h"
#include "base/random.h"

namespace pagoda::cli {

namespace {

// Streams of random numbers: 0 and 1 draw lengths.
constexpr uint64_t kRangeStream = 2, kPrefixStream = 3, kShuffleStream = 4, kFirstPromptStream = 16;

std::vector<int32_t> random_ids(const RandomStream& random, int64_t count, int64_t vocab_size) {
  std::vector<int32_t> ids;
  ids.reserve(static_cast<size_t>(count));
  for (int64_t i = 0; i < count; ++i) {
    ids.push_back(static_cast<int32_t>(random.bits(static_cast<uint64_t>(i)) % static_cast<uint64_t>(vocab_size)));
  }
  return ids;
}

std::vector<Lengths> random_lengths(const DatasetFlags& flags) {
  const RandomStream random(flags.seed, kRangeStream);
  uint64_t drawn = 0;
  // Whole numbers within len (1 - ratio) and len (1 + ratio), all equally likely.
  const auto length = [&](int64_t middle) {
    const double low = static_cast<double>(middle) * (1 - flags.random_range_ratio),
                 high = static_cast<double>(middle) * (1 + flags.random_range_ratio);
    const auto least = std::max<int64_t>(1, static_cast<int64_t>(std::floor(low))),
               most = std::max<int64_t>(least, static_cast<int64_t>(std::ceil(high)));
    const double range = static_cast<double>(most - least + 1);
    return least + static_cast<int64_t>(range * random.uniform(drawn++));
  };
  std::vector<Lengths> lengths;
  for (int64_t i = 0; i < flags.num_prompts; ++i) {
    const int64_t input = length(flags.input_len > 0 ? flags.input_len : flags.random_input_len);
    lengths.push_back({input, length(flags.output_len > 0 ? flags.output_len : flags.random_output_len)});
  }
  return lengths;
}

std::vector<Lengths> lengths_of(const DatasetFlags& flags, int64_t context) {
  if (flags.dataset_name == "random") return random_lengths(flags);
  const LengthLaw& law = flags.dataset_name == "alpaca-lengths" ? kAlpacaLengths : kShareGptLengths;
  const int64_t room = context > 0 ? context - flags.random_prefix_len : 2 * kLongestLength;
  std::vector<Lengths> lengths = draw_lengths(law, flags.num_prompts, flags.seed, room);
  for (Lengths& each : lengths) {
    if (flags.input_len > 0) each.input_len = flags.input_len;
    if (flags.output_len > 0) each.output_len = flags.output_len;
  }
  return lengths;
}

std::vector<BenchRequest> random_requests(const DatasetFlags& flags, const RequestSource& source) {
  const std::vector<int32_t> prefix =
      random_ids(RandomStream(flags.seed, kPrefixStream), flags.random_prefix_len, source.vocab_size);
  std::vector<BenchRequest> requests;
  for (const Lengths& lengths : lengths_of(flags, source.context)) {
    BenchRequest request{prefix, "", lengths.output_len};
    const RandomStream random(flags.seed, kFirstPromptStream + requests.size());
    const std::vector<int32_t> own = random_ids(random, lengths.input_len, source.vocab_size);
    request.prompt_ids.insert(request.prompt_ids.end(), own.begin(), own.end());
    requests.push_back(std::move(request));
  }
  return requests;
}

// A line {"prompt": text or ids, "output_tokens": optional}.
std::vector<BenchRequest> custom_requests(const DatasetFlags& flags) {
  std::vector<BenchRequest> requests;
  for_each_line(flags.dataset_path, [&](int64_t number, const std::string& line) {
    if (line.empty()) return;
    const std::string where = fmt::format("{}:{}", flags.dataset_path, number);
    const Json object = Json::parse(line, where);
    const Json& prompt = object.at("prompt", where);
    BenchRequest request;
    if (prompt.is_array()) {
      request.prompt_ids = parse_ids(prompt, int64_t{1} << 31, where);
    } else {
      request.prompt = prompt.as_string(where);
    }
    if (request.prompt.empty() && request.prompt_ids.empty()) invalid(where, "empty prompt");
    request.output_len = object.get_int("output_tokens", flags.custom_output_len, where);
    requests.push_back(std::move(request));
  });
  return requests;
}

// [{"conversations": [{"value": prompt}, {"value": answer}, ...]}, ...]; the answer's length counts unless a flag gives one.
std::vector<BenchRequest> sharegpt_requests(const DatasetFlags& flags, const RequestSource& source) {
  const bool fixed = flags.sharegpt_output_len > 0 || flags.output_len > 0;
  if (source.tokenizer == nullptr && !fixed) {
    invalid("--dataset-name", "sharegpt: the length of an answer needs --tokenizer, or give --sharegpt-output-len");
  }
  const Json file = read_json(flags.dataset_path);
  std::vector<BenchRequest> requests;
  for (const Json& entry : file.as_array(flags.dataset_path)) {
    const Json* turns = entry.find("conversations");
    if (turns == nullptr || !turns->is_array() || turns->size() < 2) continue;
    const Json::Array& list = turns->as_array(flags.dataset_path);
    BenchRequest request;
    request.prompt = list[0].at("value", flags.dataset_path).as_string(flags.dataset_path);
    request.output_len = flags.sharegpt_output_len;
    if (source.tokenizer != nullptr) {
      request.prompt_ids = source.tokenizer->encode_ids(request.prompt, true);
      const std::string& answer = list[1].at("value", flags.dataset_path).as_string(flags.dataset_path);
      if (!fixed) request.output_len = static_cast<int64_t>(source.tokenizer->encode_ids(answer, false).size());
      // As the published runs do: what is very short or long is left out.
      const bool kept = request.input_len() >= kShortestLength && request.input_len() <= kLongestLength &&
                        request.output_len >= kShortestLength && request.input_len() + request.output_len <= 2 * kLongestLength;
      if (!kept) continue;
    }
    requests.push_back(std::move(request));
  }
  return requests;
}

// num_prompts of them in random order; again from the start where there are fewer.
std::vector<BenchRequest> pick(std::vector<BenchRequest> requests, const DatasetFlags& flags) {
  if (requests.empty()) invalid(flags.dataset_path, "no requests in it");
  const RandomStream random(flags.seed, kShuffleStream);
  for (size_t i = requests.size(); i > 1; --i) std::swap(requests[i - 1], requests[random.bits(i) % i]);
  std::vector<BenchRequest> picked;
  for (size_t i = 0; i < static_cast<size_t>(flags.num_prompts); ++i) picked.push_back(requests[i % requests.size()]);
  return picked;
}

std::vector<BenchRequest> file_requests(const DatasetFlags& flags, const RequestSource& source) {
  if (flags.dataset_path.empty()) invalid("--dataset-path", "need a file for --dataset-name {}", flags.dataset_name);
  std::vector<BenchRequest> requests =
      pick(flags.dataset_name == "custom" ? custom_requests(flags) : sharegpt_requests(flags, source), flags);
  for (BenchRequest& request : requests) {
    if (flags.output_len > 0) request.output_len = flags.output_len;
    if (source.tokenizer != nullptr && request.prompt_ids.empty()) {
      request.prompt_ids = source.tokenizer->encode_ids(request.prompt, true);
    }
  }
  return requests;
}

}  // namespace

std::vector<BenchRequest> make_requests(const DatasetFlags& flags, const RequestSource& source) {
  const bool from_file = flags.dataset_name == "custom" || flags.dataset_name == "sharegpt";
  std::vector<BenchRequest> requests = from_file ? file_requests(flags, source) : random_requests(flags, source);
  for (const BenchRequest& request : requests) {
    const int64_t length = checked_add(request.input_len(), request.output_len, "bench");
    if (request.output_len < 1) invalid("bench", "output length: got {}, need at least 1", request.output_len);
    if (source.context > 0 && length > source.context) {
      invalid("bench", "too long for the model: got a prompt of {} and an answer of {}, need at most {} together",
              request.input_len(), request.output_len, source.context);
    }
  }
  return requests;
}

Json ids_json(const std::vector<int32_t>& ids) {
  Json list = Json::array();
  for (const int32_t id : ids) list.push_back(int64_t{id});
  return list;
}

void add_dataset_flags(Verb verb, DatasetFlags& flags) {
  const Check length = in_range(int64_t{1}, int64_t{1} << 24);
  verb->add_option("--dataset-name,--dataset", flags.dataset_name,
                   "Requests: random ids; the same at lengths drawn from a law with the means of ShareGPT or Alpaca; "
                   "conversations or lines {\"prompt\": ...} from --dataset-path")
      ->capture_default_str()
      ->check(one_of({"random", "sharegpt-lengths", "alpaca-lengths", "sharegpt", "custom"}));
  verb->add_option("--dataset-path", flags.dataset_path, "JSON of ShareGPT's form, or JSON lines")->type_name("FILE");
  verb->add_option("--num-prompts", flags.num_prompts, "Requests")
      ->capture_default_str()
      ->check(in_range(int64_t{1}, int64_t{1} << 20));
  verb->add_option("--input-len", flags.input_len, "Tokens of every prompt, whatever the data set has (not of files)")
      ->check(length);
  verb->add_option("--output-len", flags.output_len, "Tokens of every answer, whatever the data set has")->check(length);
  verb->add_option("--random-input-len", flags.random_input_len, "random: tokens of a prompt")
      ->capture_default_str()
      ->check(length);
  verb->add_option("--random-output-len", flags.random_output_len, "random: tokens of an answer")
      ->capture_default_str()
      ->check(length);
  verb->add_option("--random-range-ratio", flags.random_range_ratio, "random: lengths vary by this share, up and down")
      ->capture_default_str()
      ->check(in_range(0.0, 0.999));
  verb->add_option("--random-prefix-len", flags.random_prefix_len, "Tokens before each random prompt, the same for all")
      ->capture_default_str()
      ->check(in_range(int64_t{0}, int64_t{1} << 24));
  verb->add_option("--sharegpt-output-len", flags.sharegpt_output_len, "sharegpt: tokens of every answer")->check(length);
  verb->add_option("--custom-output-len", flags.custom_output_len,
                   "custom: tokens of an answer where a line has no output_tokens")
      ->capture_default_str()
      ->check(length);
  verb->add_option("--seed", flags.seed, "Seed of everything that is drawn")->capture_default_str();
}

}  // namespace pagoda::cli
