// Filters on sequences and mappings.
#include "text/jinja_builtins.h"
#include "text/jinja_filters.h"
#include "text/jinja_objects.h"
#include "text/jinja_ops.h"
#include "text/jinja_text.h"
#include "text/jinja_unicode.h"

namespace pagoda::jinja {

namespace {

bool flag(Interp& interp, const Value& value, bool fallback = false) {
  return value.is_missing() ? fallback : truthy(interp, value);
}
Value given(const Value& value) { return value.is_missing() ? Value::none() : value; }

// A path like "a.b.0" into an item: getitem by getitem.
class Path {
 public:
  Path(Interp& interp, const Value& attribute, Value fallback = Value::none()) : fallback_(std::move(fallback)) {
    if (attribute.is_none() || attribute.is_missing()) return;
    if (!attribute.is_string()) {
      parts_.push_back(attribute);
      return;
    }
    for (std::string& part : split_text(attribute.text(), ".", -1, false)) {
      const bool digits = !part.empty() && part.find_first_not_of("0123456789") == std::string::npos;
      if (digits && part.size() < 19) {
        parts_.push_back(Value::integer(std::stoll(part)));
      } else {
        parts_.push_back(interp.str(std::move(part)));
      }
    }
  }

  Value get(Interp& interp, Value item) const {
    for (const Value& part : parts_) {
      item = interp.get_item(item, part);
      if (!fallback_.is_none() && item.is_undefined()) item = fallback_;
    }
    return item;
  }

 private:
  std::vector<Value> parts_;
  Value fallback_;
};

Value fold_case(Interp& interp, Value value, bool case_sensitive) {
  if (case_sensitive || !value.is_string()) return value;
  interp.work_bytes(value.text().size());
  return interp.str(lower(value.text()), value.is_markup());
}

// Several paths, "a,b.c": one key is the list of what they lead to.
class Paths {
 public:
  Paths(Interp& interp, const Value& attribute) {
    if (attribute.is_string()) {
      for (std::string& part : split_text(attribute.text(), ",", -1, false)) {
        paths_.emplace_back(interp, interp.str(std::move(part)));
      }
    } else {
      paths_.emplace_back(interp, attribute);
    }
  }
  Value get(Interp& interp, const Value& item, bool case_sensitive) const {
    std::vector<Value> keys;
    for (const Path& path : paths_) keys.push_back(fold_case(interp, path.get(interp, item), case_sensitive));
    return interp.list(std::move(keys));
  }

