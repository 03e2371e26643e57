// The one map between GGUF's names and state-dict names, and GGUF's tensors in the order that state dicts have.
#include <algorithm>
#include <map>

#include "base/checked.h"
#include "base/error.h"
#include "formats/gguf_blocks.h"
#include "formats/gguf_model.h"

namespace pagoda {

namespace {

enum class Order : uint8_t {
  kPlain,
  kQueries,     // LLaMA: rows of each head are pairs, the state dict has the first halves, then the second
  kKeys,        // the same over key-value heads
  kTransposed,  // GPT-2's Conv1D: the state dict has [in, out]
};

struct Name {
  const char* gguf;  // of a layer's tensor: after "blk.N."
  const char* hf;    // after the layer's prefix
  Order order = Order::kPlain;
};

struct Family {
  const char* architecture;
  const char* layers;  // state-dict prefix of the layers
  std::vector<Name> whole, layer;
};

const std::vector<Family>& families() {
  static const std::vector<Name> kWhole = {
      {"token_embd", "model.embed_tokens"}, {"output_norm", "model.norm"}, {"output", "lm_head"}};
  static const auto layer_names = [](bool permuted) {
    return std::vector<Name>{{"attn_norm", "input_layernorm"},
                             {"attn_q", "self_attn.q_proj", permuted ? Order::kQueries : Order::kPlain},
                             {"attn_k", "self_attn.k_proj", permuted ? Order::kKeys : Order::kPlain},
                             {"attn_v", "self_attn.v_proj"},
                             {"attn_output", "self_attn.o_proj"},
                             {"ffn_norm", "post_attention_layernorm"},
                             {"ffn_gate", "mlp.gate_proj"},
                             {"ffn_up", "mlp.up_proj"},
                             {"ffn_down", "mlp.down_proj"}};
  };
  static const std::vector<Family> kFamilies = {
      {"llama", "model.layers.", kWhole, layer_names(true)},
      {"qwen2", "model.layers.", kWhole, layer_names(false)},
      {"gpt2",
       "transformer.h.",
       {{"token_embd", "transformer.wte"},
        {"position_embd", "transformer.wpe"},
        {"output_norm", "transformer.ln_f"},
        {"output", "lm_head"}},
       {{"attn_norm", "ln_1"},
        {"attn_qkv", "attn.c_attn", Order::kTransposed},
        {"attn_output", "attn.c_proj", Order::kTransposed},
        {"ffn_norm", "ln_2"},
        {"ffn_up", "mlp.c_fc", Order::kTransposed},
        {"ffn_down", "mlp.c_proj", Order::kTransposed}}},
      {"starcoder",
       "transformer.h.",
       {{"token_embd", "transformer.wte"},
        {"position_embd", "transformer.wpe"},
        {"output_norm", "transformer.ln_f"},
        {"output", "lm_head"}},
       {{"attn_norm", "ln_1"},
        {"attn_qkv", "attn.c_attn"},
        {"attn_output", "attn.c_proj"},
        {"ffn_norm", "ln_2"},
        {"ffn_up", "mlp.c_fc"},
        {"ffn_down", "mlp.c_proj"}}},
      {"bert",
       "encoder.layer.",
       {{"token_embd", "embeddings.word_embeddings"},
        {"position_embd", "embeddings.position_embeddings"},
        {"token_types", "embeddings.token_type_embeddings"},
        {"token_embd_norm", "embeddings.LayerNorm"}},
       {{"attn_q", "attention.self.query"},
        {"attn_k", "attention.self.key"},
        {"attn_v", "attention.self.value"},
        {"attn_output", "attention.output.dense"},
        {"attn_output_norm", "attention.output.LayerNorm"},
        {"ffn_up", "intermediate.dense"},
        {"ffn_down", "output.dense"},
        {"layer_output_norm", "output.LayerNorm"}}},
  };
  return kFamilies;
}

// A matrix of blocks (a vector is a matrix of one column), rows in the state dict's order.
class BlockRows : public EncodedTensor {
 public:
  // head_dim: 0 where rows stand as they are.
  BlockRows(const GgufType& type, const uint8_t* data, int64_t columns, int64_t head_dim, std::shared_ptr<const GgufFile> owner)
      : type_(type),
        data_(data),
        columns_(columns),
        row_bytes_(columns / type.block * type.bytes),
        head_dim_(head_dim),
        owner_(std::move(owner)) {}
  std::string coding() const override { return type_.name; }
  void decode(int64_t begin, int64_t end, float* out) const override {
    for (int64_t row = begin; row < end; ++row, out += columns_) {
      type_.decode(data_ + source(row) * row_bytes_, columns_ / type_.block, out);
    }
  }
  GroupCoding groups() const override { return type_.groups; }
  void read_groups(int64_t begin, GroupRows& rows) const override {
    const auto at = [&](auto& values, int64_t row) {
      return values.empty() ? nullptr : values.data() + row * static_cast<int64_t>(values.size()) / rows.rows;
    };
    for (int64_t row = 0; row < rows.rows; ++row) {
      type_.read_groups(data_ + source(begin + row) * row_bytes_, columns_ / type_.block,
                        {at(rows.codes, row), at(rows.scales, row), at(rows.minima, row), at(rows.small_scales, row),
                         at(rows.small_minima, row)});
    }
  }

