// The machine: values in one table, referred to by index, so that cycles and depth cost nothing.
#include "formats/torch_pickle.h"

#include <algorithm>
#include <iterator>
#include <unordered_map>
#include <unordered_set>

#include "base/checked.h"
#include "base/error.h"
#include "base/utf8.h"

namespace pagoda {

namespace {

constexpr int kMaxProtocol = 5;
constexpr size_t kMaxRank = 64;
constexpr size_t kMaxKeyBytes = 4096;
// Values, and items of containers, altogether. A tensor takes about twenty, so this is a hundred thousand of them and more.
constexpr int64_t kMaxValues = 1 << 22;
// A view with strides of 0 repeats elements: a few bytes could stand for terabytes that the reader would have to write out.
constexpr int64_t kMaxRepeatedBytes = 64 << 20;

enum class Global : int64_t {
  kOrderedDict,
  kRebuildTensor,
  kRebuildTensorV2,
  kRebuildParameter,
  kSize,
  kStorage,  // and the dtype above
};

struct KnownGlobal {
  std::string_view module;
  std::string_view name;
  Global global;
  DType dtype = DType::kFloat32;
};

constexpr KnownGlobal kGlobals[] = {
    {"collections", "OrderedDict", Global::kOrderedDict},
    {"torch._utils", "_rebuild_tensor_v2", Global::kRebuildTensorV2},
    {"torch._utils", "_rebuild_tensor", Global::kRebuildTensor},
    {"torch._utils", "_rebuild_parameter", Global::kRebuildParameter},
    {"torch", "Size", Global::kSize},
    {"torch", "FloatStorage", Global::kStorage, DType::kFloat32},
    {"torch", "HalfStorage", Global::kStorage, DType::kFloat16},
    {"torch", "BFloat16Storage", Global::kStorage, DType::kBFloat16},
    {"torch", "DoubleStorage", Global::kStorage, DType::kFloat64},
    {"torch", "LongStorage", Global::kStorage, DType::kInt64},
    {"torch", "IntStorage", Global::kStorage, DType::kInt32},
    {"torch", "ShortStorage", Global::kStorage, DType::kInt16},
    {"torch", "CharStorage", Global::kStorage, DType::kInt8},
    {"torch", "ByteStorage", Global::kStorage, DType::kUInt8},
    {"torch", "BoolStorage", Global::kStorage, DType::kBool},
};

using Index = uint32_t;

enum class Kind : uint8_t { kNone, kBool, kInt, kFloat, kText, kBytes, kTuple, kList, kDict, kGlobal, kStorage, kTensor };

const char* kind_name(Kind kind) {
  switch (kind) {
    case Kind::kNone: return "None";
    case Kind::kBool: return "a bool";
    case Kind::kInt: return "an int";
    case Kind::kFloat: return "a float";
    case Kind::kText: return "a string";
    case Kind::kBytes: return "bytes";
    case Kind::kTuple: return "a tuple";
    case Kind::kList: return "a list";
    case Kind::kDict: return "a dictionary";
    case Kind::kGlobal: return "a global";
    case Kind::kStorage: return "a storage";
    case Kind::kTensor: return "a tensor";
  }
  return "nothing";
}

struct Value {
  Kind kind = Kind::kNone;
  int64_t number = 0;        // int, bool; index of a global, storage or view
  std::string_view text;     // in the pickle
  std::vector<Index> items;  // tuple, list; dictionary: key, value, key, value, ...
};

// A name out of the file, as it may stand in an error text.
std::string shown(std::string_view text) {
  std::string out = utf8_replace_invalid(text.substr(0, 120));
  std::replace_if(out.begin(), out.end(), [](unsigned char c) { return c < 0x20 || c == 0x7F; }, '?');
  return out;
}

class Machine {
 public:
  Machine(std::string_view pickle, std::string_view where, const Limits& limits,
          const std::function<const std::string_view*(std::string_view)>& record)
      : pickle_(pickle), where_(where), limits_(limits), record_(record), max_values_(std::min(limits.max_items, kMaxValues)) {}