 private:
  std::vector<Path> paths_;
};

Value lazy(Interp& interp, std::vector<Value> held, LazyGenerator::Next next) {
  return interp.object<LazyGenerator>(std::move(held), std::move(next));
}

}  // namespace

Value do_attr(Interp& interp, const Value& value, CallArgs& args) {
  const std::vector<Value> bound = bind(interp, {"do_attr", {"obj", "name"}, 2, 1}, value, args);
  if (!bound[1].is_string()) interp.type_error("attribute name must be string, not '" + type_name(bound[1]) + "'");
  const std::string& name = bound[1].text();
  if (value.is_undefined()) interp.fail_undefined(value);
  Value found;
  if (unsafe_attribute(value, name)) return interp.unsafe(value, name);
  if (type_attribute(interp, value, name, found)) return found;
  return interp.undefined_of(value, bound[1]);
}

Value do_batch(Interp& interp, const Value& value, CallArgs& args) {
  const std::vector<Value> bound = bind(interp, {"do_batch", {"value", "linecount", "fill_with"}, 2, 0}, value, args);
  return lazy(interp, {value, bound[1], given(bound[2])}, [](Interp& in, LazyGenerator& self, Value& out) {
    if (self.source == nullptr) self.source = in.iter(self.held[0]);
    const Value& count = self.held[1];
    std::vector<Value> row;
    // A row is complete when the next item finds it full; so a count below 1 never cuts.
    if (self.held.size() > 3) {
      row.push_back(std::move(self.held[3]));
      self.held.pop_back();
    }
    bool more = false;
    for (Value item; self.source->next(in, item);) {
      if (count.is_number() && equal(in, Value::integer(static_cast<int64_t>(row.size())), count)) {
        self.held.push_back(std::move(item));
        more = true;
        break;
      }
      row.push_back(std::move(item));
    }
    if (row.empty() && !more) return false;
    if (!more && !self.held[2].is_none()) {
      const Value size = Value::integer(static_cast<int64_t>(row.size()));
      if (less(in, size, count)) {
        const int64_t missing = as_index(in, count) - size.as_int();
        if (missing > in.limits().max_items) {
          in.limit(fmt::format("list too long: need at most {} items (max_items)", in.limits().max_items));
        }
        in.work(missing);
        row.insert(row.end(), static_cast<size_t>(missing), self.held[2]);
      }
    }
    out = in.list(std::move(row));
    return true;
  });
}

Value do_slice(Interp& interp, const Value& value, CallArgs& args) {
  const std::vector<Value> bound = bind(interp, {"sync_do_slice", {"value", "slices", "fill_with"}, 2, 0}, value, args);
  int64_t number = 0, offset = 0;
  return lazy(interp, {value, bound[1], given(bound[2])},
              [number, offset](Interp& in, LazyGenerator& self, Value& out) mutable {
                if (number == 0) self.held[0] = in.list(in.collect(self.held[0]));
                const auto& items = self.held[0].items();
                const Value length = Value::integer(static_cast<int64_t>(items.size()));
                const int64_t each = as_index(in, floor_divide(in, length, self.held[1]));
                const int64_t extra = as_index(in, modulo(in, length, self.held[1]));
                const int64_t slices = as_index(in, self.held[1]);
                if (number >= slices) return false;
                const int64_t start = offset + number * each;
                if (number < extra) ++offset;
                const int64_t end = offset + (number + 1) * each;
                std::vector<Value> part(items.begin() + start, items.begin() + end);
                if (!self.held[2].is_none() && number >= extra) part.push_back(self.held[2]);
                ++number;
                out = in.list(std::move(part));
                return true;
              });
}

Value do_dictsort(Interp& interp, const Value& value, CallArgs& args) {
  const std::vector<Value> bound =
      bind(interp, {"do_dictsort", {"value", "case_sensitive", "by", "reverse"}, 1, 0}, value, args);
  const std::string by = bound[2].is_missing() ? "key" : bound[2].is_string() ? bound[2].text() : "";
  if (by != "key" && by != "value") {
    interp.error("FilterArgumentError", "You can only sort by either \"key\" or \"value\"");
  }
  if (value.is_undefined()) interp.fail_undefined(value);
  if (!value.is_dict()) interp.error("AttributeError", "'" + type_name(value) + "' object has no attribute 'items'");
  std::vector<Value> pairs, keys;
  for (const auto& [key, item] : value.dict().entries()) {
    pairs.push_back(interp.tuple({key, item}));
    keys.push_back(fold_case(interp, by == "key" ? key : item, flag(interp, bound[1])));
  }
  sort_values(interp, pairs, keys, flag(interp, bound[3]));
  return interp.list(std::move(pairs));
}

Value do_first(Interp& interp, const Value& value, CallArgs& args) {
  bind(interp, {"sync_do_first", {"seq"}, 1, 1}, value, args);
  Value first;
  if (interp.iter(value)->next(interp, first)) return first;
  return interp.undefined_hint("No first item, sequence was empty.");
}

namespace {

// The items from last to first, and Python's name of that iterator; false: not reversible.
bool reversed(Interp& interp, const Value& value, std::vector<Value>& items, std::string& type) {
  switch (value.kind()) {
    case Kind::kList: type = "list_reverseiterator"; break;
    case Kind::kDict: type = "dict_reversekeyiterator"; break;
    case Kind::kUndefined:
    case Kind::kString:
    case Kind::kTuple: type = "reversed"; break;
    case Kind::kObject:
      if (value.object_as<Range>() != nullptr) {
        type = "range_iterator";
      } else if (const auto* view = value.object_as<DictView>(); view != nullptr) {
        static constexpr const char* kTypes[] = {"dict_reversekeyiterator", "dict_reversevalueiterator",
                                                 "dict_reverseitemiterator"};
        type = kTypes[static_cast<int>(view->part())];
      } else {
        return false;
      }
      break;
    default: return false;
  }
  items = interp.collect(value);
  std::reverse(items.begin(), items.end());
  return true;
}

}  // namespace

Value do_last(Interp& interp, const Value& value, CallArgs& args) {
  bind(interp, {"do_last", {"seq"}, 1, 1}, value, args);
  if ((value.is_list() || value.is_tuple()) && !value.items().empty()) return value.items().back();
  std::vector<Value> items;
  std::string type;
  if (!reversed(interp, value, items, type)) interp.type_error("'" + type_name(value) + "' object is not reversible");
  return items.empty() ? interp.undefined_hint("No last item, sequence was empty.") : items.front();
}

Value do_reverse(Interp& interp, const Value& value, CallArgs& args) {
  bind(interp, {"do_reverse", {"value"}, 1, 0}, value, args);
  if (value.is_string()) {
    return interp.get_slice(value, Value::none(), Value::none(), Value::integer(-1));
  }
  std::vector<Value> items;
  std::string type;
  if (reversed(interp, value, items, type)) return interp.object<ItemsIterator>(std::move(items), std::move(type));
  if (!interp.iterable(value)) interp.error("FilterArgumentError", "argument must be iterable");
  items = interp.collect(value);
  std::reverse(items.begin(), items.end());
  return interp.list(std::move(items));
}

Value do_groupby(Interp& interp, const Value& value, CallArgs& args) {
  const std::vector<Value> bound =
      bind(interp, {"sync_do_groupby", {"value", "attribute", "default", "case_sensitive"}, 2, 1}, value, args);
  const bool case_sensitive = flag(interp, bound[3]);
  const Path path(interp, bound[1], given(bound[2]));
  std::vector<Value> items = interp.collect(value);
  const auto key_of = [&](const Value& item) { return fold_case(interp, path.get(interp, item), case_sensitive); };
  std::vector<Value> keys;
  for (const Value& item : items) keys.push_back(key_of(item));
  sort_values(interp, items, keys, false);
  std::vector<Value> groups;
  for (size_t i = 0; i < items.size();) {
    const Value key = key_of(items[i]);
    std::vector<Value> members;
    const size_t first = i;
    do {
      members.push_back(items[i++]);
    } while (i < items.size() && equal(interp, key_of(items[i]), key));
    Value name = case_sensitive ? key : path.get(interp, items[first]);
    Value group = interp.tuple({std::move(name), interp.list(std::move(members))});
    static_cast<Sequence&>(*group.heap()).group = true;
    groups.push_back(std::move(group));
  }
  return interp.list(std::move(groups));
}

Value do_items(Interp& interp, const Value& value, CallArgs& args) {
  bind(interp, {"do_items", {"value"}, 1, 0}, value, args);
  return lazy(interp, {value}, [at = size_t{0}](Interp& in, LazyGenerator& self, Value& out) mutable {
    const Value& source = self.held[0];
    if (source.is_undefined()) return false;
    if (!source.is_dict()) in.type_error("Can only get item pairs from a mapping.");
    if (at >= source.dict().size()) return false;
    const Dict::Entry& entry = source.dict().entries()[at++];
    out = in.tuple({entry.first, entry.second});
    return true;
  });
}

Value do_join(Interp& interp, const Value& value, CallArgs& args) {
  const std::vector<Value> bound = bind(interp, {"sync_do_join", {"value", "d", "attribute"}, 1, 1}, value, args);
  const Value delimiter = bound[1].is_missing() ? interp.str({}) : bound[1];
  const Path path(interp, given(bound[2]));
  const bool use_path = !bound[2].is_missing() && !bound[2].is_none();
  std::vector<Value> items;
  bool markup = interp.autoescape() && delimiter.is_markup();
  const std::unique_ptr<Iter> source = interp.iter(value);
  std::string out;
  if (!interp.autoescape()) {
    const std::string between = interp.to_text(delimiter);
    bool first = true;
    for (Value item; source->next(interp, item);) {
      if (!first) out += between;
      first = false;
      const Value part = use_path ? path.get(interp, std::move(item)) : std::move(item);
      if (part.is_string()) {
        out += part.text();
      } else {
        out += interp.to_text(part);
      }
      interp.check_size(out.size());
    }
    return interp.str(std::move(out));
  }
  for (Value item; source->next(interp, item);) {
    items.push_back(use_path ? path.get(interp, std::move(item)) : std::move(item));
    markup = markup || items.back().is_markup();
  }
  const std::string between = markup ? escaped(interp, delimiter) : interp.to_text(delimiter);
  for (size_t i = 0; i < items.size(); ++i) {
    if (i != 0) out += between;
    out += markup ? escaped(interp, items[i]) : interp.to_text(items[i]);
    interp.check_size(out.size());
  }
  return interp.str(std::move(out), markup);
}

Value do_list(Interp& interp, const Value& value, CallArgs& args) {
  bind(interp, {"sync_do_list", {"value"}, 1, 0}, value, args);
  return interp.list(interp.collect(value));
}

Value do_map(Interp& interp, const Value& value, CallArgs& args) {
  // A call is kept as a tuple of positional arguments and a dict of keywords until the first item is asked for.
  auto keywords = std::make_shared<Dict>();
  for (auto& [name, argument] : args.keywords) keywords->set(interp.str(name), std::move(argument));
  std::vector<Value> held{value, interp.tuple(std::move(args.positional)), interp.dict(std::move(keywords))};
  std::shared_ptr<Path> path;
  return lazy(interp, std::move(held), [path](Interp& in, LazyGenerator& self, Value& out) mutable {
    const auto& positional = self.held[1].items();
    const Dict& named = self.held[2].dict();
    if (self.source == nullptr) {
      if (!truthy(in, self.held[0])) return false;
      const Value* attribute = named.find(std::string_view("attribute"));
      if (positional.empty() && attribute != nullptr) {
        const Value* fallback = named.find(std::string_view("default"));
        for (const auto& entry : named.entries()) {
          if (entry.first.text() != "attribute" && entry.first.text() != "default") {
            in.error("FilterArgumentError", "Unexpected keyword argument " + in.repr(entry.first));
          }
        }
        path = std::make_shared<Path>(in, *attribute, fallback != nullptr ? *fallback : Value::none());
      } else if (positional.empty()) {
        in.error("FilterArgumentError", "map requires a filter argument");
      }
      self.source = in.iter(self.held[0]);
    }
    Value item;
    if (!self.source->next(in, item)) return false;
    if (path != nullptr) {
      out = path->get(in, std::move(item));
      return true;
    }
    CallArgs call;
    call.positional.assign(positional.begin() + 1, positional.end());
    for (const auto& entry : named.entries()) call.keywords.emplace_back(entry.first.text(), entry.second);
    out = call_filter(in, positional[0], item, call);
    return true;
  });
}

namespace {

Value select(Interp& interp, const Value& value, CallArgs& args, bool wanted, bool by_attribute) {
  auto keywords = std::make_shared<Dict>();
  for (auto& [name, argument] : args.keywords) keywords->set(interp.str(name), std::move(argument));
  std::vector<Value> held{value, interp.tuple(std::move(args.positional)), interp.dict(std::move(keywords))};
  std::shared_ptr<Path> path;
  return lazy(interp, std::move(held), [path, wanted, by_attribute](Interp& in, LazyGenerator& self, Value& out) mutable {
    const auto& positional = self.held[1].items();
    if (self.source == nullptr) {
      if (!truthy(in, self.held[0])) return false;
      if (by_attribute) {
        if (positional.empty()) in.error("FilterArgumentError", "Missing parameter for attribute name");
        path = std::make_shared<Path>(in, positional[0]);
      }
      self.source = in.iter(self.held[0]);
    }
    const size_t skip = by_attribute ? 1 : 0;
    for (Value item; self.source->next(in, item);) {
      const Value tested = path != nullptr ? path->get(in, item) : item;
      bool passed;
      if (positional.size() > skip) {
        CallArgs call;
        call.positional.assign(positional.begin() + static_cast<ptrdiff_t>(skip) + 1, positional.end());
        for (const auto& entry : self.held[2].dict().entries()) call.keywords.emplace_back(entry.first.text(), entry.second);
        passed = call_test(in, positional[skip], tested, call);
      } else {
        passed = truthy(in, tested);
      }
      if (passed == wanted) {
        out = std::move(item);
        return true;
      }
    }
    return false;
  });
}

Value extreme(Interp& interp, const Value& value, CallArgs& args, const char* name, CompareOp op) {
  const std::vector<Value> bound = bind(interp, {name, {"value", "case_sensitive", "attribute"}, 1, 1}, value, args);
  const bool case_sensitive = flag(interp, bound[1]);
  const Path path(interp, given(bound[2]));
  const std::unique_ptr<Iter> source = interp.iter(value);
  Value best, best_key;
  if (!source->next(interp, best)) return interp.undefined_hint("No aggregated item, sequence was empty.");
  best_key = fold_case(interp, path.get(interp, best), case_sensitive);
  for (Value item; source->next(interp, item);) {
    Value key = fold_case(interp, path.get(interp, item), case_sensitive);
    if (!compare(interp, op, key, best_key)) continue;
    best = std::move(item);
    best_key = std::move(key);
  }
  return best;
}

}  // namespace

Value do_select(Interp& interp, const Value& value, CallArgs& args) { return select(interp, value, args, true, false); }
Value do_reject(Interp& interp, const Value& value, CallArgs& args) { return select(interp, value, args, false, false); }
Value do_selectattr(Interp& interp, const Value& value, CallArgs& args) { return select(interp, value, args, true, true); }
Value do_rejectattr(Interp& interp, const Value& value, CallArgs& args) { return select(interp, value, args, false, true); }
Value do_min(Interp& interp, const Value& value, CallArgs& args) {
  return extreme(interp, value, args, "do_min", CompareOp::kLt);
}
Value do_max(Interp& interp, const Value& value, CallArgs& args) {
  return extreme(interp, value, args, "do_max", CompareOp::kGt);
}

Value do_sort(Interp& interp, const Value& value, CallArgs& args) {
  const std::vector<Value> bound =
      bind(interp, {"do_sort", {"value", "reverse", "case_sensitive", "attribute"}, 1, 1}, value, args);
  const Paths paths(interp, given(bound[3]));
  std::vector<Value> items = interp.collect(value);
  std::vector<Value> keys;
  for (const Value& item : items) keys.push_back(paths.get(interp, item, flag(interp, bound[2])));
  sort_values(interp, items, keys, flag(interp, bound[1]));
  return interp.list(std::move(items));
}

Value do_sum(Interp& interp, const Value& value, CallArgs& args) {
  const std::vector<Value> bound = bind(interp, {"sync_do_sum", {"iterable", "attribute", "start"}, 1, 1}, value, args);
  const Path path(interp, given(bound[1]));
  Value total = bound[2].is_missing() ? Value::integer(0) : bound[2];
  if (total.is_string()) interp.type_error("sum() can't sum strings [use ''.join(seq) instead]");
  const std::unique_ptr<Iter> source = interp.iter(value);
  for (Value item; source->next(interp, item);) total = add(interp, total, path.get(interp, std::move(item)));
  return total;
}

Value do_unique(Interp& interp, const Value& value, CallArgs& args) {
  const std::vector<Value> bound =
      bind(interp, {"sync_do_unique", {"value", "case_sensitive", "attribute"}, 1, 1}, value, args);
  const bool case_sensitive = flag(interp, bound[1]);
  const auto path = std::make_shared<Path>(interp, given(bound[2]));
  return lazy(interp, {value},
              [case_sensitive, path, seen = std::make_shared<Dict>()](Interp& in, LazyGenerator& self, Value& out) {
                if (self.source == nullptr) self.source = in.iter(self.held[0]);
                for (Value item; self.source->next(in, item);) {
                  Value key = fold_case(in, path->get(in, item), case_sensitive);
                  in.check_key(key);
                  if (seen->find(key) != nullptr) continue;
                  in.work(4);
                  seen->set(std::move(key), Value::none());
                  out = std::move(item);
                  return true;
                }
                return false;
              });
}

namespace {

// pprint.pformat at width 80, for what templates print: nested plain data.
class Pretty {
 public:
  explicit Pretty(Interp& interp) : interp_(interp) {}

