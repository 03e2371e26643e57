// M. F. Porter, "An algorithm for suffix stripping", 1980, with the changes that NLTK makes by default.
#include <algorithm>
#include <array>
#include <functional>
#include <vector>

#include "metrics/rouge.h"

namespace pagoda {

namespace {

bool is_vowel_letter(char c) { return c == 'a' || c == 'e' || c == 'i' || c == 'o' || c == 'u'; }

// A 'y' is a consonant at the beginning and after a vowel.
std::vector<bool> consonants(std::string_view word) {
  std::vector<bool> out(word.size());
  for (size_t i = 0; i < word.size(); ++i) {
    out[i] = word[i] == 'y' ? i == 0 || !out[i - 1] : !is_vowel_letter(word[i]);
  }
  return out;
}

// How often a vowel is followed by a consonant.
int measure(std::string_view stem) {
  const auto flags = consonants(stem);
  int count = 0;
  for (size_t i = 1; i < flags.size(); ++i) count += !flags[i - 1] && flags[i] ? 1 : 0;
  return count;
}

bool has_vowel(std::string_view stem) {
  const auto flags = consonants(stem);
  return std::find(flags.begin(), flags.end(), false) != flags.end();
}

bool ends_in_consonant(std::string_view word) { return !word.empty() && consonants(word).back(); }

bool ends_double(std::string_view word) {
  return word.size() >= 2 && word[word.size() - 1] == word[word.size() - 2] && ends_in_consonant(word);
}

bool ends_short(std::string_view word) {  // consonant, vowel, consonant that is not w, x, y
  const auto flags = consonants(word);
  const size_t n = word.size();
  if (n == 2) return !flags[0] && flags[1];
  if (n < 3) return false;
  const char last = word[n - 1];
  return flags[n - 3] && !flags[n - 2] && flags[n - 1] && last != 'w' && last != 'x' && last != 'y';
}

std::string replaced(std::string_view word, size_t suffix, std::string_view by) {
  return std::string(word.substr(0, word.size() - suffix)).append(by);
}

struct Rule {
  std::string_view suffix, by;
};

// The first rule whose suffix fits decides, whether its condition on the stem holds or not.
template <size_t N, class Condition>
std::string apply(const std::string& word, const std::array<Rule, N>& rules, Condition&& condition) {
  for (const Rule& rule : rules) {
    if (!word.ends_with(rule.suffix)) continue;
    const std::string stem = replaced(word, rule.suffix.size(), "");
    return condition(stem, rule) ? stem + std::string(rule.by) : word;
  }
  return word;
}

std::string step1a(const std::string& word) {
  if (word.size() == 4 && word.ends_with("ies")) return replaced(word, 3, "ie");
  static constexpr std::array<Rule, 4> kRules{{{"sses", "ss"}, {"ies", "i"}, {"ss", "ss"}, {"s", ""}}};
  return apply(word, kRules, [](const std::string&, const Rule&) { return true; });
}

std::string step1b(const std::string& word) {
  if (word.ends_with("ied")) return replaced(word, 3, word.size() == 4 ? "ie" : "i");
  if (word.ends_with("eed")) return measure(replaced(word, 3, "")) > 0 ? replaced(word, 1, "") : word;
  std::string stem;
  for (const std::string_view suffix : {"ed", "ing"}) {
    if (word.ends_with(suffix) && has_vowel(replaced(word, suffix.size(), ""))) {
      stem = replaced(word, suffix.size(), "");
      break;
    }
  }
  if (stem.empty()) return word;
  if (stem.ends_with("at") || stem.ends_with("bl") || stem.ends_with("iz")) return stem + "e";
  if (ends_double(stem)) {
    const char last = stem.back();
    return last == 'l' || last == 's' || last == 'z' ? stem : replaced(stem, 1, "");
  }
  return measure(stem) == 1 && ends_short(stem) ? stem + "e" : stem;
}

std::string step1c(const std::string& word) {
  if (!word.ends_with("y")) return word;
  const std::string stem = replaced(word, 1, "");
  return stem.size() > 1 && ends_in_consonant(stem) ? stem + "i" : word;
}

std::string step2(std::string word) {
  while (word.ends_with("alli") && measure(replaced(word, 4, "")) > 0) word = replaced(word, 2, "");
  static constexpr std::array<Rule, 22> kRules{
      {{"ational", "ate"}, {"tional", "tion"}, {"enci", "ence"},   {"anci", "ance"},   {"izer", "ize"},    {"bli", "ble"},
       {"alli", "al"},     {"entli", "ent"},   {"eli", "e"},       {"ousli", "ous"},   {"ization", "ize"}, {"ation", "ate"},
       {"ator", "ate"},    {"alism", "al"},    {"iveness", "ive"}, {"fulness", "ful"}, {"ousness", "ous"}, {"aliti", "al"},
       {"iviti", "ive"},   {"biliti", "ble"},  {"fulli", "ful"},   {"logi", "log"}}};
  return apply(word, kRules, [](const std::string& stem, const Rule& rule) {
    // The l of "logi" counts for the stem, so that "geology" goes with "archaeology".
    return measure(rule.suffix == "logi" ? stem + "l" : stem) > 0;
  });
}

std::string step3(const std::string& word) {
  static constexpr std::array<Rule, 7> kRules{
      {{"icate", "ic"}, {"ative", ""}, {"alize", "al"}, {"iciti", "ic"}, {"ical", "ic"}, {"ful", ""}, {"ness", ""}}};
  return apply(word, kRules, [](const std::string& stem, const Rule&) { return measure(stem) > 0; });
}

std::string step4(const std::string& word) {
  static constexpr std::array<Rule, 19> kRules{{{"al", ""},
                                                {"ance", ""},
                                                {"ence", ""},
                                                {"er", ""},
                                                {"ic", ""},
                                                {"able", ""},
                                                {"ible", ""},
                                                {"ant", ""},
                                                {"ement", ""},
                                                {"ment", ""},
                                                {"ent", ""},
                                                {"ion", ""},
                                                {"ou", ""},
                                                {"ism", ""},
                                                {"ate", ""},
                                                {"iti", ""},
                                                {"ous", ""},
                                                {"ive", ""},
                                                {"ize", ""}}};
  return apply(word, kRules, [](const std::string& stem, const Rule& rule) {
    return measure(stem) > 1 && (rule.suffix != "ion" || stem.back() == 's' || stem.back() == 't');
  });
}

std::string step5(const std::string& word) {
  std::string out = word;
  if (word.ends_with("e")) {
    const std::string stem = replaced(word, 1, "");
    const int count = measure(stem);
    if (count > 1 || (count == 1 && !ends_short(stem))) out = stem;
  }
  if (out.ends_with("ll") && measure(replaced(out, 1, "")) > 1) out.pop_back();
  return out;
}

// Irregular forms.
constexpr std::array<Rule, 15> kPool{{{"sky", "sky"},
                                      {"skies", "sky"},
                                      {"dying", "die"},
                                      {"lying", "lie"},
                                      {"tying", "tie"},
                                      {"news", "news"},
                                      {"innings", "inning"},
                                      {"inning", "inning"},
                                      {"outings", "outing"},
                                      {"outing", "outing"},
                                      {"cannings", "canning"},
                                      {"canning", "canning"},
                                      {"howe", "howe"},
                                      {"proceed", "proceed"},
                                      {"exceed", "exceed"}}};

}  // namespace

std::string porter_stem(std::string_view word) {
  for (const Rule& one : kPool) {
    if (one.suffix == word) return std::string(one.by);
  }
  if (word == "succeed" || word.size() <= 2) return std::string(word);
  return step5(step4(step3(step2(step1c(step1b(step1a(std::string(word))))))));
}

}  // namespace pagoda
