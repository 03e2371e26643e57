// Lengths by strata of a clipped log-normal distribution; pagoda bench lengths, which prints them.
#include "cli/bench_lengths.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <numeric>

#include "base/error.h"
#include "base/random.h"
#include "cli/bench_common.h"
#include "cli/bench_requests.h"

namespace pagoda::cli {

namespace {

double normal_cdf(double x) { return 0.5 * std::erfc(-x / std::sqrt(2.0)); }

// x with f(x) = y for a rising f, in [low, high].
template <class F>
double invert(const F& f, double y, double low, double high) {
  for (int i = 0; i < 100; ++i) {
    const double middle = 0.5 * (low + high);
    (f(middle) < y ? low : high) = middle;
  }
  return 0.5 * (low + high);
}

// The mean of exp(mu + z) held within [a, b].
double clipped_mean(double mu, double a, double b) {
  const double low = std::log(a) - mu, high = std::log(b) - mu;
  return a * normal_cdf(low) + std::exp(mu + 0.5) * (normal_cdf(high - 1) - normal_cdf(low - 1)) + b * normal_cdf(-high);
}

std::vector<int64_t> draw(double mean, int64_t count, const RandomStream& random, int64_t most) {
  const double mu = solve_mu(mean, kShortestLength, static_cast<double>(most));
  const auto n = static_cast<size_t>(count);
  std::vector<size_t> part(n);
  std::iota(part.begin(), part.end(), size_t{0});
  for (size_t i = n; i > 1; --i) std::swap(part[i - 1], part[random.bits(i) % i]);
  std::vector<int64_t> lengths;
  for (const size_t k : part) {
    const double length =
        std::exp(mu + invert(normal_cdf, (static_cast<double>(k) + 0.5) / static_cast<double>(count), -10, 10));
    lengths.push_back(std::clamp(static_cast<int64_t>(std::lround(length)), kShortestLength, most));
  }
  return lengths;
}

}  // namespace

double solve_mu(double mean, double least, double most) {
  if (!(mean > least && mean < most)) {
    invalid("lengths", "the context is too short for this law: got a mean of {} tokens, need one within {} and {}", mean, least,
            most);
  }
  const auto mean_of = [&](double mu) { return clipped_mean(mu, least, most); };
  return invert(mean_of, mean, std::log(least) - 10, std::log(most) + 10);
}

std::vector<Lengths> draw_lengths(const LengthLaw& law, int64_t count, uint64_t seed, int64_t context) {
  const int64_t most = std::min(kLongestLength, context / 2);
  const std::vector<int64_t> inputs = draw(law.mean_input, count, RandomStream(seed, 0), most),
                             outputs = draw(law.mean_output, count, RandomStream(seed, 1), most);
  std::vector<Lengths> lengths;
  for (size_t i = 0; i < inputs.size(); ++i) lengths.push_back({inputs[i], outputs[i]});
  return lengths;
}

namespace {

struct Flags {
  DatasetFlags dataset;
  int64_t max_model_len = 2 * kLongestLength, vocab_size = 0;
};

int run(const Flags& flags) {
  const std::vector<BenchRequest> requests =
      make_requests(flags.dataset, {std::max<int64_t>(flags.vocab_size, 1), flags.max_model_len, nullptr});
  for (const BenchRequest& request : requests) {
    Json line = Json::object();
    line.set("input_len", request.input_len()).set("output_len", request.output_len);
    if (flags.vocab_size > 0) line.set("prompt_token_ids", ids_json(request.prompt_ids));
    write_json(line);
  }
  return 0;
}

}  // namespace

void add_bench_lengths(Program& program, Verb bench) {
  const auto flags = std::make_shared<Flags>();
  flags->dataset.dataset_name = "sharegpt-lengths";
  flags->dataset.num_prompts = 200;
  const Verb verb = add_verb(
      program, bench, "lengths",
      "Print the requests that the other benchmarks make, a JSON line each, so that other engines can be given the same",
      {"pagoda bench lengths --dataset-name sharegpt-lengths --num-prompts 200 --seed 0",
       "pagoda bench lengths --dataset-name alpaca-lengths --vocab-size 49152 > requests.jsonl"});
  add_dataset_flags(verb, flags->dataset);
  verb->add_option("--vocab-size", flags->vocab_size, "Add prompt_token_ids below this, as bench throughput draws them")
      ->check(in_range(int64_t{1}, int64_t{1} << 31));
  verb->add_option("--max-model-len", flags->max_model_len, "The model's context: where it is short, so are the lengths")
      ->capture_default_str()
      ->check(positive());
  verb->callback([&program, flags] { program.run = [flags] { return run(*flags); }; });
}

}  // namespace pagoda::cli