  void format(const Value& value, int64_t indent, int64_t allowance, std::string& out) {
    interp_.work(1);
    const std::string flat = flat_repr(value);
    if (static_cast<int64_t>(utf8_count(flat)) <= kWidth - indent - allowance) {
      out += flat;
      return;
    }
    const Interp::Guard guard(interp_);
    switch (value.kind()) {
      case Kind::kDict: dict(value, indent, allowance, out); break;
      case Kind::kList: items(value, '[', "]", indent, allowance, out); break;
      case Kind::kTuple: items(value, '(', value.items().size() == 1 ? ",)" : ")", indent, allowance, out); break;
      default: out += flat;
    }
    interp_.check_size(out.size());
  }

 private:
  static constexpr int64_t kWidth = 80;

  static size_t utf8_count(const std::string& text) { return Str(text, false).length; }

  // repr with the keys of dicts sorted, as pprint shows them.
  std::string flat_repr(const Value& value) {
    const Interp::Guard guard(interp_);
    if (value.is_dict()) {
      std::string out = "{";
      for (const auto& [key, item] : sorted(value)) {
        if (out.size() > 1) out += ", ";
        out += flat_repr(key) + ": " + flat_repr(item);
      }
      return out + "}";
    }
    if (value.is_list() || value.is_tuple()) {
      std::string out(1, value.is_list() ? '[' : '(');
      for (size_t i = 0; i < value.items().size(); ++i) {
        if (i != 0) out += ", ";
        out += flat_repr(value.items()[i]);
        interp_.check_size(out.size());
      }
      if (value.is_tuple() && value.items().size() == 1) out += ",";
      return out + (value.is_list() ? "]" : ")");
    }
    return interp_.repr(value);
  }

