// The global functions of a chat template.
#include <iterator>

#include "text/jinja_builtins.h"
#include "text/jinja_objects.h"
#include "text/jinja_ops.h"

namespace pagoda::jinja {

namespace {

constexpr int64_t kMaxRange = 100'000;  // the sandbox refuses longer ranges

// dict(mapping or pairs, **keywords) as a new dict.
std::shared_ptr<Dict> build_dict(Interp& interp, CallArgs& args) {
  if (args.positional.size() > 1) {
    interp.type_error(fmt::format("dict expected at most 1 argument, got {}", args.positional.size()));
  }
  auto made = std::make_shared<Dict>();
  if (!args.positional.empty()) {
    const Value& source = args.positional[0];
    if (source.is_dict()) {
      for (const auto& [key, value] : source.dict().entries()) made->set(key, value);
    } else if (source.is_undefined()) {
      // dict() looks for keys(), which an undefined value refuses.
      interp.fail_undefined(source);
    } else {
      int64_t index = 0;
      const std::unique_ptr<Iter> items = interp.iter(source);
      for (Value item; items->next(interp, item); ++index) {
        if (!interp.iterable(item)) {
          interp.type_error(fmt::format("cannot convert dictionary update sequence element #{} to a sequence", index));
        }
        const std::vector<Value> pair = interp.collect(item);
        if (pair.size() != 2) {
          interp.value_error(
              fmt::format("dictionary update sequence element #{} has length {}; 2 is required", index, pair.size()));
        }
        interp.check_key(pair[0]);
        made->set(pair[0], pair[1]);
      }
    }
  }
  for (auto& [name, value] : args.keywords) made->set(interp.str(name), std::move(value));
  return made;
}

Value make_range(Interp& interp, const Value& self, CallArgs& args) {
  (void)self;
  if (!args.keywords.empty()) {
    interp.type_error("safe_range() got an unexpected keyword argument '" + args.keywords.front().first + "'");
  }
  const auto& given = args.positional;
  if (given.empty()) interp.type_error("range expected at least 1 argument, got 0");
  if (given.size() > 3) interp.type_error(fmt::format("range expected at most 3 arguments, got {}", given.size()));
  int64_t start = 0, stop = 0, step = 1;
  if (given.size() == 1) {
    stop = as_index(interp, given[0]);
  } else {
    start = as_index(interp, given[0]);
    stop = as_index(interp, given[1]);
    if (given.size() == 3) step = as_index(interp, given[2]);
  }
  if (step == 0) interp.value_error("range() arg 3 must not be zero");
  const auto distance = step > 0 ? static_cast<__int128>(stop) - start : static_cast<__int128>(start) - stop;
  const __int128 by = step > 0 ? static_cast<__int128>(step) : -static_cast<__int128>(step);
  if (distance > 0 && (distance - 1) / by + 1 > kMaxRange) {
    interp.error("OverflowError",
                 fmt::format("Range too big. The sandbox blocks ranges larger than MAX_RANGE ({}).", kMaxRange));
  }
  return interp.object<Range>(start, stop, step);
}

// `dict`: callable, with fromkeys.
class DictFactory final : public Object {
 public:
  std::string type_name() const override { return "TemplateDict"; }
  std::string type_label() const override { return "transformers.utils.chat_template_utils.TemplateDict object"; }
  bool callable() const override { return true; }
  Value call(Interp& interp, CallArgs& args) override { return interp.dict(build_dict(interp, args)); }
  bool get_attr(Interp& interp, const std::string& name, Value& out) override {
    return name == "fromkeys" && type_attribute(interp, Value::dict({}), name, out);
  }
};

Value make_namespace(Interp& interp, const Value& self, CallArgs& args) {
  (void)self;
  const std::shared_ptr<Dict> attributes = build_dict(interp, args);
  Value space = interp.object<Namespace>();
  interp.watch(space.heap());
  interp.charge(*attributes, static_cast<int64_t>(attributes->size() * sizeof(Dict::Entry)));
  for (const auto& [key, value] : attributes->entries()) space.object_as<Namespace>()->set(interp, key, value);
  return space;
}

Value make_cycler(Interp& interp, const Value& self, CallArgs& args) {
  (void)self;
  if (!args.keywords.empty()) {
    interp.type_error("Cycler.__init__() got an unexpected keyword argument '" + args.keywords.front().first + "'");
  }
  if (args.positional.empty()) interp.error("RuntimeError", "at least one item has to be provided");
  Value made = interp.object<Cycler>(std::move(args.positional));
  return made;
}

Value make_joiner(Interp& interp, const Value& self, CallArgs& args) {
  (void)self;
  const std::vector<Value> bound = bind(interp, {"Joiner.__init__", {"sep"}, 0, 1}, args);
  return interp.object<Joiner>(bound[0].is_missing() ? interp.str(", ") : bound[0]);
}

Value raise_exception(Interp& interp, const Value& self, CallArgs& args) {
  (void)self;
  const std::vector<Value> bound =
      bind(interp, {"_cached_compile_jinja_template.<locals>.raise_exception", {"message"}, 1, 0}, args);
  interp.raise(bound[0].is_none() ? "None" : interp.to_text(bound[0]));
}

Value strftime_now(Interp& interp, const Value& self, CallArgs& args) {
  (void)self;
  const std::vector<Value> bound =
      bind(interp, {"_cached_compile_jinja_template.<locals>.strftime_now", {"format"}, 1, 0}, args);
  if (!bound[0].is_string()) interp.type_error("strftime() argument 1 must be str, not " + type_name(bound[0]));
  const DateTime now = interp.options().now.has_value() ? *interp.options().now : DateTime::local_now();
  return interp.str(format_time(interp, now, bound[0].text()));
}

Value no_lipsum(Interp& interp, const Value& self, CallArgs& args) {
  (void)self, (void)args;
  interp.error("TemplateRuntimeError", "lipsum is not supported: its text is random");
}

struct Named {
  const char* name;
  NativeFunction function;
  const char* type;
};

constexpr Named kGlobals[] = {
    {"range", make_range, "function"},
    {"namespace", make_namespace, "type"},
    {"cycler", make_cycler, "type"},
    {"joiner", make_joiner, "type"},
    {"raise_exception", raise_exception, "function"},
    {"strftime_now", strftime_now, "function"},
    {"lipsum", no_lipsum, "function"},
};

}  // namespace

bool find_global(Interp& interp, std::string_view name, Value& out) {
  if (name == "dict") {
    out = interp.object<DictFactory>();
    return true;
  }
  for (const Named& named : kGlobals) {
    if (name != named.name) continue;
    out = make_function(interp, named.name, named.function, Value::none(), named.type);
    return true;
  }
  return false;
}

}  // namespace pagoda::jinja
