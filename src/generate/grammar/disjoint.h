// Whether it can be told that no value fits two JSON schemas: where it can for all its branches, oneOf is anyOf.
#pragma once

#include <cstdint>
#include <functional>
#include <utility>
#include <vector>

#include "base/json.h"

namespace pagoda::grammar {

// Types of values, a bit each: a number is whole or not.
using TypeSet = unsigned;
constexpr TypeSet kAllTypes = 0x7f;
// What `type` (and nullable) of an object schema lets through.
TypeSet types_let_through(const Json& schema);

class Disjointness {
 public:
  using Resolve = std::function<const Json&(const Json& reference)>;  // the schema that a $ref names
  // work: keywords that may be looked at; beyond, nothing is proven.
  Disjointness(Resolve resolve, int64_t work) : resolve_(std::move(resolve)), work_left_(work) {}

  // By type, by const and enum, by ranges of numbers, or by a property that one of them requires and that these tell apart.
  // types: of values that come into question at all. True: proven. False: they may have a value in common.
  bool proven(const Json& a, const Json& b, TypeSet types = kAllTypes) { return proven(a, b, types, 0); }

 private:
  using Parts = std::vector<const Json*>;  // object schemas that must fit together
  bool proven(const Json& a, const Json& b, TypeSet types, int depth);
  bool collect(const Json& schema, Parts& parts);
  bool values_apart(const Parts& a, const Parts& b, TypeSet types);
  bool objects_apart(const Parts& a, const Parts& b, int depth);
  bool property_apart(const Parts& a, const Parts& b, const std::string& name, int depth);

  Resolve resolve_;
  int64_t work_left_;
};

}  // namespace pagoda::grammar