  std::vector<Dict::Entry> sorted(const Value& value) {
    std::vector<Value> pairs, keys;
    bool comparable = true;
    for (const auto& [key, item] : value.dict().entries()) {
      comparable =
          comparable && (key.kind() == value.dict().entries().front().first.kind()) && (key.is_string() || key.is_number());
      pairs.push_back(interp_.tuple({key, item}));
      keys.push_back(key);
    }
    if (comparable) sort_values(interp_, pairs, keys, false);
    std::vector<Dict::Entry> out;
    for (const Value& pair : pairs) out.emplace_back(pair.items()[0], pair.items()[1]);
    return out;
  }

  void dict(const Value& value, int64_t indent, int64_t allowance, std::string& out) {
    out.push_back('{');
    const std::vector<Dict::Entry> entries = sorted(value);
    for (size_t i = 0; i < entries.size(); ++i) {
      const bool last = i + 1 == entries.size();
      const std::string key = interp_.repr(entries[i].first);
      if (i != 0) out += ",\n" + std::string(static_cast<size_t>(indent) + 1, ' ');
      out += key + ": ";
      format(entries[i].second, indent + 1 + static_cast<int64_t>(utf8_count(key)) + 2, last ? allowance + 1 : 1, out);
    }
    out.push_back('}');
  }

  void items(const Value& value, char open, const char* close, int64_t indent, int64_t allowance, std::string& out) {
    out.push_back(open);
    const auto& all = value.items();
    for (size_t i = 0; i < all.size(); ++i) {
      const bool last = i + 1 == all.size();
      if (i != 0) out += ",\n" + std::string(static_cast<size_t>(indent) + 1, ' ');
      format(all[i], indent + 1, last ? allowance + static_cast<int64_t>(std::string(close).size()) : 1, out);
    }
    out += close;
  }

  Interp& interp_;
};

}  // namespace

Value do_pprint(Interp& interp, const Value& value, CallArgs& args) {
  bind(interp, {"do_pprint", {"value"}, 1, 0}, value, args);
  std::string out;
  Pretty(interp).format(value, 0, 0, out);
  return interp.str(std::move(out));
}

}  // namespace pagoda::jinja
