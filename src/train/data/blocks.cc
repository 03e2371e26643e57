// The three ways.
#include "train/data/blocks.h"

#include <algorithm>

#include "base/error.h"

namespace pagoda::train {

namespace {

class Cut final : public BlockBuilder {
 public:
  Cut(int64_t block_size, int64_t group_size, Emit emit)
      : BlockBuilder(std::move(emit)), block_(static_cast<size_t>(block_size)), group_(group_size) {
    example_.attention_mask.assign(block_, 1);
  }
  void add(const Encoding& row) override {
    for (size_t done = 0; done < row.ids.size();) {
      const size_t take = std::min(row.ids.size() - done, block_ - example_.input_ids.size());
      const auto first = row.ids.begin() + static_cast<int64_t>(done);
      example_.input_ids.insert(example_.input_ids.end(), first, first + static_cast<int64_t>(take));
      done += take;
      if (example_.input_ids.size() < block_) break;
      emit_(example_);
      example_.input_ids.clear();
    }
    if (group_ > 0 && ++rows_ % group_ == 0) finish();
  }
  void finish() override {
    dropped_ += static_cast<int64_t>(example_.input_ids.size());
    example_.input_ids.clear();
  }

 private:
  size_t block_;
  int64_t group_, rows_ = 0;
  Example example_;
};

// Best fit into a fixed number of open examples; the fullest leaves when none fits.
class Pack final : public BlockBuilder {
 public:
  Pack(int64_t block_size, Emit emit) : BlockBuilder(std::move(emit)), block_(static_cast<size_t>(block_size)) {}
  void add(const Encoding& row) override {
    for (size_t done = 0; done < row.ids.size();) {
      const size_t take = std::min(row.ids.size() - done, block_);
      place(row.ids.data() + done, take);
      done += take;
    }
  }
  void finish() override {
    for (const Example& example : open_) emit_(example);
    open_.clear();
  }

 private:
  static constexpr size_t kOpen = 64;
  void place(const int32_t* ids, size_t count) {
    size_t best = open_.size();
    for (size_t i = 0; i < open_.size(); ++i) {
      if (open_[i].input_ids.size() + count > block_) continue;
      if (best == open_.size() || open_[i].input_ids.size() > open_[best].input_ids.size()) best = i;
    }
    if (best == open_.size()) {
      if (open_.size() == kOpen) {
        const auto fullest = std::max_element(open_.begin(), open_.end(), [](const Example& a, const Example& b) {
          return a.input_ids.size() < b.input_ids.size();
        });
        emit_(*fullest);
        open_.erase(fullest);
      }
      open_.emplace_back();
      best = open_.size() - 1;
    }
    Example& example = open_[best];
    for (size_t i = 0; i < count; ++i) {
      example.input_ids.push_back(ids[i]);
      example.attention_mask.push_back(1);
      example.position_ids.push_back(static_cast<int32_t>(i));
    }
    if (example.input_ids.size() == block_) {
      emit_(example);
      open_.erase(open_.begin() + static_cast<int64_t>(best));
    }
  }
  size_t block_;
  std::vector<Example> open_;
};

// What is too long loses its end, but for the special tokens there, or its begin.
class LineByLine final : public BlockBuilder {
 public:
  LineByLine(int64_t block_size, bool cut_left, Emit emit)
      : BlockBuilder(std::move(emit)), block_(static_cast<size_t>(block_size)), cut_left_(cut_left) {}
  void add(const Encoding& row) override {
    if (row.ids.empty()) return;
    Example example;
    example.input_ids = row.ids;
    if (row.ids.size() > block_) {
      const std::vector<uint8_t>& special = row.special_tokens_mask;
      size_t stay = 0;  // special tokens of the side that is cut
      while (stay < block_ && special[cut_left_ ? stay : row.ids.size() - 1 - stay] != 0) ++stay;
      const size_t head = cut_left_ ? stay : block_ - stay;
      example.input_ids.resize(head);
      example.input_ids.insert(example.input_ids.end(), row.ids.end() - static_cast<int64_t>(block_ - head), row.ids.end());
      dropped_ += static_cast<int64_t>(row.ids.size() - block_);
    }
    example.attention_mask.assign(example.input_ids.size(), 1);
    emit_(example);
  }
  void finish() override {}

 private:
  size_t block_;
  bool cut_left_;
};

}  // namespace

std::unique_ptr<BlockBuilder> make_block_builder(const std::string& mode, int64_t block_size, int64_t group_size, bool cut_left,
                                                 BlockBuilder::Emit emit) {
  if (block_size < 1) invalid("block_size", "got {}, need at least 1", block_size);
  if (mode == "cut") return std::make_unique<Cut>(block_size, group_size, std::move(emit));
  if (mode == "pack") return std::make_unique<Pack>(block_size, std::move(emit));
  if (mode == "line_by_line") return std::make_unique<LineByLine>(block_size, cut_left, std::move(emit));
  invalid("mode", "unknown: got '{}', need cut, pack or line_by_line", mode);
}

}  // namespace pagoda::train