  TorchState run() {
    for (int64_t step = 0; !stopped_; ++step) {
      if (step >= limits_.max_steps) invalid(where_, "pickle too long: got over {} steps, need fewer", limits_.max_steps);
      start_ = pos_;
      execute(take(1)[0]);
    }
    return result(pop());
  }

 private:
  // --- reading
  [[noreturn]] void bad(std::string_view what) const { invalid(where_, "bad pickle at byte {}: {}", start_, what); }

  std::string_view take(uint64_t count) {
    if (count > pickle_.size() - pos_) {
      invalid(where_, "bad pickle at byte {}: ends too early: got {} bytes, need {}", start_, pickle_.size() - pos_, count);
    }
    const std::string_view out = pickle_.substr(pos_, count);
    pos_ += count;
    return out;
  }
  uint64_t number(int bytes) {
    const std::string_view at = take(static_cast<uint64_t>(bytes));
    uint64_t value = 0;
    for (int i = bytes; i-- > 0;) value = value << 8 | static_cast<unsigned char>(at[static_cast<size_t>(i)]);
    return value;
  }
  std::string_view line() {
    const size_t end = pickle_.find('\n', pos_);
    if (end == std::string_view::npos) bad("a line without end");
    const std::string_view out = pickle_.substr(pos_, end - pos_);
    pos_ = end + 1;
    return out;
  }
  int64_t long_integer(uint64_t bytes) {
    if (bytes > 8) invalid(where_, "bad pickle at byte {}: integer too long: got {} bytes, need at most 8", start_, bytes);
    uint64_t value = number(static_cast<int>(bytes));
    if (bytes > 0 && bytes < 8 && (value >> (8 * bytes - 1)) != 0) value |= ~uint64_t{0} << (8 * bytes);
    return static_cast<int64_t>(value);
  }

  // --- values and stack
  // What is made is paid for, so that a short pickle cannot build much by naming the same thing again and again.
  void spend(size_t count) {
    spent_ += static_cast<int64_t>(count);
    if (spent_ > max_values_) invalid(where_, "pickle too large: got over {} values, need fewer", max_values_);
  }
  Index make(Kind kind) {
    spend(1);
    values_.emplace_back();
    values_.back().kind = kind;
    return static_cast<Index>(values_.size() - 1);
  }
  void push(Index index) {
    if (static_cast<int64_t>(stack_.size()) >= max_values_) {
      invalid(where_, "pickle too large: got over {} values on the stack, need fewer", max_values_);
    }
    stack_.push_back(index);
  }
  void push_number(Kind kind, int64_t value) {
    const Index index = make(kind);
    values_[index].number = value;
    push(index);
  }
  void push_text(Kind kind, std::string_view text) {
    const Index index = make(kind);
    values_[index].text = text;
    push(index);
  }
  size_t floor() const { return marks_.empty() ? 0 : marks_.back(); }
  Index pop() {
    if (stack_.size() <= floor()) bad("takes from an empty stack");
    const Index index = stack_.back();
    stack_.pop_back();
    return index;
  }
  Index top() const {
    if (stack_.size() <= floor()) bad("looks at an empty stack");
    return stack_.back();
  }
  std::vector<Index> pop_to_mark() {
    if (marks_.empty()) bad("no mark on the stack");
    const size_t from = marks_.back();
    marks_.pop_back();
    std::vector<Index> out(stack_.begin() + static_cast<std::ptrdiff_t>(from), stack_.end());
    stack_.resize(from);
    return out;
  }
  void push_items(Kind kind, std::vector<Index> items) {
    const Index index = make(kind);
    spend(items.size());
    if (kind == Kind::kDict && items.size() % 2 != 0) bad("a dictionary with a key without value");
    values_[index].items = std::move(items);
    push(index);
  }
  void push_tuple(size_t count) {
    std::vector<Index> items(count);
    for (size_t i = count; i-- > 0;) items[i] = pop();
    push_items(Kind::kTuple, std::move(items));
  }
  void append(Kind kind, const std::vector<Index>& items) {
    spend(items.size());
    Value& value = values_[top()];
    if (value.kind != kind)
      invalid(where_, "bad pickle at byte {}: adds to {}, need {}", start_, kind_name(value.kind), kind_name(kind));
    if (kind == Kind::kDict && items.size() % 2 != 0) bad("a key without value");
    value.items.insert(value.items.end(), items.begin(), items.end());
  }
  void memoize(uint64_t key) {
    if (static_cast<int64_t>(memo_.size()) >= max_values_) {
      invalid(where_, "pickle too large: got over {} memo entries, need fewer", max_values_);
    }
    memo_[key] = top();
  }
  void recall(uint64_t key) {
    const auto found = memo_.find(key);
    if (found == memo_.end()) invalid(where_, "bad pickle at byte {}: no memo entry {}", start_, key);
    push(found->second);
  }