 private:
  int64_t source(int64_t row) const {
    if (head_dim_ == 0) return row;
    const int64_t head = row / head_dim_, part = row % head_dim_ / (head_dim_ / 2), pair = row % (head_dim_ / 2);
    return head * head_dim_ + 2 * pair + part;
  }
  const GgufType& type_;
  const uint8_t* data_;
  int64_t columns_, row_bytes_, head_dim_;
  std::shared_ptr<const GgufFile> owner_;
};

// [out, in] in the file, [in, out] in the state dict.
class TransposedBlocks : public EncodedTensor {
 public:
  TransposedBlocks(const GgufType& type, const uint8_t* data, int64_t rows, int64_t columns,
                   std::shared_ptr<const GgufFile> owner)
      : type_(type), data_(data), rows_(rows), columns_(columns), owner_(std::move(owner)) {}
  std::string coding() const override { return type_.name; }
  bool by_rows() const override { return false; }
  std::shared_ptr<const EncodedTensor> transposed() const override {
    return std::make_shared<BlockRows>(type_, data_, columns_, 0, owner_);
  }
  void decode(int64_t begin, int64_t end, float* out) const override {
    std::vector<float> line(static_cast<size_t>(columns_));
    for (int64_t row = 0; row < rows_; ++row) {
      type_.decode(data_ + row * (columns_ / type_.block * type_.bytes), columns_ / type_.block, line.data());
      for (int64_t column = begin; column < end; ++column)
        out[(column - begin) * rows_ + row] = line[static_cast<size_t>(column)];
    }
  }

 private:
  const GgufType& type_;
  const uint8_t* data_;
  int64_t rows_, columns_;
  std::shared_ptr<const GgufFile> owner_;
};

class GgufSource : public WeightSource {
 public:
  explicit GgufSource(std::shared_ptr<const GgufFile> file) : file_(std::move(file)), where_(file_->where()) {
    const std::string architecture = file_->text("general.architecture", "");
    const auto& all = families();
    const auto family =
        std::find_if(all.begin(), all.end(), [&](const Family& each) { return architecture == each.architecture; });
    if (family == all.end())
      unsupported(where_, "general.architecture: got '{}', need bert, gpt2, llama, qwen2 or starcoder",
                  architecture.substr(0, 64));
    heads_ = head_count(architecture + ".attention.head_count");
    kv_heads_ = file_->find(architecture + ".attention.head_count_kv") == nullptr
                    ? heads_
                    : head_count(architecture + ".attention.head_count_kv");
    for (const GgufTensor& tensor : file_->tensors()) add(*family, tensor);
  }
  const TensorEntry* find(const std::string& name) const override {
    const auto it = entries_.find(name);
    return it == entries_.end() ? nullptr : &it->second;
  }
  std::vector<std::string> names() const override {
    std::vector<std::string> names;
    for (const auto& [name, entry] : entries_) names.push_back(name);
    return names;
  }
  void drop_pages() const override { file_->drop_pages(); }

 private:
  int64_t head_count(const std::string& key) const {
    const GgufValue* value = file_->find(key);
    if (value == nullptr) return 0;
    if (value->type != GgufValue::Type::kArray) return file_->integer(key, 0);
    const std::vector<int64_t> list = file_->integers(key);  // equal in all layers, or the configuration was refused
    return list.empty() ? 0 : list[0];
  }

  // The state-dict name of `name`; null where the model has no place for it.
  static const Name* find_name(const Family& family, std::string_view name, std::string& hf) {
    std::string_view suffix;
    for (const std::string_view each : {".weight", ".bias"}) {
      if (name.size() > each.size() && name.substr(name.size() - each.size()) == each) suffix = each;
    }
    if (suffix.empty()) return nullptr;
    name.remove_suffix(suffix.size());
    const std::vector<Name>* table = &family.whole;
    std::string prefix;
    if (name.substr(0, 4) == "blk.") {
      const size_t dot = name.find('.', 4);
      if (dot == std::string_view::npos || dot == 4 || dot > 12) return nullptr;
      const std::string_view number = name.substr(4, dot - 4);
      if (number.find_first_not_of("0123456789") != std::string_view::npos) return nullptr;
      prefix = family.layers + std::string(number) + ".";
      name.remove_prefix(dot + 1);
      table = &family.layer;
    }
    for (const Name& each : *table) {
      if (name != each.gguf) continue;
      hf = prefix + each.hf + std::string(suffix);
      return &each;
    }
    return nullptr;
  }

