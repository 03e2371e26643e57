// The law that request lengths follow in benchmarks: published means, no data set needed (benchmarks/lengths/README.md).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace pagoda::cli {

struct Lengths {
  int64_t input_len = 0, output_len = 0;  // tokens
};

// Prompts and answers independently: exp(mu + z), z standard normal, rounded, held within 4 and min(1024, context / 2), with mu
// such that the mean after these bounds is the law's.
struct LengthLaw {
  double mean_input = 0, mean_output = 0;
};
constexpr int64_t kShortestLength = 4, kLongestLength = 1024;
constexpr LengthLaw kShareGptLengths{161, 338}, kAlpacaLengths{19, 58};

// `count` requests: the medians of `count` equally likely parts of the distribution, in random order (the seed's), so that the
// set's own mean is close to the law's. Throws kInvalidInput where the context is too short for the
// mean.
std::vector<Lengths> draw_lengths(const LengthLaw& law, int64_t count, uint64_t seed, int64_t context);

// mu for which exp(mu + z) held within [least, most] has this mean.
double solve_mu(double mean, double least, double most);

}  // namespace pagoda::cli