  // --- arguments
  const Value& value(Index index) const { return values_[index]; }
  const Value& expect(Index index, Kind kind, std::string_view what) const {
    const Value& found = values_[index];
    if (found.kind != kind) {
      invalid(where_, "bad pickle at byte {}: {}: got {}, need {}", start_, what, kind_name(found.kind), kind_name(kind));
    }
    return found;
  }
  std::vector<int64_t> integers(Index index, std::string_view what) {
    const Value& tuple = expect(index, Kind::kTuple, what);
    if (tuple.items.size() > kMaxRank) {
      invalid(where_, "bad pickle at byte {}: {}: got {} numbers, need at most {}", start_, what, tuple.items.size(), kMaxRank);
    }
    spend(tuple.items.size());
    std::vector<int64_t> out;
    for (const Index item : tuple.items) {
      out.push_back(expect(item, Kind::kInt, what).number);
      if (out.back() < 0) invalid(where_, "bad pickle at byte {}: {}: got {}, need 0 or more", start_, what, out.back());
    }
    return out;
  }

  // --- what globals do
  void push_global(std::string_view module, std::string_view name) {
    for (size_t i = 0; i < std::size(kGlobals); ++i) {
      if (kGlobals[i].module == module && kGlobals[i].name == name) {
        push_number(Kind::kGlobal, static_cast<int64_t>(i));
        return;
      }
    }
    std::string known;
    for (const auto& global : kGlobals) {
      known += fmt::format("{}{}.{}", known.empty() ? "" : ", ", global.module, global.name);
    }
    unsupported(where_, "refused global: got '{}.{}', need one of {}", shown(module), shown(name), known);
  }

  void call() {
    const Index arguments = pop();
    const Index callee = pop();
    const KnownGlobal& global = kGlobals[static_cast<size_t>(expect(callee, Kind::kGlobal, "called").number)];
    const Value& tuple = expect(arguments, Kind::kTuple, "arguments");
    const std::vector<Index> items = tuple.items;  // a copy: making values moves the table
    const auto count = [&](size_t least, size_t most) {
      if (items.size() < least || items.size() > most) {
        invalid(where_, "bad pickle at byte {}: {}: got {} arguments, need {} to {}", start_, global.name, items.size(), least,
                most);
      }
    };
    switch (global.global) {
      case Global::kOrderedDict: {
        count(0, 1);
        std::vector<Index> pairs;
        if (!items.empty()) {
          // Python 2 gave the pairs as a list of lists.
          const Value& list = expect(items[0], Kind::kList, "pairs");
          spend(list.items.size());
          for (const Index pair : list.items) {
            const Value& two = value(pair);
            if ((two.kind != Kind::kTuple && two.kind != Kind::kList) || two.items.size() != 2)
              bad("an OrderedDict of no pairs");
            pairs.insert(pairs.end(), two.items.begin(), two.items.end());
          }
        }
        push_items(Kind::kDict, std::move(pairs));
        return;
      }
      case Global::kRebuildTensor:
        count(4, 4);
        push_tensor(items);
        return;
      case Global::kRebuildTensorV2:
        count(6, 7);
        push_tensor(items);
        return;
      case Global::kRebuildParameter:
        count(3, 3);
        expect(items[0], Kind::kTensor, "parameter");
        push(items[0]);
        return;
      case Global::kSize:
        count(1, 1);
        expect(items[0], Kind::kTuple, "size");
        push(items[0]);
        return;
      case Global::kStorage:
        unsupported(where_, "bad pickle at byte {}: a call of {}: need storages by persistent id", start_, global.name);
    }
  }