  const uint8_t* data_of(const GgufTensor& tensor, const GgufType& type, int64_t bytes) const {
    const uint64_t size = file_->bytes().size(), base = file_->data_offset();
    if (base > size || tensor.offset > size - base || static_cast<uint64_t>(bytes) > size - base - tensor.offset) {
      invalid(where_, "file cut off: tensor '{}' ({}) needs {} bytes at {}, the file has {}", tensor.name, type.name, bytes,
              tensor.offset, size);
    }
    return reinterpret_cast<const uint8_t*>(file_->bytes().data()) + base + tensor.offset;
  }

  void add(const Family& family, const GgufTensor& tensor) {
    // Factors of rotary frequencies are the configuration's; files of old versions hold the frequencies themselves.
    const auto ends = [&](std::string_view end) {
      return tensor.name.size() >= end.size() && tensor.name.compare(tensor.name.size() - end.size(), end.size(), end) == 0;
    };
    if (tensor.name == "rope_freqs.weight" || ends(".attn_rot_embd.weight") || ends(".rope_freqs.weight")) return;
    std::string name;
    const Name* known = find_name(family, tensor.name, name);
    if (known == nullptr) {
      unsupported(where_, "tensor '{}' ({}): no place in a {} model", tensor.name.substr(0, 128), gguf_type_name(tensor.type),
                  family.architecture);
    }
    const GgufType* type = find_gguf_type(tensor.type);
    if (type == nullptr)
      unsupported(where_, "tensor '{}': got type {}, need {}", tensor.name, gguf_type_name(tensor.type), known_gguf_types());
    const size_t rank = tensor.dims.size();
    if (rank != 1 && rank != 2)
      invalid(where_, "tensor '{}' ({}): got {} dimensions, need 1 or 2", tensor.name, type->name, rank);
    const int64_t rows = rank == 2 ? tensor.dims[1] : tensor.dims[0], columns = rank == 2 ? tensor.dims[0] : 1;
    if (columns % type->block != 0) {
      invalid(where_, "tensor '{}' ({}): got rows of {}, need a multiple of {}", tensor.name, type->name, columns, type->block);
    }
    TensorEntry entry;
    entry.name = name;
    entry.bytes = checked_mul(rows, checked_mul(columns / type->block, type->bytes, where_), where_);
    entry.set_data(data_of(tensor, *type, entry.bytes));
    entry.shape = rank == 2 ? std::vector<int64_t>{rows, columns} : std::vector<int64_t>{rows};
    int64_t head_dim = 0;
    if (known->order == Order::kQueries || known->order == Order::kKeys) {
      const int64_t heads = known->order == Order::kQueries ? heads_ : kv_heads_;
      if (heads < 1 || rows % heads != 0 || rows / heads % 2 != 0) {
        invalid(where_, "tensor '{}' ({}): got {} rows, need an even number for each of {} heads", tensor.name, type->name,
                rows, heads);
      }
      head_dim = rows / heads;
    }
    const bool transposed = known->order == Order::kTransposed && rank == 2;
    if (transposed) {
      entry.shape = {columns, rows};
      entry.encoded = std::make_shared<TransposedBlocks>(*type, entry.data(), rows, columns, file_);
    } else if (head_dim > 2 || type->block > 1) {
      entry.encoded = std::make_shared<BlockRows>(*type, entry.data(), columns, head_dim, file_);
    } else {
      entry.dtype = tensor.type == 0 ? DType::kFloat32 : tensor.type == 1 ? DType::kFloat16 : DType::kBFloat16;
      entry.owner = file_;
    }
    if (entry.encoded) entry.set_data(nullptr);
    if (!entries_.emplace(name, std::move(entry)).second) invalid(where_, "tensor '{}' is there twice", tensor.name);
  }

  std::shared_ptr<const GgufFile> file_;
  std::string where_;
  int64_t heads_ = 0, kv_heads_ = 0;
  std::map<std::string, TensorEntry> entries_;
};

}  // namespace

std::shared_ptr<WeightSource> open_gguf_weights(std::shared_ptr<const GgufFile> file) {
  return std::make_shared<GgufSource>(std::move(file));
}

}  // namespace pagoda
