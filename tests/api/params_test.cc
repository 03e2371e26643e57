// Every field of SamplingParams reaches the parameter of the engine that it names.
#include <gtest/gtest.h>

#include "api/sampling.h"

namespace pagoda {
namespace {

TEST(SamplingParams, WhatIsSetStandsOverTheDefaults) {
  SamplingParams defaults;
  defaults.max_new_tokens = 77;
  defaults.max_length = 100;
  defaults.min_length = 5;
  defaults.temperature = 0.6;
  defaults.top_k = 20;
  defaults.top_p = 0.5;
  defaults.eos_token_ids = {2};
  defaults.stop_strings = {"x"};
  const SamplingParams untouched = api::sampling_params({}, defaults);
  EXPECT_EQ(untouched.max_new_tokens, 77);
  EXPECT_EQ(untouched.max_length, 100);
  EXPECT_EQ(untouched.min_length, 5);
  EXPECT_EQ(untouched.temperature, 0.6);
  EXPECT_EQ(untouched.top_k, 20);
  EXPECT_EQ(untouched.top_p, 0.5);
  EXPECT_EQ(untouched.stop_strings, defaults.stop_strings);
  EXPECT_FALSE(untouched.seed.has_value());

  const SamplingParams all = api::sampling_params({.max_new_tokens = 1,
                                                   .min_new_tokens = 2,
                                                   .temperature = 0.3,
                                                   .top_k = 4,
                                                   .top_p = 0.5,
                                                   .min_p = 0.6,
                                                   .typical_p = 0.7,
                                                   .seed = 8,
                                                   .repetition_penalty = 1.9,
                                                   .presence_penalty = 0.1,
                                                   .frequency_penalty = 0.11,
                                                   .no_repeat_ngram_size = 12,
                                                   .logit_bias = {{13, 0.5}},
                                                   .bad_words_ids = {{14, 15}},
                                                   .stop = {"y"},
                                                   .stop_token_ids = {16},
                                                   .include_stop_str_in_output = true,
                                                   .ignore_eos = true,
                                                   .num_return_sequences = 17,
                                                   .num_beams = 18,
                                                   .length_penalty = 0.19},
                                                  defaults);
  EXPECT_EQ(all.max_new_tokens, 1);
  EXPECT_EQ(all.max_length, 0);  // both count the same tokens: what was asked for stands
  EXPECT_EQ(all.min_new_tokens, 2);
  EXPECT_EQ(all.min_length, 0);
  EXPECT_EQ(all.temperature, 0.3);
  EXPECT_EQ(all.top_k, 4);
  EXPECT_EQ(all.top_p, 0.5);
  EXPECT_EQ(all.min_p, 0.6);
  EXPECT_EQ(all.typical_p, 0.7);
  EXPECT_EQ(all.seed, uint64_t{8});
  EXPECT_EQ(all.repetition_penalty, 1.9);
  EXPECT_EQ(all.presence_penalty, 0.1);
  EXPECT_EQ(all.frequency_penalty, 0.11);
  EXPECT_EQ(all.no_repeat_ngram_size, 12);
  EXPECT_EQ(all.logit_bias, (std::map<int32_t, double>{{13, 0.5}}));
  EXPECT_EQ(all.bad_words_ids, (std::vector<std::vector<int32_t>>{{14, 15}}));
  EXPECT_EQ(all.stop_strings, std::vector<std::string>{"y"});
  EXPECT_EQ(all.stop_token_ids, std::vector<int32_t>{16});
  EXPECT_TRUE(all.include_stop_str);
  EXPECT_TRUE(all.ignore_eos);
  EXPECT_EQ(all.num_return_sequences, 17);
  EXPECT_EQ(all.num_beams, 18);
  EXPECT_EQ(all.length_penalty, 0.19);
  EXPECT_EQ(all.eos_token_ids, defaults.eos_token_ids);
}

}  // namespace
}  // namespace pagoda