  void push_storage() {
    const std::vector<Index> items = expect(pop(), Kind::kTuple, "persistent id").items;
    if (items.size() != 5 || expect(items[0], Kind::kText, "persistent id").text != "storage") {
      bad("persistent id: need ('storage', type, key, location, count)");
    }
    const KnownGlobal& global = kGlobals[static_cast<size_t>(expect(items[1], Kind::kGlobal, "storage type").number)];
    if (global.global != Global::kStorage)
      invalid(where_, "bad pickle at byte {}: storage type: got {}, need a storage", start_, global.name);
    TorchStorage storage;
    storage.dtype = global.dtype;
    storage.key = expect(items[2], Kind::kText, "storage key").text;
    storage.elements = expect(items[4], Kind::kInt, "storage size").number;
    const std::string_view* bytes = storage.key.size() > kMaxKeyBytes ? nullptr : record_(storage.key);
    if (bytes == nullptr) not_found(where_, "storage '{}' is not in the archive", shown(storage.key));
    if (storage.elements < 0 || storage.elements > static_cast<int64_t>(bytes->size()) / dtype_size(storage.dtype)) {
      invalid(where_, "storage '{}': got {} elements of {} in {} bytes, need as many as fit", shown(storage.key),
              storage.elements, dtype_name(storage.dtype), bytes->size());
    }
    storage.bytes = *bytes;
    push_number(Kind::kStorage, static_cast<int64_t>(state_.storages.size()));
    state_.storages.push_back(storage);
  }

  void push_tensor(const std::vector<Index>& items) {
    TorchView view;
    view.storage = static_cast<uint32_t>(expect(items[0], Kind::kStorage, "storage of a tensor").number);
    const TorchStorage& storage = state_.storages[view.storage];
    view.offset = expect(items[1], Kind::kInt, "storage offset").number;
    view.shape = integers(items[2], "shape");
    view.strides = integers(items[3], "strides");
    if (view.shape.size() != view.strides.size()) {
      invalid(where_, "bad tensor at byte {}: got {} sizes and {} strides, need equal counts", start_, view.shape.size(),
              view.strides.size());
    }
    int64_t elements = 1;
    int64_t last = view.offset;
    const bool empty = std::find(view.shape.begin(), view.shape.end(), 0) != view.shape.end();
    for (size_t axis = 0; axis < view.shape.size() && !empty; ++axis) {
      elements = checked_mul(elements, view.shape[axis], where_);
      last = checked_add(last, checked_mul(view.shape[axis] - 1, view.strides[axis], where_), where_);
    }
    const bool outside = empty ? view.offset > storage.elements : last >= storage.elements;
    if (view.offset < 0 || outside) {
      invalid(where_, "tensor outside its storage '{}': got elements {} to {}, need 0 to {}", shown(storage.key), view.offset,
              last, storage.elements - 1);
    }
    const int64_t bytes = checked_mul(elements, dtype_size(storage.dtype), where_);
    if (!empty && elements > storage.elements && bytes > kMaxRepeatedBytes) {
      invalid(where_, "tensor repeats its storage '{}': got {} elements out of {}, need at most {} bytes of such",
              shown(storage.key), elements, storage.elements, kMaxRepeatedBytes);
    }
    push_number(Kind::kTensor, static_cast<int64_t>(views_.size()));
    views_.push_back(std::move(view));
  }

  void build() {
    pop();  // the state: `_metadata` of a state dictionary, of use to torch alone
    const Kind kind = value(top()).kind;
    if (kind != Kind::kDict)
      invalid(where_, "bad pickle at byte {}: sets the state of {}, need a dictionary", start_, kind_name(kind));
  }

  void execute(char opcode);

  // --- the result
  bool has_tensors(const Value& dictionary) const {
    for (size_t i = 1; i < dictionary.items.size(); i += 2) {
      if (value(dictionary.items[i]).kind == Kind::kTensor) return true;
    }
    return false;
  }

  TorchState result(Index index) {
    const Value* dictionary = &value(index);
    if (dictionary->kind != Kind::kDict) {
      invalid(where_, "no state dictionary: got {}, need a dictionary of tensors", kind_name(dictionary->kind));
    }
    if (!has_tensors(*dictionary)) {
      const Value* inner = nullptr;
      std::unordered_set<const Value*> looked_at;
      for (size_t i = 1; i < dictionary->items.size(); i += 2) {
        const Value& candidate = value(dictionary->items[i]);
        if (!looked_at.insert(&candidate).second) continue;
        if (candidate.kind != Kind::kDict || !has_tensors(candidate)) continue;
        if (inner != nullptr) invalid(where_, "no state dictionary: got several inside one, need one");
        inner = &candidate;
      }
      if (inner != nullptr) dictionary = inner;
    }
    std::unordered_map<std::string_view, size_t> places;
    for (size_t i = 0; i < dictionary->items.size(); i += 2) {
      const Value& key = value(dictionary->items[i]);
      const Value& found = value(dictionary->items[i + 1]);
      if (key.kind != Kind::kText) invalid(where_, "bad name of a tensor: got {}, need a string", kind_name(key.kind));
      if (key.text.size() > kMaxKeyBytes) {
        invalid(where_, "name of a tensor too long: got {} bytes, need at most {}", key.text.size(), kMaxKeyBytes);
      }
      if (!utf8_valid(key.text)) invalid(where_, "bad name of a tensor: got '{}', need UTF-8", shown(key.text));
      if (found.kind != Kind::kTensor)
        invalid(where_, "'{}' is no tensor: got {}, need a tensor", shown(key.text), kind_name(found.kind));
      const TorchView& view = views_[static_cast<size_t>(found.number)];
      const auto [place, fresh] = places.emplace(key.text, state_.tensors.size());
      if (fresh) {
        state_.tensors.push_back({std::string(key.text), view});
      } else {
        state_.tensors[place->second].view = view;
      }
    }
    return std::move(state_);
  }

  std::string_view pickle_;
  std::string_view where_;
  const Limits& limits_;
  const std::function<const std::string_view*(std::string_view)>& record_;
  size_t pos_ = 0;
  size_t start_ = 0;  // of the opcode that runs
  bool stopped_ = false;
  int64_t max_values_ = 0;
  int64_t spent_ = 0;
  std::vector<Value> values_;
  std::vector<Index> stack_;
  std::vector<size_t> marks_;
  std::unordered_map<uint64_t, Index> memo_;
  std::vector<TorchView> views_;
  TorchState state_;
};

// Opcodes as Python's pickletools documents them.
void Machine::execute(char opcode) {
  switch (static_cast<unsigned char>(opcode)) {
    case 0x80: {  // PROTO
      const uint64_t protocol = number(1);
      if (protocol > kMaxProtocol) unsupported(where_, "pickle protocol: got {}, need at most {}", protocol, kMaxProtocol);
      return;
    }
    case 0x95: number(8); return;  // FRAME: a hint for readers of streams
    case '.': stopped_ = true; return;
    case '(':
      if (static_cast<int64_t>(marks_.size()) >= limits_.max_depth) {
        invalid(where_, "pickle too deep: got over {} open marks, need fewer", limits_.max_depth);
      }
      marks_.push_back(stack_.size());
      return;
    case '0': pop(); return;
    case '1': pop_to_mark(); return;
    case '2': push(top()); return;
    case 'N': push(make(Kind::kNone)); return;
    case 0x88: push_number(Kind::kBool, 1); return;
    case 0x89: push_number(Kind::kBool, 0); return;
    case 'J': push_number(Kind::kInt, static_cast<int32_t>(number(4))); return;
    case 'K': push_number(Kind::kInt, static_cast<int64_t>(number(1))); return;
    case 'M': push_number(Kind::kInt, static_cast<int64_t>(number(2))); return;
    case 0x8A: push_number(Kind::kInt, long_integer(number(1))); return;
    case 0x8B: push_number(Kind::kInt, long_integer(number(4))); return;
    case 'G':  // BINFLOAT: no float is of use to a state dictionary, so its value is not kept
      number(8);
      push(make(Kind::kFloat));
      return;
    case 0x8C: push_text(Kind::kText, take(number(1))); return;
    case 'X': push_text(Kind::kText, take(number(4))); return;
    case 0x8D: push_text(Kind::kText, take(number(8))); return;
    case 'U': push_text(Kind::kText, take(number(1))); return;  // Python 2's str
    case 'T': push_text(Kind::kText, take(number(4))); return;
    case 'C': push_text(Kind::kBytes, take(number(1))); return;
    case 'B': push_text(Kind::kBytes, take(number(4))); return;
    case 0x8E: push_text(Kind::kBytes, take(number(8))); return;
    case ')': push(make(Kind::kTuple)); return;
    case 't': push_items(Kind::kTuple, pop_to_mark()); return;
    case 0x85: push_tuple(1); return;
    case 0x86: push_tuple(2); return;
    case 0x87: push_tuple(3); return;
    case ']': push(make(Kind::kList)); return;
    case 'l': push_items(Kind::kList, pop_to_mark()); return;
    case 'a': {
      const Index item = pop();
      append(Kind::kList, {item});
      return;
    }
    case 'e': append(Kind::kList, pop_to_mark()); return;
    case '}': push(make(Kind::kDict)); return;
    case 'd': push_items(Kind::kDict, pop_to_mark()); return;
    case 's': {
      const Index item = pop();
      const Index key = pop();
      append(Kind::kDict, {key, item});
      return;
    }
    case 'u': append(Kind::kDict, pop_to_mark()); return;
    case 'q': memoize(number(1)); return;
    case 'r': memoize(number(4)); return;
    case 0x94: memoize(memo_.size()); return;
    case 'h': recall(number(1)); return;
    case 'j': recall(number(4)); return;
    case 'c': {
      const std::string_view module = line();
      push_global(module, line());
      return;
    }
    case 0x93: {  // STACK_GLOBAL
      const Index name = pop();
      const Index module = pop();
      push_global(expect(module, Kind::kText, "module").text, expect(name, Kind::kText, "global").text);
      return;
    }
    case 'Q': push_storage(); return;
    case 'R':
    case 0x81: call(); return;  // REDUCE, NEWOBJ: for what we know they mean the same
    case 'b': build(); return;
    default: {
      const unsigned code = static_cast<unsigned char>(opcode);
      unsupported(where_, "refused pickle opcode at byte {}: got 0x{:02x}, need those that torch.save writes for tensors",
                  start_, code);
    }
  }
}

}  // namespace

TorchState run_torch_pickle(std::string_view pickle, std::string_view where, const Limits& limits,
                            const std::function<const std::string_view*(std::string_view key)>& record) {
  return Machine(pickle, where, limits, record).run();
}

}  // namespace pagoda
